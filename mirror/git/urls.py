"""Where git looks for a repo: with `.git` at the end of its name, as git likes it, and without, as people type it."""

from django.urls import URLPattern, path

from mirror.git import views
from registry.models import Repo


def routes(repo_type: str) -> list[URLPattern]:
    """The endpoints of one type of repo."""
    at = "" if repo_type == Repo.Type.MODEL else f"{repo_type}s/"
    kind = {"repo_type": repo_type}
    return [
        route
        for repo in (f"{at}<str:namespace>/<str:name>.git", f"{at}<str:namespace>/<str:name>")
        for route in (
            path(f"{repo}/info/refs", views.info_refs, kind),
            path(f"{repo}/git-upload-pack", views.upload_pack, kind),
            path(f"{repo}/git-receive-pack", views.receive_pack, kind),
        )
    ]
