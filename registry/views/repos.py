"""The page of a repo: what it is, whether to trust it, where it came from, how to get it."""

from collections.abc import Iterable
from typing import Any, cast

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from registry.access import Somebody, may_operate, visible_parents, visible_repos
from registry.keeping import kept_state
from registry.models import Commit, Job, Lineage, Repo, Upstream
from registry.templatetags.humane import grouped
from registry.views.card import LONGEST_CARD, render_card
from registry.views.commands import pull_commands
from registry.views.frame import Frame, open_repo
from registry.views.variants import VariantRow, variant_rows, weight_files

MOST_EDGES = 200  # of each direction on one page
HANDY_BITS = 9.0  # a weight: Q8_0 is hardly worse than the original at half its size


def repo_page(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """The overview of a repo at one revision (`?revision=`). Query count does not depend on the number of rows."""
    frame = open_repo(request, namespace, name, request.GET.get("revision", ""))
    user = request.user
    jobs = list(Job.objects.unfinished().filter(repo=frame.repo).order_by("-pk")[:5])
    if frame.commit is None:
        return render(request, "catalog/empty_repo.html", frame.context("overview", jobs=jobs))
    weights = weight_files(frame.commit)
    rows = variant_rows(frame.commit, weights)
    choices = [row for row in rows if row.selector]
    chosen = choose(choices, request.GET.get("variant", ""))
    return render(request, "catalog/repo.html", frame.context(
        "overview",
        facts=facts_of(frame.commit, rows), variants=rows, weights=weights,
        refused=[file for file in weights if file.held.header.error_code],
        chosen=chosen, choices=choices, commands=pull_commands(request, frame, rows, chosen),
        card=card_of(frame), card_refused=frame.commit.facts.get("card_refused"),
            card_is_cut=len(frame.commit.card) > LONGEST_CARD,
        kept=kept_state(frame.commit), upstream=upstream_words(frame.repo, may_operate(user)),
        edges=edges_of(frame.repo, user), jobs=jobs,
        description=f"{frame.repo.repo_id}: {len(rows)} variants, kept with digests and verdicts.",
    ))  # fmt: skip


def choose(rows: list[VariantRow], wanted: str) -> VariantRow | None:
    """The variant that somebody asked for; else the largest GGUF of at most nine bits a weight that the gate lets
    through unasked; else the first."""
    named = [row for row in rows if row.selector.lower() == wanted.lower()]
    handy = [
        row for row in rows if row.is_gguf and row.is_pulled and (row.bits_per_weight or 16) <= HANDY_BITS
    ]
    return next(iter([*named, *handy, *rows]), None)


def card_of(frame: Frame) -> str:
    commit = cast(Commit, frame.commit)
    return render_card(commit.card, frame.base, frame.blob) if commit.card else ""


def upstream_words(repo: Repo, full: bool) -> dict[str, str]:
    """Where it was copied from, in words. The paths of this machine's directories are for staff only."""
    if repo.upstream is None:
        return {}
    if repo.upstream.kind == Upstream.Kind.DIRECTORY:
        return {"host": repo.upstream.host if full else "a directory of the operator", "url": ""}
    endpoint = repo.upstream.endpoint
    is_web = endpoint.startswith(("https://", "http://"))
    return {
        "host": repo.upstream.host,
        "url": f"{endpoint.rstrip('/')}/{repo.upstream_repo_id}" if is_web else "",
    }


def edges_of(repo: Repo, user: Somebody) -> dict[str, list[Lineage]]:
    """Parents and children that this visitor may know of. Two queries."""
    parents = visible_parents(user, Lineage.objects.filter(child=repo).order_by("pk"), MOST_EDGES)
    made = Lineage.objects.filter(parent=repo, child__in=visible_repos(user).values("pk"))
    children = made.select_related("child").order_by("child__repo_id", "pk")
    return {
        "parents": _one_each(parents, "parent_repo_id"),
        "children": _one_each(children[:MOST_EDGES], "child_id"),
    }  # fmt: skip


def _one_each(edges: Iterable[Lineage], name: str) -> list[Lineage]:
    """The first edge to each relative, with `relations`: all that it is to the repo, in words."""
    found: dict[Any, Lineage] = {}
    for edge in edges:
        first = found.setdefault(getattr(edge, name), edge)
        words = edge.get_relation_display()
        first.relations = f"{first.relations}, {words}" if first is not edge else words  # type: ignore[attr-defined]
    return list(found.values())


def facts_of(commit: Commit, rows: list[VariantRow]) -> list[dict[str, Any]]:
    """Label, value and remark of each fact that inspection found."""
    facts = commit.facts
    weights = next((row for row in rows if row.selector and not row.artifact), None)
    named = facts.get("license_name") or commit.license
    return [
        {"label": "Parameters", "count": commit.parameter_count, "remark": _layers(facts.get("config"))},
        {"label": "Architecture", "text": commit.architecture, "remark": commit.library_name},
        {"label": "Context", "tokens": commit.context_length},
        {"label": "Tokenizer", **_tokenizer(facts.get("tokenizer"))},
        _weights(weights) if weights else {"label": "Formats", "text": ", ".join(facts.get("formats") or [])},
        {"label": "Licence", "text": named, "remark": _licence_remark(commit)},
    ]  # fmt: skip


def _weights(row: VariantRow) -> dict[str, Any]:
    return {"label": "Weights as published", "size": row.size_bytes, "text": row.name, "remark": row.note}


def _layers(config: Any) -> str:
    """Authors write these numbers, so they may be anything."""
    found = [
        config.get(key) if isinstance(config, dict) else None for key in ("num_hidden_layers", "hidden_size")
    ]
    if not all(type(value) is int and value > 0 for value in found):
        return ""
    return f"{grouped(found[0])} layers, width {grouped(found[1])}"


def _tokenizer(tokenizer: Any) -> dict[str, str]:
    if not isinstance(tokenizer, dict) or not tokenizer:
        return {"text": "", "remark": ""}
    size = tokenizer.get("vocab_size")
    tokens = f"{grouped(size)} tokens" if isinstance(size, int) else ""
    template = "with chat template" if tokenizer.get("has_chat_template") else "no chat template"
    return {"text": tokens or str(tokenizer.get("kind", "")), "remark": template}


def _licence_remark(commit: Commit) -> str:
    if not commit.license:
        return "none was declared"
    source = commit.facts.get("license_from")
    return f"says {source}" if source else ""
