"""The most exact gate decides, damaged passes none, and what a machine could not do takes back no verdict."""

import pytest
from django.core.management import CommandError, call_command

from registry.gates import BadGate, read_gates, save_gate, standings
from registry.models import Gate, Validation
from tests.checkpoints import record_commit

pytestmark = pytest.mark.django_db


def test_without_gates_only_verified_is_published_and_all_but_damaged_is_pulled() -> None:
    gate = read_gates().of("acme/model")
    assert gate.publishes == {"verified"}
    assert gate.pulls == {"verified", "loads", "partial", "unsupported", "untested"}


def test_the_most_exact_pattern_decides_whatever_its_case() -> None:
    for repos in ("*", "acme/*", "acme/model-GGUF", "*-gguf"):
        save_gate(repos, publish=["loads"], pull=None)
    gates = read_gates()
    decided = {
        name: gates.of(name).repos for name in ("x/y", "acme/y", "ACME/Model-gguf", "x/y-GGUF", "acme/y-GGUF")
    }
    assert decided == {
        "x/y": "*", "acme/y": "acme/*", "ACME/Model-gguf": "acme/model-GGUF", "x/y-GGUF": "*-gguf",
        "acme/y-GGUF": "*-gguf",
    }  # fmt: skip


def test_a_gate_is_changed_part_by_part() -> None:
    save_gate("acme/*", publish=["loads", "verified"], pull=[])
    save_gate("ACME/*", publish=None, pull=["verified"])
    gate = Gate.objects.get()
    assert (gate.repos, gate.publish, gate.pull) == ("acme/*", "verified,loads", "verified")


def test_damaged_is_nothing_that_a_gate_lets_through() -> None:
    with pytest.raises(BadGate, match="only by an override"):
        save_gate("*", publish=["damaged"], pull=None)
    with pytest.raises(BadGate, match="1 to 200"):
        save_gate("", publish=["loads"], pull=None)


def test_a_machine_that_could_not_judge_takes_back_no_verdict() -> None:
    commit = record_commit("acme/model", {"a.gguf": b"a", "b.gguf": b"b"})
    files = {file.path: file for file in commit.files.all()}
    for path, verdict in [("a.gguf", "verified"), ("a.gguf", "untested"), ("b.gguf", "untested")]:
        Validation.objects.create(
            blob=files[path].blob,
            path=path,
            parent=commit,
            verdict=verdict,
            passed=True,
            report={},
            engine="test",
        )
    held = standings(file.blob_id for file in files.values())
    assert {path: held[file.blob_id].verdict for path, file in files.items()} == {
        "a.gguf": "verified", "b.gguf": "untested",
    }  # fmt: skip


def test_the_command_sets_lists_and_removes(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("gate", "set", "acme/*", "--publish", "verified, loads")
    assert (
        "acme/*: published is verified,loads; pulled by default is verified,loads,partial"
        in capsys.readouterr().out
    )
    call_command("gate", "list")
    assert "(all others)" in capsys.readouterr().out
    call_command("gate", "remove", "acme/*")
    for wrong, status in [
        (("remove", "acme/*"), 1),
        (("set", "x/*"), 2),
        (("set", "x/*", "--pull", "damaged"), 2),
    ]:
        with pytest.raises(CommandError) as end:
            call_command("gate", *wrong)
        assert end.value.returncode == status
