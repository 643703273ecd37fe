"""Which upstream answers for a name that is not held here: decided once, and never again.

The rules, in this order:

1. Names of this registry are never looked up elsewhere: those of an organisation or a user here, those of reserved
   namespaces, and every repo that is here and came from no upstream.
2. A name with a `Binding` goes to that upstream only, for ever, also after its repo was deleted here; while it is held
   for review it goes nowhere. What is held of it is served all the same.
3. Any other name is asked for at the upstreams of HOLDFAST_PULL_THROUGH in their order, if HOLDFAST_PULL_THROUGH_ALLOW
   lets it; the first that has it binds it.

Without the second rule, whoever registers a name at an upstream that is asked earlier would be believed from then on
(dependency confusion); without the comparison of owners, whoever takes over a name that was given up there.

A caller asks in this manner, and stops at the first that has it:

    for ref in candidates("model", "org/name"):
        with suppress(RepoNotFound):
            commit = open_client(ref).resolve(ref.repo_id, revision)
            binding = bind(ref, commit)      # raises BoundElsewhere, HeldForReview
"""

import re
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models.functions import Lower
from django.utils import timezone

from mirror.upstream import DEFAULT_REVISION, UpstreamRef, parse_hub
from mirror.upstream.base import RemoteCommit
from registry.models import Binding, Event, Organisation, Repo, Upstream
from registry.models.repo import RESERVED_NAMESPACES

AGENT = "holdfast routing"
_NAME = re.compile(r"(?:[A-Za-z0-9][A-Za-z0-9._-]{0,95}/)?[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


class BoundElsewhere(Exception):
    """The name belongs to this registry or to another upstream; nothing may be taken for it from this one."""

    code = "bound-elsewhere"

    def __init__(self, repo_id: str, home: str, wanted: str) -> None:
        super().__init__(
            f"{repo_id} belongs to {home}, so nothing is taken for it from {wanted}. A name keeps its upstream, so "
            "that nobody's pull changes its meaning; `manage.py mirror` it --as another name."
        )
        self.repo_id, self.home, self.wanted = repo_id, home, wanted


class HeldForReview(Exception):
    """Upstream's repo of that name is another one, or somebody else's, than the one we know."""

    code = "held-for-review"

    def __init__(self, binding: Binding) -> None:
        super().__init__(
            f"{binding.repo_id} is held for review: {binding.reason}. What is held here is still served, nothing new "
            f"is taken. If that is right, run `manage.py upstreams release {binding.repo_id}`."
        )
        self.repo_id, self.reason = binding.repo_id, binding.reason


# --- whom to ask ------------------------------------------------------------------------------------------


def candidates(repo_type: str, repo_id: str, revision: str = DEFAULT_REVISION) -> list[UpstreamRef]:
    """The upstreams to ask for that name, in order; none if nobody may be asked. At most five queries.

    No query, and nothing, while HOLDFAST_PULL_THROUGH is empty.
    """
    endpoints = pull_through()
    if not endpoints or not _is_askable(repo_id) or is_ours(repo_id):
        return []
    refs = [UpstreamRef("huggingface", one, repo_id, revision, repo_type) for one in endpoints]
    if binding := binding_of(repo_type, repo_id):
        return [] if binding.state == Binding.State.HELD else _only(refs, binding.upstream, binding)
    repo = _repo_of(repo_type, repo_id)
    return _only(refs, repo.upstream) if repo else refs


def _only(
    refs: list[UpstreamRef], home: Upstream | None, binding: Binding | None = None
) -> list[UpstreamRef]:
    """The reference to that upstream, if we may still ask it, under the name that the repo has there."""
    name = binding.upstream_repo_id if binding else ""
    return [
        replace(ref, repo_id=name or ref.repo_id)
        for ref in refs
        if home and (ref.kind, ref.endpoint) == (home.kind, home.endpoint)
    ]


def pull_through() -> list[str]:
    """The endpoints of HOLDFAST_PULL_THROUGH in their order; a system check has seen that they can be read."""
    hub = settings.HOLDFAST_HUB_ENDPOINT
    return list(dict.fromkeys(parse_hub(text, hub_endpoint=hub) for text in settings.HOLDFAST_PULL_THROUGH))


def is_ours(repo_id: str) -> bool:
    """Whether the namespace is reserved, or an organisation's or a user's of this registry. At most two queries."""
    namespace = repo_id.partition("/")[0].lower()
    if namespace in RESERVED_NAMESPACES:
        return True
    organisations = Organisation.objects.annotate(lower=Lower("name")).filter(lower=namespace)
    return organisations.exists() or User.objects.filter(username__iexact=namespace).exists()


def _is_askable(repo_id: str) -> bool:
    """Whether a hub could have it, and the operator wants us to ask."""
    if not _NAME.fullmatch(repo_id) or "--" in repo_id or ".." in repo_id or repo_id.endswith(".git"):
        return False
    patterns = settings.HOLDFAST_PULL_THROUGH_ALLOW
    return any(fnmatchcase(repo_id.lower(), pattern.lower()) for pattern in patterns)


def binding_of(repo_type: str, repo_id: str) -> Binding | None:
    """Where that name belongs, whatever the case of its letters. One query."""
    rows = Binding.objects.annotate(lower=Lower("repo_id")).filter(lower=repo_id.lower(), repo_type=repo_type)
    return rows.select_related("upstream").first()


# --- binding ----------------------------------------------------------------------------------------------


def bind(ref: UpstreamRef, commit: RemoteCommit) -> Binding:
    """What upstream answered when it was asked for `ref` is believed: the name is bound to it; its row.

    Where upstream calls the repo otherwise (it was moved there), both names are bound, and the row is that of the name
    that upstream gives. Idempotent; of two processes that race for a name, both get the one row that is there.
    Raises BoundElsewhere, also when upstream leads to a name that is ours or another upstream's, and HeldForReview.
    """
    if commit.repo_id.lower() == ref.repo_id.lower():
        return bind_as(ref.repo_id, ref, commit)
    if is_ours(commit.repo_id):
        raise BoundElsewhere(commit.repo_id, "this registry", f"{ref}, which leads there")
    binding = bind_as(commit.repo_id, replace(ref, repo_id=commit.repo_id), commit)
    bind_as(ref.repo_id, ref, commit)
    return binding


def bind_as(repo_id: str, ref: UpstreamRef, commit: RemoteCommit) -> Binding:
    """The repo that is called `repo_id` here belongs to `ref` and is the one that `commit` is of; its row.

    Raises BoundElsewhere and HeldForReview, as `check_name` does.
    """
    binding = (
        check_name(repo_id, ref, commit)
        or _add_binding(repo_id, ref, commit)
        or check_name(repo_id, ref, commit)
    )
    assert binding  # noqa: S101  # somebody was faster, and bindings are never deleted
    return binding


def check_name(repo_id: str, ref: UpstreamRef, commit: RemoteCommit) -> Binding | None:
    """The binding of the name, if it has one. Binds nothing. At most three queries.

    Raises BoundElsewhere when the name belongs to anything but this repo of this upstream, and HeldForReview when that
    repo is not the one, or not the same owner's, that it was.
    """
    if binding := binding_of(ref.repo_type, repo_id):
        _refuse_other_home(repo_id, binding.upstream, binding.upstream_repo_id or binding.repo_id, ref)
        check_owner(binding, commit)
    elif repo := _repo_of(ref.repo_type, repo_id):
        _refuse_other_home(repo_id, repo.upstream, repo.upstream_repo_id, ref)
    return binding


def _refuse_other_home(repo_id: str, home: Upstream | None, name: str, ref: UpstreamRef) -> None:
    if home is None:
        raise BoundElsewhere(repo_id, "this registry", str(ref))
    if (home.kind, home.endpoint, name.lower()) != (ref.kind, ref.endpoint, ref.repo_id.lower()):
        raise BoundElsewhere(repo_id, f"{home} ({name})", str(ref))


def _add_binding(repo_id: str, ref: UpstreamRef, commit: RemoteCommit) -> Binding | None:
    """The new row; None if somebody else was faster."""
    upstream, _ = Upstream.objects.get_or_create(kind=ref.kind, endpoint=ref.endpoint)
    try:
        with transaction.atomic():
            return Binding.objects.create(
                repo_type=ref.repo_type, repo_id=_spelled(repo_id, commit), upstream=upstream,
                upstream_repo_id="" if ref.repo_id.lower() == repo_id.lower() else ref.repo_id,
                **identity_of(commit), asked_at=timezone.now(),
            )  # fmt: skip
    except IntegrityError:
        return None


def _spelled(repo_id: str, commit: RemoteCommit) -> str:
    return commit.repo_id if commit.repo_id.lower() == repo_id.lower() else repo_id


def _repo_of(repo_type: str, repo_id: str) -> Repo | None:
    """The repo that has the name here. One query."""
    return Repo.objects.by_id(repo_id).filter(repo_type=repo_type).select_related("upstream").first()


# --- owners -----------------------------------------------------------------------------------------------


def identity_of(commit: RemoteCommit) -> dict[str, str]:
    """Upstream's own id of the repo and its owner, as it spells them; empty where it says nothing."""
    object_id, author = commit.info.get("_id"), commit.info.get("author")
    owner = author if isinstance(author, str) else commit.repo_id.rpartition("/")[0]
    return {"upstream_object_id": str(object_id or "")[:100], "owner": owner[:200]}


def check_owner(binding: Binding, commit: RemoteCommit) -> None:
    """The repo is still the one that was bound, and has still the same owner; that we asked is noted. One query.

    Raises HeldForReview when it is not, and while nobody has released it. Do not call it in a transaction: that the
    name is held must be in the database when this raises.
    """
    if binding.state == Binding.State.HELD:
        raise HeldForReview(binding)
    seen = identity_of(commit)
    changed = [name for name, value in seen.items() if _differs(getattr(binding, name), value)]
    if changed:
        _hold(binding, seen, changed)
        raise HeldForReview(binding)
    known: dict[str, Any] = {name: getattr(binding, name) or value for name, value in seen.items()}
    known["asked_at"] = timezone.now()
    for name, value in known.items():
        setattr(binding, name, value)
    binding.save(update_fields=list(known))


def _differs(known: str, seen: str) -> bool:
    return bool(known and seen) and known.lower() != seen.lower()


def _hold(binding: Binding, seen: dict[str, str], changed: list[str]) -> None:
    """The name is held, and an event says why; once, however many notice it."""
    words = {"upstream_object_id": "upstream's id of the repo", "owner": "its owner"}
    told = [f"{words[name]} was {getattr(binding, name)} and is now {seen[name]}" for name in changed]
    values = {
        "state": Binding.State.HELD, "reason": "; ".join(told)[:500],
        "seen_object_id": seen["upstream_object_id"], "seen_owner": seen["owner"],
    }  # fmt: skip
    rows = Binding.objects.filter(pk=binding.pk, state=Binding.State.BOUND)
    with transaction.atomic():
        if rows.update(**values):
            note(binding, f"{binding.repo_id} is held for review: {values['reason']}", values)
    for name, value in values.items():
        setattr(binding, name, value)


def release(binding: Binding, *, by: str) -> None:
    """The name is bound again, to the repo and owner that were seen when it was held; an event says who decided so."""
    accepted = {"upstream_object_id": binding.seen_object_id, "owner": binding.seen_owner}
    values = {name: value or getattr(binding, name) for name, value in accepted.items()}
    told = {"upstream": str(binding.upstream), "was_held_for": binding.reason, **values}
    for name, value in {
        **values,
        "state": Binding.State.BOUND,
        "reason": "",
        "seen_object_id": "",
        "seen_owner": "",
    }.items():
        setattr(binding, name, value)
    with transaction.atomic():
        binding.save(update_fields=[*values, "state", "reason", "seen_object_id", "seen_owner"])
        note(binding, f"{binding.repo_id} is released", told, agent=by, outcome=Event.Outcome.SUCCESS)


def note(
    binding: Binding, summary: str, detail: dict[str, Any], *, agent: str = AGENT,
    outcome: str = Event.Outcome.WARNING,
) -> None:  # fmt: skip
    """An event about where a name belongs, on the page of its repo if that is here."""
    repo = _repo_of(binding.repo_type, binding.repo_id)
    Event.objects.create(
        type=Event.Type.INGESTION, outcome=outcome, agent=agent, repo=repo, summary=summary[:500],
        detail={"upstream": str(binding.upstream)} | detail,
    )  # fmt: skip


def warning_of(binding: Binding | None) -> str:
    """What a client is told with what we still serve (`X-HF-Warning: topic; message`); empty when all is well."""
    if binding is None or binding.state != Binding.State.HELD:
        return ""
    told = f"held-for-review; {binding.repo_id} is served as it was, and not brought up to date: {binding.reason}"
    return told.encode("ascii", "replace").decode()
