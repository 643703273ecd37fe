import pytest
import sentencepiece
from tokenizers import Tokenizer, models, pre_tokenizers, trainers

from conversion.inference.engine import EngineError
from conversion.inference.sandbox import Sandbox
from conversion.inference.windows import read_texts
from tests.conversion.inference.ggufs import BASE

LINES = [line for text in read_texts().values() for line in text.splitlines() if line]


def test_a_sentencepiece_model_answers_as_its_library_does():
    library = sentencepiece.SentencePieceProcessor(model_file=str(BASE / "tokenizer.model"))
    with Sandbox("tokenizer", BASE / "tokenizer.model") as model:
        assert (model.facts.n_vocab, model.facts.bos_id) == (1024, 1)
        for line in LINES[:5]:
            ids = model.tokenize(line, special=False)
            assert ids == library.encode(line)
            assert model.detokenize(ids) == library.decode(ids)
        assert model.tokenize("And", special=True)[0] == 1
        assert model.is_end(2)
        with pytest.raises(EngineError, match="a tokenizer has no logits"):
            list(model.logits([1, 2]))


def test_a_tokenizer_json_answers_as_its_library_does(tmp_path):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel()
    tokenizer.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=400, show_progress=False))
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with Sandbox("tokenizer", tmp_path / "tokenizer.json") as model:
        for line in LINES[:5]:
            assert model.tokenize(line, special=False) == tokenizer.encode(line).ids


def test_how_batches_are_cut_and_filled_does_not_change_a_text(tmp_path):
    tokenizer = Tokenizer(models.WordLevel({"a": 0, "b": 1, "[PAD]": 2, "[UNK]": 3}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.enable_padding(pad_id=2, length=8)
    tokenizer.enable_truncation(4)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    with Sandbox("tokenizer", tmp_path / "tokenizer.json") as model:
        assert model.tokenize("a", special=False) == [0]
        assert model.tokenize("a b a b a b", special=False) == [0, 1, 0, 1, 0, 1]


@pytest.mark.parametrize("name", ["tokenizer.model", "tokenizer.json"])
@pytest.mark.parametrize("data", [b"", b"{}", b"\x0a\xff\xff\xff\xff\xff", b"[" * 100_000])
def test_a_malformed_tokenizer_is_an_error_not_a_crash_of_ours(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(EngineError) as caught:
        Sandbox("tokenizer", tmp_path / name)
    assert caught.value.code in ("load-refused", "engine-crashed")
