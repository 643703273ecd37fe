"""The headers of the shards of a checkpoint, in one answer."""

import json
import struct

import pytest
from django.test import Client

from tests.checkpoints import record_commit

HEADER = {"x": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}, "__metadata__": {"format": "pt"}}
URL = "/api/models/acme/sharded/safetensors-metadata"


def shard(header: object = HEADER) -> bytes:
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + b"\0" * 4


def index(**weight_map: object) -> bytes:
    return json.dumps({"metadata": {"total_size": 8}, "weight_map": weight_map}).encode()


def test_every_shard_that_the_index_names_is_told(client: Client, db: None) -> None:
    record_commit(
        "acme/sharded",
        {"a/x.index.json": index(x="1.safetensors", y="2.safetensors"), "a/1.safetensors": shard(),
         "a/2.safetensors": shard({}), "a/3.safetensors": shard()},
    )  # fmt: skip
    told = client.get(f"{URL}/a/x.index.json")
    assert told.json() == {
        "index": {"metadata": {"total_size": 8}}, "headers": {"1.safetensors": HEADER, "2.safetensors": {}},
    }  # fmt: skip
    assert len(told["X-Repo-Commit"]) == 40


@pytest.mark.parametrize(
    ("content", "status"),
    [
        (index(), 400),
        (index(x=1), 400),
        (b"{", 400),
        (b"[" * 50_000, 400),
        (b"", 400),
        (index(x="none.safetensors"), 404),
        (index(x="empty"), 400),
        (index(x="long"), 400),
        (index(x="list"), 400),
    ],
)
def test_what_is_no_index_or_no_safetensors_is_refused(
    client: Client, db: None, content: bytes, status: int
) -> None:
    files = {"x.json": content, "empty": b"", "long": b"\xff" * 64, "list": shard([])}
    record_commit("acme/sharded", files)
    assert client.get(f"{URL}/x.json").status_code == status
    assert client.get(f"{URL}/missing.json")["X-Error-Code"] == "EntryNotFound"
