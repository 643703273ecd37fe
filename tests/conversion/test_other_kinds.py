"""Artifacts that are no language models go the same way: judged by a job against their commit, then published."""

from pathlib import Path

import pytest

from conversion.inference.own_gguf import write_gguf
from registry.models import Commit, Repo, Validation
from registry.validating import request_file_validation, request_validation
from registry.work import run_job
from tests.checkpoints import read_folder, record_commit
from tests.conversion.artifacts import make_artifact
from tests.conversion.formats.onnx.writer import FLOAT, external, graph, model, node, port, tensor
from tests.fixtures.architectures.fixture import Fixture

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_backend]


def judged_file(source: Commit, path: str) -> Validation:
    file = source.files.get(path=path)
    run_job(request_file_validation(file, None).pk)
    return Validation.objects.get(blob=file.blob)


def test_a_quant_of_an_embedding_model_is_verified_by_its_vectors_and_published(
    tmp_path: Path, settings
) -> None:
    settings.HOLDFAST_REFERENCE_ENGINE = "llama.cpp"
    folder = Fixture("bert-tiny").write(tmp_path)
    source = record_commit("org/bert-tiny", read_folder(folder))
    quant = write_gguf(folder, tmp_path / "Q8_0.gguf", file_type="Q8_0")
    artifact = make_artifact(source, "Q8_0", quant)
    job = request_validation(artifact)
    run_job(job.pk)
    row = Validation.objects.get(artifact=artifact)
    assert (row.verdict, row.passed) == ("verified", True), row.reason
    assert row.reason.startswith("its vectors are its parent's: mean cosine 0.999")
    assert row.report["subject"]["kind"] == "embedding"
    assert row.mean_kld is None
    assert Repo.objects.filter(repo_id="org/bert-tiny-GGUF").exists()


def test_one_network_of_several_in_a_folder_is_judged_with_the_weights_beside_it() -> None:
    outside = external(location="w.bin", length=16)
    main = graph(
        nodes=[node("Add", ["x", "w"], ["y"])],
        inputs=[port("x", FLOAT, [1, 4])],
        outputs=[port("y", FLOAT, [1, 4])],
        tensors=[tensor("w", [1, 4], FLOAT, outside)],
    )
    files = {"onnx/model.onnx": model(main), "onnx/w.bin": bytes(16), "onnx/other.onnx": b"not a network"}
    source = record_commit("org/network", files)
    row = judged_file(source, "onnx/model.onnx")
    assert (row.verdict, row.report["subject"]["kind"]) == ("loads", "onnx"), row.reason
    assert row.report["artifact"]["external_data"] == ["w.bin"]
    assert judged_file(source, "onnx/other.onnx").verdict == "damaged"


def test_one_of_several_pytorch_files_without_a_config_is_judged_by_its_tensors() -> None:
    data = (Path(__file__).parents[1] / "fixtures/pickles/tinystoriesgru-0.2M-int8.pt").read_bytes()
    source = record_commit("org/pickles", {"a.pt": data, "b.pt": data})
    row = judged_file(source, "a.pt")
    assert (row.verdict, row.report["subject"]["kind"]) == ("partial", "tensors"), row.reason
    assert row.reason == "its tensors are sound; nothing here runs models of this kind"
