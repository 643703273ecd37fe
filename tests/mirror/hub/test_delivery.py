"""The ways bytes leave a real service: gunicorn's sendfile, nginx by X-Accel-Redirect, an S3 server by redirect."""

import hashlib
import http.client
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.services.deployment import Deployment
from tests.services.objectstore import running_weed
from tests.services.processes import free_port, wait_for

BYTES = bytes(range(256)) * 8192
SHA256 = hashlib.sha256(BYTES).hexdigest()
FILE = "/acme/big/resolve/main/model.safetensors"
RECORD = """
from tests.checkpoints import record_commit
record_commit("acme/big", {"model.safetensors": bytes(range(256)) * 8192, "empty.bin": b""})
"""


def ask(
    url: str, path: str = FILE, method: str = "GET", **headers: str
) -> tuple[http.client.HTTPResponse, bytes]:
    """One request over a socket, redirects not followed."""
    with connected(url) as connection:
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response, response.read()


@contextmanager
def connected(url: str) -> Iterator[http.client.HTTPConnection]:
    with closing(http.client.HTTPConnection(urlsplit(url).netloc, timeout=20)) as connection:
        yield connection


# --- gunicorn ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def inline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with Deployment(tmp_path_factory.mktemp("inline"), HOLDFAST_BLOB_DELIVERY="inline") as made:
        made.manage("shell", "-c", RECORD)
        yield made.start_web()


def test_gunicorn_sends_files_and_ranges(inline: str) -> None:
    response, body = ask(inline)
    assert (response.status, body) == (200, BYTES)
    for asked, expected in [
        ("bytes=0-0", BYTES[:1]),
        ("bytes=4097-9000", BYTES[4097:9001]),
        ("bytes=-5", BYTES[-5:]),
    ]:
        response, body = ask(inline, Range=asked)
        assert (response.status, body) == (206, expected)


def test_one_connection_serves_one_range_after_another(inline: str) -> None:
    with connected(inline) as connection:
        for start in range(0, 100_000, 9999):
            connection.request("GET", FILE, headers={"Range": f"bytes={start}-{start + 9998}"})
            assert connection.getresponse().read() == BYTES[start : start + 9999]
            connection.request("HEAD", FILE)
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"")
            assert response.headers["Content-Length"] == str(len(BYTES))


def test_an_empty_file_leaves_the_connection_whole(inline: str) -> None:
    with connected(inline) as connection:
        for _ in range(3):
            connection.request("GET", "/acme/big/resolve/main/empty.bin")
            response = connection.getresponse()
            assert (response.status, response.read()) == (200, b"")


def test_a_reader_that_goes_away_harms_nobody(inline: str) -> None:
    for _ in range(40):
        with connected(inline) as connection:
            connection.request("GET", FILE)
            with connection.getresponse() as response:
                response.read(10)
    assert ask(inline)[1] == BYTES


def test_the_raw_path_reaches_us_through_gunicorn(inline: str) -> None:
    for revision in ("refs%2Fheads%2Fmain", "refs/heads/main"):
        response, _ = ask(inline, f"/acme/big/resolve/{revision}/model.safetensors", "HEAD")
        assert response.status == 200


# --- nginx -------------------------------------------------------------------------------------------------

NGINX = """
daemon off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log; {user}
events {{ worker_connections 64; }}
http {{
  access_log off; sendfile on;
  client_body_temp_path {folder}/t1; proxy_temp_path {folder}/t2; fastcgi_temp_path {folder}/t3;
  uwsgi_temp_path {folder}/t4; scgi_temp_path {folder}/t5;
  server {{
    listen 127.0.0.1:{port};
    location / {{ proxy_pass {backend}; proxy_set_header Host $http_host; }}
    location /_blobs/ {{
      internal; alias {store}/; etag off;
      add_header ETag $upstream_http_etag;
      add_header X-Repo-Commit $upstream_http_x_repo_commit;
      add_header Content-Security-Policy $upstream_http_content_security_policy;
      add_header X-Content-Type-Options nosniff;
    }}
  }}
}}
"""


@contextmanager
def running_nginx(folder: Path, backend: str, store: Path) -> Iterator[str]:
    folder.mkdir()
    port, user = free_port(), "user root;" if os.getuid() == 0 else ""
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, backend=backend, store=store, user=user))
    process = subprocess.Popen(["nginx", "-e", folder / "error.log", "-c", config], stderr=subprocess.DEVNULL)
    try:
        wait_for((folder / "nginx.pid").exists, seconds=10, what="nginx")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait()


@pytest.mark.skipif(not shutil.which("nginx"), reason="nginx is not installed")
def test_nginx_sends_what_we_allow_and_nothing_else(tmp_path: Path) -> None:
    store = tmp_path / "store"
    how = {"HOLDFAST_BLOB_DELIVERY": "xaccel", "HOLDFAST_BLOBS": f"file://{store}"}
    with Deployment(tmp_path / "deployment", **how) as made:
        made.manage("shell", "-c", RECORD)
        with running_nginx(tmp_path / "nginx", made.start_web(), store) as url:
            response, body = ask(url)
            assert (response.status, body) == (200, BYTES)
            assert response.headers["ETag"] == f'"{SHA256}"'
            assert response.headers["Content-Type"] == "application/octet-stream"
            assert response.headers["Content-Security-Policy"] == "default-src 'none'; sandbox"
            assert len(response.headers["X-Repo-Commit"]) == 40
            response, body = ask(url, Range="bytes=100-199")
            assert (response.status, body) == (206, BYTES[100:200])
            assert ask(url, "/acme/big/resolve/refs%2Fheads%2Fmain/model.safetensors")[1] == BYTES
            assert ask(url, method="HEAD")[0].headers["Content-Length"] == str(len(BYTES))
            direct = f"/_blobs/blobs/sha256/{SHA256[:2]}/{SHA256[2:4]}/{SHA256}"
            assert ask(url, direct)[0].status == 404


# --- S3 ----------------------------------------------------------------------------------------------------

DOWNLOAD = """
from pathlib import Path
from huggingface_hub import hf_hub_download
from huggingface_hub import HfFileSystem
path = Path(hf_hub_download("acme/big", "model.safetensors"))
assert path.resolve().name == "{sha256}"
assert path.read_bytes() == bytes(range(256)) * 8192
assert HfFileSystem().cat_file("acme/big/model.safetensors", start=255, end=258).hex() == "ff0001"
assert Path(hf_hub_download("acme/big", "empty.bin")).read_bytes() == b""
"""


def test_an_s3_server_sends_to_the_official_client(tmp_path: Path) -> None:
    with (
        running_weed(tmp_path / "weed") as store,
        Deployment(tmp_path / "made", HOLDFAST_BLOBS=store) as made,
    ):
        made.manage("shell", "-c", RECORD + TOKEN)
        token = made.manage_json("token", "create", "alice")["token"]
        url = made.start_web()
        assert ask(url, method="HEAD")[0].status == 200
        response, _ = ask(url)
        assert response.status == 302
        there = urlsplit(response.headers["Location"])
        found, body = ask(f"http://{there.netloc}", f"{there.path}?{there.query}", Range="bytes=5-9")
        assert (found.status, body) == (206, BYTES[5:10])
        env = made.env | {"HF_ENDPOINT": url, "HF_HOME": str(tmp_path / "hf"), "HF_TOKEN": token}
        code = DOWNLOAD.format(sha256=SHA256)
        done = subprocess.run(
            [sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr


TOKEN = """
from django.contrib.auth.models import User
User.objects.create_user("alice")
"""
