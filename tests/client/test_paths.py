"""Which listed names may be written below a folder."""

import os
from pathlib import Path

import pytest
from holdfast.cache.layout import RepoCache
from holdfast.errors import UnsafePath
from holdfast.paths import check_collisions, check_lengths, is_inside, longest_path, why_unsafe
from hypothesis import given
from hypothesis import strategies as st


@pytest.mark.parametrize(
    "path", ["a", "a/b/c.txt", ".gitattributes", "sub folder/é#1%.txt", "...", "a..b", "日本/語"]
)
def test_ordinary_names_are_safe(path: str) -> None:
    assert why_unsafe(path, windows=False) is None


@pytest.mark.parametrize(
    "path",
    ["", "/", "/a", "a/", "a//b", ".", "..", "../a", "a/../b", "a/..", "C:a", "c:/a", "a\\b", "\\\\host\\x",
     ".git/config", "a/.GIT/hooks/x", "a\x00", "a\n", "\x7f", "\x85", "\u202e", "\u2066x", "\ud800", "x" * 256,
     "/".join(["ab"] * 400)],
)  # fmt: skip
def test_names_that_leave_or_deceive_are_not(path: str) -> None:
    assert why_unsafe(path, windows=False) is not None


@pytest.mark.parametrize(
    "path", ["con", "a/NUL.txt", "aux", "COM1", "lpt9.x", "a.", "a ", "a<b", "a?b", "aa:b", 'a"b', "b/a|c"]
)
def test_windows_reserves_more(path: str) -> None:
    assert why_unsafe(path, windows=True) is not None
    assert why_unsafe(path, windows=False) is None


@given(st.text(alphabet=st.sampled_from("a./\\:\x00 -é"), max_size=30))
def test_no_safe_name_leads_out_of_its_folder(path: str) -> None:
    if why_unsafe(path) is None:
        assert os.path.normpath(f"/root/{path}") == f"/root/{path}"


@pytest.mark.parametrize(
    "pair", [("a", "A"), ("x/a", "X/b"), ("é", "e\u0301"), ("a", "a/b"), ("A", "a/b"), ("straße", "STRASSE")]
)
def test_names_that_are_one_on_some_disks_collide(pair: tuple[str, str]) -> None:
    for order in (pair, pair[::-1]):
        with pytest.raises(UnsafePath):
            check_collisions(order, listed_by="org/name")


@given(st.lists(st.sampled_from(["a", "b", "x/a", "x/b", "x/y/a", "z.txt"]), unique=True))
def test_names_that_differ_do_not(paths: list[str]) -> None:
    check_collisions(paths, listed_by="org/name")


def test_inside_means_after_every_link_was_followed(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir()
    (tmp_path / "other").mkdir()
    (tmp_path / "root" / "link").symlink_to(tmp_path / "other")
    assert is_inside(tmp_path / "root" / "a" / "b", tmp_path / "root")
    assert not is_inside(tmp_path / "root" / "link" / "b", tmp_path / "root")
    assert not is_inside(tmp_path / "rooted" / "b", tmp_path / "root")


def test_a_path_that_is_too_long_is_refused_before_it_is_written() -> None:
    short, long = Path("/models/a.gguf"), Path("/models") / ("x" * 300)
    check_lengths([short, long], limit=longest_path() if os.name != "nt" else None)
    check_lengths([short], limit=259)
    with pytest.raises(UnsafePath, match="longer than the 259 characters"):
        check_lengths([short, long], limit=259)


@pytest.mark.parametrize("revision", ["../../main", "/etc/hostname", "a\\b", ".git/HEAD"])
def test_a_revision_that_is_no_safe_name_is_neither_read_nor_written(revision: str, tmp_path: Path) -> None:
    repo = RepoCache(tmp_path, "org/name")
    repo.write_ref("main", "a" * 40)
    repo.write_ref(revision, "b" * 40)
    assert repo.read_ref(revision) is None
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["main"]
