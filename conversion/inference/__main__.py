"""`python -m conversion.inference FILE [--parent FILE]`: judge a local file, or let it say something.

Results on standard output, progress and errors on standard error. Exit codes: 0 verified or loads, 1 any other
verdict, 2 wrong use.
"""

import argparse
import json
import sys
from pathlib import Path

from conversion.formats.gguf import read_header
from conversion.formats.source import FileSource
from conversion.inference.engine import EngineError
from conversion.inference.greedy import continue_greedily
from conversion.inference.judge import Reference, judge
from conversion.inference.limits import HOLDS
from conversion.inference.probe import main as try_to_escape
from conversion.inference.sandbox import Sandbox
from conversion.inference.table import report_lines


def main() -> int:
    parser = _parser()
    options = parser.parse_args()
    if options.probe:
        return try_to_escape()
    if options.file is None:
        parser.error("FILE is needed, or --probe")
    for path in (options.file, options.parent):
        if path is not None and not path.exists():
            sys.stderr.write(f"{path}: no such file\n")
            return 2
    if options.prompt is not None:
        return _say(options)
    report = judge(
        options.file,
        _reference(options.parent) if options.parent else None,
        threads=options.threads,
        on_progress=_show_progress if sys.stderr.isatty() else lambda phase, share: None,
    )
    lines = [json.dumps(report.as_json(), indent=2)] if options.json else report_lines(report.as_json())
    sys.stdout.write("\n".join(lines) + "\n")
    return 0 if report.verdict in ("verified", "loads") else 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m conversion.inference", description=__doc__)
    parser.add_argument("file", type=Path, nargs="?", metavar="FILE", help="a GGUF file")
    parser.add_argument("--parent", type=Path, help="what it was made from: a GGUF, or a checkpoint's folder")
    parser.add_argument("--prompt", metavar="TEXT", help="continue this text instead of judging the file")
    parser.add_argument("--tokens", type=int, default=24, help="how many tokens to add (24)")
    parser.add_argument("--threads", type=int, default=1, help="threads of the engine (1)")
    parser.add_argument(
        "--probe", action="store_true", help="only try to get out of the sandbox on this machine"
    )
    parser.add_argument("--json", action="store_true", help="JSON on standard output")
    return parser


def _reference(parent: Path) -> Reference:
    """A folder is run by transformers, a GGUF by llama.cpp; dtypes are known of a GGUF in floating point."""
    if parent.is_dir():
        return Reference("transformers", parent, facts={"reference": f"{parent} in transformers"})
    with FileSource(parent) as source:
        dtypes = {entry.dtype for entry in read_header(source).entries if len(entry.shape) > 1}
    known = frozenset(dtypes) if dtypes <= HOLDS.keys() else frozenset[str]()
    return Reference("llama.cpp", parent, known, {"reference": f"{parent} in llama.cpp"})


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


def _show_progress(phase: str, share: float) -> None:
    sys.stderr.write(f"\r{share:4.0%} {phase:<24}")
    if share >= 1:
        sys.stderr.write("\n")


if __name__ == "__main__":
    sys.exit(main())
