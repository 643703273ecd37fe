"""Artifacts that are no language models go the same way: judged by a job against their commit, then published."""

from pathlib import Path

import pytest

from conversion.inference.own_gguf import write_gguf
from registry.models import Repo, Validation
from registry.validating import request_validation
from registry.work import run_job
from tests.checkpoints import read_folder, record_commit
from tests.conversion.artifacts import make_artifact
from tests.conversion.inference.ggufs import with_zeros
from tests.fixtures.architectures.fixture import Fixture

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_backend]


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

    damaged = make_artifact(source, "Q4_0", with_zeros(quant, tmp_path / "zero.gguf", "blk.0.ffn"))
    run_job(request_validation(damaged).pk)
    assert Validation.objects.get(artifact=damaged).verdict == "damaged"
