"""`holdfast validate REF`"""

from __future__ import annotations

import argparse
from typing import Any

from holdfast.asking.work import Office, job_line, open_office
from holdfast.errors import FAILED, OK
from holdfast.output import Output, table
from holdfast.reference import Reference, parse_reference
from holdfast.settings import Settings
from holdfast.text import printable

DESCRIPTION = (
    "Ask a Holdfast server to test a model file by running it, or show what it found. 1 if one is damaged."
)
MOST_ROWS = 1000
BAD = frozenset({"damaged", "unsupported"})


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `validate`."""
    add = parser.add_argument
    add("reference", metavar="REF", help="org/name[@revision][:variant][//path], on the server")
    add(
        "--parent",
        default=None,
        metavar="REF",
        help="what it is compared with (the base that its repo declares)",
    )
    add("--no-parent", action="store_true", help="compare it with nothing: whether it loads")
    add("--show", action="store_true", help="only show what is known")
    add("--wait", action="store_true", help="until the verdict is there, and show it")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Queues the test inference, or shows verdicts: one line for each file."""
    reference = parse_reference(args.reference)
    office = open_office(reference, settings, out)
    job = (
        None if args.show else office.order("validate", _question(office, reference, args), reference.repo_id)
    )
    if job is not None and args.wait:
        job = office.watch(job)
    if job is not None and not args.wait:
        out.result(job_line(job))
        out.json({"job": job})
        return OK
    rows = _rows(office, reference)
    _show(rows, out)
    out.json({"job": job, "validations": rows})
    return FAILED if any(row.get("verdict") in BAD for row in rows) else OK


def _question(office: Office, reference: Reference, args: argparse.Namespace) -> dict[str, Any]:
    question = _file_of(office, reference)
    if args.no_parent:
        question["parent"] = ""
    elif args.parent is not None:
        parent = parse_reference(args.parent)
        question["parent"] = f"{parent.repo_id}@{parent.revision}"
    return question


def _file_of(office: Office, reference: Reference) -> dict[str, Any]:
    """The file that is judged. What was made of a repo lies in another, which the server knows."""
    question = {"repo": reference.repo_id, "revision": reference.revision}
    if reference.path is not None:
        return {**question, "path": reference.path}
    if reference.variant is None:
        return question
    found = office.hub.resolve_variant(reference.repo_id, reference.revision, reference.variant)
    if found is None or not found.sha256_by_path:
        return {**question, "variant": reference.variant}
    return {"repo": found.repo_id, "revision": found.commit, "path": next(iter(found.sha256_by_path))}


def _rows(office: Office, reference: Reference) -> list[dict[str, Any]]:
    """What is known of the files that the reference means; of all if it names none."""
    path = f"validations/{reference.repo_id}?limit={MOST_ROWS}&revision={reference.revision}"
    found = office.pages(path, reference.repo_id, MOST_ROWS)
    if reference.path is not None:
        return [row for row in found if row.get("path") == reference.path]
    if reference.variant is None:
        return found
    wanted = reference.variant.casefold()
    return [
        row for row in found if wanted in (str(row.get("type")).casefold(), str(row.get("path")).casefold())
    ]


def _show(rows: list[dict[str, Any]], out: Output) -> None:
    if not rows:
        out.note("Nothing is judged there yet; without --show it is asked for.")
        return
    cells = [
        (
            printable(f"{row.get('repo_id')}//{row.get('path')}"),
            printable(row.get("type") or ""),
            printable(row.get("verdict") or "waits"),
            _figure(row, "mean_kld", ".4f"),
            _figure(row, "top1_agreement", ".1%"),
        )
        for row in rows
    ]
    for line in table(("FILE", "TYPE", "VERDICT", "KLD", "TOP1"), cells, right=(3, 4)):
        out.result(line)
    for row in rows:
        newest = row.get("newest")
        if isinstance(newest, dict) and row.get("verdict") in BAD:
            out.note(f"  {printable(row.get('path'))}: {printable(newest.get('reason'))}")


def _figure(row: dict[str, Any], name: str, how: str) -> str:
    newest = row.get("newest")
    value = newest.get(name) if isinstance(newest, dict) else None
    return format(value, how) if isinstance(value, (int, float)) else ""
