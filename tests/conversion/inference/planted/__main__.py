"""Prints the table of planted failures, after that of the healthy files. `python -m tests.conversion.inference.planted`

Words limit it to the groups and names in which they occur. Exit status: 1 if a verdict is wrong.
"""

import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

from tests.conversion.inference.planted.family import Family
from tests.conversion.inference.planted.judging import Result, judge_healthy, judge_variant
from tests.conversion.inference.planted.variants import all_variants


def main(words: list[str]) -> int:
    n, wrong = 0, 0
    for result in _results(words):
        n, wrong = n + 1, wrong + bool(result.wrong)
        print(result.line, flush=True)
    print(f"{n} artifacts, {wrong} wrong verdicts")
    return 1 if wrong else 0


def _results(words: list[str]) -> Iterator[Result]:
    with tempfile.TemporaryDirectory(prefix="holdfast-planted-") as folder, Family(Path(folder)) as family:
        if not words or "healthy" in words:
            yield from judge_healthy(family)
        for variant in all_variants():
            if not words or any(word in f"{variant.group} {variant.name}" for word in words):
                yield judge_variant(family, variant, Path(folder, "planted"))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
