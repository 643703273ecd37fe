"""`holdfast bundle export|import|verify`"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Callable

from holdfast.arguments import REFERENCE_HELP
from holdfast.bundles.exporting import export, export_line
from holdfast.bundles.importing import import_bundle
from holdfast.bundles.manifest import ABSENT, BundleRepo
from holdfast.bundles.verifying import Verified, verify, verify_line
from holdfast.choosing.selection import Patterns
from holdfast.errors import FAILED, OK
from holdfast.output import Output, table
from holdfast.reference import parse_reference
from holdfast.settings import Settings
from holdfast.text import count, format_bytes, printable

DESCRIPTION = "Carry models by hand: a folder of blobs with a manifest, verified on every way in and out."
Action = Callable[[argparse.Namespace, Settings, Output], int]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """A parser for each action."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    _add_export(actions.add_parser("export", help="make a bundle, out of the cache or the index"))
    for name, words in (
        ("import", "put what bundles hold into the cache; asks no network"),
        ("verify", "re-hash bundles, and show what is in them"),
    ):
        action = actions.add_parser(name, help=words)
        action.add_argument("folders", nargs="+", metavar="DIR", help="the folder of a bundle")
        signers_help = "refuse what none of these has signed (ssh-keygen(1), ALLOWED SIGNERS)"
        action.add_argument("--allowed-signers", default=None, metavar="FILE", help=signers_help)


def _add_export(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("references", nargs="+", metavar="REF", help=REFERENCE_HELP)
    add("-d", "--dest", required=True, metavar="DIR", help="the folder of the bundle")
    since_help = "leave out what this bundle (or its bundle.json) has; repeatable"
    add("--since", action="append", default=[], metavar="BUNDLE", help=since_help)
    add("--include", action="append", default=[], metavar="PATTERN", help="only paths like this; repeatable")
    add("--exclude", action="append", default=[], metavar="PATTERN", help="no paths like this; repeatable")
    add("--sign", default=None, metavar="KEY", help="sign the manifest with this SSH key")
    add("--force", action="store_true", help="make a bundle anew where one is")
    add("-y", "--yes", action="store_true", help="do not ask before a large pull")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Does what the action says."""
    return _ACTIONS[args.action](args, settings, out)


def _path(text: str | None) -> Path | None:
    return None if text is None else Path(text).expanduser().absolute()


def _export(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """The path of the bundle is the last line on stdout."""
    exported = export(
        [parse_reference(text) for text in args.references],
        Path(args.dest).expanduser().absolute(),
        settings,
        out,
        patterns=Patterns(tuple(args.include), tuple(args.exclude)),
        since=[Path(text).expanduser() for text in args.since],
        key=_path(args.sign),
        force=args.force,
        yes=args.yes,
    )
    out.json(exported.as_json())
    out.note(export_line(exported))
    out.result(printable(exported.folder))
    return OK


def _import(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """In the order given, because a bundle may leave out what an earlier one has."""
    signers = _path(args.allowed_signers)
    imported = []
    for text in args.folders:
        folder = Path(text).expanduser().absolute()
        imported.append(import_bundle(folder, settings, out, allowed_signers=signers))
        for pulled in imported[-1].pulled:
            out.result(str(pulled.path))
    out.json({"imported": [one.as_json() for one in imported]})
    return OK


def _verify(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """1 if a blob is not what the manifest says."""
    signers = _path(args.allowed_signers)
    found = []
    for text in args.folders:
        folder = Path(text).expanduser().absolute()
        found.append(verify(folder, settings, out, allowed_signers=signers))
        _show(found[-1], out)
    out.json({"verified": [one.as_json() for one in found]})
    return FAILED if any(one.problems for one in found) else OK


def _show(verified: Verified, out: Output) -> None:
    """On stdout what is in it and what is bad, on stderr the sum."""
    heads = ("REPO", "COMMIT", "REFS", "LICENCE", "FILES", "SIZE")
    rows = [_row(repo) for repo in verified.bundle.repos]
    for line in table(heads, rows, right=(4, 5)) if rows else ():
        out.result(line)
    for one in verified.problems:
        facts = f": expected {one.expected}, got {one.actual}" if one.expected else ""
        name = f"{one.repo_id}@{one.commit[:12]} {one.path} ({one.sha256[:12]})"
        out.result(f"BAD  {printable(name)}: {one.problem}{facts}")
    if verified.signed_by is not None:
        out.note(f"signed by {printable(verified.signed_by)}")
    out.note(verify_line(verified))


def _row(repo: BundleRepo) -> tuple[str, ...]:
    absent = len(repo.carried(ABSENT))
    carried = [file for file in repo.files if file.state != ABSENT]
    return (
        repo.repo_id,
        repo.commit[:12],
        " ".join(repo.refs[:3]) + (f" +{len(repo.refs) - 3}" if len(repo.refs) > 3 else ""),
        printable(repo.license or ""),
        f"{len(carried)} of {len(repo.files)}" if absent else count(len(carried), "file").split(" ")[0],
        format_bytes(sum(file.size_bytes for file in carried)),
    )


_ACTIONS: dict[str, Action] = {"export": _export, "import": _import, "verify": _verify}
