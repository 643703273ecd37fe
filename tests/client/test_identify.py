"""`hash` and `identify`: digests, what an index knows of them, and headers that lie."""

import hashlib
import json
import struct
from pathlib import Path
from typing import Any

import pytest
from holdfast.asking.headers import read_header
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.client.conftest import SMALL
from tests.client.running import Home
from tests.client.server import HoldfastHub
from tests.client.test_output import check_golden, shown

DIGEST = hashlib.sha256(SMALL).hexdigest()
FOUND: dict[str, Any] = {
    "sha256": DIGEST, "size_bytes": len(SMALL), "state": "present", "verdict": "verified",
    "verified_at": "2026-11-20T00:00:00.000Z", "files": [
        {"repo_id": "org/model", "repo_type": "model", "commit": "a" * 40, "is_head": True, "path": "m.gguf"},
        {"repo_id": "org/fork", "repo_type": "model", "commit": "b" * 40, "is_head": False, "path": "sub/m.gguf"},
    ],
}  # fmt: skip


def string(text: str) -> bytes:
    return struct.pack("<Q", len(text.encode())) + text.encode()


def gguf(*pairs: bytes, n_keys: int | None = None, version: int = 3, n_tensors: int = 0) -> bytes:
    return (
        b"GGUF"
        + struct.pack("<IQQ", version, n_tensors, len(pairs) if n_keys is None else n_keys)
        + b"".join(pairs)
    )


def text_pair(key: str, value: str) -> bytes:
    return string(key) + struct.pack("<I", 8) + string(value)


def number_pair(key: str, value: int) -> bytes:
    return string(key) + struct.pack("<II", 4, value)


def texts_pair(key: str, *values: str) -> bytes:
    return string(key) + struct.pack("<IIQ", 9, 8, len(values)) + b"".join(map(string, values))


LLAMA = gguf(
    text_pair("general.architecture", "llama"), text_pair("general.name", "Tiny\x1b[2J"),
    texts_pair("tokenizer.ggml.tokens", "a", "bc", ""), number_pair("llama.context_length", 8192),
    string("x.scores") + struct.pack("<IIQ", 9, 6, 3) + b"\0" * 12, number_pair("llama.block_count", 32),
)  # fmt: skip
CHECKPOINT = {
    "__metadata__": {"format": "pt"}, "a": {"dtype": "BF16", "shape": [2, 3], "data_offsets": [0, 12]},
    "b": {"dtype": "F32", "shape": [], "data_offsets": [12, 16]},
}  # fmt: skip


def safetensors(header: object) -> bytes:
    body = json.dumps(header).encode()
    return struct.pack("<Q", len(body)) + body + b"\0" * 16


@pytest.fixture
def stray(tmp_path: Path) -> Path:
    path = tmp_path / "home" / "stray.gguf"
    path.parent.mkdir(exist_ok=True)
    path.write_bytes(SMALL)
    return path


# --- hash ----------------------------------------------------------------------------------------------------


def test_hash_prints_what_pip_prints(home: Home, stray: Path) -> None:
    assert home.ok("hash", "stray.gguf").stdout == f"stray.gguf:\n--hash=sha256:{DIGEST}\n"
    assert home.ok("-q", "hash", "stray.gguf").stdout == f"--hash=sha256:{DIGEST}\n"
    (told,) = home.ok("hash", "stray.gguf", "--json").json["files"]
    assert (told["sha256"], told["size_bytes"]) == (DIGEST, len(SMALL))


def test_what_is_no_file_cannot_be_hashed(home: Home, tmp_path: Path) -> None:
    home.fails("not_found", "hash", "nothing", exit_code=23)
    home.fails("unreadable", "hash", str(tmp_path))
    home.fails("unreadable", "identify", str(tmp_path))


# --- identify ------------------------------------------------------------------------------------------------


def test_the_words_about_a_known_file_are_these(home: Home, hub: HoldfastHub, stray: Path) -> None:
    hub.tells[f"/api/holdfast/v1/files/{DIGEST}"] = FOUND
    hub.tells["/api/holdfast/v1/lineage/org/model"] = {
        "parents": [{"repo_id": "org/base", "relation": "quantized"}]
    }
    result = home.ok("identify", "stray.gguf")
    check_golden("identify", shown(home, result))
    (told,) = home.ok("identify", "stray.gguf", "--json").json["files"]
    assert (told["known"], told["verdict"], told["places"][1]["path"]) == (True, "verified", "sub/m.gguf")
    assert told["parents"] == [{"repo_id": "org/base", "relation": "quantized"}]


def test_the_words_about_unknown_files_are_what_they_say(home: Home, stray: Path) -> None:
    stray.write_bytes(LLAMA)
    (stray.parent / "model.safetensors").write_bytes(safetensors(CHECKPOINT))
    (stray.parent / "old.bin").write_bytes(b"\x80\x02}q\x00.")
    (stray.parent / "notes.txt").write_bytes(b"nothing\n")
    result = home.run("identify", "stray.gguf", "model.safetensors", "old.bin", "notes.txt")
    assert result.code == 23
    check_golden("identify-unknown", shown(home, result))


def test_the_first_index_that_knows_the_bytes_answers(home: Home, hub: HoldfastHub, stray: Path) -> None:
    with HoldfastHub() as second:
        second.tells[f"/api/holdfast/v1/files/{DIGEST}"] = FOUND
        (told,) = home.ok("identify", "stray.gguf", "--json", "--extra-index-url", second.url).json["files"]
        assert told["index"] == second.url
    offline = home.run("identify", "stray.gguf", "--offline", "--json")
    assert (offline.code, offline.json["files"][0]["known"]) == (23, False)


@pytest.mark.parametrize("nonsense", [[], {"files": 7}, {"files": [{}, {"repo_id": "../x"}]}])
def test_an_answer_that_cannot_be_is_no_answer(
    home: Home, hub: HoldfastHub, stray: Path, nonsense: Any
) -> None:
    hub.tells[f"/api/holdfast/v1/files/{DIGEST}"] = nonsense
    assert home.run("identify", "stray.gguf").code == 23


def test_a_place_outside_its_repo_is_refused(home: Home, hub: HoldfastHub, stray: Path) -> None:
    place = {**FOUND["files"][0], "path": "../../etc/passwd"}
    hub.tells[f"/api/holdfast/v1/files/{DIGEST}"] = {**FOUND, "files": [place]}
    home.fails("unsafe_path", "identify", "stray.gguf")


# --- headers -------------------------------------------------------------------------------------------------


def read(path: Path, data: bytes) -> Any:
    path.write_bytes(data)
    return read_header(path)


def test_a_gguf_header_tells_its_model(tmp_path: Path) -> None:
    header = read(tmp_path / "m", LLAMA)
    assert (header.format, header.trouble) == ("gguf", None)
    assert header.facts == {
        "version": 3, "tensors": 0, "architecture": "llama", "name": "Tiny\\x1b[2J", "context_length": 8192,
        "block_count": 32,
    }  # fmt: skip


def test_a_safetensors_header_tells_its_tensors(tmp_path: Path) -> None:
    header = read(tmp_path / "m", safetensors(CHECKPOINT))
    assert header.facts == {
        "tensors": 2,
        "parameters": 7,
        "metadata": {"format": "pt"},
        "dtypes": {"BF16": 1, "F32": 1},
    }


@pytest.mark.parametrize(
    "data",
    [
        gguf(n_keys=1 << 60), gguf(n_tensors=1 << 60), gguf(version=1), gguf(version=0x03000000),
        gguf(string("a") + struct.pack("<IIQ", 9, 8, 1 << 62)), gguf(string("a") + struct.pack("<IIQ", 9, 9, 1)),
        gguf(struct.pack("<Q", 1 << 63)), gguf(string("a") + struct.pack("<I", 99)),
        struct.pack("<Q", 1 << 62) + b"{}", struct.pack("<Q", 2) + b"{x",
        safetensors({"a": {"dtype": "F32", "shape": [1 << 50]}}), safetensors({"a": {"dtype": "F32", "shape": [-1]}}),
        safetensors({"a": {"dtype": "F32", "shape": [1 << 40, 1 << 40]}}),
    ],
)  # fmt: skip
def test_a_header_that_cannot_be_is_said_to_be_one(tmp_path: Path, data: bytes) -> None:
    header = read(tmp_path / "m", data)
    assert header is not None
    assert header.trouble
    assert header.facts == {}


@pytest.mark.parametrize("data", [LLAMA, safetensors(CHECKPOINT)[:-16]], ids=["gguf", "safetensors"])
def test_a_header_cut_anywhere_ends_in_words(tmp_path: Path, data: bytes) -> None:
    for length in range(len(data)):
        header = read(tmp_path / "m", data[:length])
        assert header is None or header.trouble


def test_a_pickle_is_named_and_never_opened(tmp_path: Path) -> None:
    assert "not opened" in read(tmp_path / "m", b"PK\x03\x04archive/data.pkl").trouble
    assert read(tmp_path / "m", b"\x80\x04.").format == "pickle"
    assert read(tmp_path / "m", b"") is None


@given(
    st.binary(max_size=200),
    st.sampled_from([b"", b"GGUF\x03\0\0\0", LLAMA[:60], safetensors(CHECKPOINT)[:30]]),
)
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_bytes_break_the_reader(tmp_path: Path, tail: bytes, head: bytes) -> None:
    header = read(tmp_path / "m", head + tail)
    assert header is None or header.format in ("gguf", "safetensors", "pickle", "pytorch")
