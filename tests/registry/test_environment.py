"""Typed readers of the environment."""

from pathlib import Path

import pytest

from registry import environment
from registry.environment import BadSetting


def test_a_bad_value_names_the_variable_and_what_it_accepts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_X", "many")
    for reader in (
        lambda: environment.read_int("HOLDFAST_X", 1),
        lambda: environment.read_float("HOLDFAST_X", 1),
        lambda: environment.read_bool("HOLDFAST_X", True),
        lambda: environment.read_choice("HOLDFAST_X", "a", {"a", "b"}),
    ):
        with pytest.raises(BadSetting, match=r"HOLDFAST_X=.many.*must be"):
            reader()


@pytest.mark.parametrize("value", ["0", "-1", "nan", "inf"])
def test_a_duration_is_a_number_above_zero(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HOLDFAST_X", value)
    with pytest.raises(BadSetting):
        environment.read_float("HOLDFAST_X", 1)


def test_rates_are_requests_per_seconds_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    default = {"api": (10, 60), "pages": (5, 60)}
    monkeypatch.setenv("HOLDFAST_X", "api=3000/300, pages=0")
    assert environment.read_rates("HOLDFAST_X", default) == {"api": (3000, 300), "pages": (0, 1)}
    monkeypatch.delenv("HOLDFAST_X")
    assert environment.read_rates("HOLDFAST_X", default) == default


@pytest.mark.parametrize("value", ["api", "api=5", "api=x/3", "api=5/0", "unknown=5/3", "api=-1/3"])
def test_a_rate_that_makes_no_sense_is_refused(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    monkeypatch.setenv("HOLDFAST_X", value)
    with pytest.raises(BadSetting, match="requests/seconds"):
        environment.read_rates("HOLDFAST_X", {"api": (10, 60)})


def test_an_empty_value_is_the_default(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_X", "")
    assert environment.read_int("HOLDFAST_X", 7) == 7
    assert environment.read_bool("HOLDFAST_X", True)
    assert environment.read_list("HOLDFAST_X", "a, b") == []


def test_a_secret_is_made_once_and_is_private(tmp_path: Path) -> None:
    file = tmp_path / "deep" / "secret-key"
    secret = environment.read_secret("HOLDFAST_NO_SUCH_SECRET", file)
    assert environment.read_secret("HOLDFAST_NO_SUCH_SECRET", file) == secret
    assert len(secret) > 50
    assert file.stat().st_mode & 0o077 == 0
