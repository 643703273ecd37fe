"""docs/cli.md says all that the code can, and nothing that it cannot."""

import argparse
import re

from holdfast import errors
from holdfast.arguments import build_parser, command_parsers
from holdfast.configuration.options import OPTIONS

from tests.client.running import ROOT, SOURCE

PAGE = (ROOT / "docs" / "cli.md").read_text()


def parsers() -> list[argparse.ArgumentParser]:
    root = build_parser()
    return [root, *command_parsers(root).values()]


def test_every_flag_is_on_the_page_and_explains_itself() -> None:
    for parser in parsers():
        for action in parser._actions:
            if not isinstance(action, argparse._SubParsersAction):
                assert action.help, action
            for flag in action.option_strings:
                assert f"`{flag}`" in PAGE or f"`{flag} " in PAGE, flag


def test_every_command_is_on_the_page_with_its_other_names() -> None:
    root = build_parser()
    commands = next(action for action in root._actions if isinstance(action, argparse._SubParsersAction))
    for name in commands.choices:
        assert f"holdfast {name}" in PAGE or f"`{name}`" in PAGE, name


def test_every_variable_that_is_read_is_on_the_page() -> None:
    source = "".join(
        (SOURCE / "holdfast" / f"{name}.py").read_text() for name in ("settings", "configuration/options")
    )
    read = set(re.findall(r'"((?:HOLDFAST|HF|HUGGINGFACE|XDG|NO)_[A-Z_]+)"', source))
    read |= {name for option in OPTIONS.values() for name in option.variables}
    assert len(read) > 8
    assert {name for name in read if f"`{name}`" not in PAGE} == set()


def test_every_error_code_is_on_the_page() -> None:
    kinds = [
        kind
        for kind in vars(errors).values()
        if isinstance(kind, type) and issubclass(kind, errors.HoldfastError)
    ]
    assert {kind.code for kind in kinds if f"`{kind.code}`" not in PAGE} == set()
