import ctypes
import ctypes.util
import importlib.metadata
import json
from pathlib import Path

import numpy as np
import pytest

from conversion.inference import llama_api
from conversion.inference.engine import EngineError
from conversion.inference.fidelity import Comparison, measure
from conversion.inference.greedy import continue_greedily
from conversion.inference.llama_api import (
    CONTEXT_DEFAULTS,
    MODEL_DEFAULTS,
    PINNED,
    ContextParams,
    ModelParams,
    open_library,
)  # fmt: skip
from conversion.inference.llamacpp import library_path
from conversion.inference.sandbox import Sandbox

REFERENCE = Path(__file__).resolve().parents[2] / "fixtures/reference"
RECORDED = json.loads((REFERENCE / "kld-vs-f32.json").read_text())


def bytes_written(function_name):
    """How many bytes the library's defaults function writes: twice into memory of two different fillings."""
    written = []
    for filling in (0xA5, 0x5A):
        memory = (ctypes.c_ubyte * 512)(*([filling] * 512))
        # On x86-64 a large struct is returned through a hidden pointer, the first argument.
        function = getattr(ctypes.CDLL(str(library_path())), function_name)
        function.argtypes, function.restype = [ctypes.c_void_p], ctypes.c_void_p
        function(memory)
        written.append(bytes(memory))
    return max(at for at, (a, b) in enumerate(zip(*written, strict=True)) if a == b) + 1


def test_the_pinned_wheel_is_the_one_that_is_installed():
    assert importlib.metadata.version("xllamacpp") == PINNED


@pytest.mark.parametrize(("struct", "function"), [
    (ModelParams, "llama_model_default_params"), (ContextParams, "llama_context_default_params"),
])  # fmt: skip
def test_our_structs_are_as_long_as_the_librarys(struct, function):
    assert 0 <= ctypes.sizeof(struct) - bytes_written(function) < 8


def test_the_librarys_defaults_are_where_we_look_for_them():
    library = open_library(str(library_path()))
    model, context = library.llama_model_default_params(), library.llama_context_default_params()
    assert {name: getattr(model, name) for name in MODEL_DEFAULTS} == MODEL_DEFAULTS
    assert {name: getattr(context, name) for name in CONTEXT_DEFAULTS} == CONTEXT_DEFAULTS


def test_a_build_with_another_layout_is_refused(monkeypatch):
    moved = [(name, kind) for name, kind in ContextParams._fields_ if name != "n_seq_max"]
    other = type("ContextParams", (ctypes.Structure,), {"_fields_": [*moved, ("n_seq_max", ctypes.c_uint32)]})
    functions = llama_api.FUNCTIONS | {"llama_context_default_params": (other, [])}
    monkeypatch.setattr(llama_api, "FUNCTIONS", functions)
    with pytest.raises(EngineError, match=r"ContextParams\.\w+ is .* by default, expected") as caught:
        open_library(str(library_path()))
    assert caught.value.code == "engine-mismatch"


def test_another_library_is_refused():
    with pytest.raises(EngineError, match="it has no function llama_backend_init") as caught:
        open_library(ctypes.util.find_library("c"))
    assert caught.value.code == "engine-mismatch"


@pytest.mark.parametrize("type_name", ["F32", "Q8_0"])
def test_llama_cpp_continues_our_file_as_the_samples_readme_says(converted, type_name):
    with Sandbox("llama.cpp", converted(type_name)) as model:
        ids = model.tokenize("And it came to pass", special=True)
        written = continue_greedily(model, "And it came to pass", ids)
        assert written.text == (
            "And it came to pass, and said, What is the king, and took the king of Judah, and took the"
        )
        ids = model.tokenize("And God said, Let there be light", special=True)
        assert continue_greedily(model, "", ids).text.startswith(
            "And God said, Let there be light. And he said, If I have not been in the midst"
        )


@pytest.fixture(scope="module")
def windows_and_parent(converted):
    """Windows of ids, and what our F32 says at their scored positions: float32 (127, 1024) each."""
    windows = np.load(REFERENCE / "eval_ids.npy").tolist()
    with Sandbox("llama.cpp", converted("F32")) as parent:
        return [(ids, np.concatenate(list(parent.logits(ids[:-1], first=128)))) for ids in windows]


@pytest.mark.parametrize("type_name", [name for name in RECORDED if name != "f32"])
def test_divergence_is_within_two_percent_of_llama_cpps_own(converted, windows_and_parent, type_name):
    """Of every type on record: llama-quantize's files in llama-perplexity there, our files in our engine here."""
    expected, comparison = RECORDED[type_name], Comparison()
    with Sandbox("llama.cpp", converted(type_name)) as artifact:
        for window, theirs in windows_and_parent:
            ours = np.concatenate(list(artifact.logits(window[:-1], first=128)))
            comparison.add(measure(theirs, ours, tuple(window[129:])))
    figures = comparison.figures()
    assert figures.n_positions == expected["n"]
    assert figures.mean_kld == pytest.approx(expected["kld"], rel=0.02)
    assert figures.kld_error == pytest.approx(expected["kld_se"], rel=0.05)
    assert figures.p99_kld == pytest.approx(expected["p99"], rel=0.05)
    assert figures.top1_agreement * 100 == pytest.approx(expected["top1"], abs=0.3)
    assert figures.rms_dp * 100 == pytest.approx(expected["rms"], rel=0.05)
    assert figures.ppl_artifact == pytest.approx(expected["ppl"], rel=0.001)


def test_an_unknown_architecture_is_unsupported_and_no_fault_of_the_file(converted, tmp_path):
    original = converted("Q8_0").read_bytes()
    # Of the same length, so that nothing moves; the keys with the prefix change with it.
    (tmp_path / "other.gguf").write_bytes(original.replace(b"llama", b"lemma"))
    with pytest.raises(EngineError, match="unknown model architecture") as caught:
        Sandbox("llama.cpp", tmp_path / "other.gguf")
    assert caught.value.code == "unsupported-architecture"
