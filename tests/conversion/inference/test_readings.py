"""A parent's reading stands for the parent: the same figures, fewer bytes, and nothing of it is believed unread."""

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conversion.formats.errors import HeaderError
from conversion.inference.engine import EngineReport, Facts
from conversion.inference.fidelity import log_softmax, measure
from conversion.inference.greedy import PROMPTS, Continuation
from conversion.inference.judge import Reference, judge
from conversion.inference.readings import (
    FOLDED,
    FULL,
    N_TOP,
    Folded,
    InFull,
    Reading,
    compare,
    hear,
    kld_from_reading,
    make_reading,
    reading_key,
    text_lines,
)
from conversion.inference.windows import TEXTS, Window
from tests.conversion.inference.ggufs import BASE

N_VOCAB = 4100
ENGINE = EngineReport("llama.cpp", "xllamacpp", "1", library_sha256="a" * 64, cpu_features=("AVX2",))


@pytest.fixture(scope="module")
def parent(converted):
    return Reference("llama.cpp", converted("F32"), frozenset({"F32"}), {}, BASE / "tokenizer.model")


@pytest.fixture(scope="module")
def reading(parent):
    return make_reading(parent, {"model.safetensors": "0" * 64}, strings=["ab"])


def small_reading(n_vocab=N_VOCAB, n_windows=2):
    """Nothing that a model said, but of the right form."""
    rng = np.random.default_rng(3)
    windows = tuple(
        Window(tuple(map(int, rng.integers(0, n_vocab, 16))), "kjv.txt") for _ in range(n_windows)
    )
    parts = [
        hear(rng.normal(0, 3, (one.n_scored, n_vocab)).astype(np.float32), one.next_ids) for one in windows
    ]
    said = type(parts[0])(
        **{name: np.concatenate([vars(one)[name] for one in parts]) for name in vars(parts[0])}
    )
    sample = Continuation("And", (1, 2), (3, 4), (0.5, 2.0), "And so")
    return Reading(
        "k", Facts(n_vocab, 512, 1, True, "small"), ENGINE, dict(TEXTS), windows, said, (sample,), {"a": [5]}
    )


class TestFigures:
    def test_a_second_quant_is_judged_without_its_parent_and_to_the_same_figures(
        self, converted, parent, reading
    ):
        alone = dataclasses.replace(parent, path=BASE / "nowhere", tokenizer=None, reading=reading)
        for type_name in ("Q8_0", "Q4_0"):
            both, one = judge(converted(type_name), parent), judge(converted(type_name), alone)
            assert one.verdict == both.verdict == "verified", one.reason
            assert one.figures == both.figures
            assert one.samples == both.samples
            assert one.divergence == both.divergence == FULL
            assert one.parent["reading"] == reading.sha256
            assert one.checks["tokenizer"].verdict == "pass"
            assert one.engines["parent"].library_sha256

    def test_a_reading_of_other_texts_says_nothing_of_the_artifact(self, converted, parent, reading):
        stale = dataclasses.replace(reading, texts={"kjv.txt": "0" * 64})
        report = judge(converted("Q8_0"), dataclasses.replace(parent, reading=stale))
        assert (report.verdict, report.checks["fidelity"].code) == ("untested", "reading-stale")

    def test_it_holds_what_every_comparison_needs(self, reading):
        assert {window.text for window in reading.windows} == set(TEXTS)
        assert len(reading.said) == sum(window.n_scored for window in reading.windows)
        assert [sample.prompt for sample in reading.samples] == PROMPTS
        assert reading.strings.keys() == {"ab", *text_lines()}
        assert reading.facts.n_vocab == 1024

    def test_folding_the_logits_of_a_real_model_loses_little(self, reading, converted):
        """The sample family's vocabulary is kept in full; folded as a large one would be it says almost the same."""
        assert isinstance(reading.said, InFull)
        rng = np.random.default_rng(1)
        rows = reading.said.rows[:256]
        other = rows + rng.normal(0, 0.3, rows.shape).astype(np.float32)
        next_ids = tuple(range(256))
        folded = hear(rows, next_ids, n_full=0, n_top=64, n_classes=16)
        full, bound = measure(rows, other, next_ids).kld, kld_from_reading(folded, log_softmax(other))
        assert (bound <= full + 1e-9).all()
        assert bound.mean() > 0.9 * full.mean()


class TestBound:
    @given(
        st.integers(0, 2**32 - 1),
        st.floats(0.01, 20),
        st.floats(0, 20),
        st.integers(1, 24),
        st.integers(1, 8),
    )
    @settings(max_examples=60, deadline=None)
    def test_the_divergence_from_a_folded_reading_is_never_above_the_true_one(
        self, seed, spread, noise, n_top, n_classes
    ):
        rng = np.random.default_rng(seed)
        p = rng.normal(0, spread, (4, 40)).astype(np.float32)
        q = (p + rng.normal(0, noise, p.shape)).astype(np.float32)
        folded = hear(p, (0, 1, 2, 3), n_full=0, n_top=n_top, n_classes=n_classes)
        full = measure(p, q, (0, 1, 2, 3))
        found = compare(folded, q, (0, 1, 2, 3))
        # 1e-6: masses are float32.
        assert (found.kld <= full.kld * (1 + 1e-6) + 1e-6).all()
        assert (found.kld >= 0).all()
        assert (found.same == full.same).all()
        np.testing.assert_allclose(found.parent, full.parent, atol=1e-12)
        np.testing.assert_allclose(found.artifact, full.artifact, atol=1e-12)

    def test_where_every_token_has_its_own_cell_it_is_the_true_one(self):
        rng = np.random.default_rng(5)
        p, q = rng.normal(0, 4, (2, 9, 30)).astype(np.float32)
        folded = hear(p, tuple(range(9)), n_full=0, n_top=30, n_classes=3)
        np.testing.assert_allclose(
            compare(folded, q, tuple(range(9))).kld, measure(p, q, tuple(range(9))).kld, rtol=1e-9
        )

    def test_of_equal_logits_the_first_is_the_preferred_one(self):
        p = np.zeros((1, 50), np.float32)
        folded = hear(p, (7,), n_full=0, n_top=8, n_classes=4)
        assert compare(folded, p, (7,)).same.all()
        assert folded.top_ids[0, 0] == 0
        assert compare(folded, p, (7,)).kld[0] == pytest.approx(0, abs=1e-6)

    def test_a_probability_too_small_for_a_float_stays_a_lower_bound(self):
        p, q = np.zeros((1, 20), np.float32), np.zeros((1, 20), np.float32)
        q[0, 10:] = -5000
        folded = hear(p, (0,), n_full=0, n_top=1, n_classes=2)
        assert np.isfinite(compare(folded, q, (0,)).kld).all()
        assert compare(folded, q, (0,)).kld[0] <= measure(p, q, (0,)).kld[0]


class TestFile:
    @pytest.mark.parametrize("n_vocab", [300, N_VOCAB])
    def test_a_reading_survives_its_file(self, n_vocab):
        reading = small_reading(n_vocab)
        data = reading.to_bytes()
        found = Reading.from_bytes(data)
        assert found.to_bytes() == data
        assert found.sha256 == hashlib.sha256(data).hexdigest()
        assert found.divergence == (FULL if n_vocab == 300 else FOLDED)
        assert (found.windows, found.samples, found.facts) == (
            reading.windows,
            reading.samples,
            reading.facts,
        )
        assert found.engine == reading.engine
        assert found.said[2:5].log_sum.tolist() == reading.said.log_sum[2:5].tolist()

    def test_a_large_vocabulary_takes_three_kilobytes_a_position(self):
        few, many = len(small_reading(n_windows=2).to_bytes()), len(small_reading(n_windows=12).to_bytes())
        assert (many - few) / (10 * 7) < 3200

    def test_a_real_one_too(self, reading):
        assert Reading.from_bytes(reading.to_bytes()).sha256 == reading.sha256

    def test_a_truncated_file_is_refused_wherever_it_ends(self):
        data = small_reading(300).to_bytes()
        for length in [*range(0, 400, 7), *range(400, len(data), 997), len(data) - 1]:
            with pytest.raises(HeaderError):
                Reading.from_bytes(data[:length])

    def test_flipped_bytes_are_refused_or_change_nothing_that_is_not_a_number(self):
        data, rng = small_reading(300).to_bytes(), np.random.default_rng(0)
        for at in rng.integers(0, 3000, 300):
            changed = bytearray(data)
            changed[at] ^= 1 << int(rng.integers(8))
            try:
                found = Reading.from_bytes(bytes(changed))
            except HeaderError:
                continue
            assert max(map(max, (window.ids for window in found.windows))) < found.facts.n_vocab

    @pytest.mark.parametrize(("change", "code"), [
        (lambda facts: facts.pop("key"), "reading-facts"),
        (lambda facts: facts.update(version=2), "reading-version"),
        (lambda facts: facts["facts"].update(n_vocab=10**12), "reading-facts"),
        (lambda facts: facts["facts"].update(n_vocab=299), "reading-tensor"),
        (lambda facts: facts["facts"].update(other=1), "reading-facts"),
        (lambda facts: facts["strings"].update(a=[300]), "reading-facts"),
        (lambda facts: facts["strings"].update(a=[1.5]), "reading-facts"),
        (lambda facts: facts["samples"][0].update(margins=[1]), "reading-facts"),
        (lambda facts: facts.update(samples=7), "reading-facts"),
        (lambda facts: facts.update(text_of=["kjv.txt"]), "reading-windows"),
        (lambda facts: facts["engine"].update(cpu_features=3), "reading-facts"),
    ])  # fmt: skip
    def test_facts_that_we_would_not_write_are_refused(self, change, code):
        with pytest.raises(HeaderError) as caught:
            Reading.from_bytes(with_facts(small_reading(300).to_bytes(), change))
        assert caught.value.code == code

    @pytest.mark.parametrize(("field", "value", "code"), [
        ("top_ids", lambda array: np.full_like(array, 5), "reading-numbers"),
        ("top_ids", lambda array: array + N_VOCAB, "reading-numbers"),
        ("top_logits", lambda array: array[:, ::-1], "reading-numbers"),
        ("top_logits", lambda array: array * np.float32(np.nan), "reading-numbers"),
        ("masses", lambda array: -array, "reading-numbers"),
        ("masses", lambda array: array * 2, "reading-numbers"),
        ("log_sum", lambda array: array - 1000, "reading-numbers"),
        ("right", lambda array: array + 1000, "reading-numbers"),
        ("masses", lambda array: array[:, :3], "reading-tensor"),
        ("right", lambda array: array[1:], "reading-tensor"),
    ])  # fmt: skip
    def test_numbers_that_are_no_probabilities_are_refused(self, field, value, code):
        reading = small_reading()
        assert isinstance(reading.said, Folded)
        assert reading.said.top_ids.shape[1] == N_TOP
        broken = dataclasses.replace(reading.said, **{field: value(getattr(reading.said, field))})
        data = dataclasses.replace(reading, said=broken).to_bytes()
        with pytest.raises(HeaderError) as caught:
            Reading.from_bytes(data)
        assert caught.value.code == code

    def test_any_other_safetensors_file_is_refused(self):
        with pytest.raises(HeaderError, match="not a reading"):
            Reading.from_bytes((BASE / "model.safetensors").read_bytes())


def test_the_key_is_that_of_parent_engine_texts_and_windows():
    key = reading_key({"a": "1", "b": "2"}, ENGINE)
    assert key == reading_key({"b": "2", "a": "1"}, dataclasses.replace(ENGINE, threads=4, cpu_features=()))
    assert key != reading_key({"a": "1"}, ENGINE)
    assert key != reading_key({"a": "1", "b": "2"}, dataclasses.replace(ENGINE, library_sha256="b" * 64))


def with_facts(data, change):
    """A copy whose JSON was changed; the tensors stay as they are."""
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8 : 8 + length])
    facts = json.loads(header["__metadata__"]["reading"])
    change(facts)
    header["__metadata__"]["reading"] = json.dumps(facts)
    text = json.dumps(header).encode()
    return len(text).to_bytes(8, "little") + text + data[8 + length :]
