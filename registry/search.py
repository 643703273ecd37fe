"""Catalog filters: query string in, queryset out.

Values of one facet widen the result, facets narrow it. The count beside a value says how many repos there would
be if it were the only value chosen of its facet. Everything runs on the columns that inspection filled in, on
SQLite and PostgreSQL alike; each call below is a fixed number of queries whatever the number of repos.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any, cast
from urllib.parse import urlencode

from django.db.models import Count, Exists, F, OrderBy, OuterRef, Q, QuerySet, Subquery, Value
from django.db.models.functions import Coalesce
from django.http import QueryDict

from registry.models import Artifact, Commit, File, Repo, Upstream, Validation
from registry.models.repo import RepoQuerySet
from registry.models.validation import VERDICTS

PAGE = 25
MOST_VALUES = 12  # of one facet; more would be a list to read, not to choose from
MOST_WORDS = 8  # of a query; each is a condition of its own
LAST_PAGE = 10_000
_DIGEST = re.compile(r"[0-9a-f]{7,64}")

SORTS: dict[str, tuple[str, list[OrderBy | str]]] = {
    "newest": ("newest here", ["-updated_at", "pk"]),
    "name": ("name", ["repo_id"]),
    "parameters": ("most parameters", [F("head__parameter_count").desc(nulls_last=True), "pk"]),
    "largest": ("largest", [F("head__size_bytes").desc(nulls_last=True), "pk"]),
}

FORMATS = {"safetensors": "safetensors", "gguf": "GGUF", "pytorch": "PyTorch"}


@dataclass(frozen=True)
class Facet:
    """One way to narrow the catalog."""

    name: str
    label: str
    narrow: Callable[[RepoQuerySet, list[str]], RepoQuerySet]
    tally: Callable[[RepoQuerySet], Iterable[tuple[str, int]]]
    words: Callable[[str], str] = str
    closed: bool = False


@dataclass(frozen=True)
class Filters:
    """What a person asked the catalog for; round-trips through the query string."""

    text: str = ""
    chosen: dict[str, list[str]] = field(default_factory=dict)
    sort: str = "newest"
    page: int = 1

    @classmethod
    def read(cls, query: QueryDict) -> "Filters":
        """Unknown names and bad numbers are ignored: an old link must still lead somewhere."""
        chosen = {name: _clean(query.getlist(name)) for name in FACETS if query.get(name)}
        sort, page = query.get("sort", ""), query.get("page", "")
        return cls(
            text=query.get("q", "").replace("\0", "").strip()[:200],
            chosen=chosen,
            sort=sort if sort in SORTS else "newest",
            page=min(max(int(page), 1), LAST_PAGE) if page.isascii() and page.isdecimal() else 1,
        )

    @property
    def is_empty(self) -> bool:
        return not self.text and not self.chosen

    def link(self, **changes: object) -> str:
        """The shareable URL of this search with some of it changed; paging starts over unless it is given."""
        wanted = replace(self, **{"page": 1} | changes)  # type: ignore[arg-type]
        pairs = [("q", wanted.text)] if wanted.text else []
        pairs += [(name, value) for name, values in wanted.chosen.items() for value in values]
        pairs += [("sort", wanted.sort)] if wanted.sort != "newest" else []
        pairs += [("page", str(wanted.page))] if wanted.page > 1 else []
        return "/?" + urlencode(pairs) if pairs else "/"

    def without(self, name: str, value: str) -> str:
        """The URL of this search with one value less."""
        rest = {
            key: [one for one in values if (key, one) != (name, value)] for key, values in self.chosen.items()
        }
        return self.link(chosen={key: values for key, values in rest.items() if values})


def _clean(values: list[str]) -> list[str]:
    """Each value once, and nothing that PostgreSQL cannot take for a text."""
    return [value for value in dict.fromkeys(values) if value and "\0" not in value][:MOST_VALUES]


def search(repos: RepoQuerySet, filters: Filters) -> RepoQuerySet:
    """The repos of `repos` that match, in order, each with its head and `verdict`. Lazy: no query yet."""
    found = _narrow(match_text(repos, filters.text), filters)
    return with_verdict(found).with_head().order_by(*SORTS[filters.sort][1])


def tally(repos: RepoQuerySet, filters: Filters) -> list[tuple[Facet, list[tuple[str, str, int, bool]]]]:
    """Each facet with its (value, words, count, chosen). At most two queries a facet."""
    matching = match_text(repos, filters.text)
    return [
        (facet, _values(facet, _narrow(matching, filters, but=facet), filters)) for facet in FACETS.values()
    ]


def _values(facet: Facet, repos: RepoQuerySet, filters: Filters) -> list[tuple[str, str, int, bool]]:
    chosen = filters.chosen.get(facet.name, [])
    counts: Counter[str] = Counter()
    for value, number in facet.tally(repos):
        if value:
            counts[value] += number
    shown = [value for value, _ in counts.most_common(MOST_VALUES)]
    shown += [value for value in chosen if value not in shown]
    return [(value, facet.words(value), counts[value], value in chosen) for value in shown]


def _narrow(repos: RepoQuerySet, filters: Filters, but: Facet | None = None) -> RepoQuerySet:
    for name, values in filters.chosen.items():
        if FACETS[name] is not but:
            repos = FACETS[name].narrow(repos, values)
    return repos


def match_text(repos: RepoQuerySet, text: str) -> RepoQuerySet:
    """The repos where every word occurs in the name or the facts, or is (the start of) a digest they hold."""
    for word in text.split()[:MOST_WORDS]:
        wanted = Q(repo_id__icontains=word) | Q(head__architecture__icontains=word)
        wanted |= Q(head__license__iexact=word) | Q(head__pipeline_tag__iexact=word)
        if _DIGEST.fullmatch(word.lower()):
            wanted |= _holds_digest(word.lower())
        repos = repos.filter(wanted)
    return repos


def _holds_digest(digest: str) -> Q:
    """Whose commit, sha256 or git oid begins so. Ranges, because `LIKE` uses no index on SQLite."""
    commits = Commit.objects.filter(commit_hash__gte=digest, commit_hash__lt=digest + "g")
    blobs = Q(blob__sha256__gte=digest, blob__sha256__lt=digest + "g")
    blobs |= Q(blob__git_oid__gte=digest, blob__git_oid__lt=digest + "g")
    files = File.objects.filter(blobs)
    return Q(pk__in=commits.values("repo")) | Q(pk__in=files.values("commit__repo"))


def with_verdict(repos: RepoQuerySet) -> RepoQuerySet:
    """Each repo with `verdict`: that of its best proven artifact or file, `untested` when none was judged.

    Three subqueries rather than one with OR, which no index serves: it read every validation for every repo.
    """
    best = Validation.objects.best_proven().values("verdict")
    of_source = best.filter(artifact__source__repo=OuterRef("pk"))[:1]
    of_derived = best.filter(artifact__published_in__repo=OuterRef("pk"))[:1]
    of_files = best.filter(blob__files__commit=OuterRef("head"))[:1]
    found = [Subquery(rows) for rows in (of_source, of_derived, of_files)]
    return repos.annotate(verdict=Coalesce(*found, Value("untested")))


def _grouped(repos: QuerySet[Repo], *columns: str) -> Iterable[tuple[str, int]]:
    rows = repos.order_by().values_list(*columns).annotate(number=Count("pk"))
    return [(str(row[0] or ""), row[-1]) for row in rows]


def _by_upstream(repos: RepoQuerySet, values: list[str]) -> RepoQuerySet:
    wanted = Q(pk__in=[])
    for value in values:
        if value == "here":
            wanted |= Q(upstream=None)
        elif value == "directory":
            wanted |= Q(upstream__kind=Upstream.Kind.DIRECTORY)
        else:
            wanted |= Q(upstream__endpoint__in=[f"https://{value}", f"http://{value}"])
    return repos.filter(wanted)


def _tally_upstream(repos: RepoQuerySet) -> Iterable[tuple[str, int]]:
    rows = repos.order_by().values_list("upstream__kind", "upstream__endpoint").annotate(number=Count("pk"))
    for kind, endpoint, number in rows:
        yield {None: "here", "directory": "directory"}.get(kind) or endpoint.split("://", 1)[-1], number


def _by_format(repos: RepoQuerySet, values: list[str]) -> RepoQuerySet:
    return repos.filter(Exists(File.objects.filter(commit=OuterRef("head"), blob__header__format__in=values)))


def _tally_format(repos: RepoQuerySet) -> Iterable[tuple[str, int]]:
    files = File.objects.filter(commit__in=repos.order_by().values("head"), blob__header__isnull=False)
    return files.values_list("blob__header__format").annotate(number=Count("commit", distinct=True))


def _by_quantization(repos: RepoQuerySet, values: list[str]) -> RepoQuerySet:
    made = Artifact.objects.filter(state=Artifact.State.PUBLISHED, recipe__name__in=values)
    of_repo = Q(source__repo=OuterRef("pk")) | Q(published_in__repo=OuterRef("pk"))
    return repos.filter(Exists(made.filter(of_repo)))


def _tally_quantization(repos: RepoQuerySet) -> Iterable[tuple[str, int]]:
    made = Artifact.objects.filter(state=Artifact.State.PUBLISHED)
    for column in ("source__repo", "published_in__repo"):
        rows = made.filter(**{f"{column}__in": repos.order_by().values("pk")}).values_list("recipe__name")
        yield from rows.annotate(number=Count(column, distinct=True))


def _by_verdict(repos: RepoQuerySet, values: list[str]) -> RepoQuerySet:
    annotated: Any = with_verdict(repos)
    return cast(RepoQuerySet, annotated.filter(verdict__in=values))


FACETS: dict[str, Facet] = {
    facet.name: facet
    for facet in [
        Facet(
            "architecture", "Architecture",
            lambda repos, values: repos.filter(head__architecture__in=values),
            lambda repos: _grouped(repos, "head__architecture"),
        ),
        Facet("format", "Format", _by_format, _tally_format, lambda value: FORMATS.get(value, value)),
        Facet("quantization", "Quantization type", _by_quantization, _tally_quantization),
        Facet(
            "verdict", "Verdict",
            _by_verdict,
            lambda repos: _grouped(with_verdict(repos), "verdict"),
            lambda value: "not tested" if value == "untested" else value if value in VERDICTS else value[:20],
        ),
        Facet(
            "upstream", "Upstream", _by_upstream, _tally_upstream,
            lambda value: {"here": "made here", "directory": "a directory"}.get(value, value),
        ),
        Facet(
            "license", "Licence",
            lambda repos, values: repos.filter(head__license__in=values),
            lambda repos: _grouped(repos, "head__license"),
        ),
    ]
}  # fmt: skip
