"""What a judge is given beside the file, when there is no time for the parent."""

import pytest

from conversion.cases import case_of
from conversion.inference.judge import judge
from conversion.preparing import Preparation, most_seconds
from mirror.store import blob_store
from tests.conversion.artifacts import held_lease, make_artifact, sample_commit

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.one_backend]


def test_a_parent_that_a_slice_has_no_time_for_is_neither_run_nor_written(converted, settings, tmp_path):
    settings.HOLDFAST_REFERENCE_ENGINE, settings.HOLDFAST_SLICE_SECONDS = "llama.cpp", 0.9
    artifact = make_artifact(sample_commit(), "Q4_0", converted("Q4_0"))
    preparation = Preparation(
        held_lease(artifact), case_of(artifact), blob_store(), tmp_path,
        on_bytes=lambda n_bytes: None, on_progress=lambda phase, share: None,
    )  # fmt: skip
    reference = preparation.reference(converted("Q4_0"))
    assert reference.reading is None
    assert not list(tmp_path.rglob("*.gguf"))
    report = judge(converted("Q4_0"), reference, max_seconds=most_seconds())
    assert (report.verdict, report.level) == ("partial", "first 2 of 3 layers")
    assert report.figures.mean_kld > 0
