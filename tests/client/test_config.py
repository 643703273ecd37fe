"""`holdfast config`: what is set and by whom, and changing it without spoiling a file that a person wrote."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tests.client.running import ROOT, Home
from tests.client.server import HoldfastHub

USAGE = 2


def user_file(home: Home) -> Path:
    return home.folder / ".config" / "holdfast" / "config.toml"


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """Nobody's index: these commands ask nobody."""
    return Home(tmp_path, "http://index.invalid")


def test_what_is_set_counts_and_is_shown_with_where_it_is_from(home: Home) -> None:
    home.ok("config", "set", "retries", "7")
    home.ok("config", "set", "--project", "cache-dir", "weights")
    home.ok("config", "set", "trusted-host", "a.example", "B.example:81")
    listed = {row["key"]: row for row in home.ok("config", "list", "--timeout", "9", "--json").json["values"]}
    shown = {key: (listed[key]["value"], listed[key]["scope"]) for key in
             ("index-url", "retries", "cache-dir", "trusted-host", "timeout", "offline")}  # fmt: skip
    assert shown == {
        "index-url": ("http://index.invalid", "environment"), "retries": (7, "user"), "timeout": (9.0, "flag"),
        "cache-dir": (str(home.folder / "weights"), "project"), "offline": (False, "default"),
        "trusted-host": (["a.example", "b.example:81"], "user"),
    }  # fmt: skip
    assert listed["retries"]["source"] == str(user_file(home))
    assert str(home.folder / "weights") in home.ok("list").stderr


def test_get_prints_the_value_alone(home: Home) -> None:
    assert home.ok("config", "get", "index_url").stdout == "http://index.invalid\n"
    assert home.ok("config", "get", "cache-dir").stdout == f"{home.cache}\n"
    home.ok("config", "set", "extra-index-url", "https://b", "https://c")
    assert home.ok("config", "get", "extra-index-url").stdout == "https://b\nhttps://c\n"
    home.fails("not_found", "config", "get", "proxy", exit_code=23)


def test_setting_and_unsetting_leave_the_rest_of_the_file_alone(home: Home) -> None:
    written = "# Ada's\n\nretries = 3  # the VPN is bad\n\n[other]\nretries = 1\n"
    user_file(home).parent.mkdir(parents=True)
    user_file(home).write_text(written)
    home.ok("config", "set", "retries", "8")
    home.ok("config", "set", "limit-rate", "10M")
    assert user_file(home).read_text() == written.replace("retries = 3", "retries = 8").replace(
        "bad\n", 'bad\nlimit-rate = "10M"\n'
    )
    home.ok("config", "unset", "retries")
    assert home.ok("config", "unset", "retries", "--json").json["changed"] is False
    assert user_file(home).read_text() == '# Ada\'s\n\nlimit-rate = "10M"\n\n[other]\nretries = 1\n'


def test_a_new_file_is_its_owners_and_a_link_stays_a_link(home: Home) -> None:
    home.ok("config", "set", "proxy", "http://ada:secret@proxy:3128")
    assert stat.S_IMODE(user_file(home).stat().st_mode) == 0o600
    assert "secret" not in home.ok("config", "list").stdout + home.ok("config", "list", "--json").stdout
    assert home.ok("config", "get", "proxy").stdout == "http://ada:secret@proxy:3128\n"
    (home.folder / "dotfiles").mkdir()
    user_file(home).rename(home.folder / "dotfiles" / "holdfast.toml")
    user_file(home).symlink_to(home.folder / "dotfiles" / "holdfast.toml")
    home.ok("config", "set", "retries", "1")
    assert user_file(home).is_symlink()
    assert "retries = 1" in (home.folder / "dotfiles" / "holdfast.toml").read_text()


def test_paths_are_found_again_from_any_folder(home: Home) -> None:
    below = home.folder / "below"
    below.mkdir()
    home.ok("config", "set", "cert", "below/ca.pem")
    home.ok("config", "set", "client-cert", "c.pem,k.pem")
    home.ok("config", "set", "--project", "find-links", "below", "https://models.example/tree")
    assert (home.folder / "models.toml").read_text() == (
        '[holdfast]\nfind-links = ["below", "https://models.example/tree"]\n'
    )
    text = user_file(home).read_text()
    assert f'cert = "{home.folder}/below/ca.pem"' in text
    assert f'client-cert = "{home.folder}/c.pem,{home.folder}/k.pem"' in text


@pytest.mark.parametrize(
    ("words", "said"),
    [(["indx-url", "x"], "did you mean index-url"), (["index-url", "ftp://x"], "http"),
     (["retries", "1", "2"], "quotes"),
     (["--project", "proxy", "http://x"], "--user"), (["--project", "offline", "false"], "--user"),
     (["--project", "cache-dir", "/elsewhere"], "--user")],
)  # fmt: skip
def test_what_cannot_be_is_refused_and_nothing_is_written(home: Home, words: list[str], said: str) -> None:
    error = home.fails("usage", "config", "set", *words, exit_code=USAGE)
    assert said in error["hint"]
    assert not user_file(home).exists()
    assert not (home.folder / "models.toml").exists()


def test_a_file_that_makes_no_sense_stops_every_command_but_those_that_mend_it(home: Home) -> None:
    user_file(home).parent.mkdir(parents=True)
    user_file(home).write_text("retries = \n")
    error = home.fails("usage", "list", exit_code=USAGE)
    assert "line 1" in error["message"]
    home.ok("list", "--isolated")
    home.fails("usage", "config", "set", "retries", "1", exit_code=USAGE)
    assert user_file(home).read_text() == "retries = \n"
    assert home.ok("config", "path").stdout == f"{user_file(home)}\n"
    editor = home.folder / "an editor"
    editor.write_text("#!/bin/sh\necho 'retries = 4' > \"$1\"\n")
    editor.chmod(0o755)
    home.ok("config", "edit", EDITOR=f"'{editor}'")
    assert home.ok("config", "get", "retries").stdout == "4\n"


def test_editing_makes_the_file_and_looks_at_it_afterwards(home: Home) -> None:
    home.ok("config", "edit", "--project", EDITOR="true")
    assert (home.folder / "models.toml").read_text().endswith("[holdfast]\n")
    home.fails("failed", "config", "edit", EDITOR="false")
    home.fails("usage", "config", "edit", EDITOR="/no/such/editor", exit_code=USAGE)
    home.fails("usage", "config", "edit", EDITOR="sh -c 'echo retries = > \"$0\"'", exit_code=USAGE)


def test_a_value_that_does_not_win_is_told_so(home: Home) -> None:
    assert "HOLDFAST_INDEX_URL wins over it" in home.ok("config", "set", "index-url", "https://x").stderr


def test_the_nearest_project_counts_and_an_unwritable_file_is_told(home: Home) -> None:
    (home.folder / "models.toml").write_text("[holdfast]\nretries = 1\n")
    assert home.ok("config", "path", "--project").stdout == f"{home.folder / 'models.toml'}\n"
    user_file(home).parent.parent.mkdir()
    user_file(home).parent.write_text("in the way")
    home.fails("not_writable", "config", "set", "--isolated", "retries", "1")


def test_the_page_has_every_key_and_what_a_project_may_do_with_it() -> None:
    from holdfast.configuration.options import OPTIONS

    page = (ROOT / "docs" / "cli.md").read_text()
    section = page[page.index("## Configuration files") : page.index("## Exit codes")]
    assert [key for key in OPTIONS if f"`{key}`" not in section] == []


# --- flags that no file has -----------------------------------------------------------------------------------


@pytest.fixture
def served(hub: HoldfastHub, tmp_path: Path) -> Home:
    hub.add("org/model", {"config.json": b"{}"})
    folder = tmp_path / "served"
    folder.mkdir()
    return Home(folder, hub.url)


def test_a_log_has_every_request_and_every_error_with_its_time(served: Home) -> None:
    assert served.ok("pull", "-q", "org/model", "--log", "logs/pull.txt").stderr == ""
    served.run("pull", "-q", "org/nothing", HOLDFAST_LOG="logs/pull.txt")
    lines = (served.folder / "logs" / "pull.txt").read_text().splitlines()
    assert all(line[:2] == "20" and line[23] == "Z" for line in lines)
    asked = [line for line in lines if " GET http" in line and "config.json" in line and "-> 200" in line]
    assert len(asked) == 1
    assert "error: not_found: " in lines[-1]
    served.fails("usage", "list", "--log", "logs", exit_code=USAGE)


def test_isolated_looks_at_nothing_that_the_machine_has(served: Home) -> None:
    result = served.ok("--isolated", "-i", served.index_url, "pull", "org/model")
    assert result.path.is_relative_to(served.folder / ".cache" / "huggingface" / "hub")
    asked = served.fails("network", "--isolated", "--retries", "0", "-i", "http://127.0.0.1:9", "pull", "org/model",
                         HOLDFAST_INDEX_URL=served.index_url)  # fmt: skip
    assert "127.0.0.1:9" in asked["message"]


def test_without_a_cache_only_the_destination_is_left(served: Home) -> None:
    temporary = served.folder / "tmp"
    temporary.mkdir()
    served.ok("pull", "org/model", "--no-cache-dir", "--dest", "here", TMPDIR=str(temporary))
    assert (served.folder / "here" / "config.json").read_bytes() == b"{}"
    assert list(temporary.iterdir()) == []
    assert not served.cache.exists()
    error = served.fails("usage", "pull", "org/model", "--no-cache-dir", exit_code=USAGE)
    assert "--dest" in error["hint"]


def test_whoever_has_no_home_needs_to_name_a_cache_and_nothing_else(home: Home) -> None:
    nowhere = {"XDG_CONFIG_HOME": "~nobodyhere/x", "HF_HOME": "~nobodyhere/y"}
    assert "HF_HOME" in home.fails("usage", "list", exit_code=USAGE, **nowhere)["hint"]
    home.ok("list", "--cache-dir", "here", **nowhere)
    assert "in full" in home.fails("usage", "list", "--log", "~nobodyhere/log", exit_code=USAGE)["hint"]


def test_a_folder_that_is_gone_stops_only_what_needs_it(home: Home) -> None:
    (home.folder / "gone").mkdir()
    line = "cd gone && rmdir ../gone && "
    for command, code in ("list", 0), ("config list", 0), ("config set --project retries 1", USAGE):
        (home.folder / "gone").mkdir(exist_ok=True)
        done = subprocess.run(
            ["sh", "-c", f"{line} {sys.executable} -m holdfast {command}"], env=home.environment(), cwd=home.folder,
            capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == code, done.stderr
