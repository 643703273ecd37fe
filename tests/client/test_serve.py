"""`holdfast serve` feeds a room: what one cache holds, other clients take home by the Hub's protocol, verified."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests.client.conftest import CARD, CONFIG, SMALL, noise
from tests.client.running import Home, kill
from tests.client.server import HoldfastHub

WEIGHTS = "model.safetensors"
MODEL = {
    "README.md": CARD,
    "config.json": CONFIG,
    "empty.txt": b"",
    "sub folder/vocab+é#1.txt": b"a\nb\n",
    WEIGHTS: SMALL,
}
QUANTS = ("Q8_0", "Q4_K_M", "F16")


@dataclass
class Room:
    """One machine that serves, and what it holds."""

    teacher: Home
    url: str
    process: "subprocess.Popen[str]"

    def ask(
        self, path: str, *, method: str = "GET", host: str | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        connection = http.client.HTTPConnection(urlsplit(self.url).netloc, timeout=20)
        connection.request(method, path, headers={**({"Host": host} if host else {}), **sent})
        answer = connection.getresponse()
        found = answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read()
        connection.close()
        return found

    def neighbour(self, name: str) -> Home:
        folder = Path(tempfile.mkdtemp(prefix=name, dir=self.teacher.folder.parent))
        return Home(folder, self.url)


def serve(home: Home, *arguments: str) -> Room:
    process = home.start("serve", "--port", "0", *arguments)
    assert process.stdout is not None
    return Room(home, process.stdout.readline().strip(), process)


@pytest.fixture(scope="module")
def room(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Room]:
    """A cache with all of org/model and one of three variants of org/quants-GGUF."""
    with HoldfastHub() as hub:
        hub.add("org/model", MODEL)
        hub.add("org/quants-GGUF", {f"quants-{name}.gguf": noise(40_000, n) for n, name in enumerate(QUANTS)})
        teacher = Home(tmp_path_factory.mktemp("room") / "teacher", hub.url)
        teacher.folder.mkdir()
        teacher.ok("pull", "org/model", "org/quants-GGUF:Q8_0")
        running = serve(teacher)
        yield running
        kill(running.process)


def damage(path: Path) -> None:
    with path.resolve().open("r+b") as file:
        file.seek(10)
        file.write(b"\xff\xfe\xfd")


def test_a_neighbour_pulls_byte_for_byte(room: Room) -> None:
    pupil = room.neighbour("pupil")
    path = pupil.ok("pull", "org/model").path
    assert (path / WEIGHTS).read_bytes() == SMALL
    assert (path / "sub folder" / "vocab+é#1.txt").read_bytes() == b"a\nb\n"
    assert pupil.blobs().keys() >= {(path / "README.md").resolve().name}
    pupil.ok("check")


def test_a_variant_is_found_as_everywhere(room: Room) -> None:
    pupil = room.neighbour("pupil")
    assert pupil.ok("pull", "org/quants-GGUF:q8_0").path.read_bytes() == noise(40_000, 0)


def test_what_the_cache_lacks_is_named(room: Room) -> None:
    pupil = room.neighbour("pupil")
    error = pupil.fails("not_found", "pull", "org/quants-GGUF:Q4_K_M", exit_code=23)
    assert "quants-Q4_K_M.gguf" in error["message"]
    assert "this cache does not hold" in error["said"]
    for reference in ("org/nothing", "org/model@v9"):
        pupil.fails("not_found", "pull", reference, exit_code=23)


def test_the_hub_client_takes_it_home_unmodified(room: Room, tmp_path: Path) -> None:
    code = (
        "import sys; from huggingface_hub import HfApi, hf_hub_download, snapshot_download\n"
        "print(snapshot_download('org/model')); print(hf_hub_download('org/model', 'config.json', revision='main'))\n"
        "info = HfApi().model_info('org/model', files_metadata=True)\n"
        "print(info.sha, len(info.siblings), [m.id for m in HfApi().list_models(search='QUANTS')])\n"
    )
    env = {
        "HF_ENDPOINT": room.url,
        "HF_HOME": str(tmp_path / "hf"),
        "PATH": os.environ["PATH"],
        "NO_PROXY": "*",
    }
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    folder, config, info = done.stdout.splitlines()
    assert (Path(folder) / WEIGHTS).read_bytes() == SMALL
    assert Path(config).read_bytes().startswith(b"{")
    assert info.endswith("5 ['org/quants-GGUF']")


def test_curl_resumes_and_sha256sum_agrees(room: Room, tmp_path: Path) -> None:
    (tmp_path / WEIGHTS).write_bytes(SMALL[:100_000])
    subprocess.run(
        ["curl", "-sS", "--fail", "-C", "-", "-LO", f"{room.url}/org/model/resolve/main/{WEIGHTS}"],
        cwd=tmp_path, check=True,
    )  # fmt: skip
    for address in ("org/model/sha256sums/main", "org/model/resolve/main/SHA256SUMS"):
        sums = room.ask(f"/{address}")[2]
        assert len(sums.splitlines()) == 5
        command = ["sha256sum", "--check", "--ignore-missing", "--quiet"]
        subprocess.run(command, cwd=tmp_path, input=sums, check=True)


def test_validators_and_ranges(room: Room) -> None:
    commit = room.teacher.ok("list", "-q").stdout.split()[0].partition("@")[2]
    path = f"/org/model/resolve/main/{WEIGHTS}"
    status, headers, body = room.ask(path, method="HEAD")
    assert (status, body, headers["content-length"]) == (200, b"", str(len(SMALL)))
    assert headers["etag"] == headers["x-linked-etag"]
    assert headers["x-repo-commit"] == commit
    etag = headers["etag"]
    for conditions, expected in (
        ({"Range": "bytes=5-9"}, (206, SMALL[5:10])),
        ({"Range": "bytes=-4"}, (206, SMALL[-4:])),
        ({"Range": f"bytes={len(SMALL) - 3}-"}, (206, SMALL[-3:])),
        ({"Range": "bytes=5-9", "If_Range": etag}, (206, SMALL[5:10])),
        ({"If_None_Match": etag}, (304, b"")),
        ({"If_None_Match": f'"other", W/{etag}'}, (304, b"")),
    ):
        status, headers, body = room.ask(path, **conditions)
        assert (status, body) == expected, conditions
    assert room.ask(path, Range="bytes=5-9", If_Range='"other"')[0] == 200
    assert room.ask(path, Range="bytes=1-2,4-5")[0] == 200
    status, headers, _body = room.ask(path, Range=f"bytes={len(SMALL)}-")
    assert (status, headers["content-range"]) == (416, f"bytes */{len(SMALL)}")
    assert room.ask("/org/model/resolve/main/empty.txt")[::2] == (200, b"")


def test_the_listing_comes_in_pages_and_folders(room: Room) -> None:
    seen, path = [], "/api/models/org/model/tree/main?recursive=true&limit=3"
    while path:
        _status, headers, body = room.ask(path)
        seen += [entry["path"] for entry in json.loads(body)]
        link = headers.get("link", "")
        path = link.partition(room.url)[2].partition(">")[0]
    assert len(seen) == len(set(seen)) == 6
    top = [entry["path"] for entry in json.loads(room.ask("/api/models/org/model/tree/main")[2])]
    assert "sub folder" in top
    assert "sub folder/vocab+é#1.txt" not in top
    below = json.loads(room.ask("/api/models/org/model/tree/main/sub%20folder")[2])
    assert [entry["path"] for entry in below] == ["sub folder/vocab+é#1.txt"]


def test_damaged_bytes_never_leave_the_machine(room: Room) -> None:
    damage(next(room.teacher.cache.glob(f"models--org--model/snapshots/*/{WEIGHTS}")))
    status, headers, body = room.ask(f"/org/model/resolve/main/{WEIGHTS}", Range="bytes=0-3")
    assert (status, headers["x-error-code"]) == (503, "BytesUnavailable")
    assert b"holdfast check --repair" in body
    room.teacher.ok("check", "--repair")
    assert room.ask(f"/org/model/resolve/main/{WEIGHTS}", Range="bytes=0-3")[::2] == (206, SMALL[:4])


def test_bytes_that_change_after_they_were_served_are_hashed_again(room: Room) -> None:
    address = "/org/model/resolve/main/README.md"
    assert room.ask(address)[2] == CARD
    path = next(room.teacher.cache.glob("models--org--model/snapshots/*/README.md"))
    damage(path)
    assert room.ask(address)[0] == 503
    path.write_bytes(CARD)
    assert room.ask(address)[2] == CARD


def test_nothing_outside_the_snapshots_can_be_named(room: Room) -> None:
    (room.teacher.folder / "secret.txt").write_text("secret")
    snapshot = next((room.teacher.cache / "models--org--model" / "snapshots").iterdir())
    (snapshot / "link.txt").symlink_to(room.teacher.folder / "secret.txt")
    (snapshot / "away").symlink_to(room.teacher.folder)
    for path in (
        "/org/model/resolve/main/../../../../../secret.txt", "/org/model/resolve/main/..%2f..%2f..%2f..%2fsecret.txt",
        "/org/model/resolve/main//etc/passwd", "/org/model/resolve/main/%2fetc%2fpasswd",
        "/org/model/resolve/main/link.txt", "/org/model/resolve/main/away/secret.txt",
        "/org/model/resolve/..%2f..%2f..%2f/secret.txt", "/..%2f..%2f/model/resolve/main/README.md",
        "/org/model/resolve/main/a%00b", "/org/model/resolve/main/a%5cb", "/%2e%2e/%2e%2e/resolve/main/x",
        "/api/models/..%2f../tree/main", "/org/model/resolve/main/sub%20folder",
    ):  # fmt: skip
        status, _headers, body = room.ask(path)
        assert status in (400, 404), path
        assert body != b"secret"
    assert room.ask("/org/model/resolve/main/%ff")[0] == 400
    (snapshot / "link.txt").unlink()
    (snapshot / "away").unlink()


def test_a_web_page_elsewhere_cannot_read_us_by_a_name_of_its_own(room: Room) -> None:
    assert room.ask("/api/models", host="evil.example:8000")[0] == 403
    assert room.ask("/api/models", host="localhost")[0] == 200


def test_requests_that_make_no_sense_are_answered_and_survived(room: Room) -> None:
    address = ("127.0.0.1", int(room.url.rpartition(":")[2]))
    for sent, expected in (
        (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n", b"414"),
        (b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 200 + b"\r\n", b"431"),
        (b"POST /api/models HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", b"405"),
        (b"GET / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 5\r\n\r\nhello", b"200"),
        (b"\x00\xff\xfe garbage\r\n\r\n", b"400"),
        (b"GET /api/models?" + b"&".join(b"a=1" for _ in range(99)) + b" HTTP/1.0\r\n\r\n", b"400"),
    ):
        with socket.create_connection(address, timeout=20) as client:
            client.sendall(sent)
            assert expected in client.recv(4096).partition(b"\r\n")[0], sent[:60]
    assert room.ask("/api/models/org/model/tree/main?cursor=x")[0] == 400
    assert json.loads(room.ask("/nowhere")[2]) == {"error": "there is no such endpoint here"}
    assert b"org/model" in room.ask("/")[2]


def test_only_the_named_repos_are_served(room: Room) -> None:
    few = serve(room.teacher, "org/quants-GGUF")
    try:
        assert [one["id"] for one in json.loads(few.ask("/api/models")[2])] == ["org/quants-GGUF"]
        assert few.ask("/org/model/resolve/main/README.md")[0] == 404
    finally:
        kill(few.process)
    room.teacher.fails("usage", "serve", "--port", "0", "org/nothing", exit_code=2)
    room.teacher.fails("usage", "serve", "--port", "0", "../x", exit_code=2)


def test_what_is_pulled_meanwhile_is_served(room: Room) -> None:
    pupil = room.neighbour("pupil")
    pupil.fails("not_found", "pull", "org/quants-GGUF:F16", exit_code=23)
    room.teacher.ok("pull", "org/quants-GGUF:F16")
    pupil.ok("pull", "org/quants-GGUF:F16")


def test_ctrl_c_ends_it_cleanly_and_says_what_was_served(room: Room) -> None:
    other = serve(room.teacher, "-v")
    assert other.ask(f"/org/model/resolve/main/{WEIGHTS}")[2] == SMALL
    assert other.process.stderr is not None
    assert any("-> 200" in line for line in other.process.stderr)  # counted when the last byte has left
    other.process.send_signal(signal.SIGINT)
    _stdout, stderr = other.process.communicate(timeout=20)
    assert other.process.returncode == 0
    assert "Served 1 request, 300.0 kB." in stderr
    assert "Traceback" not in stderr


def test_a_port_that_is_taken_is_a_plain_error(room: Room) -> None:
    error = room.teacher.fails("usage", "serve", "--port", room.url.rpartition(":")[2], exit_code=2)
    assert "cannot listen on 127.0.0.1" in error["message"]
    room.teacher.fails("usage", "serve", "--lan", "--host", "::1", exit_code=2)


def test_a_whole_room_is_warned_of_and_told_what_to_type(room: Room) -> None:
    lan = serve(room.teacher, "--lan")
    try:
        assert lan.ask("/api/models")[0] == 200
    finally:
        lan.process.send_signal(signal.SIGTERM)
    _stdout, stderr = lan.process.communicate(timeout=20)
    assert "warning: Everybody who can reach this address can read" in stderr
    assert f"holdfast pull -i {lan.url} ORG/NAME" in stderr


def test_ollama_and_oci_find_the_same_bytes(room: Room) -> None:
    _status, headers, body = room.ask("/v2/org/quants-gguf/manifests/Q8_0")
    layer = json.loads(body)["layers"][0]
    assert layer["mediaType"] == "application/vnd.ollama.image.model"
    assert json.loads(room.ask("/v2/org/quants-GGUF/tags/list")[2])["tags"][-1] == "Q8_0"
    assert room.ask(f"/v2/org/quants-GGUF/manifests/{headers['docker-content-digest']}")[2] == body
    assert room.ask(f"/v2/org/quants-GGUF/blobs/{layer['digest']}")[2] == noise(40_000, 0)
    config = json.loads(body)["config"]
    assert len(room.ask(f"/v2/org/quants-GGUF/blobs/{config['digest']}")[2]) == config["size"]
    assert room.ask("/v2/org/quants-GGUF/manifests/Q2_K")[0] == 404
    assert room.ask(f"/v2/org/quants-GGUF/blobs/sha256:{'0' * 64}")[0] == 404
