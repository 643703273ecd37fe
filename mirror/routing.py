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
            binding = bind("org/name", ref, commit)  # raises BoundElsewhere, HeldForReview
"""

import re
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

from django.conf import settings
from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models.functions import Lower
from django.utils import timezone

from mirror.owners import check_owner, identity_of, note
from mirror.upstream import DEFAULT_REVISION, UpstreamRef, parse_hub
from mirror.upstream.base import RemoteCommit
from registry.models import Binding, Event, Organisation, Repo, Upstream
from registry.models.repo import RESERVED_NAMESPACES

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


# --- whom to ask ------------------------------------------------------------------------------------------


def candidates(repo_type: str, repo_id: str, revision: str = DEFAULT_REVISION) -> list[UpstreamRef]:
    """The upstreams to ask for that name, in order; none if nobody may be asked. At most four queries.

    No query, and nothing, while HOLDFAST_PULL_THROUGH is empty.
    """
    endpoints = pull_through()
    if not endpoints or not _is_askable(repo_id) or is_ours(repo_id):
        return []
    binding = binding_of(repo_type, repo_id)
    if binding and binding.state == Binding.State.HELD:
        return []
    homes = _homes(binding, _repo_of(repo_type, repo_id))
    name = homes[0].repo_id if homes else repo_id
    refs = [UpstreamRef("huggingface", endpoint, name, revision, repo_type) for endpoint in endpoints]
    return [ref for ref in refs if all(home.is_at(ref) for home in homes)]


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


def bind(repo_id: str, ref: UpstreamRef, commit: RemoteCommit) -> Binding:
    """What upstream answered when `repo_id` was asked for is believed: the name is bound to it; its row.

    `ref` is the candidate that had it; it names another repo where ours is called otherwise here. Where upstream leads
    on to another name (the repo was moved there), both are bound, and the row is that of the name that upstream gives.
    Idempotent; of two processes that race for a name, both get the one row that is there.
    Raises BoundElsewhere, also when upstream leads to a name that is ours or another upstream's, and HeldForReview.
    """
    is_moved = commit.repo_id.lower() != ref.repo_id.lower() == repo_id.lower()
    if not is_moved:
        return bind_as(repo_id, ref, commit)
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


def bind_by_hand(repo_id: str, ref: UpstreamRef, *, by: str, instead: bool = False) -> Binding:
    """An operator says where the name belongs before anybody asks for it; an event says who.

    `instead` of where it belonged before, as long as nothing of that is here. Raises BoundElsewhere.
    """
    repo, binding = _repo_of(ref.repo_type, repo_id), binding_of(ref.repo_type, repo_id)
    _refuse_other_home(repo_id, _homes(None if instead else binding, repo), ref)
    upstream, _ = Upstream.objects.get_or_create(kind=ref.kind, endpoint=ref.endpoint)
    if binding and binding.upstream == upstream:
        return binding
    told = {"instead_of": str(binding.upstream)} if binding else {}
    binding = binding or Binding(repo_type=ref.repo_type, repo_id=repo_id)
    binding.upstream, binding.state, binding.reason = upstream, Binding.State.BOUND, ""
    binding.upstream_repo_id = "" if ref.repo_id.lower() == repo_id.lower() else ref.repo_id
    for name in ("upstream_object_id", "owner", "seen_object_id", "seen_owner"):
        setattr(binding, name, "")
    with transaction.atomic():
        binding.save()
        note(binding, f"{repo_id} is bound to {upstream}", told, agent=by, outcome=Event.Outcome.SUCCESS)
    return binding


def check_name(repo_id: str, ref: UpstreamRef, commit: RemoteCommit) -> Binding | None:
    """The binding of the name, if it has one. Binds nothing. At most three queries.

    Raises BoundElsewhere when the name belongs to anything but this repo of this upstream, and HeldForReview when that
    repo is not the one, or not the same owner's, that it was.
    """
    binding = binding_of(ref.repo_type, repo_id)
    _refuse_other_home(repo_id, _homes(binding, _repo_of(ref.repo_type, repo_id)), ref)
    if binding:
        check_owner(binding, commit)
    return binding


@dataclass(frozen=True, slots=True)
class _Home:
    """Where a name belongs (nowhere but here: None), and what it is called there."""

    upstream: Upstream | None
    repo_id: str

    def is_at(self, ref: UpstreamRef) -> bool:
        place = self.upstream and (self.upstream.kind, self.upstream.endpoint, self.repo_id.lower())
        return place == (ref.kind, ref.endpoint, ref.repo_id.lower())

    def __str__(self) -> str:
        return f"{self.upstream} ({self.repo_id})" if self.upstream else "this registry"


def _homes(binding: Binding | None, repo: Repo | None) -> list[_Home]:
    """What binding and repo say of where a name belongs; they differ only where a repo was made under a bound name."""
    homes = [_Home(binding.upstream, binding.upstream_repo_id or binding.repo_id)] if binding else []
    return homes + ([_Home(repo.upstream, repo.upstream_repo_id or repo.repo_id)] if repo else [])


def _refuse_other_home(repo_id: str, homes: list[_Home], ref: UpstreamRef) -> None:
    for home in homes:
        if not home.is_at(ref):
            raise BoundElsewhere(repo_id, str(home), str(ref))


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
