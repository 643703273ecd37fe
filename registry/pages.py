"""The routes of the pages. registry/urls.py puts the hub's routes before them: what a client asks for wins."""

from django.contrib.auth.views import LogoutView
from django.urls import path, re_path
from django.views.generic import RedirectView

from registry.views import (
    account,
    catalog,
    commits,
    events,
    files,
    health,
    jobs,
    lineage,
    playground,
    repos,
    tensors,
    validation,
)

REPO = "<str:namespace>/<str:name>"

urlpatterns = [
    path("", catalog.home, name="home"),
    path("health", health.health, name="health"),
    path("favicon.ico", RedirectView.as_view(url="/static/registry/favicon.svg")),
    path("jobs", jobs.job_list, name="jobs"),
    path("jobs/<int:job_id>", jobs.job_page, name="job"),
    path("jobs/<int:job_id>/cancel", jobs.cancel_job, name="cancel-job"),
    path("jobs/<int:job_id>/retry", jobs.retry_job, name="retry-job"),
    path("playground", playground.playground, name="playground"),
    path("account/sign-in", account.SignIn.as_view(), name="sign-in"),
    path("account/sign-out", LogoutView.as_view(), name="sign-out"),
    path("account/theme", account.theme, name="theme"),
    path(REPO, repos.repo_page, name="repo"),
    path(f"{REPO}/tree", files.tree, name="tree"),
    path(f"{REPO}/tree/<path:rest>", files.tree, name="tree-at"),
    path(f"{REPO}/blob/<path:rest>", files.blob, name="blob"),
    path(f"{REPO}/tensors", tensors.tensors, name="tensors"),
    path(f"{REPO}/tensors/<path:rest>", tensors.tensors, name="tensors-at"),
    path(f"{REPO}/commits", commits.commits, name="commits"),
    path(f"{REPO}/lineage", lineage.lineage, name="lineage"),
    path(f"{REPO}/validation", validation.validations, name="validations"),
    re_path(
        r"^(?P<namespace>[^/]+)/(?P<name>[^/]+)/validation/(?P<sha256>[0-9a-f]{64})$",
        validation.report,
        name="report",
    ),
    path(f"{REPO}/validation/<int:artifact_id>", validation.artifact_report, name="artifact-report"),
    path(f"{REPO}/events", events.events, name="events"),
]

# What registry/urls.py names as its handlers.
handler404 = "registry.views.errors.not_found"
handler500 = "registry.views.errors.failed"
