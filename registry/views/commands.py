"""How to get it: the command of each client, for the shown commit and one of its variants.

Names of files and revisions come from strangers and end up in somebody's shell: everything is quoted, and a
revision other than `main` is given as its hash.
"""

import shlex
from dataclasses import dataclass
from urllib.parse import quote

from django.http import HttpRequest

from registry.models import Commit
from registry.views.frame import Frame
from registry.views.variants import VariantRow


@dataclass(frozen=True)
class Command:
    """One line to take away."""

    client: str
    line: str


def address(request: HttpRequest) -> str:
    """What a client must be told to find us: scheme and host, without a slash at the end."""
    return request.build_absolute_uri("/").rstrip("/")


def pull_commands(
    request: HttpRequest, frame: Frame, rows: list[VariantRow], chosen: VariantRow | None
) -> list[Command]:
    """Commands for the chosen variant; hf and transformers take the weights as published."""
    if frame.commit is None:
        return []
    here, repo_id = address(request), frame.repo.repo_id
    at = "" if frame.is_main else f"@{frame.commit.commit_hash}"
    variant = f":{chosen.selector}" if chosen and len([row for row in rows if row.selector]) > 1 else ""
    commands = [_holdfast(f"{here}/{repo_id}{at}{variant}"), _hf(here, frame)]
    if any(row.selector and not row.is_gguf for row in rows):
        commands.append(_transformers(frame.commit, repo_id))
    if chosen and chosen.is_gguf:
        commands.append(_llama_cpp(here, chosen))
    return commands + ([_curl(here, chosen), _check(chosen)] if chosen else [])


def _holdfast(reference: str) -> Command:
    return Command("holdfast", f"holdfast pull {shlex.quote(reference)}")


def _hf(here: str, frame: Frame) -> Command:
    revision = "" if frame.is_main or not frame.commit else f" --revision {frame.commit.commit_hash}"
    return Command("hf", f"HF_ENDPOINT={shlex.quote(here)} hf download {frame.repo.repo_id}{revision}")


def _transformers(commit: Commit, repo_id: str) -> Command:
    """Python rather than shell; both names match patterns of the database that hold no quote."""
    call = f'AutoModelForCausalLM.from_pretrained("{repo_id}", revision="{commit.commit_hash[:12]}")'
    return Command("transformers", call)


def _llama_cpp(here: str, row: VariantRow) -> Command:
    what = shlex.quote(f"{row.repo_id}:{row.selector}")
    return Command("llama.cpp", f"HF_ENDPOINT={shlex.quote(here)} llama-cli -hf {what}")


def _curl(here: str, row: VariantRow) -> Command:
    url = f"{here}/{row.repo_id}/resolve/{row.commit_hash}/{quote(row.path)}"
    return Command("curl", f"curl -LO {shlex.quote(url)}")


def _check(row: VariantRow) -> Command:
    name = row.path.rsplit("/", 1)[-1]
    return Command("check", f"echo {shlex.quote(f'{row.sha256}  {name}')} | sha256sum -c")
