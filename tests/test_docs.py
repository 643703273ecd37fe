"""Documents go stale silently; these tests make it loud."""

import re
from pathlib import Path

import pytest
from django.core.management import get_commands, load_command_class

ROOT = Path(__file__).resolve().parent.parent
DOCS = sorted([ROOT / "README.md", *(ROOT / "docs").rglob("*.md")])


def commands() -> set[str]:
    return {
        file.stem
        for package in ("registry", "mirror", "conversion")
        for file in (ROOT / package / "management" / "commands").glob("[a-z]*.py")
    }


def settings_read() -> set[str]:
    source = (ROOT / "registry" / "settings.py").read_text()
    return set(re.findall(r'read_\w+\(\s*"([A-Z_]+)"', source))


def test_every_setting_is_in_the_operating_guide() -> None:
    guide = (ROOT / "docs" / "operate.md").read_text()
    assert len(settings_read()) > 20
    assert {name for name in settings_read() if f"`{name}`" not in guide} == set()


def test_every_command_is_in_the_operating_guide() -> None:
    guide = (ROOT / "docs" / "operate.md").read_text()
    assert "mirror" in commands()
    missing = {name for name in commands() if not re.search(rf"`(?:manage\.py )?{name}\b", guide)}
    assert missing == set()


@pytest.mark.parametrize("name", sorted(commands()))
def test_every_command_explains_itself(name: str) -> None:
    parser = load_command_class(get_commands()[name], name).create_parser("manage.py", name)
    assert parser.description
    assert parser.description.strip() in " ".join(parser.format_help().split())


def test_the_files_that_the_architecture_names_exist() -> None:
    page = (ROOT / "docs" / "architecture.md").read_text()
    named = set(re.findall(r"`((?:registry|mirror|conversion|client|tests|deploy)/[\w./-]+)`", page))
    assert len(named) > 15
    assert {path for path in named if not (ROOT / path).exists()} == set()


def test_links_between_documents_lead_somewhere() -> None:
    broken = []
    for document in DOCS:
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", document.read_text()):
            if not (document.parent / target).exists():
                broken.append(f"{document.name} -> {target}")
    assert broken == []


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = [int(file.name[:4]) for file in sorted((ROOT / "docs" / "decisions").glob("*.md"))]
    assert numbers == list(range(1, len(numbers) + 1))
