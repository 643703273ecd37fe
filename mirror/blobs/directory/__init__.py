"""A blob store in a directory of a local (or well-behaved network) file system.

`root/` holds one plain file per key, mode 0444, under exactly the key's path, so that `sha256sum` and `cp` are all a
person needs to read the archive. `root/incoming/` is on the same file system, for two reasons: a hard link from
there is atomic and fails if the name is taken (put-if-absent), and a full disk is met while staging, not after.

The order of `promote` is: data fsynced → mode 0444 → link → staged name removed → directory fsynced. A crash after
the link leaves a staged name for the very inode of the blob; `stage` notices (link count, mode) and hands it out
sealed, so that no resumed writer can ever touch the bytes of a blob.
"""

from mirror.blobs.directory.folder import DirectoryStore

__all__ = ["DirectoryStore"]
