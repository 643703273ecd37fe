"""Repo, Ref, FormerName: a named thing with history; a ref is a moving name for one commit."""

from typing import TYPE_CHECKING, Any, cast

from django.db import connection, models
from django.db.models.functions import Lower

from registry.models.account import Organisation
from registry.models.rules import NAME, matches, one_of
from registry.models.upstream import Upstream

if TYPE_CHECKING:
    from registry.models.commit import Commit

# First segments of our own URLs, and those that clients of a hub or of Ollama ask for: a repo there would be hidden.
RESERVED_NAMESPACES = frozenset({
    "account", "admin", "api", "buckets", "datasets", "health", "jobs", "kernels", "models", "oauth", "spaces",
    "static", "v2",
})  # fmt: skip


def _trigrams(text: models.F) -> models.Func:
    """Every three letters in a row, in lower case; the function is made by migration 0009."""
    return models.Func(text, function="holdfast_trigrams", output_field=_texts())


def _trigrams_across(word: str) -> models.Value:
    """Three letters in a row of the word, and the next three, to its end: whoever has all of these is a candidate.

    A third of all its trigrams: the index goes through a list for each that it is asked for.
    """
    word = word.lower()
    found = [word[at : at + 3] for at in range(0, len(word) - 2, 3)]
    return models.Value(list(dict.fromkeys([*found, word[-3:]])), output_field=_texts())


def _texts() -> Any:
    from django.contrib.postgres.fields import ArrayField  # brings psycopg, which SQLite does without

    return ArrayField(models.TextField())


class RepoQuerySet(models.QuerySet["Repo"]):
    def by_id(self, repo_id: str) -> "RepoQuerySet":
        """The repo of that id, whatever the case of its letters; at most one row."""
        return self.annotate(repo_id_lower=Lower("repo_id")).filter(repo_id_lower=repo_id.lower())

    def of_namespace(self, namespace: str) -> "RepoQuerySet":
        """Those of that first half of their ids, whatever the case of its letters."""
        return self.alias(namespace_lower=Lower("namespace")).filter(namespace_lower=namespace.lower())

    def with_word(self, word: str, *, by_index: bool = True) -> "RepoQuerySet":
        """Those with the word anywhere in their ids, whatever the case of its letters.

        PostgreSQL finds a word of three letters or more by an index of all trigrams of all ids; that those of the
        word lie in the right order is compared afterwards.
        """
        found = self.filter(repo_id__icontains=word)
        if not by_index or connection.vendor != "postgresql" or len(word) < 3:
            return found
        trigrams = _trigrams(models.F("repo_id"))
        return found.alias(trigrams=trigrams).filter(trigrams__contains=_trigrams_across(word))

    def with_head(self) -> "RepoQuerySet":
        """Each repo with the commit that a page shows, in the same query."""
        return self.select_related("head", "upstream")

    def with_main(self) -> "RepoQuerySet":
        """Each repo with its head, but for its long texts, and whether that is `main`: then `main` needs no query."""
        named = models.Q(refs__kind=Ref.Kind.BRANCH, refs__name="main")
        found = self.annotate(main_ref=models.FilteredRelation("refs", condition=named))
        found = found.annotate(main_commit_id=models.F("main_ref__commit_id"))
        return found.with_light_head()

    def with_light_head(self) -> "RepoQuerySet":
        """Each repo with its head, but for its long texts."""
        return self.select_related("head").defer(*(f"head__{name}" for name in _LONG))


# Of a commit: what a page shows or git wants, and no list or look-up.
_LONG = ("message", "upstream_info", "git_object", "card")


class Repo(models.Model):
    """A named thing with history: `namespace/name`."""

    class Type(models.TextChoices):
        MODEL = "model", "model"
        DATASET = "dataset", "dataset"

    repo_id = models.CharField(max_length=200, help_text="namespace/name as people write it")
    namespace = models.CharField(max_length=96)
    name = models.CharField(max_length=96)
    repo_type = models.CharField(max_length=10, choices=Type, default=Type.MODEL)
    private = models.BooleanField(default=False)
    gated = models.CharField(
        max_length=10, blank=True, default="",
        help_text="`auto` or `manual` where upstream asks for consent: files then need an account here",
    )  # fmt: skip
    organisation = models.ForeignKey(
        Organisation, null=True, blank=True, on_delete=models.PROTECT, related_name="repos"
    )
    upstream = models.ForeignKey(
        Upstream, null=True, blank=True, on_delete=models.PROTECT, related_name="repos"
    )
    upstream_repo_id = models.CharField(max_length=200, blank=True)
    head = models.ForeignKey(
        "registry.Commit", null=True, blank=True, on_delete=models.SET_NULL, related_name="+",
        help_text="what `main` names; kept here so that a list page needs no second query",
    )  # fmt: skip
    created_at = models.DateTimeField(auto_now_add=True)
    updated_at = models.DateTimeField(auto_now=True, db_index=True)
    synced_at = models.DateTimeField(null=True, blank=True, help_text="when upstream was last asked")

    objects = RepoQuerySet.as_manager()

    class Meta:
        constraints = [
            models.UniqueConstraint(Lower("repo_id"), "repo_type", name="repo_id_once"),
            models.CheckConstraint(
                condition=models.Q(repo_id=models.functions.Concat("namespace", models.Value("/"), "name")),
                name="repo_id_is_namespace_and_name",
            ),
            matches("repo", "namespace", NAME),
            matches("repo", "name", NAME),
            one_of("repo", "repo_type", ["model", "dataset"]),
            one_of("repo", "gated", ["", "auto", "manual"]),
        ]
        # One more, of the trigrams of `repo_id`, is PostgreSQL's alone (migration 0009).
        indexes = [
            models.Index(Lower("namespace"), models.F("id").desc(), name="repo_namespace_newest"),
            models.Index(fields=["created_at", "id"], name="repo_created"),
        ]

    def __str__(self) -> str:
        return self.repo_id

    def get_absolute_url(self) -> str:
        return f"/{self.repo_id}"

    @property
    def main(self) -> "Commit | None":
        """What the branch `main` names, where that came with the row (`with_main`). No query."""
        if self.head_id is None or getattr(self, "main_commit_id", None) != self.head_id:
            return None
        head = cast("Commit", self.head)
        head.repo = self
        return head


class Ref(models.Model):
    """A moving name for one commit: a branch, a tag, or a pull request (named by its number)."""

    class Kind(models.TextChoices):
        BRANCH = "branch", "branch"
        TAG = "tag", "tag"
        PULL_REQUEST = "pr", "pull request"

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="refs")
    kind = models.CharField(max_length=10, choices=Kind)
    name = models.CharField(max_length=250)
    commit = models.ForeignKey("registry.Commit", on_delete=models.PROTECT, related_name="refs")
    moved_at = models.DateTimeField(auto_now=True)

    FOLDERS = {Kind.BRANCH: "refs/heads/", Kind.TAG: "refs/tags/", Kind.PULL_REQUEST: "refs/pr/"}

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["repo", "kind", "name"], name="ref_once"),
            one_of("ref", "kind", ["branch", "tag", "pr"]),
        ]

    def __str__(self) -> str:
        return self.name

    @property
    def full_name(self) -> str:
        """As git writes it: `refs/heads/main`, `refs/tags/v1.0`, `refs/pr/1`."""
        return self.FOLDERS[Ref.Kind(self.kind)] + self.name


class FormerName(models.Model):
    """What a repo was called before it was moved: asked for under that name, it answers with the new one."""

    repo = models.ForeignKey(Repo, on_delete=models.CASCADE, related_name="former_names")
    repo_type = models.CharField(max_length=10, choices=Repo.Type)
    old_repo_id = models.CharField(max_length=200)
    moved_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(Lower("old_repo_id"), "repo_type", name="former_name_once")]

    def __str__(self) -> str:
        return self.old_repo_id
