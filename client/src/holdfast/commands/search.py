"""`holdfast search [WORDS]`"""

from __future__ import annotations

import argparse

from holdfast.asking.found_report import found_lines
from holdfast.asking.searching import SORTS, Query, read_range, search
from holdfast.errors import NOTHING_MATCHED, OK
from holdfast.output import Output
from holdfast.settings import Settings

DESCRIPTION = "Asks the index for models, newest first; several indexes one after the other."
MOST = 1000


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `search`."""
    add = parser.add_argument
    add("words", nargs="*", metavar="WORD", help="words of the name; all must be in it")
    add("--author", metavar="NAME", help="the organisation or user")
    add("--task", metavar="TASK", help="text-generation, feature-extraction, …")
    add("--params", type=read_range, metavar="RANGE", help="how many parameters: 6B..13B, 70B.., ..3B")
    add("--license", "--licence", dest="licence", metavar="ID", help="apache-2.0, mit, …")
    add("--format", action="append", default=[], metavar="FORMAT", help="safetensors, gguf, …; repeatable")
    add("--quant", action="append", default=[], metavar="TYPE", help="Q4_K_M, …; any of several")
    add("--validated", action="store_true", help="only what an index has run and found to be right")
    add("--upstream-gone", action="store_true", help="only what is no more where it came from")
    add("--sort", choices=tuple(SORTS), default="created", help="the order, descending (created)")
    add("--limit", type=_number, default=20, metavar="N", help="models on a page (20)")
    add("--page", type=_number, default=1, metavar="N", help="which page (1)")
    add("--all", action="store_true", help="every model, in one go")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Prints a table of one page; exit code 23 if nothing matched."""
    query = Query(
        words=tuple(args.words), author=args.author, task=args.task, parameters=args.params, licence=args.licence,
        formats=tuple(args.format), quantizations=tuple(args.quant), validated=args.validated,
        upstream_gone=args.upstream_gone, sort=args.sort,
    )  # fmt: skip
    start = 0 if args.all else (args.page - 1) * args.limit
    models, has_more = search(query, settings, out, start=start, count=None if args.all else args.limit)
    out.json(
        {
            "models": [model.as_json() for model in models],
            "page": None if args.all else args.page,
            "has_more": has_more,
        }
    )
    for line in found_lines(models, names_only=settings.verbosity < 0):
        out.result(line)
    if not models:
        out.note("Nothing matches." if start == 0 else "There is no such page.")
        return NOTHING_MATCHED
    if has_more:
        out.note(f"There are more: --page {args.page + 1}, --limit N or --all.")
    return OK


def _number(text: str) -> int:
    value = int(text)
    if not 1 <= value <= MOST:
        raise ValueError(text)
    return value


_number.__name__ = "count"  # what argparse calls it
