"""Which flag or variable wins."""

from pathlib import Path

import pytest
from holdfast.arguments import build_parser
from holdfast.errors import UsageError
from holdfast.settings import Settings, read_settings


def settings_for(*arguments: str, **environ: str) -> Settings:
    return read_settings(build_parser().parse_args([*arguments, "list"]), {"HOME": "/home/ada", **environ})


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
