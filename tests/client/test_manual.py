"""The manual is what the code is: a stale page fails here, and `python -m holdfast.manual --write` mends it."""

import shutil
import subprocess
from pathlib import Path

import pytest
from holdfast import manual
from holdfast.outline import read_outline

from tests.client.running import COMMAND, ROOT, Home


def test_the_committed_pages_are_fresh(capsys: pytest.CaptureFixture[str]) -> None:
    assert manual.main([]) == 0, capsys.readouterr().out


def test_stale_pages_are_named_and_written_anew(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "docs").mkdir()
    page = (ROOT / manual.PAGE).read_text()
    (tmp_path / manual.PAGE).write_text(page.replace("`--dry-run`", "`--dry-fun`"))
    assert manual.main(["--root", str(tmp_path)]) == 1
    assert capsys.readouterr().out.split() == ["stale:", str(manual.PAGE), "stale:", str(manual.MAN_PAGE)]
    assert manual.main(["--root", str(tmp_path), "--write"]) == 0
    renewed = (tmp_path / manual.PAGE).read_text()
    prose, _head, blocks = page.partition("## Every command and flag")
    assert renewed.endswith(blocks)
    assert prose.replace("`--dry-run`", "`--dry-fun`") in renewed
    assert manual.main(["--root", str(tmp_path)]) == 0


def test_a_page_that_lacks_a_command_is_refused() -> None:
    page = (ROOT / manual.PAGE).read_text()
    with pytest.raises(ValueError, match="doctor"):
        manual.renew(page.replace("generated: doctor", "generated: doktor"), read_outline())


def test_the_man_page_shows_every_flag_as_it_is_typed() -> None:
    groff = shutil.which("groff")
    if groff is None:
        pytest.skip("no groff on this machine")
    done = subprocess.run(
        [groff, "-man", "-ww", "-Tascii", "-P-cbou", str(ROOT / manual.MAN_PAGE)], capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert done.stderr == ""
    for entry in read_outline().walk():
        for flag in entry.flags:
            assert flag.names[-1] in done.stdout
    assert "-q, --quiet" in done.stdout


def test_it_is_a_program_of_its_own(home: Home) -> None:
    done = subprocess.run(
        [COMMAND[0], "-m", "holdfast.manual", "--root", str(home.folder)], env=home.environment(), capture_output=True,
        text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
