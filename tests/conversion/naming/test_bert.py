"""BERT and XLM-RoBERTa: what an embedding needs of a checkpoint, and what the files beside it say."""

import json
from pathlib import Path
from typing import Any

import gguf
import pytest

from conversion.formats.layout import TensorEntry
from conversion.naming import NamingError, bert, xlm_roberta
from conversion.naming.collecting import collected, new_collector
from conversion.naming.file_types import FILE_TYPES
from conversion.naming.plan import plan_gguf
from tests.conversion.naming.models import open_folder
from tests.fixtures.architectures.fixture import Fixture

CONFIG: dict[str, Any] = {"num_hidden_layers": 1, "max_position_embeddings": 16, "pad_token_id": 1}
MEAN = {"pooling_mode_mean_tokens": True}


def with_pooling(folder: Path, described: dict[str, Any], path: Any = "1_Pooling") -> Path:
    modules = [{"path": "", "type": "x.Transformer"}, {"path": path, "type": "x.models.Pooling"}]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling/config.json").write_text(json.dumps(described))
    return folder


def test_names_of_every_age_are_read_and_heads_are_left_out() -> None:
    shapes = {
        "bert.embeddings.LayerNorm.gamma": (8,),
        "bert.embeddings.LayerNorm.beta": (8,),
        "bert.embeddings.position_ids": (1, 16),
        "bert.pooler.dense.weight": (8, 8),
        "cls.predictions.bias": (10,),
        "cls.seq_relationship.weight": (2, 8),
        "encoder.layer.0.output.dense.weight": (8, 8),
    }
    assert [target.name for target in bert.targets(CONFIG, shapes)] == [
        "token_embd_norm.weight",
        "token_embd_norm.bias",
        "blk.0.ffn_down.weight",
    ]


def test_position_ids_as_whole_numbers_do_not_keep_a_checkpoint_from_being_converted(tmp_path: Path) -> None:
    """transformers wrote them before 4.31; all-MiniLM-L6-v2 is published so."""
    folder = Fixture("bert-tiny").write(tmp_path)
    checkpoint = open_folder(folder)
    ids = TensorEntry("embeddings.position_ids", "I64", (1, 64), 0, 512)
    plan = plan_gguf(checkpoint.entries, folder, FILE_TYPES["F16"])
    with_ids = plan_gguf({ids.name: ids, **checkpoint.entries}, folder, FILE_TYPES["F16"])
    assert [target.name for target in with_ids.targets] == [target.name for target in plan.targets]
    wrong = TensorEntry("embeddings.LayerNorm.weight", "I64", (64,), 0, 512)
    with pytest.raises(NamingError, match="is I64"):
        plan_gguf(checkpoint.entries | {wrong.name: wrong}, folder, FILE_TYPES["F16"])


def test_a_classifier_is_kept_where_the_config_names_its_classes() -> None:
    classes = CONFIG | {"id2label": {"1": "good", "0": "bad", "10": "so so"}}
    [target] = bert.targets(classes, {"classifier.weight": (3, 8)})
    assert target.name == "cls.output.weight"
    assert bert.class_labels(classes) == ["bad", "good", "so so"]
    assert bert.class_labels({"id2label": {"0": "LABEL_0", "1": "LABEL_1"}}) == []
    with pytest.raises(NamingError, match="id2label"):
        bert.class_labels({"id2label": {"x": "y"}})


@pytest.mark.parametrize(
    ("described", "expected"),
    [
        (MEAN, gguf.PoolingType.MEAN),
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, gguf.PoolingType.CLS),
        ({"pooling_mode_lasttoken": True}, gguf.PoolingType.LAST),
        ({"pooling_mode": "cls"}, gguf.PoolingType.CLS),
    ],
)
def test_pooling_is_what_sentence_transformers_files_say(
    tmp_path: Path, described: dict[str, Any], expected: gguf.PoolingType
) -> None:
    assert bert.read_pooling(tmp_path) is None
    assert bert.read_pooling(with_pooling(tmp_path, described)) is expected


def test_a_pooling_that_llama_cpp_does_not_know_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NamingError, match="mean, cls, lasttoken") as refused:
        bert.read_pooling(with_pooling(tmp_path, {"pooling_mode_max_tokens": True}))
    assert refused.value.code == "unsupported-pooling"


@pytest.mark.parametrize("path", ["../1_Pooling", "/etc", "a/b", "..", "", 3, None])
def test_a_module_outside_the_checkpoint_is_not_read(tmp_path: Path, path: Any) -> None:
    with pytest.raises(NamingError, match="not the name of a folder") as refused:
        bert.read_pooling(with_pooling(tmp_path, MEAN, path))
    assert refused.value.code == "bad-config"


def test_positions_before_the_first_token_are_cut_off() -> None:
    [target] = xlm_roberta.targets(CONFIG, {"roberta.embeddings.position_embeddings.weight": (16, 8)})
    assert (target.name, target.shape) == ("position_embd.weight", (14, 8))
    writer = new_collector("bert")
    xlm_roberta.describe(CONFIG, 0, writer)
    assert collected(writer)["bert.context_length"].value == 14


@pytest.mark.parametrize(
    ("changes", "shape", "code"),
    [
        ({"pad_token_id": -1}, (16, 8), "bad-config"),
        ({"pad_token_id": "1"}, (16, 8), "bad-config"),
        ({"pad_token_id": 15}, (16, 8), "bad-shape"),
        ({}, (16,), "bad-shape"),
    ],
)
def test_positions_that_leave_nothing_are_refused(
    changes: dict[str, Any], shape: tuple[int, ...], code: str
) -> None:
    with pytest.raises(NamingError) as refused:
        xlm_roberta.targets(CONFIG | changes, {"embeddings.position_embeddings.weight": shape})
    assert refused.value.code == code
