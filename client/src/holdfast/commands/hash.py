"""`holdfast hash FILE…`"""

from __future__ import annotations

import argparse
from pathlib import Path

from holdfast.asking.local_files import hash_local
from holdfast.errors import OK
from holdfast.output import Output
from holdfast.settings import Settings
from holdfast.text import printable

DESCRIPTION = "Prints the sha256 of files as `--hash` of pull and models.txt takes it. Asks nobody anything."


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The files."""
    parser.add_argument("files", nargs="+", metavar="FILE", help="files of any kind")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Hashes each file in turn; the first that cannot be read ends the run."""
    told = []
    for name in args.files:
        digests = hash_local(Path(name))
        told.append(
            {
                "path": name,
                "size_bytes": digests.size_bytes,
                "sha256": digests.sha256,
                "git_oid": digests.git_oid,
            }
        )
        if settings.verbosity >= 0:
            out.result(f"{printable(name)}:")
        out.result(f"--hash=sha256:{digests.sha256}")
    out.json({"files": told})
    return OK
