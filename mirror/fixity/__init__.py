"""Are the bytes still what they were? Re-read, re-hash, compare, record; repair from upstream by digest.

| file           | what it does                                                            |
|----------------|-------------------------------------------------------------------------|
| `report.py`    | what an audit found                                                     |
| `blobs.py`     | every blob row against every object, both ways; sha256 of every byte    |
| `manifests.py` | every commit row against its manifest in the bucket, both ways          |
| `repair.py`    | fetches what is broken again, sets the broken copy aside                |
| `audit.py`     | the verb: all of it, in order, recorded as one Event                    |
"""

from mirror.fixity.audit import audit
from mirror.fixity.report import Finding, Report

__all__ = ["Finding", "Report", "audit"]
