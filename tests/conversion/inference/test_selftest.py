import json
import shutil

import pytest

from conversion.inference import selftest
from conversion.inference.engine import EngineError, start_engine
from conversion.inference.selftest import FOLDER, check_engine, library_digest


def test_the_installed_engine_gives_the_known_answers():
    report = check_engine("llama.cpp")
    assert report.library_sha256 == library_digest()
    assert report.version in str(report)


@pytest.mark.parametrize(("key", "value"), [
    ("ids", [1, 2, 3]), ("next_tokens", [953, 275]), ("next_logits", {"953": 8.7}), ("sha256", "0" * 64),
])  # fmt: skip
def test_an_engine_with_another_answer_is_refused(tmp_path, monkeypatch, key, value):
    answers = json.loads((FOLDER / "answers.json").read_text())
    shutil.copy(FOLDER / answers["model"], tmp_path)
    (tmp_path / "answers.json").write_text(json.dumps(answers | {key: value}))
    monkeypatch.setattr(selftest, "FOLDER", tmp_path)
    with pytest.raises(
        EngineError, match=r"failed its self-test: .* expected .* Nothing is validated"
    ) as caught:
        check_engine.__wrapped__("llama.cpp")
    assert caught.value.code == "engine-mismatch"
    assert caught.value.says_nothing_of_the_file


def test_an_engine_that_is_not_installed_says_so():
    pytest.importorskip("transformers")
    try:
        import torch  # noqa: F401
    except ImportError:
        with pytest.raises(EngineError, match="the engine transformers is not installed here") as caught:
            start_engine("transformers", 1)
        assert caught.value.code == "engine-missing"
