"""Django's admin for what has no page of its own. What is history, or has a digest, cannot be edited here."""

from typing import TYPE_CHECKING, Any

from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest

from registry.models import (
    AccessToken,
    Artifact,
    Binding,
    Blob,
    Commit,
    Event,
    Gate,
    Imatrix,
    Job,
    Lineage,
    Member,
    Organisation,
    Override,
    Policy,
    Reading,
    Recipe,
    Ref,
    Repo,
    Upstream,
    Validation,
    Yardstick,
)

if TYPE_CHECKING:  # the stubs are generic, Django's classes are not
    RowAdmin = admin.ModelAdmin[Any]
    MemberTable = admin.TabularInline[Member, Organisation]
else:
    RowAdmin, MemberTable = admin.ModelAdmin, admin.TabularInline


class ReadOnly(RowAdmin):
    """Shown, searched and linked, never changed: bytes and history are what they are."""

    list_per_page = 50
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


class MemberInline(MemberTable):
    model = Member
    extra = 1
    autocomplete_fields = ["user"]


@admin.register(Organisation)
class OrganisationAdmin(RowAdmin):
    list_display = ["name", "created_at"]
    search_fields = ["name"]
    inlines = [MemberInline]


@admin.register(Repo)
class RepoAdmin(RowAdmin):
    """Who may see a repo is set here; what is in it is not."""

    list_display = ["repo_id", "private", "gated", "organisation", "upstream", "synced_at"]
    list_filter = ["private", "gated", "repo_type"]
    list_select_related = ["organisation", "upstream"]
    search_fields = ["repo_id"]
    fields = ["repo_id", "private", "organisation", "upstream", "upstream_repo_id", "synced_at", "created_at"]
    readonly_fields = ["repo_id", "upstream", "upstream_repo_id", "synced_at", "created_at"]
    autocomplete_fields = ["organisation"]
    show_full_result_count = False

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False


@admin.register(Upstream)
class UpstreamAdmin(ReadOnly):
    """`manage.py upstreams` sets the pace and keeps tokens, which are not shown here, not even sealed."""

    list_display = [
        "endpoint",
        "kind",
        "requests_per_second",
        "paused_until",
        "answered_at",
        "trouble_at",
        "trouble",
    ]
    exclude = ["sealed_token"]


@admin.register(Binding)
class BindingAdmin(ReadOnly):
    """`manage.py upstreams release` lets a held name go on, so that it is an event, too."""

    list_display = ["repo_id", "repo_type", "upstream", "owner", "state", "reason", "asked_at"]
    list_filter = ["state", "repo_type"]
    list_select_related = ["upstream"]
    search_fields = ["repo_id", "owner"]


@admin.register(Commit)
class CommitAdmin(ReadOnly):
    list_display = ["commit_hash", "repo", "title", "n_files", "size_bytes", "recorded_at", "inspected_at"]
    list_select_related = ["repo"]
    search_fields = ["commit_hash", "repo__repo_id"]


@admin.register(Ref)
class RefAdmin(ReadOnly):
    list_display = ["name", "kind", "repo", "commit", "moved_at"]
    list_select_related = ["repo", "commit"]
    search_fields = ["name", "repo__repo_id"]


@admin.register(Blob)
class BlobAdmin(ReadOnly):
    list_display = ["sha256", "size_bytes", "store", "state", "stored_at", "verified_at"]
    list_filter = ["state", "store"]
    search_fields = ["sha256", "git_oid"]


@admin.register(Recipe)
class RecipeAdmin(ReadOnly):
    list_display = ["name", "format", "digest", "created_at"]


@admin.register(Policy)
class PolicyAdmin(ReadOnly):
    list_display = ["name", "repos", "max_parameters", "base_only", "recipes", "is_active"]


@admin.register(Imatrix)
class ImatrixAdmin(ReadOnly):
    list_display = ["name", "commit", "dataset", "n_chunks", "n_entries", "made_here", "created_at"]
    list_select_related = ["commit"]
    search_fields = ["name"]


@admin.register(Artifact)
class ArtifactAdmin(ReadOnly):
    list_display = ["path", "recipe", "source", "state", "created_at", "reproduced_at"]
    list_filter = ["state"]
    list_select_related = ["recipe", "source"]
    search_fields = ["path"]


@admin.register(Validation)
class ValidationAdmin(ReadOnly):
    list_display = ["path", "verdict", "passed", "parent", "engine", "limits_version", "created_at"]
    list_filter = ["verdict", "passed"]
    list_select_related = ["parent"]
    search_fields = ["path", "blob__sha256"]


@admin.register(Reading)
class ReadingAdmin(ReadOnly):
    list_display = ["key", "parent", "blob", "created_at"]
    list_select_related = ["parent", "blob"]


@admin.register(Yardstick)
class YardstickAdmin(ReadOnly):
    list_display = ["file_type", "parent", "mean_kld", "kld_error", "converter", "engine", "created_at"]
    list_filter = ["file_type"]
    list_select_related = ["parent"]


@admin.register(Gate)
class GateAdmin(ReadOnly):
    """`manage.py gate` edits them: it knows what a gate may say."""

    list_display = ["repos", "publish", "pull", "changed_at"]


@admin.register(Override)
class OverrideAdmin(ReadOnly):
    """`manage.py override` grants and withdraws them, so that each is an event, too."""

    list_display = ["blob", "verdict", "reason", "by", "created_at", "withdrawn_at"]
    list_select_related = ["blob"]
    search_fields = ["blob__sha256", "by"]


@admin.register(Lineage)
class LineageAdmin(ReadOnly):
    list_display = ["child", "relation", "parent_repo_id", "evidence", "recorded_at"]
    list_filter = ["relation", "evidence"]
    list_select_related = ["child"]
    search_fields = ["child__repo_id", "parent_repo_id"]


@admin.register(Event)
class EventAdmin(ReadOnly):
    list_display = ["happened_at", "type", "outcome", "summary", "agent"]
    list_filter = ["type", "outcome"]
    search_fields = ["summary"]


@admin.register(Job)
class JobAdmin(ReadOnly):
    list_display = ["pk", "kind", "label", "state", "attempts", "error_code", "created_at", "finished_at"]
    list_filter = ["state", "kind"]
    search_fields = ["label", "error_code"]


@admin.register(AccessToken)
class AccessTokenAdmin(RowAdmin):
    """Tokens can be taken away here; they are made by `manage.py token create`, which shows the secret once."""

    list_display = ["prefix", "name", "user", "role", "created_at", "last_used_at", "expires_at"]
    list_select_related = ["user"]
    search_fields = ["name", "user__username"]
    readonly_fields = ["prefix", "name", "user", "role", "created_at", "last_used_at"]
    fields = [*readonly_fields, "expires_at"]

    def has_add_permission(self, request: HttpRequest) -> bool:
        return False
