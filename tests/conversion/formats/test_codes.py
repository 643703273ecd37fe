"""Every code a reader can refuse with is documented, and every documented code is one a reader has."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
FOLDERS = ("conversion/formats", "conversion/command")
PREFIXES = "st|ck|gguf|pt|l2c|im|packed|lora|onnx"
LITERAL = re.compile(rf'"((?:{PREFIXES})-[a-z0-9-]+)"')
RAISED = re.compile(r'HeaderError\(\s*"([a-z0-9-]+)"')
OF_THE_WALKER = re.compile(r'f"\{(?:self\.)?prefix\}-([a-z0-9-]+)"|_RefusedJson\("([a-z-]+)"')
PAGES = ("safetensors", "gguf", "pytorch", "llama2c", "onnx")
NOT_IN_AN_INDEX = {"ck-number"}  # whole numbers are asked for in safetensors headers only


def codes_in_source() -> set[str]:
    sources = [path.read_text() for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")]
    found = {code for text in sources for pattern in (LITERAL, RAISED) for code in pattern.findall(text)}
    suffixes = {one or other for text in sources for one, other in OF_THE_WALKER.findall(text)}
    return found | {f"{prefix}-{suffix}" for prefix in ("st", "ck") for suffix in suffixes} - NOT_IN_AN_INDEX


def codes_in_docs() -> set[str]:
    """The first cells of the tables whose heading is `code`."""
    found: set[str] = set()
    for page in [ROOT / "docs/formats.md", *(ROOT / "docs/formats" / f"{name}.md" for name in PAGES)]:
        for table in re.findall(r"^\| code \|.*\n\|[-|]+\n((?:\|.*\n?)+)", page.read_text(), re.MULTILINE):
            for row in table.splitlines():
                found |= set(re.findall(r"`([a-z0-9-]+)`", row.split("|")[1]))
    return found


def test_codes_and_their_documentation_agree() -> None:
    assert len(codes_in_source()) > 120
    assert codes_in_docs() == codes_in_source()
