"""Draws docs/pictures/terminal.svg: a real session of the client, 80 columns wide, against a server that runs.

    make demo                                     # in another terminal
    .venv/bin/python deploy/picture.py            # --index URL for another server

The commands are run one after another in an empty home; what they print is what is drawn. Only the home's path is
spelled `~` and the server as `make demo` has it, and no font is fetched from anywhere.
"""

import argparse
import io
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

ROOT = Path(__file__).resolve().parent.parent
PICTURE = ROOT / "docs" / "pictures" / "terminal.svg"
COMMANDS = (
    "holdfast pull tinyfamily/base:Q2_K",
    "holdfast pull tinyfamily/base:Q8_0",
    "echo tinyfamily/base:Q8_0 > models.txt && holdfast lock",
    "holdfast check",
)
WIDTH = 80
USUAL = "http://127.0.0.1:8000"


def main() -> None:
    """Runs the session and writes the picture."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--index", default=USUAL, metavar="URL", help="the server to ask")
    index = parser.parse_args().index
    console = Console(record=True, width=WIDTH, file=io.StringIO(), highlight=False)
    with tempfile.TemporaryDirectory() as home:
        for command in COMMANDS:
            _draw(console, command, _output_of(command, Path(home), index))
    PICTURE.parent.mkdir(exist_ok=True)
    PICTURE.write_text(
        _without_fonts(console.export_svg(title="holdfast", theme=MONOKAI, unique_id="holdfast"))
    )
    sys.stdout.write(f"wrote {PICTURE.relative_to(ROOT)}\n")


def _output_of(command: str, home: Path, index: str) -> str:
    """What a person would read: both streams, as they came."""
    kept = {
        name: value for name, value in os.environ.items() if not name.startswith(("HF_", "HOLDFAST_", "XDG_"))
    }
    program = Path(sys.executable).parent
    env = kept | {
        "HOME": str(home), "HOLDFAST_INDEX_URL": index, "COLUMNS": str(WIDTH), "PATH": f"{program}:{kept['PATH']}",
    }  # fmt: skip
    done = subprocess.run(
        ["/bin/sh", "-c", command], cwd=home, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=False,
    )  # fmt: skip
    return done.stdout.replace(str(home.resolve()), "~").replace(str(home), "~").replace(index, USUAL)


def _draw(console: Console, command: str, output: str) -> None:
    console.print(Text.assemble(("$ ", "bold green"), (command, "bold")))
    for line in output.splitlines():
        style = "red" if line.startswith("error") else "cyan" if line.startswith("~") else ""
        for start in range(0, max(len(line), 1), WIDTH):  # a terminal breaks lines anywhere
            console.print(Text(line[start : start + WIDTH], style=style))
    console.print()


def _without_fonts(svg: str) -> str:
    """Whatever monospace the reader has, instead of one from a stranger's server."""
    return re.sub(r"@font-face\s*\{.*?\}\s*", "", svg, flags=re.DOTALL).replace("Fira Code", "ui-monospace")


if __name__ == "__main__":
    main()
