"""The routes of the Hub-compatible API. docs/api.md describes each; a test compares the two."""

from typing import Any

from django.http import HttpRequest, HttpResponse
from django.urls import URLPattern, URLResolver, include, path, register_converter
from django.urls.converters import StringConverter
from django.urls.resolvers import RoutePattern

from mirror.git.urls import routes as git_routes
from mirror.hub import (
    account,
    branches,
    committing,
    headers,
    knowledge,
    lfs,
    lfs_files,
    manage,
    openapi,
    operating,
    own,
    preupload,
    pull_requests,
    receiving,
    refs,
    repos,
    resolve,
    tree,
    validations,
)
from mirror.hub.doors import door
from mirror.hub.errors import HubError, repo_not_found
from mirror.oci import tokens as oci_tokens
from mirror.oci import views as oci
from registry.access import Somebody, visible_repos
from registry.models import Repo


class RestConverter(StringConverter):
    """Everything to the end of the URL, line breaks too: a file may be called anything."""

    regex = r"(?s:.+)"


register_converter(RestConverter, "rest")

REPO = "<str:namespace>/<str:name>"


def _of_type(repo_type: str) -> list[URLPattern]:
    """The endpoints of one type of repo; models have no prefix of their own in download URLs."""
    api, kind = f"api/{repo_type}s", {"repo_type": repo_type}
    at = "" if repo_type == Repo.Type.MODEL else f"{repo_type}s/"
    return [
        path(api, repos.list_repos, kind),
        path(f"{api}/{REPO}", repos.repo_info, kind),
        path(f"{api}/{REPO}/revision/<rest:rest>", repos.repo_info, kind),
        path(f"{api}/{REPO}/tree/<rest:rest>", tree.list_tree, kind),
        path(f"{api}/{REPO}/paths-info/<rest:rest>", tree.paths_info, kind),
        path(f"{api}/{REPO}/refs", refs.list_refs, kind),
        path(f"{api}/{REPO}/commits/<rest:rest>", refs.list_commits, kind),
        path(f"{api}/{REPO}/branch/<rest:rest>", branches.branch, kind),
        path(f"{api}/{REPO}/tag/<rest:rest>", branches.tag, kind),
        path(f"{api}/{REPO}/settings", manage.settings, kind),
        path(f"{api}/{REPO}/auth-check", account.auth_check, kind),
        path(f"{api}/{REPO}/auth-check/write", account.auth_check_write, kind),
        path(f"{api}/{REPO}/discussions", pull_requests.pull_requests, kind),
        path(f"{api}/{REPO}/discussions/<int:number>", pull_requests.show, kind),
        path(f"{api}/{REPO}/discussions/<int:number>/<str:verb>", pull_requests.change, kind),
        path(f"{api}/{REPO}/super-squash/<rest:rest>", committing.super_squash, kind),
        path(f"{api}/{REPO}/lfs-files", lfs_files.list_lfs_files, kind),
        path(f"{api}/{REPO}/safetensors-metadata/<path:path>", headers.safetensors_metadata, kind),
        path(f"{api}/{REPO}/preupload/<rest:rest>", preupload.preupload, kind),
        path(f"{api}/{REPO}/commit/<rest:rest>", committing.commit, kind),
        path(f"{at}{REPO}.git/info/lfs/objects/batch", lfs.batch, kind),
        path(f"{at}{REPO}.git/info/lfs/verify", lfs.verify, kind),
        path(f"{at}{REPO}/resolve/<rest:rest>", resolve.resolve, kind),
        path(f"{at}{REPO}/raw/<rest:rest>", resolve.raw, kind),
        *git_routes(repo_type),
        path(f"{at}{REPO}/sha256sums/<rest:rest>", resolve.sha256sums, kind),
    ]


@door("GET", "POST", "PUT", "PATCH", "DELETE")
def nothing_here(request: HttpRequest, user: Somebody, **names: Any) -> HttpResponse:
    """What we do not offer is a plain 404 and never a list: `hf` asks for things that it can do without."""
    raise HubError(404, f"There is no {request.path} here. What there is: docs/api.md.")


@door("GET", "POST", "PUT", "PATCH", "DELETE")
def no_such_repo(
    request: HttpRequest, user: Somebody, *, repo_id: str, rest: str = "", repo_type: str = ""
) -> HttpResponse:
    """Below /api/models/ a name that is not known is a repo that is not there, unless its endpoint is not."""
    name = rest.partition("/")[0]
    if repo_type and name and visible_repos(user, repo_type).by_id(f"{repo_id}/{name}").exists():
        raise HubError(404, f"There is no {request.path} here. What there is: docs/api.md.")
    raise repo_not_found(user, repo_id)


urlpatterns: list[URLPattern] = [
    path("v2/", oci.ping),
    path("v2/token", oci_tokens.give_token),
    path(f"v2/{REPO}/tags/list", oci.list_tags),
    path(f"v2/{REPO}/manifests/<str:reference>", oci.show_manifest),
    path(f"v2/{REPO}/blobs/<str:digest>", oci.send_blob),
    path("api/whoami-v2", account.whoami),
    path("api/users/<str:name>/overview", account.user_overview),
    path("api/organizations/<str:name>/overview", account.organisation_overview),
    path("api/organizations/<str:name>/members", account.list_members),
    path("api/validate-yaml", account.validate_yaml),
    path("api/repos/create", manage.create),
    path("api/repos/delete", manage.delete),
    path("api/repos/move", manage.move),
    path(f"api/holdfast/v1/resolve/{REPO}", own.resolve_variant),
    path(f"api/holdfast/v1/lineage/{REPO}", knowledge.show_lineage),
    path(f"api/holdfast/v1/copies/{REPO}", knowledge.show_copies),
    path("api/holdfast/v1/files/<str:digest>", knowledge.find_bytes),
    path("api/holdfast/v1/openapi.json", openapi.openapi),
    path("api/holdfast/v1/uploads/<str:signed>", receiving.receive),
    path("api/holdfast/v1/jobs", own.list_jobs),
    path("api/holdfast/v1/jobs/<int:number>", own.show_job),
    path("api/holdfast/v1/validate", validations.validate),
    path("api/holdfast/v1/mirrors", operating.mirrors),
    path(f"api/holdfast/v1/validations/{REPO}", validations.list_validations),
    path(f"api/holdfast/v1/validations/{REPO}/<str:sha256>", validations.show_validations),
    path("api/holdfast/v1/reports/<str:sha256>", validations.show_report),
    *_of_type(Repo.Type.DATASET),  # before models: /datasets/… is no namespace
    *_of_type(Repo.Type.MODEL),
    *[path(f"api/{kind}/<str:repo_id>", no_such_repo) for kind in ("models", "datasets")],
    *[
        path(f"api/{repo_type}s/<str:repo_id>/<rest:rest>", no_such_repo, {"repo_type": repo_type})
        for repo_type in ("model", "dataset", "space")
    ],
    path("<str:name>/resolve/<rest:rest>", resolve.resolve_legacy),
    path("api", nothing_here),
    path("api/", nothing_here),
    path("api/<rest:rest>", nothing_here),
]

# Django tries one route after the other, sixty for a file of a model; whole groups are passed over by their beginning.
_BEGINNINGS = ("api/models/", "api/datasets/", "api/", "v2/", "datasets/")


def by_beginning(routes: list[URLPattern]) -> list[URLPattern | URLResolver]:
    """The same routes, those that begin alike in a group of their own; what begins otherwise comes last."""
    groups: dict[str, list[URLPattern]] = {start: [] for start in (*_BEGINNINGS, "")}
    for route in routes:
        start = next(start for start in groups if str(route.pattern).startswith(start))
        rest = RoutePattern(str(route.pattern).removeprefix(start), is_endpoint=True)
        groups[start].append(URLPattern(rest, route.callback, route.default_args, route.name))
    return [*[path(start, include(groups[start])) for start in _BEGINNINGS], *groups[""]]
