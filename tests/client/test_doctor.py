"""`holdfast doctor` finds what would make a pull fail before one does, and says what to do."""

import os
import stat
import time
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.client.running import Home
from tests.client.server import HoldfastHub
from tests.services import hub_requests


class Office(HoldfastHub):
    """A hub that knows people by their tokens, lists its repos, and whose clock may be wrong."""

    people: dict[str, str] = {}
    clock_ahead_seconds = 0.0

    def _listen(self, port: int) -> ThreadingHTTPServer:
        server = super()._listen(port)
        server.RequestHandlerClass = type("Handler", (_Requests,), {"hub": self})
        return server


class _Requests(hub_requests.Requests):
    hub: Office

    def _route(self, path: str) -> Any:
        answers = {"/api/models": self._list, "/api/whoami-v2": self._whoami}
        answer = answers.get(urlsplit(self.path).path)
        return ("other", None, answer) if answer else super()._route(path)

    def _list(self) -> None:
        self._json([{"id": name} for name in self.hub.repos])

    def _whoami(self) -> None:
        name = self.hub.people.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        self._json({"name": name}) if name else self._fail(401)

    def date_time_string(self, timestamp: float | None = None) -> str:
        return super().date_time_string((timestamp or time.time()) + self.hub.clock_ahead_seconds)


@pytest.fixture
def hub() -> Iterator[Office]:
    with Office() as running:
        yield running


def findings(home: Home, *arguments: str, **env: str) -> dict[str, list[Any]]:
    """{name: [(verdict, text)]}"""
    found: dict[str, list[Any]] = {}
    for one in home.run("doctor", "--json", *arguments, **env).json["checks"]:
        found.setdefault(one["name"], []).append((one["verdict"], one["text"]))
    return found


def verdicts(home: Home, name: str, *arguments: str, **env: str) -> list[str]:
    return [verdict for verdict, _text in findings(home, *arguments, **env)[name]]


def test_a_healthy_machine_has_no_problem(home: Home, model: str) -> None:
    home.ok("pull", "org/model")
    result = home.ok("doctor")
    assert "0 problems" in result.stderr
    assert f"{home.index_url} is a Hub-compatible index, " in " ".join(result.stdout.split())
    assert "1 repo" in result.stdout
    assert all(len(line) <= 80 or str(home.folder) in line for line in result.stdout.splitlines())
    assert [path for path in home.cache.iterdir() if "doctor" in path.name] == []


def test_an_index_that_is_not_there_is_a_problem(home: Home) -> None:
    result = home.run("doctor", "-i", "http://127.0.0.1:9")
    assert result.code == 1
    assert "fail  index" in result.stdout
    assert "Check the address" in result.stdout


def test_a_web_page_is_no_index(home: Home, hub: Office) -> None:
    assert verdicts(home, "index", "-i", f"{hub.url}/some/page") == ["fail"]


def test_every_index_is_asked_and_none_offline(home: Home) -> None:
    extra = ("--extra-index-url", "http://127.0.0.1:9")
    assert verdicts(home, "index", *extra) == ["ok", "fail"]
    assert findings(home, "--offline", *extra)["index"] == [("ok", "not asked: offline")]


def test_a_wrong_token_is_a_problem_and_a_right_one_has_a_name(home: Home, hub: Office) -> None:
    hub.people = {"hf_right": "alice"}
    assert findings(home, HOLDFAST_TOKEN="hf_right")["token"] == [("ok", "accepted as alice")]
    assert verdicts(home, "token", HOLDFAST_TOKEN="hf_wrong") == ["fail"]


def test_a_clock_that_is_wrong_is_told(home: Home, hub: Office) -> None:
    hub.clock_ahead_seconds = 600
    ((verdict, text),) = findings(home)["clock"]
    assert verdict == "warn"
    assert "behind" in text


def test_variables_that_send_others_elsewhere_are_told(home: Home, tmp_path: Path) -> None:
    assert verdicts(home, "variables") == ["ok"]
    assert verdicts(home, "variables", "--cache-dir", str(tmp_path / "other")) == ["warn"]
    assert verdicts(home, "variables", HF_ENDPOINT="https://other.example") == ["warn"]
    assert verdicts(home, "variables", TRANSFORMERS_CACHE="/x") == ["warn"]


def test_authorities_that_are_not_there_are_a_problem(home: Home) -> None:
    assert verdicts(home, "certificates", SSL_CERT_FILE="/nowhere.pem") == ["fail"]


def test_a_proxy_between_us_and_ourselves_is_told_without_its_password(home: Home) -> None:
    result = home.run("doctor", "--proxy", "http://ann:secret@127.0.0.1:9", NO_PROXY="", no_proxy="")
    assert "warn  proxy" in result.stdout
    assert "secret" not in result.stdout + result.stderr


@pytest.fixture
def read_only(home: Home) -> Iterator[Path]:
    home.cache.mkdir()
    home.cache.chmod(stat.S_IRUSR | stat.S_IXUSR)
    yield home.cache
    home.cache.chmod(stat.S_IRWXU)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written_is_a_problem(home: Home, read_only: Path) -> None:
    assert verdicts(home, "writable") == ["fail"]


def test_a_file_where_the_cache_should_be_is_a_problem(home: Home) -> None:
    (home.folder / "file").write_bytes(b"")
    assert verdicts(home, "cache", "--cache-dir", str(home.folder / "file" / "hub")) == ["fail"]


def test_disks_without_symlinks_are_told(home: Home) -> None:
    (found,) = findings(home, HF_HUB_DISABLE_SYMLINKS="1")["links"]
    assert found[0] == "ok"
    assert "hard links" in found[1]
