"""`holdfast convert REF --to TYPES`"""

from __future__ import annotations

import argparse
from typing import Any

from holdfast.asking.work import job_line, open_office
from holdfast.errors import OK, UsageError
from holdfast.output import Output
from holdfast.reference import Reference, parse_reference
from holdfast.settings import Settings
from holdfast.text import format_bytes, printable

DESCRIPTION = (
    "Ask a Holdfast server to make artifacts of a model. Its operators may; the result is tested there."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `convert`."""
    add = parser.add_argument
    add("reference", metavar="REF", help="org/name[@revision], on the server")
    add("--to", required=True, metavar="TYPES", help="Q4_K_M,Q8_0,safetensors-bf16: made in one pass")
    add("--from", dest="source", default="", metavar="PATH", help="the GGUF of the repo to start from")
    add(
        "--imatrix", default="", metavar="SHA256", help="importance matrix: its digest's beginning, or newest"
    )
    add("--allow-requantize", action="store_true", help="even if the weights are quantised already")
    add("--wait", action="store_true", help="until it is done, and print what was made")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Queues the conversion; with --wait prints a line for every artifact."""
    reference = parse_reference(args.reference)
    question = _question(reference, args)
    office = open_office(reference, settings, out)
    job = office.order("convert", question, reference.repo_id)
    if args.wait:
        job = office.watch(job)
    result = job.get("result")
    made = result.get("artifacts") if isinstance(result, dict) else None
    lines = [_line(one) for one in made if isinstance(one, dict)] if isinstance(made, list) else []
    for line in lines or [job_line(job)]:
        out.result(line)
    out.json({"job": job})
    return OK


def _question(reference: Reference, args: argparse.Namespace) -> dict[str, Any]:
    if reference.variant is not None or reference.path is not None:
        raise UsageError(
            "what is converted is a whole commit", hint="write org/name[@revision]; --from names a GGUF"
        )
    types = [name.strip() for name in args.to.split(",") if name.strip()]
    if not types:
        raise UsageError("--to names no type", hint="for example --to Q4_K_M,Q8_0")
    return {
        "repo": reference.repo_id, "revision": reference.revision, "to": types, "from": args.source,
        "imatrix": args.imatrix, "allow_requantize": args.allow_requantize,
    }  # fmt: skip


def _line(one: dict[str, Any]) -> str:
    size = one.get("size_bytes")
    known = format_bytes(size) if isinstance(size, int) else "?"
    state = "there already" if one.get("already_there") else "made"
    return f"{printable(one.get('path'))}  {known}  sha256 {printable(one.get('sha256'))[:12]}  {state}"
