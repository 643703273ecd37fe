"""What a person sees at 80 columns, to the letter. HOLDFAST_WRITE_GOLDEN=1 writes the files anew: look at the diff."""

import json
import os
import re
from pathlib import Path

import pytest

from tests.client.conftest import noise
from tests.client.running import Home, Result
from tests.client.server import HoldfastHub

GOLDEN = Path(__file__).parent / "golden"


def shown(home: Home, result: Result) -> str:
    """Both streams with what differs between runs replaced; finished files in order of name."""
    text = f"{result.stdout}--- stderr\n{result.stderr}--- exit {result.code}\n"
    text = text.replace(str(home.folder), "HOME").replace(home.index_url, "http://INDEX")
    text = re.sub(r"fetched in [^\n]*", "fetched in TIME.", text)
    text = re.sub(r"\d{4}-\d\d-\d\d$", "YYYY-MM-DD", text, flags=re.MULTILINE)
    lines = text.splitlines(keepends=True)
    finished = [n for n, line in enumerate(lines) if line.startswith("  verified")]
    for n, line in zip(finished, sorted(lines[n] for n in finished), strict=True):
        lines[n] = line
    return "".join(lines)


def check_golden(name: str, text: str) -> None:
    file = GOLDEN / f"{name}.txt"
    if os.environ.get("HOLDFAST_WRITE_GOLDEN"):
        file.write_text(text)
    assert text == file.read_text()


@pytest.fixture
def world(hub: HoldfastHub, model: str, quants: str) -> HoldfastHub:
    """A base repo, a repo of its artifacts, and one with a long name and many files."""
    hub.offer("org/model", "Q8_0", "org/quants-GGUF", "quants-Q8_0.gguf", "passed")
    hub.offer("org/model", "Q4_K_M", "org/quants-GGUF", "quants-Q4_K_M.gguf", "failed")
    long = "a-rather-long-folder-name/and-another-one-below-it/weights-of-a-model-with-a-name.bin"
    hub.add("org/many", {long: noise(3_000), **{f"{n:02}.txt": b"x" * n for n in range(30)}})
    return hub


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("pull", ["pull", "org/model"]),
        ("pull-many", ["pull", "org/many", "--dry-run"]),
        ("pull-variant", ["pull", "org/quants-GGUF:q8_0"]),
        ("pull-ambiguous", ["pull", "org/quants-GGUF"]),
        ("pull-no-variant", ["pull", "org/model:Q2_K"]),
        ("pull-no-repo", ["pull", "org/nowhere"]),
        ("pull-no-revision", ["pull", "org/model@v9"]),
        ("pull-quiet", ["pull", "-q", "org/model//README.md"]),
        ("pull-bad-reference", ["pull", "org/../etc"]),
    ],
)
def test_the_words_of_pull_are_these(home: Home, world: HoldfastHub, name: str, arguments: list[str]) -> None:
    result = home.run(*arguments)
    check_golden(name, shown(home, result))
    assert max(map(len, result.stderr.replace(str(home.folder), "").splitlines()), default=0) <= 100


def test_the_words_of_list_and_check_are_these(home: Home, world: HoldfastHub) -> None:
    path = home.ok("pull", "org/model").path
    home.ok("pull", "org/quants-GGUF:F16")
    check_golden("list", shown(home, home.run("list")))
    check_golden("check", shown(home, home.run("check")))
    (path / "README.md").resolve().write_bytes(b"something else\n")
    (path / "config.json").resolve().unlink()
    check_golden("check-bad", shown(home, home.run("check")))


def test_a_mismatch_names_the_file_and_both_digests(home: Home, world: HoldfastHub) -> None:
    world.fault("corrupt", path="README.md", at=2)
    check_golden("pull-mismatch", shown(home, home.run("pull", "org/model//README.md")))


def test_the_second_pull_says_that_all_is_here(home: Home, world: HoldfastHub) -> None:
    home.ok("pull", "org/model")
    check_golden("pull-again", shown(home, home.run("pull", "org/model")))


def test_json_progress_is_one_object_per_line(home: Home, world: HoldfastHub) -> None:
    world.fault("slow", path="model-00002*", rate=20_000_000)
    result = home.ok("-q", "pull", "org/model", "--progress-bar", "json", "--json")
    events = [json.loads(line) for line in result.stderr.splitlines()]
    kinds = [event["event"] for event in events]
    assert (kinds.count("started"), kinds.count("finished")) == (7, 7)
    progress = [event for event in events if event["event"] == "progress"]
    assert [event["total_done"] for event in progress] == sorted(event["total_done"] for event in progress)
    assert all(event["total_bytes"] == 20_300_046 for event in progress)
    assert result.json["pulled"][0]["repo_id"] == "org/model"


def test_no_progress_bar_still_shows_plan_and_sum(home: Home, world: HoldfastHub) -> None:
    stderr = home.ok("pull", "org/model", "--progress-bar", "off").stderr
    assert ("verified  " in stderr, "to fetch" in stderr, "Pulled org/model@" in stderr) == (
        False,
        True,
        True,
    )


def test_verbose_shows_every_request_and_no_secret(home: Home, world: HoldfastHub) -> None:
    stderr = home.ok("-v", "pull", "org/model//README.md", HOLDFAST_TOKEN="hf_secret").stderr
    assert "GET http://127.0.0.1" in stderr
    assert "-> 200 in" in stderr
    assert "hf_secret" not in stderr


def test_without_colour_and_without_a_terminal_there_are_no_escapes(home: Home, world: HoldfastHub) -> None:
    result = home.ok("pull", "org/model", FORCE_COLOR="1")
    assert "\x1b" not in result.stderr + result.stdout


def test_an_encoding_without_the_character_is_no_error(home: Home, world: HoldfastHub) -> None:
    result = home.ok("pull", "org/model//sub folder/vocab+é#1.txt", PYTHONIOENCODING="ascii")
    assert "vocab+\\xe9#1.txt" in result.stdout


def test_a_reader_who_leaves_early_is_not_an_error_worth_words(home: Home, world: HoldfastHub) -> None:
    home.ok("pull", "org/model")
    process = home.start("list", "--json")
    assert process.stdout is not None
    process.stdout.close()
    assert process.stderr is not None
    assert "Traceback" not in process.stderr.read()
    process.stderr.close()
    assert process.wait(20) in (0, 1)


def test_the_words_of_lists_and_locks_are_these(home: Home, world: HoldfastHub) -> None:
    listed = home.folder / "models.txt"
    listed.write_text(
        "-c policy.txt\norg/model --include '*.json'\norg/many --exclude '0*' --exclude '1*' --exclude '2*'\n"
    )
    (home.folder / "policy.txt").write_text("--max-size 1M\n")
    check_golden("lock", shown(home, home.run("lock")))
    world.add("org/model", {"config.json": b"{}"})
    listed.write_text("-c policy.txt\norg/model --include '*.json'\norg/quants-GGUF:Q8_0\n")
    check_golden("lock-check", shown(home, home.run("lock", "--check")))
    check_golden("lock-upgrade", shown(home, home.run("lock", "--upgrade-model", "org/model")))
    check_golden("sync", shown(home, home.run("sync", "--locked", "--dest", "here", "--prune")))
    listed.write_text("-c policy.txt\norg/model\n\norg/quants-GGUF:F16 --format\n")
    check_golden("lock-bad-line", shown(home, home.run("lock")))
    (home.folder / "policy.txt").write_text("# ours\n--allow-licence mit,apache-2.0\n")
    check_golden("pull-denied", shown(home, home.run("pull", "org/quants-GGUF:Q8_0", "-c", "policy.txt")))
