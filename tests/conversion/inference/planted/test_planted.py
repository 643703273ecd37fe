"""Every planted fault has the right verdict with a reason, and nothing that is planted harms the worker.

A sample runs in `make test`; all of them, the healthy files and random damage for ten minutes in `make soak`.
"""

import os
import shutil
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from conversion.inference.judge import judge
from conversion.inference.sandbox import Sandbox
from conversion.inference.usage import usage_of
from tests.conversion.inference.ggufs import BASE, convert
from tests.conversion.inference.planted.family import SIDE_FILES, Family
from tests.conversion.inference.planted.judging import (
    is_right,
    is_right_for_its_type,
    judge_healthy,
    judge_variant,
)
from tests.conversion.inference.planted.mutations import mutate
from tests.conversion.inference.planted.variants import all_variants

SOAK_SECONDS = float(os.environ.get("SOAK_SECONDS", "600"))
MAX_CONTROLLER_BYTES = 300 * 2**20
VARIANTS = {f"{one.group}: {one.name}": one for one in all_variants()}
SAMPLE = [
    "cut GGUF: first 0 bytes", "cut GGUF: first 1000 bytes", "cut GGUF: first 20000 bytes",
    "cut safetensors: first 9 bytes", "cut safetensors: without the last 512",
    "absurd header: 2^60 tensors", "absurd header: an empty key", "absurd header: one key less",
    "absurd metadata: block_count 0", "absurd metadata: context_length 2147483648",
    "absurd metadata: rope.dimension_count 63", "absurd metadata: rms_epsilon 0.0",
    "absurd metadata: bos token 1000000000",
    "wrong model: zeroed layer", "wrong model: one NaN", "wrong model: permuted rows",
    "wrong model: two rows exchanged", "wrong model: another parent", "wrong model: swapped shards",
    "wrong model: a missing shard", "wrong text: two tokens exchanged", "wrong text: chat template that escapes",
    "safetensors weights: #1", "GGUF header: 1 bit #2", "GGUF header: 1 bit #14", "GGUF weights: Q8_0 #21",
]  # fmt: skip


@pytest.fixture(scope="module")
def family(tmp_path_factory):
    with Family(tmp_path_factory.mktemp("family")) as made:
        yield made


@pytest.mark.parametrize("name", SAMPLE)
def test_a_planted_fault_has_its_verdict_and_a_reason(family, tmp_path, name):
    result = judge_variant(family, VARIANTS[name], tmp_path / "planted")
    assert result.wrong == "", result.line


def test_there_are_two_hundred_variants_of_every_kind_and_each_has_a_name_of_its_own():
    assert len(all_variants()) == len(VARIANTS) >= 200
    groups = Counter(one.group for one in all_variants())
    assert min(groups.values()) >= 8
    assert {
        "GGUF weights",
        "safetensors weights",
        "absurd metadata",
        "wrong model",
        "wrong text",
    } <= groups.keys()


def test_the_same_variant_is_the_same_file(family, tmp_path):
    variant = VARIANTS["GGUF weights: Q8_0 #3"]
    first, again = (variant.plant(family, _empty(tmp_path / name)).read_bytes() for name in "ab")
    assert first == again != family.gguf("Q8_0").read_bytes()


def test_the_oracle_tells_right_logits_from_wrong_ones(family, tmp_path):
    sound = family.gguf("Q8_0")
    assert is_right(sound, sound)
    assert not is_right(sound, family.gguf("Q8_0", "ft-gentle-bf16"))


@pytest.mark.soak
def test_all_planted_faults_have_their_verdicts(family, tmp_path):
    results = [judge_variant(family, variant, tmp_path / "planted") for variant in all_variants()]
    assert [result.line for result in results if result.wrong] == []


@pytest.mark.soak
def test_all_healthy_files_are_verified(family):
    results = list(judge_healthy(family))
    assert [result.line for result in results if result.wrong] == []


@pytest.mark.soak
def test_random_damage_is_survived_and_never_verified_unless_harmless(family, tmp_path):
    """Promises: `judge` never raises, no file, process or descriptor is left, and memory stays bounded."""
    seed = int(time.time())
    rng = np.random.default_rng(seed)
    judge(family.gguf("Q8_0"), family.base)
    judge(BASE, family.base_as_stored)
    before, said, end = _left(), Counter(), time.monotonic() + SOAK_SECONDS
    Path("/proc/self/clear_refs").write_text("5")  # the peak of tests before this one is forgotten: proc(5)
    while time.monotonic() < end:
        n = said.total()
        original = str(rng.choice(["Q8_0", "Q4_0", "F16", "safetensors"]))
        path, parent = _mutant(family, original, _empty(tmp_path / f"{n}"), rng)
        report = judge(path, parent if n % 2 else None)
        assert report.reason.isprintable(), (seed, n, report.reason)
        if report.verdict == "verified":
            assert _is_right(family, original, path), (seed, n, report.reason)
        shutil.rmtree(tmp_path / f"{n}")
        said[f"{original} {report.verdict}"] += 1
    print(f"seed {seed}: {dict(sorted(said.items()))}")
    assert said.total() > SOAK_SECONDS / 60  # a hundred times as many where nobody else computes
    assert _left() == before
    assert usage_of(os.getpid()).peak_bytes < MAX_CONTROLLER_BYTES
    with Sandbox("llama.cpp", family.gguf("Q8_0")) as model:
        assert model.tokenize("the worker is well", special=False)


def _mutant(family, original, folder, rng):
    """What to judge in `folder`, and the sound parent."""
    if original != "safetensors":
        path = folder / "mutant.gguf"
        path.write_bytes(mutate(family.gguf(original).read_bytes(), rng))
        return path, family.base
    for name in SIDE_FILES:
        shutil.copyfile(BASE / name, folder / name)
    (folder / "model.safetensors").write_bytes(mutate((BASE / "model.safetensors").read_bytes(), rng))
    return folder, family.base_as_stored


def _is_right(family, original, path):
    if original != "safetensors":
        return is_right_for_its_type(family, original, path)
    return is_right(family.gguf("F32"), convert(path, "F32", path / "converted.gguf"))


def _left() -> tuple[int, int]:
    """Descriptors and children that this process has."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return len(list(Path("/proc/self/fd").iterdir())), len(children)


def _empty(folder: Path) -> Path:
    folder.mkdir()
    return folder
