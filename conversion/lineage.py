"""Lineage that authors declare: which repos a repo says it was made from."""

from collections.abc import Iterable

from django.db.models import Q, QuerySet

from registry.models import Commit, Lineage, Repo

DECLARED, MADE_HERE = Lineage.Evidence.DECLARED, Lineage.Evidence.MADE_HERE


def record_declared(commit: Commit, base_models: Iterable[str], relation: str) -> int:
    """The declared edges of the repo are those of this commit; returns how many. Runs inside a transaction.

    Only the head speaks for its repo: another commit changes nothing. What we made ourselves needs no declaration.
    """
    repo = commit.repo
    if repo.head_id != commit.pk:
        return 0
    own_names = {repo.repo_id.lower(), repo.upstream_repo_id.lower()}
    made_here = set(_edges(repo, MADE_HERE).values_list("parent_repo_id", flat=True))
    parents = [name for name in base_models if name.lower() not in own_names and name not in made_here]
    _edges(repo, DECLARED).exclude(parent_repo_id__in=parents, relation=relation).delete()
    for name in parents:
        Lineage.objects.update_or_create(
            child=repo, parent_repo_id=name, relation=relation, evidence=DECLARED,
            defaults={"child_commit": commit, "parent": find_parent(repo, name)},
        )  # fmt: skip
    return len(parents)


def find_parent(child: Repo, name: str) -> Repo | None:
    """The repo we hold that the child's author means by `name`: of the same upstream if there is one, else ours."""
    models = Repo.objects.filter(repo_type=Repo.Type.MODEL)
    if child.upstream_id is not None:
        same_upstream = (
            models.filter(upstream=child.upstream_id, upstream_repo_id__iexact=name).order_by("pk").first()
        )
        if same_upstream is not None:
            return same_upstream
    return models.by_id(name).first()


def adopt_children(repo: Repo) -> int:
    """Edges that named this repo before we held it lead to it now; returns how many. Runs inside a transaction."""
    named = Q(parent_repo_id__iexact=repo.repo_id)
    if repo.upstream_id is not None:
        named |= Q(parent_repo_id__iexact=repo.upstream_repo_id, child__upstream=repo.upstream_id)
    orphans = Lineage.objects.filter(named, parent=None).exclude(child=repo)
    return Lineage.objects.filter(pk__in=list(orphans.values_list("pk", flat=True))).update(parent=repo)


def _edges(repo: Repo, evidence: str) -> QuerySet[Lineage]:
    return Lineage.objects.filter(child=repo, evidence=evidence)
