"""A blob store in a bucket of any S3-compatible service.

| file            | what it knows                                                        |
|-----------------|----------------------------------------------------------------------|
| `settings.py`   | what the URL may say                                                 |
| `connection.py` | clients, time limits, retries, what the service's errors mean        |
| `staging.py`    | bytes on their way in: part objects, hashed beside the upload        |
| `assembly.py`   | one object out of many by server-side copies, put-if-absent          |
| `reader.py`     | a byte range as a stream that survives broken connections            |
| `bucket.py`     | the store itself                                                     |
"""

from mirror.blobs.s3.bucket import S3Store
from mirror.blobs.s3.settings import S3Settings, read_settings

__all__ = ["S3Settings", "S3Store", "read_settings"]
