"""What the list of repos may be narrowed by: words of the id, author, tags, task, library, app, size, gate.

Three filters are ours, and other hubs pass over them: `quantization`, `verdict`, `upstream_gone`.
"""

import json
import re
from functools import reduce
from operator import or_

from django.db import connection
from django.db.models import Exists, JSONField, OuterRef, Q, TextField, Value
from django.db.models.functions import Cast, Lower
from django.http import HttpRequest

from mirror.hub import wire
from mirror.hub.asking import read_flag, read_values
from mirror.hub.errors import bad_request
from registry.gone import gone_or_not
from registry.models import Artifact, File, Repo, Validation
from registry.models.repo import RepoQuerySet
from registry.models.validation import VERDICTS
from registry.search import FACETS

MOST_FILTERS = 20
_LANGUAGE = re.compile(r"[a-z]{2,3}")
_PARAMETERS = re.compile(r"(min|max):(\d{1,9}(?:\.\d{1,9})?)([KMBT]?)", re.IGNORECASE)
_TYPE = re.compile(r"[A-Za-z0-9_-]{1,30}")
_UNITS = {"": 1, "K": 10**3, "M": 10**6, "B": 10**9, "T": 10**12}
# Local programs and the format of weights that they load.
APPS = {
    "llama.cpp": "gguf", "llama-cpp-python": "gguf", "ollama": "gguf", "lmstudio": "gguf", "jan": "gguf",
    "koboldcpp": "gguf", "vllm": "safetensors", "sglang": "safetensors", "mlx-lm": "safetensors",
}  # fmt: skip


def filtered(
    request: HttpRequest, repos: RepoQuerySet, repo_type: str, *, by_index: bool = True
) -> RepoQuerySet:
    """The repos that match every filter of the query; a filter that is malformed is a 400.

    Not `by_index`, words are looked for in the id of every one of `repos`, which are few.
    """
    query = request.GET
    if any("\0" in value for _, values in query.lists() for value in values):
        raise bad_request("the query holds a NUL character.")
    for word in query.get("search", "").split()[:MOST_FILTERS]:
        repos = repos.with_word(word, by_index=by_index)
    if author := query.get("author"):
        repos = repos.of_namespace(author)
    if task := query.get("pipeline_tag"):
        repos = repos.filter(head__pipeline_tag=task)
    if library := query.get("library"):
        repos = repos.filter(head__library_name=library)
    if query.get("gated"):
        repos = repos.exclude(gated="") if read_flag(request, "gated") else repos.filter(gated="")
    tags = [tag for tags in read_values(request, "filter") for tag in tags.split(",") if tag]
    repos = _with_tags(repos, tags + _formats_for(read_values(request, "apps")), repo_type)
    return _of_our_own(request, _with_parameters(repos, query.get("num_parameters", "")))


def _of_our_own(request: HttpRequest, repos: RepoQuerySet) -> RepoQuerySet:
    """Narrowed by what no other hub knows. Values of one filter widen the result, as in the catalog."""
    if types := read_values(request, "quantization"):
        repos = _with_quantization(repos, types)
    if verdicts := read_values(request, "verdict"):
        if unknown := set(verdicts) - set(VERDICTS):
            raise bad_request(f"verdict={min(unknown)[:40]} is unknown; there are {', '.join(VERDICTS)}.")
        repos = _with_verdict(repos, verdicts)
    if request.GET.get("upstream_gone"):
        repos = gone_or_not(repos, is_gone=read_flag(request, "upstream_gone"))
    return repos


def _with_verdict(repos: RepoQuerySet, verdicts: list[str]) -> RepoQuerySet:
    """Those of which this is the best verdict. Only those with any such one are looked at: most were never judged."""
    if "untested" not in verdicts:
        said = Validation.objects.filter(verdict__in=verdicts)
        files = File.objects.filter(blob__in=said.values("blob")).values("commit")
        made = Q(pk__in=said.values("artifact__source__repo"))
        repos = repos.filter(made | Q(pk__in=said.values("artifact__published_in__repo")) | Q(head__in=files))
    return FACETS["verdict"].narrow(repos, verdicts)


def _with_quantization(repos: RepoQuerySet, types: list[str]) -> RepoQuerySet:
    """Those of which such an artifact was made here, and those that have a GGUF file with the type in its name."""
    if bad := [name for name in types if not _TYPE.fullmatch(name)]:
        raise bad_request(f"quantization={bad[0][:40]} is not the name of a type, such as Q4_K_M.")
    names = "|".join(re.escape(name) for name in types[:MOST_FILTERS])
    of_head = File.objects.filter(commit=OuterRef("head"), path__iendswith=".gguf")
    spelled = reduce(
        or_, (Q(path__icontains=name) for name in types[:MOST_FILTERS])
    )  # quicker than a pattern
    named = of_head.filter(spelled, path__iregex=rf"(^|[-._/])({names})($|[-./])")
    published = Artifact.objects.filter(state=Artifact.State.PUBLISHED)
    made = published.filter(recipe__name__iregex=f"^({names})$")
    by_source = made.filter(source__repo=OuterRef("pk"), published_in__repo__private=False)
    by_home = made.filter(published_in__repo=OuterRef("pk"))
    return repos.filter(Exists(named) | Exists(by_source) | Exists(by_home))


def _formats_for(apps: list[str]) -> list[str]:
    """The tags that a repo must have for these programs to run it."""
    names = [name.strip() for some in apps for name in some.split(",") if name.strip()]
    if unknown := [name for name in names if name not in APPS]:
        raise bad_request(f"apps={unknown[0][:40]} is unknown; there are {', '.join(sorted(APPS))}.")
    return [APPS[name] for name in names]


def _with_tags(repos: RepoQuerySet, wanted: list[str], repo_type: str) -> RepoQuerySet:
    """Those that have every tag, whatever the case of its letters.

    Tags and cards are JSON. PostgreSQL looks into it by an index; SQLite cannot, there it is compared as text.
    """
    if not wanted:
        return repos
    if _looks_into_json():
        lowered = {"tags_lower": _lowered("head__tags"), "card_lower": _lowered("head__card_data")}
        repos = repos.alias(**lowered)
    else:
        repos = repos.alias(tags_text=Cast("head__tags", TextField()))
    return repos.filter(*[_has_tag(tag.strip(), repo_type) for tag in wanted[:MOST_FILTERS]])


def _has_tag(tag: str, repo_type: str) -> Q:
    """Whether `wire.tags` names it."""
    kind, _, value = tag.partition(":")
    if kind == "license" and value:
        return Q(head__license__iexact=value)
    if tag == "region:us":
        return Q()
    ways = Q(head__pipeline_tag=tag) | Q(head__library_name=tag) | _lists(tag)
    key = wire.TAGGED[repo_type].get(kind)
    if key and value:
        ways |= _says(key, value)
    if repo_type == Repo.Type.MODEL:
        if _LANGUAGE.fullmatch(tag):
            ways |= _says("language", tag)
        if tag in wire.TOLD:
            ways |= Q(head__card_data__has_key=tag)
    return ways


def _lists(tag: str) -> Q:
    """Whether the card says the tag among its tags."""
    return Q(tags_lower__contains=_lowered([tag])) if _looks_into_json() else _in_json("tags_text", tag)


def _says(key: str, value: str) -> Q:
    """Whether the card says the value under the key, alone or in a list."""
    if _looks_into_json():
        alone, listed = _lowered({key: value}), _lowered({key: [value]})
        return Q(card_lower__contains=alone) | Q(card_lower__contains=listed)
    field = f"head__card_data__{key}"
    return Q(**{f"{field}__iexact": value}) | _in_json(field, value)


def _looks_into_json() -> bool:
    return connection.vendor == "postgresql"


def _lowered(what: object) -> Cast:
    """A column's JSON, or a value as JSON, in lower case: as the indexes of migration 0009 have it."""
    text = Cast(what, TextField()) if isinstance(what, str) else Value(json.dumps(what, ensure_ascii=False))
    return Cast(Lower(text), JSONField())


def _in_json(field: str, value: str) -> Q:
    """Whether the JSON text holds the value: in the column as it was escaped, in what is taken out of it plain."""
    plain, escaped = json.dumps(value, ensure_ascii=False), json.dumps(value)
    return Q(**{f"{field}__icontains": plain}) | Q(**{f"{field}__icontains": escaped})


def _with_parameters(repos: RepoQuerySet, text: str) -> RepoQuerySet:
    """`min:6B,max:128B`: repos of that many parameters."""
    for part in filter(None, text.split(",")):
        match = _PARAMETERS.fullmatch(part.strip())
        if match is None:
            raise bad_request(f"num_parameters={text} is not of the form min:6B,max:128B.")
        bound, number, unit = match.groups()
        count = int(float(number) * _UNITS[unit.upper()])
        repos = repos.filter(**{f"head__parameter_count__{'gte' if bound == 'min' else 'lte'}": count})
    return repos
