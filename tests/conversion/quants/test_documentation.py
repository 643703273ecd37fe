"""The table of types says what is so."""

import re

from conversion.quants import TYPES, QuantType
from conversion.quants.kernels import FOLDER
from tests.services.deployment import ROOT

PAGE = ROOT / "docs" / "quantization-types.md"


def line_of(kind: QuantType) -> str:
    bits = kind.type_size * 8 / kind.block_size
    quantise = "no" if kind.quantize_blocks is None else "with imatrix only" if kind.needs_imatrix else "yes"
    imatrix = "-" if kind.quantize_blocks is None else "used" if kind.uses_imatrix else "ignored"
    source = FOLDER / f"{kind.name.lower()}.py"
    made = (
        set(re.findall(r"^ *def (quantize|dequantize)\(", source.read_text(), re.MULTILINE))
        if source.exists()
        else set()
    )
    compiled = {
        2: "yes",
        1: f"{min(made, default='')} only",
        0: "numpy is as quick" if kind.name == "F32" else "no",
    }[len(made)]
    cells = (kind.name, f"{bits:g}", kind.block_size, kind.type_size, quantise, imatrix, compiled)
    return f"| {' | '.join(map(str, cells))} |"


def test_the_table_has_every_type_as_it_is() -> None:
    expected = "\n".join(line_of(kind) for kind in TYPES.values())
    rows = [line for line in PAGE.read_text().splitlines() if re.match(r"\| [A-Z]+\d", line)]
    assert "\n".join(rows) == expected


def test_every_refusal_is_explained() -> None:
    package = FOLDER.parent
    codes = set()
    for source in package.rglob("*.py"):
        codes |= set(re.findall(r'QuantError\(\s*"([a-z-]+)"', source.read_text()))
    assert len(codes) >= 9
    assert {code for code in codes if f"`{code}`" not in PAGE.read_text()} == set()
