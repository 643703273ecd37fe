"""The lineage of a repo: what it was made from and what was made of it, as a picture and as a list."""

from dataclasses import dataclass, field
from typing import cast

from django.db.models import Q
from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

from registry.access import Somebody, visible_parents, visible_repos
from registry.models import Lineage, Repo
from registry.views.frame import open_repo

GENERATIONS = 3  # followed in each direction; one query each
MOST_KIN = 60  # drawn at most in each generation

BOX_WIDTH, BOX_HEIGHT = 236, 54
COLUMN, ROW = 370, 78
LONGEST_NAME = 31  # characters that fit a box; the list below the picture has the whole name


@dataclass
class Kin:
    """A repo in the family. `level` counts generations from the shown repo: parents below 0, children above."""

    repo_id: str
    level: int
    is_held: bool
    relation: str = ""
    evidence: str = ""
    children: list["Kin"] = field(default_factory=list)
    x: int = 0
    y: int = 0

    @property
    def url(self) -> str:
        return f"/{self.repo_id}" if self.is_held else ""

    @property
    def text_x(self) -> int:
        return self.x + 12

    @property
    def name_y(self) -> int:
        return self.y + 22

    @property
    def about_y(self) -> int:
        return self.y + 41

    @property
    def about(self) -> str:
        return self.relation or ("here" if self.level == 0 else "base")

    @property
    def short_name(self) -> str:
        name = self.repo_id.rsplit("/", 1)[-1]
        return name if len(name) <= LONGEST_NAME else name[: LONGEST_NAME - 1] + "…"

    @property
    def short_about(self) -> str:
        words = f"{self.repo_id.split('/')[0]} · {self.about}" + ("" if self.is_held else ", not held here")
        return words if len(words) <= LONGEST_NAME + 3 else words[: LONGEST_NAME + 2] + "…"


@dataclass
class Family:
    """Everything the page shows: kin by name, and edges from parent to child."""

    here: Kin
    kin: dict[str, Kin]
    edges: list[tuple[Kin, Kin, Lineage]] = field(default_factory=list)

    def add(self, edge: Lineage, parent: Kin, child: Kin) -> None:
        words = edge.get_relation_display()
        if words not in child.relation:
            child.relation = f"{child.relation}, {words}".lstrip(", ")
        child.evidence = child.evidence or edge.get_evidence_display()
        if not any(one is parent and two is child for one, two, _ in self.edges):
            self.edges.append((parent, child, edge))
            parent.children.append(child)

    def meet(self, repo_id: str, level: int, is_held: bool) -> Kin:
        return self.kin.setdefault(repo_id.lower(), Kin(repo_id, level, is_held))

    @property
    def ancestors(self) -> list[Kin]:
        return sorted(
            (kin for kin in self.kin.values() if kin.level < 0), key=lambda kin: (kin.level, kin.repo_id)
        )

    @property
    def n_descendants(self) -> int:
        return sum(1 for kin in self.kin.values() if kin.level > 0)


@dataclass(frozen=True)
class Drawing:
    """The family laid out: one column a generation."""

    boxes: list[Kin]
    lines: list[tuple[str, str, str]]  # curve, kind, arrow head
    outer_width: int
    outer_height: int


def lineage(request: HttpRequest, namespace: str, name: str) -> HttpResponse:
    """Ancestors and descendants that this visitor may know of."""
    frame = open_repo(request, namespace, name)
    family = family_of(frame.repo, request.user)
    return render(request, "catalog/lineage.html", frame.context(
        "lineage", family=family, drawing=draw(family) if family.edges else None,
    ))  # fmt: skip


def family_of(repo: Repo, user: Somebody) -> Family:
    """The repo with three generations each way. Six queries at most."""
    here = Kin(repo.repo_id, 0, is_held=True)
    family = Family(here, {repo.repo_id.lower(): here})
    _climb(family, repo, user)
    _descend(family, repo, Q(child__in=visible_repos(user).values("pk")))
    return family


def _climb(family: Family, repo: Repo, user: Somebody) -> None:
    generation = {repo.pk: family.here}
    for level in range(-1, -GENERATIONS - 1, -1):
        edges = visible_parents(user, Lineage.objects.filter(child__in=generation).order_by("pk"), MOST_KIN)
        older: dict[int, Kin] = {}
        for edge in edges:
            repo_id = edge.parent.repo_id if edge.parent else edge.parent_repo_id
            parent = family.meet(repo_id, level, edge.parent is not None)
            family.add(edge, parent, generation[edge.child_id])
            if edge.parent_id:
                older[edge.parent_id] = parent
        if not (generation := older):
            return


def _descend(family: Family, repo: Repo, visible: Q) -> None:
    generation = {repo.pk: family.here}
    for level in range(1, GENERATIONS + 1):
        edges = Lineage.objects.filter(visible, parent__in=generation).select_related("child").order_by("pk")
        younger: dict[int, Kin] = {}
        for edge in edges[:MOST_KIN]:
            child = family.meet(edge.child.repo_id, level, is_held=True)
            if child.level <= 0:  # a circle of claims: do not follow it
                continue
            family.add(edge, generation[cast(int, edge.parent_id)], child)
            younger[edge.child_id] = child
        if not (generation := younger):
            return


def draw(family: Family) -> Drawing:
    """Boxes in columns by generation, centred on the tallest, joined by curves from parent to child."""
    columns: dict[int, list[Kin]] = {}
    for kin in family.kin.values():
        columns.setdefault(kin.level, []).append(kin)
    first, tallest = min(columns), max(len(column) for column in columns.values())
    for level, column in columns.items():
        top = (tallest - len(column)) * ROW // 2
        for place, kin in enumerate(column):
            kin.x, kin.y = (level - first) * COLUMN, top + place * ROW
    lines = [_line(*edge) for edge in family.edges]
    width, height = (max(columns) - first) * COLUMN + BOX_WIDTH, tallest * ROW - (ROW - BOX_HEIGHT)
    return Drawing(list(family.kin.values()), lines, width + 4, height + 4)


def _line(parent: Kin, child: Kin, edge: Lineage) -> tuple[str, str, str]:
    x1, y1 = parent.x + BOX_WIDTH, parent.y + BOX_HEIGHT // 2
    x2, y2 = child.x - 8, child.y + BOX_HEIGHT // 2
    half = (x2 - x1) // 2
    kind = "declared" if edge.evidence == Lineage.Evidence.DECLARED else "proved"
    return f"M{x1} {y1}C{x1 + half} {y1} {x2 - half} {y2} {x2} {y2}", kind, f"M{x2 - 2} {y2 - 5}l9 5-9 5z"
