"""Bring a folder to an index: hash first, send what it lacks, commit, and look at what it has then.

| module     |                                                                            |
|------------|----------------------------------------------------------------------------|
| folder     | which files of the folder go, under which names                             |
| asking     | what the index wants of them: how to send each, and what is there already   |
| objects    | large files by Git LFS: which the index lacks, and how it wants them        |
| transfers  | their bytes, whole or in parts                                             |
| notes      | which parts an earlier run has sent                                        |
| commit     | the body of the commit                                                     |
| push       | the whole of it                                                            |
"""
