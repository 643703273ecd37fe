"""The words of `show`: a few facts a line, the variants as a table, and how to get the model."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Sequence

from holdfast.asking.describing import Copies, Description, Relative
from holdfast.choosing.best import FAILED, VERIFIED
from holdfast.choosing.choices import as_facts
from holdfast.output import choice_lines, table, width
from holdfast.reference import REGISTRIES
from holdfast.sources.remote import Choice
from holdfast.text import count, format_bytes, format_count, printable

LABEL_WIDTH = 12
MOST_RELATIVES = 5
MOST_TAGS = 12
_DERIVED_TAGS = ("license:", "base_model:", "region:", "dataset:")


def description_lines(described: Description) -> list[str]:
    """All that is known, at the width of the terminal."""
    lines = [f"{described.repo_id}@{printable(described.revision)} is commit {described.commit[:12]}"]
    lines += [line for label, words in _facts(described) for line in _wrapped(label, words)]
    if described.choices:
        lines += ["", "variants", *choice_lines(as_facts(described.choices), described.repo_id)]
    return [*lines, "", "get it", *(f"  {line}" for line in _commands(described))]


def file_lines(described: Description) -> list[str]:
    """Every file with its size and digest, which is cut; --json has it whole."""
    rows = [
        (format_bytes(file.size_bytes), (file.sha256 or file.git_oid or "")[:16], printable(file.path))
        for file in described.files
    ]
    return table(("SIZE", "DIGEST", "PATH"), rows, right=(0,), flexible=2) if rows else []


def _wrapped(label: str, words: str) -> list[str]:
    return textwrap.wrap(
        words, width(), initial_indent=f"  {label:{LABEL_WIDTH}}", subsequent_indent=" " * (LABEL_WIDTH + 2),
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip


def _facts(described: Description) -> Iterator[tuple[str, str]]:
    """(label, words) of everything that is told."""
    yield "index", printable(described.index_url)
    if described.modified:
        yield "changed", described.modified[:10]
    yield from _of_card(described)
    yield from _of_lineage(described)
    yield "files", f"{count(len(described.files), 'file')}, {format_bytes(described.size_bytes)}"
    if described.copies:
        yield from _of_copies(described.copies)
    if described.choices and any(choice.verdict for choice in described.choices):
        yield "validation", _verdicts(described)


def _of_card(described: Description) -> Iterator[tuple[str, str]]:
    yield "licence", described.licence or "none named"
    if described.gated or described.private:
        words = ["gated: accept its conditions at the index"] if described.gated else []
        yield "access", ", ".join(words + (["private"] if described.private else []))
    if described.task or described.library:
        yield "task", ", ".join(filter(None, (described.task, described.library)))
    if model := _model(described):
        yield "model", model
    if described.languages:
        yield "languages", ", ".join(described.languages[:MOST_TAGS])
    told = {described.task, described.library, *described.languages}
    tags = [tag for tag in described.tags if tag not in told and not tag.startswith(_DERIVED_TAGS)]
    if tags:
        yield (
            "tags",
            ", ".join(tags[:MOST_TAGS])
            + (f" and {len(tags) - MOST_TAGS} more" if len(tags) > MOST_TAGS else ""),
        )
    if described.downloads or described.likes:
        yield "seen", f"{count(described.downloads or 0, 'download')}, {count(described.likes or 0, 'like')}"


def _model(described: Description) -> str:
    parts = [described.architecture] if described.architecture else []
    if described.parameter_count:
        parts.append(f"{format_count(described.parameter_count)} parameters")
    lengths = [described.context_length, *(choice.context_length for choice in described.choices)]
    if any(lengths):
        parts.append(f"{next(filter(None, lengths)):,} tokens of context")
    return ", ".join(parts)


def _of_lineage(described: Description) -> Iterator[tuple[str, str]]:
    if described.parents:
        yield "made from", _relatives(described.parents)
    elif described.base_models:
        yield "made from", ", ".join(described.base_models[:MOST_RELATIVES])
    if described.children:
        yield "made of it", _relatives(described.children)


def _relatives(relatives: Sequence[Relative]) -> str:
    shown = [f"{one.repo_id} ({', '.join(filter(None, (one.relation, one.evidence.replace('_', ' '))))})"
             for one in relatives[:MOST_RELATIVES]]  # fmt: skip
    more = len(relatives) - MOST_RELATIVES
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _of_copies(copies: Copies) -> Iterator[tuple[str, str]]:
    held = "complete" if copies.is_complete else "not complete"
    stores = f" in {', '.join(copies.stores)}" if copies.stores else ""
    yield "copies", f"{held}: {copies.n_present} of {count(copies.n_blobs, 'blob')}{stores}"
    yield "fixity", _fixity(copies)
    if copies.upstream:
        asked = f", asked {copies.upstream_asked_at[:10]}" if copies.upstream_asked_at else ""
        trouble = f"; in trouble: {copies.upstream_trouble}" if copies.upstream_trouble else ""
        yield "upstream", " ".join(filter(None, (copies.upstream, copies.upstream_repo_id))) + asked + trouble


def _fixity(copies: Copies) -> str:
    if copies.newest_check is None:
        return "never checked since it arrived"
    first, last = (copies.oldest_check or copies.newest_check)[:10], copies.newest_check[:10]
    when = last if first == last else f"between {first} and {last}"
    never = f"; {count(copies.n_never_checked, 'blob')} never" if copies.n_never_checked else ""
    return f"last verified {when}{never}"


def _verdicts(described: Description) -> str:
    """`2 verified, 1 damaged; 3 not tested`"""
    told = [choice.verdict for choice in described.choices if choice.verdict not in (None, "untested")]
    rest = len(described.choices) - len(told)
    words = ", ".join(f"{told.count(word)} {printable(word)}" for word in dict.fromkeys(told))
    return "; ".join(filter(None, (words, f"{rest} not tested" if rest else "")))


def _commands(described: Description) -> list[str]:
    """What to type, for what there is."""
    name = described.address
    models = [choice for choice in described.choices if choice.is_gguf]
    if name.startswith(REGISTRIES):
        return [
            f"holdfast pull {name}",
            *(f'llama-cli -m "$(holdfast pull -q {name}//{one.path})"' for one in models[:1]),
        ]
    lines = [f"holdfast pull {name}"]
    if models:
        chosen = f"{name}:{printable(_suggested(models))}"
        lines = [f"holdfast pull {name}:best", f'llama-cli -m "$(holdfast pull -q {chosen})"']
    if any(choice.variant == "safetensors" for choice in described.choices):
        revision = "" if described.revision == "main" else f', revision="{described.commit}"'
        lines.append(f"holdfast pull {name}:safetensors")
        lines.append(f'AutoModel.from_pretrained("{described.repo_id}"{revision}, local_files_only=True)')
    return lines


def _suggested(models: Sequence[Choice]) -> str:
    """A type that suits most machines, of those that did not fail; else the first that is verified, else the first."""
    good = [choice.variant for choice in models if choice.verdict not in FAILED] or [models[0].variant]
    verified = [choice.variant for choice in models if choice.verdict == VERIFIED]
    return next((name for name in ("Q4_K_M", "Q8_0") if name in good), (verified or good)[0])
