"""What only a bucket promises: URLs for others, checksums refused by the service, connections that may break."""

import hashlib
import os
import pickle
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

import pytest
import urllib3

from mirror.blobs import BlobStore, store_from_url
from mirror.blobs.s3 import S3Settings, S3Store
from mirror.blobs.store import DigestMismatch, StoreError, StoreUnavailable
from tests.mirror.blobs.test_store import keep

MIB = 1 << 20
DATA = os.urandom(11 * MIB)


def get(url: str | None, **headers: str) -> urllib3.BaseHTTPResponse:
    assert url is not None
    return urllib3.request("GET", url, headers=headers, retries=False)


# --- presigned URLs --------------------------------------------------------------------------------------------


def test_a_presigned_url_gives_the_object_and_any_range_of_it(s3_store: BlobStore) -> None:
    url = s3_store.presign(keep(s3_store, DATA), seconds=60)
    assert hashlib.sha256(get(url).data).digest() == hashlib.sha256(DATA).digest()
    part = get(url, Range="bytes=100-199")
    assert (part.status, part.data) == (206, DATA[100:200])
    assert part.headers["Content-Range"] == f"bytes 100-199/{len(DATA)}"
    assert get(url, Range="bytes=-7").data == DATA[-7:]


def test_a_presigned_url_carries_the_file_name(s3_store: BlobStore) -> None:
    url = s3_store.presign(keep(s3_store, b"abc"), seconds=60, filename='größe "7B".gguf')
    disposition = get(url).headers["Content-Disposition"]
    assert disposition.startswith('attachment; filename="gr??e _7B_.gguf"')
    assert "filename*=UTF-8''gr%C3%B6%C3%9Fe%20%227B%22.gguf" in disposition


def test_a_file_name_cannot_smuggle_headers(s3_store: BlobStore) -> None:
    with pytest.raises(StoreError, match="control characters"):
        s3_store.presign("a", seconds=60, filename="x\r\nSet-Cookie: a=b")


def test_an_expired_url_is_refused(s3_store: BlobStore) -> None:
    url = s3_store.presign(keep(s3_store, b"abc"), seconds=1)
    deadline = time.monotonic() + 10
    while get(url).status == 200:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert get(url).status == 403


def test_a_tampered_url_is_refused(s3_store: BlobStore) -> None:
    key, other = keep(s3_store, b"abc"), keep(s3_store, b"other")
    url = s3_store.presign(key, seconds=60, filename="a.bin")
    assert url is not None
    assert get(url.replace(key, other)).status == 403
    assert get(url.replace("X-Amz-Expires=60", "X-Amz-Expires=6000")).status == 403
    assert get(url.replace("a.bin", "b.exe")).status == 403
    assert urllib3.request("DELETE", url, retries=False).status == 403
    assert s3_store.read(key) == b"abc"


def test_urls_are_signed_for_the_public_address(s3_store_url: str) -> None:
    """Clients may reach the bucket under another name than we do; the signature must be for theirs."""
    store = store_from_url(s3_store_url + "&public=https://models.example.org")
    key = keep(store, b"abc")
    signed = store.presign(key, seconds=60)
    assert signed is not None
    assert urlsplit(signed).netloc == "models.example.org"
    assert urlsplit(signed).path.endswith(key)
    assert store.read(key) == b"abc"


# --- integrity -------------------------------------------------------------------------------------------------


def test_a_staged_part_that_was_changed_behind_our_back_is_noticed_on_resume(s3_store: S3Store) -> None:
    with s3_store.stage("in") as staged:
        staged.write(DATA)
        staged.checkpoint()
        part = staged.pieces[0].key
    s3_store.connection.client.put_object(**s3_store.connection.place(part), Body=DATA[: 5 * MIB - 1] + b"!")
    with s3_store.stage("in") as resumed:
        resumed.write(DATA[resumed.size_bytes :])
        with pytest.raises(DigestMismatch) as caught:
            resumed.finish()
        assert caught.value.key == part
        resumed.discard()


def test_a_part_changed_after_it_was_hashed_never_becomes_part_of_a_blob(s3_store: S3Store) -> None:
    digest = hashlib.sha256(DATA).hexdigest()
    with s3_store.stage("in") as staged:
        staged.write(DATA)
        staged.finish()
        s3_store.connection.client.put_object(
            **s3_store.connection.place(staged.pieces[1].key), Body=bytes(5 * MIB)
        )
        with pytest.raises(DigestMismatch):
            s3_store.promote(staged, f"blobs/sha256/{digest[:2]}/{digest[2:4]}/{digest}", sha256=digest,
                             size_bytes=len(DATA))  # fmt: skip
    assert list(s3_store.list("")) == []


def test_parts_that_leave_a_gap_are_sent_again(s3_store: S3Store) -> None:
    with s3_store.stage("in") as staged:
        staged.write(DATA)
        staged.checkpoint()
        first = staged.pieces[0].key
    s3_store.connection.client.delete_object(**s3_store.connection.place(first))
    with s3_store.stage("in") as resumed:
        assert resumed.size_bytes == 0
        resumed.discard()


def test_promotions_that_were_cut_short_are_swept(s3_store: S3Store) -> None:
    connection = s3_store.connection
    connection.client.create_multipart_upload(**connection.place("blobs/half"), ChecksumAlgorithm="SHA256")
    swept = s3_store.discard_abandoned(datetime.now(UTC) + timedelta(minutes=1))
    assert [stat.key for stat in swept] == ["blobs/half"]
    assert list(s3_store.discard_abandoned(datetime.now(UTC) + timedelta(minutes=1))) == []


# --- part sizes ------------------------------------------------------------------------------------------------


def test_parts_grow_so_that_400_gigabytes_fit_into_ten_thousand() -> None:
    settings = S3Settings("bucket")
    assert settings.part_bytes(1) == settings.part_bytes(1000) == 8 * MIB
    assert settings.part_bytes(1001) == settings.part_bytes(10_000) == 48 * MIB
    assert sum(settings.part_bytes(number) for number in range(1, 10_001)) > 400 << 30
    with pytest.raises(StoreError, match="part_mib"):
        settings.part_bytes(10_001)
    assert S3Settings("bucket", part_mib=64).part_bytes(1) == 64 * MIB


# --- processes and connections ---------------------------------------------------------------------------------


def test_a_store_used_before_a_fork_works_in_the_child(s3_store: S3Store) -> None:
    key = keep(s3_store, DATA)
    child = os.fork()
    if child == 0:
        try:
            os._exit(0 if s3_store.read(key, 5, 5) == DATA[5:10] else 1)
        except BaseException:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert s3_store.read(key, 5, 5) == DATA[5:10]


def test_a_store_can_be_sent_to_another_process(s3_store: S3Store) -> None:
    key = keep(s3_store, b"abc")
    assert pickle.loads(pickle.dumps(s3_store)).read(key) == b"abc"


def test_a_service_that_is_not_there_is_a_retryable_error_that_names_it() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        endpoint = f"http://127.0.0.1:{unused.getsockname()[1]}"
    store = store_from_url(
        f"s3://bucket?endpoint={endpoint}", attempts="1", access_key_id="k", secret_access_key="s"
    )
    with pytest.raises(StoreUnavailable, match="did not answer") as caught:
        store.stat("a")
    assert caught.value.retryable


def test_wrong_credentials_are_refused_and_not_retried(s3_store_url: str) -> None:
    store = store_from_url(s3_store_url, secret_access_key="wrong")
    with pytest.raises(StoreError, match="refused") as caught:
        store.put("a", b"x")
    assert not caught.value.retryable
    assert "wrong" not in str(caught.value)


def test_a_reader_survives_connections_that_break(s3_store_url: str) -> None:
    key = keep(store_from_url(s3_store_url), DATA)
    endpoint = s3_store_url.partition("endpoint=")[2].partition("&")[0]
    with breaking_proxy(endpoint, cut_after=3 * MIB) as proxy:
        store = store_from_url(s3_store_url.replace(endpoint, proxy))
        assert store.read(key, 7, len(DATA) - 7) == DATA[7:]


@contextmanager
def breaking_proxy(endpoint: str, *, cut_after: int) -> Iterator[str]:
    """Passes connections on to the endpoint and cuts each of them after so many bytes of answer."""
    target = urlsplit(endpoint)
    with socket.create_server(("127.0.0.1", 0)) as server, ThreadPoolExecutor(8) as pool:
        accepting = pool.submit(_accept, server, pool, (target.hostname or "", target.port or 80), cut_after)
        yield f"http://127.0.0.1:{server.getsockname()[1]}"
        server.shutdown(socket.SHUT_RDWR)
        accepting.result()


def _accept(server: socket.socket, pool: ThreadPoolExecutor, target: tuple[str, int], cut_after: int) -> None:
    while True:
        try:
            client, _ = server.accept()
        except OSError:
            return
        pool.submit(_pass_on, client, target, cut_after)


def _pass_on(client: socket.socket, target: tuple[str, int], cut_after: int) -> None:
    with client, socket.create_connection(target, timeout=2) as upstream:
        upstream.sendall(client.recv(65_536))
        left = cut_after
        while left > 0 and (data := upstream.recv(min(left, 65_536))):
            client.sendall(data)
            left -= len(data)
