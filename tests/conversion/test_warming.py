"""A worker that converts gets common kernels ready in the background; one that does not leaves them alone."""

from pathlib import Path

import pytest

from tests.services.deployment import Deployment
from tests.services.processes import wait_for

pytestmark = pytest.mark.one_backend


@pytest.mark.parametrize(("queues", "is_warmed"), [("convert,light", True), ("io,light", False)])
def test_only_a_worker_that_converts_warms_kernels(tmp_path: Path, queues: str, is_warmed: bool) -> None:
    cache = tmp_path / "kernels"
    settings = {"HOLDFAST_WARM_KERNELS": "Q4_0", "HOLDFAST_KERNEL_CACHE": str(cache)}
    with Deployment(tmp_path / "deployment", **settings) as deployment:
        deployment.start("worker", "--queues", queues, name="worker")
        if is_warmed:
            wait_for(lambda: any(cache.rglob("*.kernel")), seconds=90)
        else:
            deployment.wait_for_jobs()
            assert not any(cache.rglob("*.kernel"))
