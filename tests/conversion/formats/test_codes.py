"""Every code a reader can refuse with is documented, and every documented code is one a reader has."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
DOCS = {"st": "safetensors.md", "ck": "safetensors.md", "gguf": "gguf.md"}
LITERAL = re.compile(r'"((?:st|ck|gguf)-[a-z0-9-]+)"')
OF_THE_WALKER = re.compile(r'f"\{(?:self\.)?prefix\}-([a-z0-9-]+)"|_RefusedJson\("([a-z-]+)"')
NOT_IN_AN_INDEX = {"ck-number"}  # whole numbers are asked for in safetensors headers only


def codes_in_source() -> set[str]:
    sources = [path.read_text() for path in (ROOT / "conversion/formats").rglob("*.py")]
    literal = {code for text in sources for code in LITERAL.findall(text)}
    suffixes = {one or other for text in sources for one, other in OF_THE_WALKER.findall(text)}
    return (
        literal | {f"{prefix}-{suffix}" for prefix in ("st", "ck") for suffix in suffixes} - NOT_IN_AN_INDEX
    )


def codes_in_docs(prefix: str) -> set[str]:
    text = (ROOT / "docs/formats" / DOCS[prefix]).read_text()
    return {code for code in re.findall(r"`([a-z]+-[a-z0-9-]+)`", text) if code.startswith(f"{prefix}-")}


@pytest.mark.parametrize("prefix", DOCS)
def test_codes_and_their_documentation_agree(prefix: str) -> None:
    assert codes_in_docs(prefix) == {code for code in codes_in_source() if code.startswith(f"{prefix}-")}
