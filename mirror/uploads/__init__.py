"""Bytes that people bring: how they come in, are verified, and may be named by a commit.

| file           | what it knows                                                                        |
|----------------|--------------------------------------------------------------------------------------|
| `modes.py`     | inline or LFS, what git keeps by pointer, what is ignored                            |
| `lines.py`     | the body of a commit, line by line, its contents straight into the store             |
| `operations.py`| what the lines say, and the changes that they mean                                   |
| `objects.py`   | LFS objects: announced, sent, verified; who may name which                           |
| `verifying.py` | the job that hashes what was sent in parts, and who waits for it                     |

A commit names only bytes that we hashed. Small files come inside the commit, larger ones before it, as LFS objects:
into `incoming/` of the store, through us or, where the store has URLs of its own, directly; never under a blob's name.
"""
