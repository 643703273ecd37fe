"""Models carried by hand: a folder of blobs and a manifest that says what they are, verified on every way in and out.

| module      |                                                               |
|-------------|---------------------------------------------------------------|
| manifest    | `bundle.json`: written the same by everybody, read strictly   |
| exporting   | out of the cache (and what it lacks, out of the index)        |
| importing   | into the cache, with refs                                     |
| verifying   | every blob against the manifest                               |
| signatures  | with the SSH keys that people have                            |
"""
