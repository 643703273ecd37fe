"""Models that make embeddings, converted by us and run by llama.cpp: every position's vector is transformers'.

test_architectures.py shows that tensors and keys are the reference converter's.
"""

import ctypes
from pathlib import Path

import numpy as np
import pytest

from conversion.inference.llamacpp import FLASH_ATTENTION_OFF, LlamaCpp
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.plan import in_reference_order, plan_gguf
from conversion.naming.slabs import file_pieces
from tests.conversion.naming.models import open_folder
from tests.fixtures.architectures.fixture import Fixture, fixtures

EMBEDDING = [fixture for fixture in fixtures() if (fixture.folder / "embeddings.npy").is_file()]
POOLING_NONE, POOLING_OF_MODEL = 0, -1

MAX_DEVIATION = 2e-3
"""From transformers' float32, in standard deviations of the vectors. Nothing is cached in F16 here, but
llama.cpp looks GELU up in a table of F16 (1e-3); without it, in NomicBERT, we see 2e-6."""


def converted(fixture: Fixture, parent: Path) -> str:
    folder = fixture.write(parent)
    checkpoint = open_folder(folder)
    plan = plan_gguf(in_reference_order(checkpoint), folder, FILE_TYPES["F32"])
    path = parent / "model.gguf"
    path.write_bytes(b"".join(piece.data for piece in file_pieces(plan, checkpoint)))
    return str(path)


@pytest.fixture(scope="module")
def llama_cpp() -> LlamaCpp:
    engine = LlamaCpp(threads=1)
    engine.library.llama_get_embeddings.restype = ctypes.c_void_p
    engine.library.llama_get_embeddings.argtypes = [ctypes.c_void_p]
    engine.library.llama_get_embeddings_seq.restype = ctypes.c_void_p
    engine.library.llama_get_embeddings_seq.argtypes = [ctypes.c_void_p, ctypes.c_int32]
    return engine


def embed(engine: LlamaCpp, path: str, ids: list[int], width: int, pooling: int) -> np.ndarray:
    """float32 (n, width): a vector for each position, or one where the model pools them."""
    library = engine.library
    params = library.llama_model_default_params()
    params.n_gpu_layers, params.use_extra_bufts = 0, False
    model = library.llama_model_load_from_file(path.encode(), params)
    assert model, engine.log.take_errors()
    settings = library.llama_context_default_params()
    settings.n_ctx = settings.n_batch = settings.n_ubatch = settings.n_outputs_max = len(ids)
    settings.n_outputs_max_per_seq = len(ids)
    settings.embeddings, settings.pooling_type = True, pooling
    settings.flash_attn_type, settings.n_threads, settings.n_threads_batch = FLASH_ATTENTION_OFF, 1, 1
    context = library.llama_init_from_model(model, settings)
    assert context, engine.log.take_errors()
    batch = library.llama_batch_init(len(ids), 0, 1)
    batch.n_tokens = len(ids)
    for index, token in enumerate(ids):
        batch.token[index], batch.pos[index] = token, index
        batch.n_seq_id[index], batch.seq_id[index][0], batch.logits[index] = 1, 0, 1
    assert library.llama_decode(context, batch) == 0, engine.log.take_errors()
    pooled = pooling != POOLING_NONE
    rows = library.llama_get_embeddings_seq(context, 0) if pooled else library.llama_get_embeddings(context)
    shape = (1 if pooled else len(ids), width)
    return np.array((ctypes.c_float * (shape[0] * width)).from_address(rows)).reshape(shape)


@pytest.mark.parametrize("fixture", EMBEDDING, ids=lambda fixture: fixture.name)
def test_llama_cpp_splits_the_text_and_computes_the_vectors_as_transformers_does(
    llama_cpp: LlamaCpp, tmp_path: Path, fixture: Fixture
) -> None:
    path, reference, expected = converted(fixture, tmp_path), fixture.reference, fixture.embeddings
    assert llama_cpp.load(path).tokenize(reference["text"], special=True) == reference["ids"]
    found = embed(llama_cpp, path, reference["ids"], expected.shape[1], POOLING_NONE)
    assert float(np.abs(found - expected).max() / expected.std()) < MAX_DEVIATION


@pytest.mark.parametrize(("name", "pooled"), [("bert-tiny", "mean"), ("xlm-roberta-tiny", "first")])
def test_vectors_are_pooled_as_the_files_beside_the_weights_say(
    llama_cpp: LlamaCpp, tmp_path: Path, name: str, pooled: str
) -> None:
    fixture = Fixture(name)
    vectors, ids = fixture.embeddings, fixture.reference["ids"]
    expected = vectors.mean(axis=0) if pooled == "mean" else vectors[0]
    found = embed(llama_cpp, converted(fixture, tmp_path), ids, vectors.shape[1], POOLING_OF_MODEL)
    assert float(np.abs(found[0] - expected).max() / vectors.std()) < MAX_DEVIATION
