"""Pull requests: commits that somebody offers to a branch, under `refs/pr/<number>`, and how they are taken over."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Max
from django.utils import timezone

from mirror.committing import BranchBusy, Change, CommitRefused, Entry, Letter, entries_of, land, move_ref
from registry.ancestry import Ancestry
from registry.models import Commit, Event, PullRequest, Ref, Repo
from registry.revisions import DEFAULT, RevisionNotFound, resolve_revision

AGENT = "holdfast pull request"
OPEN = (PullRequest.Status.DRAFT, PullRequest.Status.OPEN)


class MergeConflict(CommitRefused):
    """Both sides changed the same files in different ways."""

    code = "merge-conflict"

    def __init__(self, pull_request: PullRequest, paths: Sequence[str]) -> None:
        named = ", ".join(sorted(paths)[:10]) + (" …" if len(paths) > 10 else "")
        super().__init__(
            f"{pull_request} cannot be merged into {pull_request.base}: both changed {named}. "
            f"Make them the same in refs/pr/{pull_request.number} and {pull_request.base}, then merge again."
        )
        self.pull_request, self.paths = pull_request, paths


class NotOpen(CommitRefused):
    """A pull request that is closed or merged."""

    code = "not-open"

    def __init__(self, pull_request: PullRequest) -> None:
        super().__init__(f"{pull_request} is {pull_request.status}; nothing was changed.")
        self.pull_request = pull_request


# --- refs that can be written to --------------------------------------------------------------------------


def target_of(repo: Repo, revision: str) -> Ref | None:
    """The branch or pull request that the revision names, with its commit; None for tags, hashes and unknown names."""
    kind, name = Ref.Kind.BRANCH, revision.removeprefix(Ref.FOLDERS[Ref.Kind.BRANCH])
    if revision.startswith(start := Ref.FOLDERS[Ref.Kind.PULL_REQUEST]):
        kind, name = Ref.Kind.PULL_REQUEST, revision.removeprefix(start)
    return Ref.objects.filter(repo=repo, kind=kind, name=name).select_related("commit").first()


def may_continue(user: User, repo: Repo, number: str) -> bool:
    """Whether the pull request is the user's own and open: then it takes more commits."""
    mine = PullRequest.objects.filter(repo=repo, number=int(number), author=user, status__in=OPEN)
    return mine.exists()


def find_parent(repo: Repo, start: str) -> Commit:
    """The commit whose hash starts so. Raises RevisionNotFound."""
    return resolve_revision(repo, start)


# --- opening ----------------------------------------------------------------------------------------------


def offer(
    user: User, repo: Repo, base: Commit, changes: Sequence[Change], letter: Letter, *, revision: str = DEFAULT,
    also: Callable[[], None] = lambda: None,
) -> tuple[PullRequest, Commit]:  # fmt: skip
    """A new pull request with one commit on top of `base`, offered to the branch that `revision` names, else `main`."""
    target = target_of(repo, revision)
    branch = target.name if target and target.kind == Ref.Kind.BRANCH else DEFAULT
    opened: list[PullRequest] = []

    def point(locked: Repo, commit: Commit) -> None:
        opened.append(
            _open(locked, user, commit, title=letter.title, description=letter.description, branch=branch)
        )
        also()

    commit = land(repo, changes, letter, look=lambda: base, point=point, agent=AGENT)
    if not opened:  # changes that change nothing make no commit, but the offer stands
        return open_pull_request(
            user, repo, letter.title, letter.description, branch=branch, commit=base
        ), base
    return opened[-1], commit


def open_pull_request(
    user: User, repo: Repo, title: str, description: str, *, branch: str = DEFAULT, commit: Commit | None = None
) -> PullRequest:  # fmt: skip
    """A new draft whose ref names what the branch names now, or `commit`."""
    with transaction.atomic():
        locked = Repo.objects.select_for_update(of=("self",)).get(pk=repo.pk)
        start = commit or resolve_revision(locked, branch)
        draft = PullRequest.Status.DRAFT
        return _open(locked, user, start, title=title, description=description, branch=branch, status=draft)


def _open(
    locked: Repo,
    user: User,
    commit: Commit,
    *,
    title: str,
    description: str,
    branch: str,
    status: str = PullRequest.Status.OPEN,
) -> PullRequest:
    """Numbers begin at 1 in each repo and are given once."""
    last = PullRequest.objects.filter(repo=locked).aggregate(last=Max("number"))["last"] or 0
    pull_request = PullRequest.objects.create(
        repo=locked,
        number=last + 1,
        title=title[:500],
        description=description,
        base=branch,
        author=user,
        status=status,
    )
    move_ref(locked, Ref.Kind.PULL_REQUEST, str(pull_request.number), commit)
    return pull_request


# --- what becomes of it -----------------------------------------------------------------------------------


def change_status(user: User, pull_request: PullRequest, status: str, *, comment: str = "") -> Event:
    """Open or closed from now on; what is merged stays so. Raises NotOpen."""
    with _locked(pull_request) as one:
        one.status = status
        one.closed_at = None if status == PullRequest.Status.OPEN else timezone.now()
        one.save(update_fields=["status", "closed_at"])
        data = {"status": status} | ({"comment": comment} if comment else {})
        return _note(user, one, f"set {one} to {status}", what="status", data=data)


def rename(user: User, pull_request: PullRequest, title: str) -> Event:
    """It is called otherwise from now on. Raises NotOpen."""
    with _locked(pull_request) as one:
        old, one.title = one.title, title[:500]
        one.save(update_fields=["title"])
        return _note(user, one, f"renamed {one}", what="title", data={"from": old, "to": one.title})


@contextmanager
def _locked(pull_request: PullRequest) -> Iterator[PullRequest]:
    """The row, which nobody else changes meanwhile. Raises NotOpen if it is merged."""
    with transaction.atomic():
        one = (
            PullRequest.objects.select_for_update(of=("self",)).select_related("repo").get(pk=pull_request.pk)
        )
        if one.status == PullRequest.Status.MERGED:
            raise NotOpen(one)
        yield one


def merge(user: User, pull_request: PullRequest, comment: str = "") -> Commit:
    """The branch has what was offered: it moves forward, or gets a commit with two parents.

    Merged file by file: what only one side changed since they parted is taken from it. Raises MergeConflict, NotOpen,
    BranchBusy.
    """
    repo = pull_request.repo
    if (forward := _fast_forward(user, pull_request, comment)) is not None:
        return forward
    offered = _head(repo, Ref.Kind.PULL_REQUEST, str(pull_request.number))

    def point(locked: Repo, commit: Commit) -> None:
        if _head(repo, Ref.Kind.PULL_REQUEST, str(pull_request.number)) != offered:
            raise BranchBusy(
                f"{pull_request} got another commit while it was merged. Look at it and merge again."
            )
        move_ref(locked, Ref.Kind.BRANCH, pull_request.base, commit)
        _close_as_merged(user, pull_request, commit, comment)

    letter = Letter.of(user, f"Merge {pull_request.title} (#{pull_request.number})"[:500], comment)
    return land(
        repo, lambda head: _merged(pull_request, head, offered), letter,
        look=lambda: _head(repo, Ref.Kind.BRANCH, pull_request.base), point=point,
        more_parents=(offered.commit_hash,), agent=AGENT,
    )  # fmt: skip


def _fast_forward(user: User, pull_request: PullRequest, comment: str) -> Commit | None:
    """The branch names what was offered, if one follows the other; None if both went on since they parted."""
    with transaction.atomic():
        locked = Repo.objects.select_for_update(of=("self",)).get(pk=pull_request.repo_id)
        pull_request.refresh_from_db()
        if pull_request.status not in OPEN:
            raise NotOpen(pull_request)
        offered = _head(locked, Ref.Kind.PULL_REQUEST, str(pull_request.number))
        head, before = _head(locked, Ref.Kind.BRANCH, pull_request.base), Ancestry(locked)
        if head.commit_hash not in before.of(offered) and offered.commit_hash not in before.of(head):
            return None
        newer = offered if head.commit_hash in before.of(offered) else head
        move_ref(locked, Ref.Kind.BRANCH, pull_request.base, newer)
        _close_as_merged(user, pull_request, newer, comment)
    return newer


def conflicts_of(pull_request: PullRequest) -> list[str]:
    """The paths that keep it from being merged now."""
    repo = pull_request.repo
    head = _head(repo, Ref.Kind.BRANCH, pull_request.base)
    try:
        _merged(pull_request, head, _head(repo, Ref.Kind.PULL_REQUEST, str(pull_request.number)))
    except MergeConflict as conflict:
        return list(conflict.paths)
    return []


def _merged(pull_request: PullRequest, head: Commit | None, offered: Commit) -> list[Change]:
    """What has to change in `head` so that it has what `offered` changed since they parted."""
    parted = Ancestry(pull_request.repo).parting(head, offered) if head else None
    before = entries_of(parted) if parted else {}
    ours, theirs = entries_of(head) if head else {}, entries_of(offered)
    changes, conflicts = [], []
    for path in sorted(before.keys() | theirs.keys()):
        was, is_ours, is_theirs = (_oid(side.get(path)) for side in (before, ours, theirs))
        if is_theirs in (was, is_ours):
            continue
        if is_ours != was:
            conflicts.append(path)
        changes.append(Change(path, theirs.get(path)))
    if conflicts:
        raise MergeConflict(pull_request, conflicts)
    return changes


def _oid(entry: Entry | None) -> str | None:
    return entry.git_oid if entry else None


def _head(repo: Repo, kind: str, name: str) -> Commit:
    try:
        return Ref.objects.select_related("commit").get(repo=repo, kind=kind, name=name).commit
    except Ref.DoesNotExist:
        raise RevisionNotFound(repo.repo_id, Ref.FOLDERS[Ref.Kind(kind)] + name) from None


def _close_as_merged(user: User, pull_request: PullRequest, commit: Commit, comment: str) -> None:
    """Inside the transaction that moves the branch."""
    pull_request.status, pull_request.merge_commit = PullRequest.Status.MERGED, commit.commit_hash
    pull_request.closed_at = timezone.now()
    pull_request.save(update_fields=["status", "merge_commit", "closed_at"])
    data = {"status": "merged"} | ({"comment": comment} if comment else {})
    done = f"merged {pull_request} into {pull_request.base}"
    _note(user, pull_request, done, what="status", data=data, commit=commit)


def _note(
    user: User, one: PullRequest, done: str, *, what: str, data: dict[str, str], commit: Commit | None = None
) -> Event:
    """What was done is on record, for the repo's page and for whoever reads the pull request."""
    return Event.objects.create(
        type=Event.Type.METADATA, agent=AGENT, repo=one.repo, commit=commit,
        summary=f"{user.get_username()} {done}: {one.title}"[:500],
        detail={"by": user.get_username(), "number": one.number, "what": what, "data": data},
    )  # fmt: skip
