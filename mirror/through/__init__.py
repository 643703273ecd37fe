"""Pull-through: what a client asks for and we do not hold is brought from upstream while the client waits.

| module       | what                                                                                        |
|--------------|---------------------------------------------------------------------------------------------|
| `lookups.py` | the `lookup` job: what a revision means upstream now, and which files that commit has         |
| `fetches.py` | the `fetch` job: the bytes of one file, staged, proven, promoted, linked to every row of them |
| `running.py` | jobs run by the web process itself, and requests that wait for them                           |
| `asking.py`  | what the doors of the Hub API call before they answer                                         |
| `following.py` | the body of a download whose bytes are still on their way                                   |

Both are ordinary jobs, with a lease and a fencing token: whoever needs one first makes its row, claims it and works
on it in a thread of its own. All others, in whatever process, watch the row and the staged bytes. A process that dies
loses nothing: its lease runs out, and the next request, or a worker, goes on from what is staged.
"""
