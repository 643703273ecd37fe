"""The commits of a repo as git sees them, and which of them an answer to a client must hold.

A parent that is not held, or not completely, cuts the history: its child is told to the client as `shallow`, just
as git's own server does in a repo that was cloned with --depth.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from dulwich.refs import check_ref_format

from mirror.git.asking import UNLIMITED_DEPTH, Fetch, Refused
from mirror.git.commits import keep_objects
from registry import git
from registry.models import Commit, Ref, Repo
from registry.revisions import DEFAULT

MOST_COMMITS = 50_000
MOST_KNOWN = 16  # commits of the client whose files need not be sent
FOLDERS = {Ref.Kind.TAG: "refs/tags/", Ref.Kind.BRANCH: "refs/heads/", Ref.Kind.PULL_REQUEST: "refs/pr/"}
HEAD_TARGET = f"refs/heads/{DEFAULT}"


@dataclass(frozen=True, slots=True)
class Node:
    """One commit, by the id that git gives its object."""

    pk: int
    oid: str
    header: git.CommitHeader


@dataclass(frozen=True)
class Selection:
    """The commits to send, which commits end the client's history now and no longer, and some that it has."""

    send: list[Node]
    shallow: list[str]
    unshallow: list[str]
    known: list[Node]


class History:
    """The complete commits of one repo. A query, and a little for each commit."""

    def __init__(self, repo: Repo) -> None:
        keep_objects(repo)
        rows = Commit.objects.filter(repo=repo, is_complete=True, git_object__isnull=False).order_by("pk")
        self.nodes: dict[str, Node] = {}
        self._by_pk: dict[int, Node] = {}
        for pk, body in rows.values_list("pk", "git_object")[: MOST_COMMITS + 1].iterator():
            node = Node(pk, git.commit_object_oid(bytes(body or b"")), git.read_commit(bytes(body or b"")))
            self.nodes[node.oid] = self._by_pk[pk] = node
        if len(self.nodes) > MOST_COMMITS:
            raise Refused(f"{repo.repo_id} has more than {MOST_COMMITS} commits; take it with `hf download`")
        self.repo = repo

    def refs(self) -> dict[str, Node]:
        """{full name: commit}, without those whose commit is not held completely. One query.

        Raises Refused when that leaves none of them: an empty clone would be a lie.
        """
        rows = Ref.objects.filter(repo=self.repo).values_list("kind", "name", "commit_id")
        named = {FOLDERS[Ref.Kind(kind)] + name: self._by_pk.get(pk) for kind, name, pk in rows}
        held = {name: node for name, node in sorted(named.items()) if node and is_ref(name)}
        if named and not held:
            raise Refused(
                f"not every file of {self.repo.repo_id} is held here yet, so git cannot have it; `hf download` can"
            )
        return held

    def is_cut(self, node: Node) -> bool:
        """Whether the history ends here because we lack a parent."""
        return any(parent not in self.nodes for parent in node.header.parents)

    def cuts(self) -> list[str]:
        """Where the history ends because we lack a parent."""
        return [node.oid for node in self.nodes.values() if self.is_cut(node)]

    def is_ready(self, asked: Fetch) -> bool:
        """Whether the client said enough: every commit that it wants follows one that it has."""
        children: dict[str, list[Node]] = {}
        for node in self.nodes.values():
            for parent in node.header.parents:
                children.setdefault(parent, []).append(node)
        later = _reach(self._known(asked.haves), lambda node: children.get(node.oid, []))
        wanted = [want for want in asked.wants if want in self.nodes]
        return bool(later) and all(want in later for want in wanted)

    def select(self, asked: Fetch) -> Selection:
        """What this client lacks of the commits that it wants."""
        wanted = self._known(asked.wants)
        ends = self._new_ends(asked, wanted) if asked.deepens else set()
        unshallow = self._deepened(asked, wanted, ends) if asked.deepens else set()
        has = _reach(self._known(asked.haves), self._parents(asked.shallow))
        reached = _reach(wanted, self._parents(ends | (asked.shallow - unshallow)))
        send = [node for oid, node in reached.items() if oid not in has]
        told = reached.values() if asked.deepens else send
        shallow = {node.oid for node in told if node.oid in ends or self.is_cut(node)} - asked.shallow
        return Selection(send, sorted(shallow), sorted(unshallow), self._edge(send, has, asked))

    # --- where the history ends ---------------------------------------------------------------------------

    def _new_ends(self, asked: Fetch, wanted: list[Node]) -> set[str]:
        """The commits whose parents the client does not want."""
        if asked.depth:
            inside = self._within(asked, wanted)
        else:
            excluded = _reach(self._excluded(asked), self._parents(set()))
            since = asked.since or 0
            every = _reach(wanted, self._parents(set()))
            inside = {
                oid for oid, node in every.items() if oid not in excluded and node.header.seconds >= since
            }
            if not inside:
                raise Refused("no commits selected for shallow requests")
        return {
            oid for oid in inside if any(parent not in inside for parent in self.nodes[oid].header.parents)
        }

    def _within(self, asked: Fetch, wanted: list[Node]) -> set[str]:
        """The commits at most `depth` away from the wanted ones, or from where the client's history ends."""
        starts, depth = wanted, asked.depth
        near: set[str] = set()
        if asked.is_relative:
            starts, depth = self._known(asked.shallow), asked.depth + 1
            near = set(_reach(wanted, self._parents(asked.shallow)))
        if depth >= UNLIMITED_DEPTH:
            return near | set(_reach(starts, self._parents(set())))
        level = {node.oid: node for node in starts}
        for _ in range(depth):
            near |= level.keys()
            parents = (parent for node in level.values() for parent in self._parents(set())(node))
            level = {parent.oid: parent for parent in parents if parent.oid not in near}
            if not level:
                break
        return near

    def _excluded(self, asked: Fetch) -> list[Node]:
        """The commits that `deepen-not` names, in full or in short."""
        refs = self.refs()
        found: list[Node] = []
        for name in asked.without:
            full = [start + name for start in ("", "refs/", *FOLDERS.values()) if start + name in refs]
            if not full:
                raise Refused(f"deepen-not: there is no ref {name[:80]!r} here")
            found.append(refs[full[0]])
        return found

    def _deepened(self, asked: Fetch, wanted: list[Node], ends: set[str]) -> set[str]:
        """Where the client's history ended, and now goes on."""
        inner = _reach(wanted, self._parents(ends))
        onward = (node for oid, node in inner.items() if oid in asked.shallow and oid not in ends)
        return {node.oid for node in onward if node.header.parents and not self.is_cut(node)}

    # --- walking ------------------------------------------------------------------------------------------

    def _known(self, oids: Iterable[str]) -> list[Node]:
        return [self.nodes[oid] for oid in oids if oid in self.nodes]

    def _parents(self, ends: set[str]) -> Callable[[Node], Iterator[Node]]:
        """The parents of a commit, none where the history ends."""

        def parents(node: Node) -> Iterator[Node]:
            if node.oid not in ends and not self.is_cut(node):
                yield from (self.nodes[parent] for parent in node.header.parents)

        return parents

    def _edge(self, send: list[Node], has: dict[str, Node], asked: Fetch) -> list[Node]:
        """Commits of the client that are close to what it gets: the parents of that, and its newest."""
        near = {
            parent: self.nodes[parent] for node in send for parent in node.header.parents if parent in has
        }
        newest = sorted(self._known(asked.haves), key=lambda node: -node.header.seconds)
        near |= {node.oid: node for node in newest[:MOST_KNOWN]}
        return list(near.values())[:MOST_KNOWN]


def is_ref(name: str) -> bool:
    """Whether git would accept a ref of this name."""
    return bool(check_ref_format(name.encode()))  # type: ignore[arg-type]  # a NewType of bytes


def _reach(starts: Iterable[Node], onward: Callable[[Node], Iterable[Node]]) -> dict[str, Node]:
    """Everything that can be reached, the starts included, by id; nearest first."""
    found = {node.oid: node for node in starts}
    waiting = deque(found.values())
    while waiting:
        for node in onward(waiting.popleft()):
            if node.oid not in found:
                found[node.oid] = node
                waiting.append(node)
    return found
