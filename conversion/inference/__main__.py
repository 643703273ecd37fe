"""`python -m conversion.inference FILE [--parent FILE]`: judge a local file, or let it say something.

Results on standard output, progress and errors on standard error. Exit codes: 0 verified or loads, 1 any other
verdict, 2 wrong use.
"""

import argparse
import json
import os
import sys
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from conversion.formats.errors import HeaderError
from conversion.inference.checks.trial import OnProgress, Reference
from conversion.inference.engine import EngineError
from conversion.inference.greedy import continue_greedily
from conversion.inference.judge import judge
from conversion.inference.local import WrongReading, open_local, with_reading
from conversion.inference.probe import main as try_to_escape
from conversion.inference.report import Report
from conversion.inference.sandbox import Sandbox
from conversion.inference.table import comparison_lines, report_lines
from conversion.naming import NamingError
from conversion.quants import QuantError
from registry.comparing import compare_reports  # arithmetic on two dicts; knows no Django

MEGABYTE = 10**6
SOUND = ("verified", "loads")


class Refused(Exception):
    """The command cannot be carried out as it was given."""


def main() -> int:
    parser = _parser()
    options = parser.parse_args()
    if options.probe:
        return try_to_escape()
    if options.file is None:
        parser.error("FILE is needed, or --probe")
    try:
        for path in (options.file, options.parent, options.base, options.compare):
            if path is not None and not path.exists():
                raise Refused(f"{path}: no such file")
        return _say(options) if options.prompt is not None else _judge(options)
    except Refused as error:
        sys.stderr.write(f"{error}\n")
    except BrokenPipeError:  # whoever read our stdout has seen enough, as `head` has
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # such as a full disk: nothing is said of the file
        sys.stderr.write(f"{error}. Nothing was judged; make room or name another place, and run again.\n")
    return 2


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m conversion.inference", description=__doc__)
    add: Callable[..., Any] = parser.add_argument
    add("file", type=Path, nargs="?", metavar="FILE",
        help="a GGUF, ONNX or safetensors file, or the folder of a checkpoint or an adapter")  # fmt: skip
    add("--parent", type=Path, help="what it was made from: a file, or a checkpoint's folder")
    add("--base", type=Path, help="what an adapter is added to: a checkpoint's folder, or a GGUF")
    add("--reading", type=Path, metavar="READING",
        help="what the parent says: made there if there is none; then it need not run for the next quant")  # fmt: skip
    add(
        "--compare",
        type=Path,
        metavar="REPORT",
        help="say what changed since that report, as --json wrote it",
    )
    add("--prompt", metavar="TEXT", help="continue this text instead of judging the file")
    add("--tokens", type=int, default=24, help="how many tokens to add (24)")
    add("--threads", type=int, default=1, help="threads of the engine (1)")
    add("--memory", type=int, default=0, metavar="MB",
        help="for weights and what is computed; what does not fit is streamed, or cut to its first layers "
        "(most of what is free)")  # fmt: skip
    add("--probe", action="store_true", help="only try to get out of the sandbox on this machine")
    add("--json", action="store_true", help="JSON on standard output")
    return parser


def _judge(options: argparse.Namespace) -> int:
    before = _read_report(options.compare) if options.compare else None
    progress = _show_progress if sys.stderr.isatty() else _silent
    with ExitStack() as stack:
        reference = _reference(options, stack, progress)
        report = judge(
            options.file, reference, threads=options.threads, memory_bytes=options.memory * MEGABYTE,
            on_progress=progress,
        )  # fmt: skip
    sys.stdout.write("\n".join(_lines(report, before, as_json=options.json)) + "\n")
    return 0 if report.verdict in SOUND else 1


def _lines(report: Report, before: dict[str, Any] | None, *, as_json: bool) -> list[str]:
    found = report.as_json()
    changed = compare_reports(before, found).as_json() if before is not None else None
    if as_json:
        return [json.dumps(found if changed is None else found | {"compared": changed}, indent=2)]
    return [*report_lines(found), *(comparison_lines(changed) if changed is not None else ())]


def _reference(options: argparse.Namespace, stack: ExitStack, on_progress: OnProgress) -> Reference | None:
    path = options.parent or options.base
    if path is None:
        if options.reading:
            raise Refused("--reading needs the --parent whose reading it is")
        return None
    of_gguf = options.file.suffix == ".gguf"
    try:
        parent = open_local(path, stack, options.base, memory_bytes=options.memory * MEGABYTE)
        if options.reading is None:
            return parent.reference(of_gguf=of_gguf)
        return with_reading(parent, options.reading, on_progress, of_gguf=of_gguf, threads=options.threads)
    except (HeaderError, NamingError, QuantError, EngineError) as error:
        raise Refused(f"{path}: {error}") from error
    except WrongReading as error:
        raise Refused(str(error)) from error


def _read_report(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise Refused(f"{path}: not a report in JSON: {error}") from error
    if not isinstance(found, dict) or "verdict" not in found:
        raise Refused(f"{path}: not a report; --json writes one")
    return found


def _say(options: argparse.Namespace) -> int:
    try:
        with Sandbox("llama.cpp", options.file, threads=options.threads) as model:
            ids = model.tokenize(options.prompt, special=True)
            said = continue_greedily(model, options.prompt, ids, options.tokens).text
    except EngineError as error:
        sys.stderr.write(f"{options.file}: {error}\n")
        return 1
    answer = {"prompt": options.prompt, "text": said.removeprefix(options.prompt)}
    sys.stdout.write((json.dumps(answer) if options.json else said) + "\n")
    return 0


def _silent(phase: str, share: float) -> None:
    """Standard error is not a terminal."""


def _show_progress(phase: str, share: float) -> None:
    sys.stderr.write(f"\r{share:4.0%} {phase:<24}")
    if share >= 1:
        sys.stderr.write("\n")


if __name__ == "__main__":
    sys.exit(main())
