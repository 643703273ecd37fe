"""Models in a registry of images: `oci://` and `ollama://`, with what such a registry may lie about."""

import hashlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from holdfast.errors import BadAnswer, UnsafePath
from holdfast.sources.oci import files_of

from tests.client.conftest import noise
from tests.client.running import Home

GGUF, TEMPLATE = noise(2_000_000, 7), b"{{ .Prompt }}"
OLLAMA = "application/vnd.ollama.image"
TITLE = "org.opencontainers.image.title"
BLOB = re.compile(r"/v2/(?P<name>[^/]+/[^/]+)/blobs/sha256:(?P<digest>[0-9a-f]{64})$")
MANIFEST = re.compile(r"/v2/(?P<name>[^/]+/[^/]+)/manifests/(?P<tag>[^/]+)$")


def layer(data: bytes, kind: str, title: str | None = None) -> dict[str, Any]:
    named = {"annotations": {TITLE: title}} if title else {}
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    return {"mediaType": kind, "digest": digest, "size": len(data), **named}


def manifest(*layers: dict[str, Any]) -> bytes:
    return json.dumps({"schemaVersion": 2, "config": layer(b"{}", "x"), "layers": layers}).encode()


class Registry:
    """Answers for `blobs` by digest and `manifests` by (name, tag); with `wants_token` only to whoever fetched one."""

    def __init__(self) -> None:
        self.blobs = {hashlib.sha256(data).hexdigest(): data for data in (GGUF, TEMPLATE)}
        self.manifests: dict[tuple[str, str], bytes] = {}
        self.wants_token = False
        self.says_digest: str | None = None
        self.seen: list[tuple[str, str]] = []  # (path, Authorization)
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Requests,), {"registry": self}))
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, args=(0.05,), daemon=True).start()
        self.host = f"127.0.0.1:{self.server.server_address[1]}"


class _Requests(BaseHTTPRequestHandler):
    registry: Registry
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        registry, path = self.registry, self.path
        registry.seen.append((path, self.headers.get("Authorization", "")))
        if path.startswith("/token"):
            return self._send(200, json.dumps({"token": "good"}).encode())
        if registry.wants_token and self.headers.get("Authorization") != "Bearer good":
            realm = f'Bearer realm="http://{registry.host}/token",service="here",scope="repository:x:pull"'
            return self._send(401, b"{}", {"WWW-Authenticate": realm})
        if (match := MANIFEST.match(path)) and (
            found := registry.manifests.get((match["name"], match["tag"]))
        ):
            told = registry.says_digest or f"sha256:{hashlib.sha256(found).hexdigest()}"
            return self._send(200, found, {"Docker-Content-Digest": told})
        if (match := BLOB.match(path)) and match["digest"] in registry.blobs:
            return self._blob(registry.blobs[match["digest"]])
        return self._send(404, b'{"errors": [{"code": "MANIFEST_UNKNOWN"}]}')

    def _blob(self, data: bytes) -> None:
        wanted = re.match(r"bytes=(\d+)-(\d*)$", self.headers.get("Range", ""))
        if wanted is None:
            return self._send(200, data)
        start, end = int(wanted[1]), int(wanted[2] or len(data) - 1) + 1
        told = {"Content-Range": f"bytes {start}-{end - 1}/{len(data)}"}
        return self._send(206, data[start:end], told)

    def _send(self, status: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {
            "Content-Length": str(len(body)),
            "Content-Type": "application/json",
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def registry() -> Iterator[Registry]:
    found = Registry()
    layers = layer(GGUF, f"{OLLAMA}.model"), layer(TEMPLATE, f"{OLLAMA}.template")
    found.manifests["library/tiny", "1b"] = found.manifests["org/m", "latest"] = manifest(*layers)
    found.manifests["org/titled", "Q8_0"] = manifest(
        layer(GGUF, "x/y", "sub/m-Q8_0.gguf"), layer(TEMPLATE, "x/z", "README.md")
    )
    yield found
    found.server.shutdown()
    found.server.server_close()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path, "http://127.0.0.1:1")  # the configured index is never asked


def test_an_image_of_ollama_comes_home_verified(home: Home, registry: Registry) -> None:
    path = home.ok("pull", f"ollama://{registry.host}/org/m").path
    assert (path / "model.gguf").read_bytes() == GGUF
    assert (path / "template").read_bytes() == TEMPLATE
    home.ok("check")
    one = home.ok("pull", "-q", f"ollama://{registry.host}/library/tiny:1b//model.gguf").path
    assert one.read_bytes() == GGUF


def test_titles_are_the_names_of_files(home: Home, registry: Registry) -> None:
    pulled = home.ok("pull", f"oci://{registry.host}/org/titled:Q8_0", "--json").json["pulled"][0]
    assert [file["path"] for file in pulled["files"]] == ["README.md", "sub/m-Q8_0.gguf"]
    assert pulled["index"] == f"oci://{registry.host}"


def test_show_names_the_image_as_pull_takes_it(home: Home, registry: Registry) -> None:
    lines = home.ok("show", f"oci://{registry.host}/org/titled:Q8_0").stdout
    assert (
        f'llama-cli -m "$(holdfast pull -q oci://{registry.host}/org/titled:Q8_0//sub/m-Q8_0.gguf)"' in lines
    )
    found = home.ok("index", "versions", f"oci://{registry.host}/org/titled:Q8_0", "--json").json
    assert [one["repo_id"] for one in found["variants"]] == ["org/titled"]


def test_a_token_for_everybody_is_fetched_when_one_is_wanted(home: Home, registry: Registry) -> None:
    registry.wants_token = True
    home.ok("pull", f"oci://{registry.host}/org/m", HOLDFAST_TOKEN="hf_secret")
    asked = [path for path, _sent in registry.seen if path.startswith("/token")]
    assert asked == ["/token?service=here&scope=repository%3Ax%3Apull"]
    assert not any("hf_secret" in sent for _path, sent in registry.seen)


def test_what_a_registry_does_not_have_is_not_found(home: Home, registry: Registry) -> None:
    home.fails("not_found", "pull", f"oci://{registry.host}/org/m:nothing", exit_code=23)
    home.fails("not_found", "pull", f"oci://{registry.host}/org/nothing", exit_code=23)


def test_a_manifest_that_is_not_what_it_says_is_refused(home: Home, registry: Registry) -> None:
    registry.says_digest = f"sha256:{'0' * 64}"
    home.fails("hash_mismatch", "pull", f"oci://{registry.host}/org/m")


def test_wrong_bytes_of_a_layer_are_refused(home: Home, registry: Registry) -> None:
    registry.blobs[hashlib.sha256(GGUF).hexdigest()] = GGUF[:-1] + b"x"
    home.fails("hash_mismatch", "pull", f"oci://{registry.host}/org/m")
    assert GGUF[:-1] + b"x" not in home.blobs().values()


@pytest.mark.parametrize(
    "found",
    [b"no json", b"[]", b'{"manifests": []}', manifest({"digest": "sha256:x", "size": 1}), manifest({"size": 1}),
     manifest({**layer(b"a", "x"), "size": -1}), manifest(layer(b"a", "x", "same"), layer(b"b", "x", "same"))],
)  # fmt: skip
def test_a_manifest_that_cannot_be_is_refused(found: bytes) -> None:
    with pytest.raises(BadAnswer):
        files_of(found, "org/m:tag")


@pytest.mark.parametrize("title", ["../x", "/etc/passwd", "a\x00b", "con\x1b[2J"])
def test_a_layer_cannot_be_called_what_leaves_its_folder(title: str) -> None:
    with pytest.raises(UnsafePath):
        files_of(manifest(layer(b"a", "x", title)), "org/m:tag")


def test_several_of_a_kind_are_numbered() -> None:
    found = files_of(manifest(*(layer(b"%d" % n, f"{OLLAMA}.license") for n in range(3))), "org/m:tag")
    assert [file.path for file in found] == ["LICENSE", "LICENSE-2", "LICENSE-3"]


def test_an_image_is_locked_and_brought_by_its_lock(home: Home, registry: Registry) -> None:
    (home.folder / "models.txt").write_text(f"oci://{registry.host}/org/titled:Q8_0\n")
    home.ok("lock")
    home.ok("lock", "--check")
    path = home.ok("sync", "--locked").path
    assert (path / "sub" / "m-Q8_0.gguf").read_bytes() == GGUF
    registry.manifests["org/titled", "Q8_0"] = manifest(layer(TEMPLATE, "x/z", "README.md"))
    home.ok("sync")
    home.fails("not_found", "sync", "--force", exit_code=23)
