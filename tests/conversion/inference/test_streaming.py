"""A streamed model says what the whole one says, to the bit, in a bounded part of its memory."""

import threading
from pathlib import Path

import numpy as np
import pytest

from conversion.inference.engine import EngineError
from conversion.inference.passes import Passes, Streaming
from conversion.inference.sandbox import Sandbox
from tests.conversion.inference.ggufs import convert
from tests.fixtures.architectures.fixture import Fixture, fixtures

PAGE = 4096
ENCODERS = ("bert", "roberta")
SHORT = ("deepseek-v3-tiny", "gemma2-tiny", "gpt-oss-tiny")
OTHERS = [
    one.name for one in fixtures() if one.name not in SHORT and not any(word in one.name for word in ENCODERS)
]


def said(path, passages, streaming=None):
    """The logits of all passages, one array each, and how often the file was read for them."""
    with Sandbox("llama.cpp", path, streaming=streaming) as model:
        model.foresee(passages)
        rows = [np.concatenate(list(model.logits(ids, first=first))) for ids, first in passages]
        return rows, model._passes.n_passes


def passages_of(n_vocab, *, count=4, length=100):
    ids = np.random.default_rng(0).integers(0, n_vocab, (count, length))
    return [(tuple(map(int, row)), length // 2) for row in ids]


@pytest.fixture(scope="module")
def whole(converted):
    return said(converted("Q4_0"), passages_of(1024))[0]


@pytest.mark.parametrize(("n_tokens", "n_passes"), [(100, 4), (250, 2), (4000, 1)])
def test_the_logits_are_those_of_the_whole_model_however_many_passes(converted, whole, n_tokens, n_passes):
    rows, read = said(converted("Q4_0"), passages_of(1024), Streaming(1, n_tokens))
    assert read == n_passes
    assert all(np.array_equal(ours, theirs) for ours, theirs in zip(rows, whole, strict=True))


@pytest.mark.parametrize("name", SHORT)
def test_every_way_of_building_layers_streams_to_the_bit(tmp_path, name):
    path = convert(Fixture(name).write(tmp_path), "F16", tmp_path / "model.gguf")
    with Sandbox("llama.cpp", path) as model:
        passages = passages_of(model.facts.n_vocab, length=min(60, model.facts.n_context))
    streamed, read = said(path, passages, Streaming(1, 4000))
    assert read == 1
    assert all(map(np.array_equal, streamed, said(path, passages)[0]))


@pytest.mark.soak
@pytest.mark.parametrize("name", OTHERS)
def test_every_other_architecture_streams_to_the_bit(tmp_path, name):
    test_every_way_of_building_layers_streams_to_the_bit(tmp_path, name)


def resident_pages(path, streaming):
    """The most pages of files that were in memory while the model was asked."""
    with Sandbox("llama.cpp", path, streaming=streaming) as model:
        statm, most, done = Path(f"/proc/{model._process.pid}/statm"), [0], threading.Event()

        def watch():
            while not done.wait(0.0005):
                most[0] = max(most[0], int(statm.read_text().split()[2]))

        watcher = threading.Thread(target=watch)
        passages = passages_of(1024, count=8, length=200)
        model.foresee(passages)
        watcher.start()
        for ids, first in passages:
            list(model.logits(ids, first=first))
        done.set()
        watcher.join()
        return most[0]


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_only_a_layer_of_the_file_is_in_memory(converted):
    """Promise: memory is bounded by a layer and the largest tensor. Of 9.2 MB no more than 3.5 are there at a time."""
    everything = resident_pages(converted("F32"), Streaming(1 << 30, 4000))
    bounded = resident_pages(converted("F32"), Streaming(1 << 20, 4000))
    assert (everything - bounded) * PAGE > 5_500_000


def test_a_streamed_model_continues_nothing(converted):
    with (
        Sandbox("llama.cpp", converted("Q4_0"), streaming=Streaming(1, 100)) as model,
        pytest.raises(EngineError, match="keeps nothing"),
    ):
        list(model.logits([1, 2], first=1, extend=True))


def test_windows_of_one_length_go_together_as_far_as_there_is_room():
    short, long = [((n,) * 5, 2) for n in range(3)], ((9,) * 8, 4)
    passes = Passes(Streaming(1, 10))
    passes.foresee([*short, long])
    assert passes.together_with(short[0]) == short[:2]
    assert passes.together_with(short[2]) == [short[2]]
    assert passes.hold(short[:2]) == 6
    assert passes.held == {short[0]: 0, short[1]: 3}
