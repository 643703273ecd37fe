"""Which flag or variable wins."""

import os
from pathlib import Path

import pytest
from holdfast.arguments import build_parser
from holdfast.configuration.files import system_file, user_folder
from holdfast.errors import UsageError
from holdfast.settings import Settings, read_settings


def settings_for(*arguments: str, **environ: str) -> Settings:
    """What the settings are; unless a test says otherwise, there are no files of the person's or the machine's."""
    nowhere = {"XDG_CONFIG_HOME": "/nowhere", "HOME": "/home/ada"}
    return read_settings(build_parser().parse_args([*arguments, "list"]), {**nowhere, **environ})


def test_the_index_is_the_flag_then_ours_then_hugging_faces_then_loopback() -> None:
    both = {"HOLDFAST_INDEX_URL": "http://ours/", "HF_ENDPOINT": "http://theirs"}
    assert settings_for("-i", "http://flag:1/x/", **both).index_url == "http://flag:1/x"
    assert settings_for(**both).index_url == "http://ours"
    assert settings_for(HF_ENDPOINT="http://theirs").index_url == "http://theirs"
    assert settings_for().index_url == "http://127.0.0.1:8000"


def test_the_cache_is_where_hugging_face_has_it() -> None:
    assert settings_for("--cache-dir", "/x", HF_HUB_CACHE="/y").cache_dir == Path("/x")
    assert settings_for(HOLDFAST_CACHE_DIR="/a", HF_HUB_CACHE="/b", HF_HOME="/c").cache_dir == Path("/a")
    assert settings_for(HF_HUB_CACHE="/b", HF_HOME="/c").cache_dir == Path("/b")
    assert settings_for(HF_HOME="/c").cache_dir == Path("/c/hub")
    assert settings_for(XDG_CACHE_HOME="/d").cache_dir == Path("/d/huggingface/hub")
    assert settings_for().cache_dir == Path.home() / ".cache" / "huggingface" / "hub"


def test_the_token_is_ours_then_theirs_then_the_file(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(" hf_file\n")
    files = {"HF_HOME": str(tmp_path)}
    assert settings_for(HOLDFAST_TOKEN="hf_a", HF_TOKEN="hf_b", **files).token == "hf_a"
    assert settings_for(HF_TOKEN="hf_b", **files).token == "hf_b"
    assert settings_for(**files).token == "hf_file"
    assert settings_for(HF_TOKEN_PATH=str(tmp_path / "none"), **files).token is None
    with pytest.raises(UsageError):
        settings_for(HF_TOKEN="two words")


def test_the_token_for_our_index_is_not_shown_to_hugging_face() -> None:
    assert settings_for(HOLDFAST_TOKEN="hf_a", HF_HOME="/none").hugging_face_token is None
    assert settings_for(HOLDFAST_TOKEN="hf_a", HF_TOKEN="hf_b").hugging_face_token == "hf_b"


@pytest.mark.parametrize(
    "url",
    ["", "localhost", "ftp://x", "http://", "http://x:99999999", "http://x?y=1", "http://u:p@x", "http://[x"],
)
def test_an_index_that_is_no_url_is_refused(url: str) -> None:
    if url:
        with pytest.raises(UsageError):
            settings_for("-i", url)


def test_a_flag_before_the_command_survives_one_without_it_after() -> None:
    parser = build_parser()
    before = parser.parse_args(["--timeout", "7", "--json", "pull", "a/b"])
    after = parser.parse_args(["pull", "a/b", "--timeout", "7", "--json"])
    assert (before.timeout, before.json) == (after.timeout, after.json) == (7.0, True)


@pytest.mark.parametrize(
    "flags", [["--timeout", "0"], ["--retries", "-1"], ["pull", "a/b", "--max-workers", "0"], []]
)
def test_flags_out_of_range_are_usage_errors(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        build_parser().parse_args(flags if "pull" in flags else [*flags, "list"] if flags else [])
    assert ended.value.code == 2
    assert "usage: holdfast" in capsys.readouterr().err


# --- configuration files ------------------------------------------------------------------------------------


@pytest.fixture
def places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The variables of a person whose files are all below one folder; the working folder is a project in it."""
    for folder in ("system/holdfast", "user/holdfast", "project/below"):
        (tmp_path / folder).mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "project" / "below")
    return {"XDG_CONFIG_HOME": str(tmp_path / "user"), "XDG_CONFIG_DIRS": str(tmp_path / "system")}


def write(tmp_path: Path, scope: str, text: str) -> None:
    file = {
        "system": "system/holdfast/config.toml", "user": "user/holdfast/config.toml", "project": "project/models.toml"
    }[scope]  # fmt: skip
    (tmp_path / file).write_text(f"[holdfast]\n{text}" if scope == "project" else text)


def test_a_flag_wins_over_a_variable_a_project_a_person_and_a_machine(
    tmp_path: Path, places: dict[str, str]
) -> None:
    assert settings_for(**places).retries == 5
    write(tmp_path, "system", "retries = 1\ntimeout = 11")
    assert (settings_for(**places).retries, settings_for(**places).timeout_seconds) == (1, 11)
    write(tmp_path, "user", "retries = 2")
    assert (settings_for(**places).retries, settings_for(**places).timeout_seconds) == (2, 11)
    write(tmp_path, "project", "retries = 3")
    assert settings_for(**places).retries == 3
    assert settings_for(**places, HOLDFAST_RETRIES="4").retries == 4
    assert settings_for("--retries", "0", **places, HOLDFAST_RETRIES="4").retries == 0


def test_ours_must_be_yes_or_no_and_theirs_is_no_unless_it_is_yes() -> None:
    assert settings_for(HOLDFAST_OFFLINE="TRUE").offline
    assert settings_for(HF_HUB_OFFLINE="yes").offline
    assert not settings_for(HF_HUB_OFFLINE="n").offline
    assert not settings_for(HOLDFAST_OFFLINE="0", HF_HUB_OFFLINE="1").offline
    with pytest.raises(UsageError, match="HOLDFAST_REQUIRE_HASHES"):
        settings_for(HOLDFAST_REQUIRE_HASHES="treu")


def test_isolated_means_no_file_and_no_kept_token(tmp_path: Path, places: dict[str, str]) -> None:
    write(tmp_path, "user", "retries = [")
    assert settings_for("--isolated", **places).retries == 5
    with pytest.raises(UsageError, match=r"config\.toml"):
        settings_for(**places)


def test_indexes_are_asked_in_the_order_they_are_named_each_once() -> None:
    settings = settings_for(
        "-i", "http://a/", "--extra-index-url", "http://b", "--extra-index-url", "http://a",
        HOLDFAST_EXTRA_INDEX_URL="http://never",
    )  # fmt: skip
    assert settings.indexes == ("http://a", "http://b")
    assert settings_for(HOLDFAST_EXTRA_INDEX_URL="http://b https://c/").indexes[1:] == (
        "http://b",
        "https://c",
    )
    assert settings_for("--no-index", "--extra-index-url", "http://b").indexes == ()


def test_what_is_repeatable_counts_before_and_after_the_command() -> None:
    args = build_parser().parse_args(
        ["--extra-index-url", "http://a", "list", "--extra-index-url", "http://b"]
    )
    assert read_settings(args, {}).indexes[1:] == ("http://a", "http://b")
    assert read_settings(build_parser().parse_args(["--trusted-host", "H:1", "list"]), {}).trusted_hosts == (
        "h:1",
    )


def test_places_to_find_models_in_are_absolute_or_addresses(tmp_path: Path, places: dict[str, str]) -> None:
    (tmp_path / "project" / "wheel house").mkdir()
    write(tmp_path, "project", 'find-links = ["wheel house", "https://models.example/tree/"]')
    assert settings_for(**places).find_links == (
        str(tmp_path / "project" / "wheel house"), "https://models.example/tree"
    )  # fmt: skip
    assert settings_for("--find-links", "here", **places).find_links == (str(Path.cwd() / "here"),)


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("500000", 500_000),
        ("500k", 500_000),
        ("10M", 10_000_000),
        ("1.5 GB", 1_500_000_000),
        ("2MiB", 2 << 20),
    ],
)
def test_rates_are_bytes_with_a_unit(text: str, size: int) -> None:
    assert settings_for("--limit-rate", text).limit_rate == size
    assert settings_for(HOLDFAST_LIMIT_RATE=text, HOLDFAST_MAX_CACHE_SIZE=text).max_cache_bytes == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1 parsec", "k", "1e9", "0x10", "9" * 30, "٣"])
def test_what_is_no_rate_is_a_usage_error(text: str) -> None:
    with pytest.raises(SystemExit):
        settings_for("--limit-rate", text)


@pytest.mark.parametrize(
    "line",
    ["retries = -1", "retries = true", "retries = 1.5", "timeout = true", "offline = 1.0", "index-url = 7",
     "extra-index-url = 3", 'extra-index-url = ["ftp://x"]', 'index-url = "http://user:secret@host"',
     "max-workers = 65", "cache-dir = []", 'progress-bar = "sometimes"', 'trusted-host = ["http://x"]',
     'ask-above = "much"', 'proxy = "socks5://x"', "[index-url]\nx = 1"],
)  # fmt: skip
def test_a_value_that_makes_no_sense_names_its_file_and_no_password(
    line: str, tmp_path: Path, places: dict[str, str]
) -> None:
    write(tmp_path, "user", line)
    with pytest.raises(UsageError, match=r"in .*config\.toml") as raised:
        settings_for(**places)
    assert "secret" not in raised.value.message


@pytest.mark.parametrize(
    ("data", "said"),
    [(b"a = 1\nb = \nc = 2", "line 2"), (b"\xff", "UTF-8"), (b"#" * 300_000, "larger"), (b"x = " + b"[" * 100_000, "")],
)  # fmt: skip
def test_a_file_that_cannot_be_read_is_an_error_with_its_name(
    data: bytes, said: str, tmp_path: Path, places: dict[str, str]
) -> None:
    (tmp_path / "user/holdfast/config.toml").write_bytes(data)
    with pytest.raises(UsageError, match=r"config\.toml") as raised:
        settings_for(**places)
    assert said in raised.value.message


def test_an_unknown_key_is_a_warning_with_advice(tmp_path: Path, places: dict[str, str]) -> None:
    write(tmp_path, "user", 'index_url = "http://a"\nindex-ulr = "http://b"\ntoken = "hf_x"')
    settings = settings_for(**places)
    assert settings.index_url == "http://a"
    spelled, secret = settings.warnings
    assert "did you mean index-url" in spelled
    assert "holdfast login" in secret
    assert "hf_x" not in secret


def test_a_key_in_the_wrong_place_is_a_warning(tmp_path: Path, places: dict[str, str]) -> None:
    (tmp_path / "project" / "models.toml").write_text(
        'limit_rate = 1\nname = "x"\n[tool.other]\nretries = 1\n'
    )
    write(tmp_path, "user", "[holdfast]\nretries = 1")
    settings = settings_for(**places)
    assert (settings.limit_rate, settings.retries) == (None, 5)
    project, user = settings.warnings
    assert "belongs in [holdfast]" in project
    assert "top level" in user


# --- what a project may be up to -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "field", "kept"),
    [('proxy = "http://evil:1"', "proxy", None), ('cert = "ca.pem"', "cert", None),
     ('trusted-host = ["x"]', "trusted_hosts", ()), ('client-cert = "c.pem"', "client_cert", None),
     ('log = "x"', "log", None), ("max-cache-size = 1", "max_cache_bytes", None),
     ('ask-above = "1P"', "ask_above_bytes", 20_000_000_000), ("require-hashes = false", "require_hashes", True),
     ("offline = false", "offline", True), ('cache-dir = "../x"', "cache_dir", Path("/own")),
     ('find-links = ["/etc"]', "find_links", ()), ('find-links = ["s3://x"]', "find_links", ()),
     ('extra-index-url = ["s3+https://evil"]', "indexes", ("http://127.0.0.1:8000",))],
)  # fmt: skip
def test_a_project_cannot(
    line: str, field: str, kept: object, tmp_path: Path, places: dict[str, str]
) -> None:
    write(tmp_path, "user", 'require-hashes = true\noffline = true\ncache-dir = "/own"')
    write(tmp_path, "project", line)
    settings = settings_for(**places)
    assert getattr(settings, field) == kept
    assert line.partition(" ")[0] in settings.warnings[0]


def test_a_project_can_be_stricter_and_keep_its_weights_beside_itself(
    tmp_path: Path, places: dict[str, str]
) -> None:
    write(tmp_path, "project", 'require-hashes = true\ncache-dir = "weights"\nlimit-rate = "1M"')
    settings = settings_for(**places)
    assert (settings.require_hashes, settings.limit_rate, settings.warnings) == (True, 1_000_000, ())
    assert settings.cache_dir == tmp_path / "project" / "weights"


def test_a_project_cannot_reach_out_of_its_folder_by_a_link(tmp_path: Path, places: dict[str, str]) -> None:
    (tmp_path / "project" / "weights").symlink_to(tmp_path / "user")
    write(tmp_path, "project", 'cache-dir = "weights"')
    assert settings_for(**places, HF_HOME="/h").cache_dir == Path("/h/hub")


def test_no_token_goes_to_an_index_that_only_a_project_names(tmp_path: Path, places: dict[str, str]) -> None:
    (tmp_path / "token").write_text("hf_file")
    tokens = {"HOLDFAST_TOKEN": "hf_a", "HF_TOKEN": "hf_b", "HF_TOKEN_PATH": str(tmp_path / "token")}
    write(tmp_path, "user", 'index-url = "https://ours"')
    write(
        tmp_path,
        "project",
        'index-url = "https://evil"\nextra-index-url = ["http://ours", "https://ours:444"]',
    )
    settings = settings_for(**places, **tokens)
    assert (settings.index_url, settings.index_is_own) == ("https://evil", False)
    assert [settings.token_for(url) for url in settings.indexes] == [None, None, None]
    assert settings.token_for("https://ours:443/x") == "hf_a"
    assert "HOLDFAST_TOKEN is not for https://evil" in settings.warnings[0]
    assert settings_for("-i", "https://evil", **places, **tokens).token == "hf_a"


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="needs root, to make another user's file")
def test_a_project_that_another_user_planted_is_not_ours(tmp_path: Path, places: dict[str, str]) -> None:
    write(tmp_path, "project", "retries = 1")
    os.chown(tmp_path / "project" / "models.toml", 12345, 12345)
    assert settings_for(**places).retries == 1
    (tmp_path / "project").chmod(0o1777)
    settings = settings_for(**places)
    assert settings.retries == 5
    assert "another user" in settings.warnings[0]


def test_each_system_has_its_own_places() -> None:
    home = Path.home()
    assert user_folder({}, "linux") == home / ".config/holdfast"
    assert user_folder({}, "darwin") == home / "Library/Application Support/holdfast"
    assert user_folder({"APPDATA": "/roaming"}, "win32") == Path("/roaming/holdfast")
    assert user_folder({"XDG_CONFIG_HOME": "/x"}, "linux") == Path("/x/holdfast")
    assert system_file({}, "linux").path == Path("/etc/holdfast/config.toml")
    assert system_file({}, "darwin").path == Path("/Library/Application Support/holdfast/config.toml")
    assert system_file({"PROGRAMDATA": "/data"}, "win32").path == Path("/data/holdfast/config.toml")
