"""The local cache as a read-only, Hub-compatible mirror: one machine feeds the others of a room.

| module     |                                                                          |
|------------|--------------------------------------------------------------------------|
| shelf      | what of the cache may be read, by names that came from strangers          |
| verified   | which bytes this process has hashed and found right                       |
| wire       | one request in, one answer out: ranges, validators, errors                |
| views      | the Hub's endpoints                                                       |
| images     | the same models for Ollama and OCI                                        |
| server     | sockets: limits, timeouts, and the hosts by which we may be called        |
"""
