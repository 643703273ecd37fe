"""The manual, written from the parsers: the reference in docs/cli.md and the page that `man holdfast` shows.

    python -m holdfast.manual            says which pages are not what the code is (exit 1 if any)
    python -m holdfast.manual --write    writes them

In docs/cli.md a block `<!-- generated: pull -->` … `<!-- end -->` holds usage and flags of one command; what is around
the blocks is written by hand and left alone. The man page is generated whole.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from holdfast import __version__
from holdfast.configuration.options import OPTIONS
from holdfast.errors import FAILED, OK
from holdfast.outline import Argument, Entry, Flag, read_outline

ROOT = Path(__file__).resolve().parents[3]
PAGE, MAN_PAGE = Path("docs/cli.md"), Path("client/man/holdfast.1")
EVERYWHERE = "every command"
_BLOCK = re.compile(r"<!-- generated: ([^>]+?) -->\n.*?<!-- end -->", re.DOTALL)
EXIT_CODES = (
    ("0", "done"),
    ("1", "it failed, or a check found a problem"),
    ("2", "the command line or a setting cannot be understood; or an unexpected error"),
    ("23", "nothing matched"),
    ("130", "interrupted; safe to run again, it goes on where it stopped"),
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Writes the pages, or says which are stale."""
    parser = argparse.ArgumentParser(
        prog="python -m holdfast.manual", description="The manual, from the parsers."
    )
    parser.add_argument(
        "--write", action="store_true", help="write the pages; otherwise only say which are stale"
    )
    parser.add_argument("--root", type=Path, default=ROOT, help="the checkout")
    args = parser.parse_args(arguments)
    stale = [(path, text) for path, text in pages(args.root) if _read(args.root / path) != text]
    for path, text in stale:
        if args.write:
            (args.root / path).parent.mkdir(parents=True, exist_ok=True)
            (args.root / path).write_text(text, encoding="utf-8")
        sys.stdout.write(f"{'wrote' if args.write else 'stale:'} {path}\n")
    return FAILED if stale and not args.write else OK


def pages(root: Path) -> Iterator[tuple[Path, str]]:
    """Each page with what it should hold."""
    outline = read_outline()
    yield PAGE, renew(_read(root / PAGE), outline)
    yield MAN_PAGE, man_page(outline)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return ""


# --- docs/cli.md ---------------------------------------------------------------------------------------


def renew(page: str, outline: Entry) -> str:
    """The page with every block as the code is now. Raises ValueError for a block of no command, or a missing one."""
    blocks = dict(_blocks(outline))
    found = _BLOCK.findall(page)
    if sorted(found) != sorted(blocks):
        odd = ", ".join(sorted(set(found) ^ set(blocks))) or "a block comes twice"
        raise ValueError(f"{PAGE} and the commands differ: {odd}")
    return _BLOCK.sub(lambda match: f"<!-- generated: {match[1]} -->\n{blocks[match[1]]}<!-- end -->", page)


def _blocks(outline: Entry) -> Iterator[tuple[str, str]]:
    yield EVERYWHERE, _flag_table(outline.flags)
    for entry in outline.entries:
        yield entry.name, "\n".join(_entry_text(one) for one in entry.walk())


def _entry_text(entry: Entry) -> str:
    other = f" Also: {', '.join(f'`{name}`' for name in entry.aliases)}." if entry.aliases else ""
    rows = _rows(entry.arguments, entry.flags)
    table = f"\n{_table(rows)}" if rows else ""
    return f"**`{entry.usage}`**\n\n{_sentence(entry.description)}{other}\n{table}"


def _flag_table(flags: Sequence[Flag]) -> str:
    return _table(_rows((), flags))


def _rows(arguments: Sequence[Argument], flags: Sequence[Flag]) -> list[tuple[str, str]]:
    said = [(f"`{one.shown}`", one.help) for one in arguments]
    return said + [(", ".join(f"`{name}`" for name in _spelled(flag)), flag.help) for flag in flags]


def _spelled(flag: Flag) -> list[str]:
    """Each name; the word for the value stands after the last."""
    names = list(flag.names)
    names[-1] += f" {flag.value}" if flag.value else ""
    return names


def _table(rows: Sequence[tuple[str, str]]) -> str:
    lines = "".join(f"| {_cell(name)} | {_cell(words)} |\n" for name, words in rows)
    return f"| | |\n|---|---|\n{lines}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


def _sentence(text: str) -> str:
    text = text.rstrip(".")
    return f"{text[:1].upper()}{text[1:]}."


# --- man holdfast --------------------------------------------------------------------------------------


def man_page(outline: Entry) -> str:
    """The page in man(7). No date: the same code gives the same page."""
    parts = [
        f'.TH HOLDFAST 1 "" "holdfast {__version__}" "User Commands"',
        ".SH NAME\nholdfast \\- pull open model weights, verified",
        ".SH SYNOPSIS\n.B holdfast\n[\\fIFLAGS\\fR] \\fICOMMAND\\fR [\\fIARGUMENTS\\fR]",
        f".SH DESCRIPTION\n{_roff(outline.description)}\n.PP\nA model is named "
        "[index/]org/name[@revision][:variant][//path].",
        ".SH COMMANDS",
        *(_man_entry(one) for entry in outline.entries for one in entry.walk()),
        ".SH FLAGS OF EVERY COMMAND\nThey may stand before or after the command.",
        *(_item(flag.shown, flag.help) for flag in outline.flags),
        ".SH ENVIRONMENT",
        *(_item(", ".join(option.variables), _help_of(option.help)) for option in OPTIONS.values()),
        _item("HOLDFAST_TOKEN, HF_TOKEN, HF_TOKEN_PATH", "the token for the index"),
        _item("HF_HOME", "where Hugging Face keeps things; otherwise ~/.cache/huggingface"),
        ".SH EXIT STATUS",
        *(_item(code, words) for code, words in EXIT_CODES),
        ".SH SEE ALSO\n.BR hf (1),\n.BR pip (1),\n.BR sha256sum (1)",
    ]
    return "\n".join(parts) + "\n"


def _man_entry(entry: Entry) -> str:
    also = f" Also: {', '.join(entry.aliases)}." if entry.aliases else ""
    head = f".SS {_roff(entry.usage)}\n{_roff(_sentence(entry.description) + also)}"
    items = [_item(one.shown, one.help) for one in entry.arguments]
    return "\n".join([head, *items, *(_item(flag.shown, flag.help) for flag in entry.flags)])


def _item(name: str, words: str) -> str:
    return f".TP\n.B {_roff(name)}\n{_roff(_sentence(words))}"


def _help_of(words: str) -> str:
    return words or "see the documentation"


def _roff(text: str) -> str:
    """Text that troff shows as it is: no escape, no request at a line's beginning, hyphens that can be copied."""
    plain = (
        text.replace("\\", "\\e")
        .replace("-", "\\-")
        .replace("…", "...")
        .replace("'", "\\(aq")
        .replace('"', "\\(dq")
    )
    return f"\\&{plain}" if plain.startswith(".") else plain


if __name__ == "__main__":
    raise SystemExit(main())
