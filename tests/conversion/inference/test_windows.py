import hashlib
from collections import Counter

import pytest

from conversion.inference import windows
from conversion.inference.engine import Facts
from conversion.inference.windows import FOLDER, MAX_WINDOWS, TEXTS, cut_windows, read_texts


class Bytes:
    """A tokenizer with one id a byte."""

    def tokenize(self, text, *, special):
        return list(text.encode())


def cut(n_context=512, bos_id=1, adds_bos=True):
    return list(cut_windows(Bytes(), Facts(256, n_context, bos_id, adds_bos)))


def test_the_texts_are_the_ones_that_figures_were_published_on():
    assert read_texts().keys() == TEXTS.keys()
    for name, digest in TEXTS.items():
        assert hashlib.sha256((FOLDER / name).read_bytes()).hexdigest() == digest


def test_a_text_that_changed_is_refused(monkeypatch):
    monkeypatch.setitem(windows.TEXTS, "kjv.txt", "0" * 64)
    with pytest.raises(ValueError, match=r"kjv.txt: sha256 is .* expected 0000"):
        read_texts()


def test_windows_begin_with_the_token_that_the_model_expects():
    assert {window.ids[0] for window in cut()} == {1}
    assert {window.ids[0] for window in cut(adds_bos=False)} != {1}
    assert {window.ids[0] for window in cut(bos_id=None)} != {1}


def test_windows_are_full_do_not_overlap_and_are_few():
    found = cut()
    assert {len(window.ids) for window in found} == {256}
    assert Counter(window.text for window in found) == MAX_WINDOWS
    text = bytes(token for window in found[: MAX_WINDOWS["kjv.txt"]] for token in window.ids[1:])
    assert read_texts()["kjv.txt"].encode().startswith(text)


def test_a_window_is_no_longer_than_the_context():
    assert {len(window.ids) for window in cut(n_context=64)} == {64}


def test_only_the_second_half_of_a_window_is_scored():
    window = cut()[0]
    assert window.first == 128
    assert window.n_scored == 127
    assert window.next_ids == window.ids[129:]
