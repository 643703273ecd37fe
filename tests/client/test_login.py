"""Tokens: kept for one index, after it said whose they are; read by their owner only; shown to nobody unasked."""

import json
import os
import pty
import stat
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from holdfast.arguments import build_parser
from holdfast.configuration.credentials import Login, keep_login, read_logins
from holdfast.configuration.logging_in import who_am_i
from holdfast.errors import BadAnswer, UsageError
from holdfast.network.urls import is_loopback, origin, show_origin
from holdfast.output import Output
from holdfast.settings import read_settings

from tests.client.running import COMMAND, Home
from tests.client.server import HoldfastHub
from tests.services import hub_requests

TOKEN, OTHER = "hf_adas_token", "hf_somebody_elses"
AUTH, USAGE = "auth", 2


class Registrar(HoldfastHub):
    """A hub that knows whose a token is: `people[token]` is a name. `moved_to` sends the question elsewhere."""

    def __init__(self, **options: Any) -> None:
        self.people, self.moved_to, self.odd = {TOKEN: "ada"}, "", b""
        super().__init__(token=TOKEN, **options)

    def _listen(self, port: int) -> Any:
        server = super()._listen(port)
        server.RequestHandlerClass = type("Handler", (_Asked, server.RequestHandlerClass), {"hub": self})
        return server


class _Asked(hub_requests.Requests):
    hub: Registrar

    def _route(self, path: str) -> Any:
        asked = urlsplit(self.path).path == "/api/whoami-v2"
        return ("whoami", None, self._whoami) if asked else super()._route(path)

    def _whoami(self) -> None:
        name = self.hub.people.get(self.headers.get("Authorization", "").removeprefix("Bearer "))
        if self.hub.moved_to:
            self._send(307, b"", {"Location": f"{self.hub.moved_to}/api/whoami-v2"})
        elif self.hub.odd:
            self._send(200, self.hub.odd, {})
        elif name is None:
            self._fail(401, "InvalidToken")
        else:
            access = {"displayName": "laptop", "role": "read"}
            self._json({"name": name, "orgs": [{"name": "acme"}], "auth": {"accessToken": access}})


@pytest.fixture
def hub() -> Iterator[Registrar]:
    with Registrar() as running:
        running.add("org/secret", {"config.json": b"{}"})
        yield running


def kept(home: Home) -> Path:
    return home.folder / ".config" / "holdfast" / "tokens.json"


def everything(home: Home) -> str:
    """All text in all files of the home but the tokens."""
    files = (path for path in home.folder.rglob("*") if path.is_file() and path != kept(home))
    return "".join(path.read_text(errors="replace") for path in files)


def login(home: Home, *arguments: str, token: str = TOKEN) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*COMMAND, "login", "--token-stdin", *arguments], env=home.environment(), cwd=home.folder,
        input=f"{token}\n", capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_token_is_kept_for_its_index_and_opens_what_is_private(home: Home, hub: Registrar) -> None:
    home.fails("not_found", "pull", "org/secret", exit_code=23)
    done = login(home, "--log", "log.txt")
    assert done.returncode == 0, done.stderr
    assert "as ada, read token" in done.stderr
    assert stat.S_IMODE(kept(home).stat().st_mode) == 0o600
    assert home.ok("pull", "org/secret").path.is_dir()
    assert home.ok("whoami").stdout == "ada\n"
    assert TOKEN not in done.stdout + done.stderr + everything(home)


def test_whoami_says_to_machines_what_the_token_may_do(home: Home) -> None:
    home.ok("login", "--token", TOKEN)
    assert home.ok("whoami", "--json").json == {
        "index": home.index_url, "user": "ada", "organisations": ["acme"],
        "token": {"name": "laptop", "role": "read"},
    }  # fmt: skip


def test_a_token_that_the_index_does_not_accept_is_not_kept(home: Home) -> None:
    home.ok("login", "--token", TOKEN)
    error = home.fails(AUTH, "login", "--token", OTHER)
    assert OTHER not in json.dumps(error)
    assert home.ok("token", "show").stdout == f"{TOKEN}\n"


@pytest.mark.parametrize(
    "odd", [b" ", b"[]", b"{}", b'{"name": 7}', b'{"name": "a", "orgs": [1]}', b"[" * 9999, b" " * 2_000_000]
)
def test_an_index_that_does_not_say_whose_it_is_is_no_index(
    hub: Registrar, odd: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NO_PROXY", "*")
    hub.odd = odd
    args = build_parser().parse_args(["list", "-i", hub.url, "--isolated"])
    with pytest.raises(BadAnswer):
        who_am_i(hub.url, TOKEN, read_settings(args, {}), Output(verbosity=-1, as_json=False))


def test_a_web_page_in_the_place_of_an_index_keeps_nothing(home: Home, hub: Registrar) -> None:
    hub.odd = b"<html>"
    home.fails("bad_answer", "login", "--token", TOKEN)
    assert not kept(home).exists()


def test_the_name_that_an_index_tells_moves_no_cursor(home: Home, hub: Registrar) -> None:
    hub.people[TOKEN] = "ada\x1b[2J"
    result = home.ok("login", "--token", TOKEN)
    assert "\x1b" not in result.stderr + home.ok("whoami").stdout + home.ok("token", "list").stdout


def test_where_an_index_redirects_to_never_sees_the_token(home: Home, hub: Registrar) -> None:
    with Registrar() as other:
        other.people = {"": "mallory"}
        hub.moved_to = other.url
        error = home.fails("bad_answer", "login", "--token", TOKEN)
        assert other.url in error["hint"]
        assert ["authorization" in seen.headers for seen in other.seen("whoami")] == [False]
    assert not kept(home).exists()


def test_a_kept_token_goes_to_no_other_index(home: Home, hub: Registrar) -> None:
    home.ok("login", "--token", TOKEN)
    with Registrar() as other:
        home.fails(AUTH, "whoami", "-i", other.url)
        home.run("pull", f"{other.url}/org/secret")
        home.run("pull", "org/nowhere", "--extra-index-url", other.url)
        assert other.requests
        assert not any("authorization" in seen.headers for seen in other.requests)


def test_a_variable_wins_over_what_is_kept_and_what_is_kept_over_hugging_faces(home: Home) -> None:
    home.ok("login", "--token", TOKEN)
    assert home.ok("token", "show", HOLDFAST_TOKEN=OTHER).stdout == f"{OTHER}\n"
    assert home.ok("token", "show", HF_TOKEN=OTHER).stdout == f"{TOKEN}\n"
    theirs = {"HF_TOKEN": OTHER, "HF_ENDPOINT": home.index_url}
    assert home.ok("token", "show", **theirs).stdout == f"{OTHER}\n"
    home.fails(AUTH, "--isolated", "-i", home.index_url, "token", "show")


def test_tokens_of_several_indexes_are_kept_side_by_side_and_listed_without_them(home: Home) -> None:
    with Registrar() as other:
        home.ok("login", "--token", TOKEN)
        home.ok("login", "-i", f"{other.url}/", "--token", TOKEN)
        listed = home.ok("token", "list")
        assert [line.split() for line in sorted(listed.stdout.splitlines()[1:])] == sorted(
            [[home.index_url, "ada"], [other.url, "ada"]]
        )
        assert TOKEN not in home.ok("token", "list", "--json").stdout
        assert "No token is kept" in home.ok("logout").stderr
        assert home.ok("logout", "--json").json == {"index": home.index_url, "logged_out": False}
        home.fails(AUTH, "whoami")
        assert home.ok("whoami", "-i", other.url).stdout == "ada\n"
        home.ok("logout", "--all")
    assert not kept(home).exists()


def test_plain_http_to_another_machine_is_refused_before_anything_is_asked(home: Home) -> None:
    error = home.fails("usage", "login", "-i", "http://models.invalid:81", "--token", TOKEN, exit_code=USAGE)
    assert "--trusted-host models.invalid:81" in error["hint"]
    error = home.fails(
        "network", "login", "-i", "http://models.invalid:81", "--trusted-host", "models.invalid", "--token", TOKEN,
        "--retries", "0",
    )  # fmt: skip
    assert TOKEN not in json.dumps(error)


def test_a_project_does_not_choose_where_one_logs_in(home: Home, hub: Registrar) -> None:
    (home.folder / "models.toml").write_text(f'[holdfast]\nindex-url = "{hub.url}"\n')
    home.env["HOLDFAST_INDEX_URL"] = ""
    home.fails("usage", "login", "--token", TOKEN, exit_code=USAGE)
    home.fails(AUTH, "whoami", HOLDFAST_TOKEN=TOKEN)
    assert hub.requests == []
    home.ok("login", "-i", hub.url, "--token", TOKEN)
    assert home.ok("whoami").stdout == "ada\n"


@pytest.mark.parametrize("token", ["", "line\nbreak", "hf_é"])
def test_what_is_no_token_is_refused_without_asking(home: Home, hub: Registrar, token: str) -> None:
    assert login(home, token=token).returncode == USAGE
    assert hub.requests == []


def test_without_a_terminal_nobody_is_asked_and_offline_nothing_is(home: Home, hub: Registrar) -> None:
    assert "--token-stdin" in home.fails("usage", "login", exit_code=USAGE)["hint"]
    home.fails("offline", "login", "--offline", "--token", TOKEN)
    assert hub.requests == []


def test_at_a_terminal_the_token_is_typed_and_not_seen(home: Home) -> None:
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [*COMMAND, "login"], env={**home.environment(), "TERM": "xterm"}, cwd=home.folder, stdin=theirs,
        stdout=theirs, stderr=theirs, start_new_session=True,
    )  # fmt: skip
    os.close(theirs)
    shown = b""
    while b"(not shown)" not in shown:
        shown += os.read(ours, 4096)
    os.write(ours, f"{TOKEN}\n".encode())
    try:
        while piece := os.read(ours, 4096):
            shown += piece
    except OSError:
        pass
    os.close(ours)
    assert process.wait() == 0, shown.decode()
    assert f"Token for {home.index_url}".encode() in shown
    assert TOKEN.encode() not in shown
    assert home.ok("whoami").stdout == "ada\n"


def test_a_damaged_file_stops_only_what_needs_it(home: Home) -> None:
    kept(home).parent.mkdir(parents=True)
    kept(home).write_text("[]")
    assert "warning: cannot read the tokens" in home.ok("list").stderr
    home.fails("usage", "login", "--token", TOKEN, exit_code=USAGE)
    home.ok("logout", "--all")
    home.ok("login", "--token", TOKEN)


@pytest.mark.parametrize(
    "damage",
    ["", "{", "null", '{"https://x": 7}', '{"http://[": {}}', '{"http://x": {"user": "a"}}', "[" * 99_999,
     f'{{"https://x": {{"user": "a", "token": "{TOKEN} {OTHER}"}}}}', f'{{"{TOKEN}": {{'],
)  # fmt: skip
def test_a_damaged_file_shows_no_token_in_its_error(damage: str, tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    path.write_text(damage)
    with pytest.raises(UsageError) as raised:
        read_logins(path)
    assert TOKEN not in str(raised.value.as_json())
    assert raised.value.__suppress_context__, "a traceback under -vv would show it"


def test_a_file_that_others_can_read_is_told_of_and_closed_by_the_next_login(home: Home) -> None:
    home.ok("login", "--token", TOKEN)
    kept(home).chmod(0o644)
    assert "chmod 600" in home.ok("list").stderr
    home.ok("login", "--token", TOKEN)
    assert stat.S_IMODE(kept(home).stat().st_mode) == 0o600


def test_logins_at_the_same_time_all_count(tmp_path: Path) -> None:
    path = tmp_path / "tokens.json"
    threads = [
        threading.Thread(target=keep_login, args=(path, f"https://h{n}", Login("ada", f"t{n}")))
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert read_logins(path) == {origin(f"https://h{n}"): Login("ada", f"t{n}") for n in range(8)}
    assert [one.name for one in tmp_path.iterdir() if one.suffix == ".tmp"] == []


def test_an_origin_is_written_as_it_is_read() -> None:
    for url in ("https://host", "http://host:8000", "https://[::1]:444", "http://[::1]"):
        assert show_origin(origin(url)) == url
        assert origin(show_origin(origin(url))) == origin(url)


def test_loopback_is_this_machine_only() -> None:
    assert all(
        map(is_loopback, ("http://127.0.0.1:1", "http://localhost", "http://[::1]:1", "http://a.localhost"))
    )
    assert not any(
        map(is_loopback, ("http://127.0.0.1.evil", "http://localhost.evil", "http://10.0.0.1", "http://0x7f"))
    )
