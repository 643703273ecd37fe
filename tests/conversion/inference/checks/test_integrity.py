"""The bytes of everything that an engine will read are those that were recorded."""

import hashlib
from contextlib import ExitStack

import pytest

from conversion.formats.gguf.splitting import plan_split
from conversion.formats.layout import stream_file
from conversion.inference.checks.integrity import check_integrity
from conversion.inference.checks.trial import Trial
from conversion.inference.provisions import size_of
from conversion.inference.report import Report


@pytest.fixture
def shards(tmp_path):
    """A GGUF in three parts of one tensor each."""
    layout = plan_split({}, [(name, (4,), "F32") for name in "abc"], "tiny", max_tensors=1)
    for name, part in layout.parts.items():
        values = ((entry.name, [bytes(entry.length)]) for entry in part.entries)
        (tmp_path / name).write_bytes(b"".join(stream_file(part, values)))
    return [tmp_path / name for name in layout.parts]


def checked(path, recorded):
    with ExitStack() as stack:
        report = Report({"size_bytes": size_of(path)})
        check_integrity(Trial(report, path, None, recorded, 1, lambda phase, share: None, stack))
    return report


def test_every_shard_of_a_split_gguf_is_hashed(shards):
    recorded = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards}
    report = checked(shards[0], recorded)
    assert report.checks["integrity"].verdict == "pass"
    assert report.artifact["files"] == recorded
    listing = "".join(f"{digest}  {name}\n" for name, digest in recorded.items())
    assert report.artifact["sha256"] == hashlib.sha256(listing.encode()).hexdigest()


def test_a_changed_byte_in_the_last_shard_is_found_and_named(shards):
    recorded = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards}
    shards[-1].write_bytes(shards[-1].read_bytes()[:-1] + b"\1")
    check = checked(shards[0], recorded).checks["integrity"]
    assert (check.verdict, check.code) == ("fail", "bytes-changed")
    assert f"sha256 of {shards[-1].name} is" in check.summary


def test_a_shard_that_is_recorded_and_gone_is_found(shards):
    recorded = {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in shards}
    shards[1].unlink()
    assert "that of no file" in checked(shards[0], recorded).checks["integrity"].summary
