"""`holdfast completion SHELL`: the scripts know every command and flag, and ask the cache for names."""

import shutil
import subprocess

import pytest
from holdfast.arguments import build_parser, command_parsers
from holdfast.completing import SHELLS, script_for
from holdfast.outline import read_outline

from tests.client.running import COMMAND, Home

AS_FUNCTION = f'holdfast() {{ {COMMAND[0]} -m holdfast "$@"; }}'


def in_bash(home: Home, *words: str) -> list[str]:
    """What bash offers after these words, the last of which is being typed."""
    asked = " ".join(f"'{word}'" for word in words)
    code = (
        f"{AS_FUNCTION}\n{script_for('bash', read_outline())}\n"
        f"COMP_WORDS=(holdfast {asked}); COMP_CWORD={len(words)}; _holdfast; printf '%s\\n' \"${{COMPREPLY[@]}}\""
    )
    command = ["bash", "--norc", "-c", code]
    done = subprocess.run(
        command, env=home.environment(), capture_output=True, text=True, check=True, cwd=home.folder
    )
    assert done.stderr == ""
    return done.stdout.split()


def test_bash_offers_commands_flags_and_choices(home: Home) -> None:
    assert in_bash(home, "pu")[0] == "pull"
    assert "--dry-run" in in_bash(home, "pull", "--d")
    assert in_bash(home, "pull", "--progress-bar", "") == ["on", "off", "json"]
    assert in_bash(home, "--json", "completion", "") == list(SHELLS)
    assert "--sort" in in_bash(home, "ls", "--s")
    assert not [word for word in in_bash(home, "") if word.startswith("-")]


def test_bash_offers_cached_repos_and_folders(home: Home) -> None:
    snapshot = home.cache / "models--org--model" / "snapshots" / ("c" * 40)
    snapshot.mkdir(parents=True)
    (home.folder / "dest").mkdir()
    assert in_bash(home, "pull", "org/") == ["org/model"]
    assert in_bash(home, "pull", "--dest", "de") == ["dest"]


@pytest.mark.parametrize("shell", SHELLS)
def test_every_shell_knows_every_command_and_flag(home: Home, shell: str) -> None:
    script = script_for(shell, read_outline())
    for name, parser in command_parsers(build_parser()).items():
        assert name in script
        for action in parser._actions:
            for flag in action.option_strings:
                bare = flag[2:]
                assert not flag.startswith("--") or flag in script or f"-l {bare}" in script, (shell, flag)


def test_the_scripts_are_printed_and_others_refused(home: Home) -> None:
    assert home.ok("completion", "bash").stdout.startswith("# bash completion")
    assert home.ok("completion", "zsh", "--json").json["script"].startswith("#compdef holdfast")
    assert home.run("completion", "tcsh").code == 2


def test_fish_understands_its_script(home: Home) -> None:
    fish = shutil.which("fish")
    if fish is None:
        pytest.skip("no fish on this machine")
    code = f"{script_for('fish', read_outline())}\ncomplete -C 'holdfast --json completion '"
    done = subprocess.run([fish, "--no-config", "-c", code], capture_output=True, text=True, check=True)
    assert {line.split("\t")[0] for line in done.stdout.splitlines()} == set(SHELLS)


def test_zsh_understands_its_script(home: Home) -> None:
    zsh = shutil.which("zsh")
    if zsh is None:
        pytest.skip("no zsh on this machine")
    script = script_for("zsh", read_outline())
    assert subprocess.run([zsh, "-n"], input=script, text=True, check=True).returncode == 0
