"""Who may do what: every route of the service, for everybody, on a public and on a private repo.

RULES names a rule for each view, and `test_every_view_has_a_rule` fails when one has none. What a rule means for
whom is in `expected`. Each request runs in a transaction of its own that is undone.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import transaction
from django.test import Client
from django.urls import URLPattern

from mirror.hub.urls import urlpatterns as hub
from registry.models import AccessToken, Commit, File, Member, Organisation, PullRequest, Ref, Repo
from registry.pages import urlpatterns as pages
from registry.urls import urlpatterns as root
from tests.checkpoints import record_commit

pytestmark = pytest.mark.one_backend

OUTSIDERS = ("anonymous", "stranger")
MEMBERS = ("reader", "writer", "owner")
WEAK = ("owner with a token that may only read", "owner by cookie")
ROLES = (*OUTSIDERS, *MEMBERS, *WEAK)

Json = dict[str, Any]


@dataclass(frozen=True)
class Rule:
    """What is sent, and which rule decides. `body` is JSON unless it is bytes or None."""

    name: str
    method: str = "GET"
    path: str = ""
    body: Json | bytes | None = None


HEADER = b'{"key":"header","value":{"summary":"x"}}\n'
SMALL_FILE = b'{"key":"file","value":{"path":"x.txt","content":"eA==","encoding":"base64"}}\n'
WANTS = {"objects": [{"oid": "ab" * 32, "size": 1}], "transfers": ["basic"]}
NAMED = {"name": "{name}", "organization": "acme"}

# view -> what is asked of it. `{repo}`, `{name}`, `{sha256}` and `{git_oid}` are those of the repo in question.
RULES: dict[str, list[Rule]] = {
    # reading a repo
    "repo_info": [
        Rule("read", path="/api/models/{repo}"),
        Rule("read", path="/api/models/{repo}/revision/main"),
    ],
    "list_tree": [Rule("read", path="/api/models/{repo}/tree/main")],
    "paths_info": [Rule("read", "POST", "/api/models/{repo}/paths-info/main", {"paths": ["config.json"]})],
    "list_refs": [Rule("read", path="/api/models/{repo}/refs")],
    "list_commits": [Rule("read", path="/api/models/{repo}/commits/main")],
    "auth_check": [Rule("read", path="/api/models/{repo}/auth-check")],
    "resolve": [Rule("read", path="/{repo}/resolve/main/config.json")],
    "raw": [Rule("read", path="/{repo}/raw/main/config.json")],
    "sha256sums": [Rule("read", path="/{repo}/sha256sums/main")],
    "info_refs": [Rule("read", path="/{repo}.git/info/refs?service=git-upload-pack")],
    "upload_pack": [Rule("read", "POST", "/{repo}.git/git-upload-pack", b"0000")],
    "resolve_variant": [Rule("read", path="/api/holdfast/v1/resolve/{repo}")],
    "show_lineage": [Rule("read", path="/api/holdfast/v1/lineage/{repo}")],
    "show_copies": [Rule("read", path="/api/holdfast/v1/copies/{repo}")],
    "list_validations": [Rule("read", path="/api/holdfast/v1/validations/{repo}")],
    "show_validations": [Rule("read", path="/api/holdfast/v1/validations/{repo}/{sha256}")],
    "list_tags": [Rule("read", path="/v2/{repo}/tags/list")],
    "show_manifest": [Rule("read", path="/v2/{repo}/manifests/latest")],
    "send_blob": [Rule("read", path="/v2/{repo}/blobs/sha256:{sha256}")],
    "find_bytes": [Rule("read bytes", path="/api/holdfast/v1/files/{sha256}")],
    # writing to a repo, or offering something to it
    "auth_check_write": [Rule("write", path="/api/models/{repo}/auth-check/write")],
    "preupload": [Rule("offer", "POST", "/api/models/{repo}/preupload/main", {"files": []})],
    "commit": [Rule("write", "POST", "/api/models/{repo}/commit/main", HEADER + SMALL_FILE)],
    "batch": [
        Rule("offer", "POST", "/{repo}.git/info/lfs/objects/batch", WANTS | {"operation": "upload"}),
        Rule("read", "POST", "/{repo}.git/info/lfs/objects/batch", WANTS | {"operation": "download"}),
    ],
    "verify": [Rule("offer", "POST", "/{repo}.git/info/lfs/verify", {"oid": "ab" * 32, "size": 1})],
    "branch": [
        Rule("write", "POST", "/api/models/{repo}/branch/dev", {}),
        Rule("write", "DELETE", "/api/models/{repo}/branch/dev", {}),
    ],
    "tag": [
        Rule("write", "POST", "/api/models/{repo}/tag/main", {"tag": "v9"}),
        Rule("write", "DELETE", "/api/models/{repo}/tag/v9", {}),
    ],
    "pull_requests": [
        Rule("read", path="/api/models/{repo}/discussions"),
        Rule("offer", "POST", "/api/models/{repo}/discussions", {"title": "x", "pullRequest": True}),
    ],
    "show": [Rule("read", path="/api/models/{repo}/discussions/1")],
    "change": [Rule("write", "POST", "/api/models/{repo}/discussions/1/merge", {})],
    "super_squash": [Rule("write", "POST", "/api/models/{repo}/super-squash/main", {"message": "x"})],
    "safetensors_metadata": [Rule("read", path="/api/models/{repo}/safetensors-metadata/config.json")],
    "list_lfs_files": [Rule("read", path="/api/models/{repo}/lfs-files")],
    # owning it
    "settings": [Rule("own", "PUT", "/api/models/{repo}/settings", {"gated": "auto"})],
    "move": [
        Rule(
            "own", "POST", "/api/repos/move", {"fromRepo": "{repo}", "toRepo": "acme/moved", "type": "model"}
        )
    ],
    "delete": [Rule("own", "DELETE", "/api/repos/delete", NAMED)],
    # an account
    "create": [Rule("join", "POST", "/api/repos/create", {"name": "new", "organization": "acme"})],
    "whoami": [Rule("account", path="/api/whoami-v2")],
    "validate": [
        Rule(
            "ask",
            "POST",
            "/api/holdfast/v1/validate",
            {"repo": "{repo}", "path": "tiny-Q8_0.gguf", "parent": ""},
        )
    ],
    # operating the registry
    "convert": [Rule("operate", "POST", "/api/holdfast/v1/convert", {"repo": "{repo}", "to": ["Q8_0"]})],
    "mirrors": [Rule("operate", "POST", "/api/holdfast/v1/mirrors", {"upstream": "hf://acme/model"})],
    # nobody's business but for the form of the answer
    "receive_pack": [Rule("never", "POST", "/{repo}.git/git-receive-pack", b"0000")],
    "playground": [Rule("staff", "POST", "/api/holdfast/v1/playground", {"repo": "{repo}", "prompt": "x"})],
}
# Views that show each visitor what that visitor may know of, or nothing that belongs to anybody; other tests say what.
OPEN = {
    "list_repos", "list_jobs", "show_job", "show_report", "openapi", "ping", "give_token", "nothing_here",
    "no_such_repo", "resolve_legacy", "validate_yaml", "receive", "user_overview", "organisation_overview",
    "list_members",
}  # fmt: skip
PAGES = {
    "repo_page", "tree", "blob", "tensors", "commits", "lineage", "validations", "report", "events",
}  # fmt: skip
OPEN_PAGES = {
    "home",
    "health",
    "view",
    "job_list",
    "job_page",
    "theme",
    "artifact_report",
    "SignIn",
    "LogoutView",
}
STAFF_PAGES = {"cancel_job", "retry_job", "playground"}


def views_of(patterns: list[Any]) -> set[str]:
    return {
        getattr(pattern.callback, "view_class", pattern.callback).__name__
        for pattern in patterns
        if isinstance(pattern, URLPattern)
    }


def test_every_view_has_a_rule() -> None:
    ours = [pattern for pattern in root if isinstance(pattern, URLPattern)]
    assert views_of([*hub, *ours]) == set(RULES) | OPEN
    assert views_of(pages) - {"RedirectView"} == PAGES | OPEN_PAGES - {"view"} | STAFF_PAGES


ALLOWED = {
    "read": set(ROLES),
    "read bytes": set(ROLES),
    "ask": set(ROLES) - {"anonymous", *WEAK},
    "offer": set(ROLES) - {"anonymous", *WEAK},  # bytes for a pull request: whoever may see the repo
    "account": set(ROLES) - {"anonymous", "owner by cookie"},
    "write": {"writer", "owner"},
    "join": {"writer", "owner"},
    "own": {"owner"},
    "staff": set[str](),
    "operate": set[str](),  # for staff, whatever they own: tests/mirror/hub/test_operating.py
    "never": set[str](),
}
# What has no repo in its URL to be hidden, or would rather not find it than refuse it.
NOT_HIDDEN, NOT_FOUND = ("account", "join", "staff", "operate"), ("read bytes",)
TOKEN_FIRST = ("account", "write", "own", "join", "ask", "offer", "operate")


def expected(rule: str, role: str, private: bool) -> str:
    """`yes`, or the status of the refusal: who are you, then is it there for you, then may you do that."""
    if rule in TOKEN_FIRST and role in ("anonymous", "owner by cookie"):
        return "401"
    if private and role in OUTSIDERS and rule not in NOT_HIDDEN:
        return "401" if role == "anonymous" and rule not in NOT_FOUND else "404"
    if rule == "staff" and role != "owner by cookie":
        return "401"  # by session only: to a token it says to sign in
    return "yes" if role in ALLOWED[rule] else "403"


def found(response: Any) -> str:
    """How a response reads to its caller: a refusal by its status, anything else is `yes`."""
    is_hidden = response.status_code == 404 and response.get("X-Error-Code") in (
        "RepoNotFound",
        "EntryNotFound",
    )
    if response.status_code in (401, 403) or is_hidden:
        return str(response.status_code)
    return f"{response.status_code}" if response.status_code >= 500 else "yes"


@pytest.fixture
def repos(organisation: Organisation, settings: Any) -> dict[bool, Commit]:
    """The same repo of acme twice: {is it private: its commit}."""
    settings.HOLDFAST_BLOB_DELIVERY = "inline"
    made = {}
    for private, name in ((False, "public"), (True, "secret")):
        files = {"config.json": b"{}", "tiny-Q8_0.gguf": f"GGUF {name}".encode()}
        made[private] = commit = record_commit(
            f"acme/{name}", files, private=private, organisation=organisation
        )
        PullRequest.objects.create(repo=commit.repo, number=1, title="An offer")
        Ref.objects.create(repo=commit.repo, kind=Ref.Kind.PULL_REQUEST, name="1", commit=commit)
    return made


@pytest.fixture
def callers(organisation: Organisation) -> dict[str, Client]:
    """Each role, as it would send requests."""
    made = {"anonymous": Client()}
    for role in ("stranger", *MEMBERS):
        user = User.objects.create(username=role, email=f"{role}@example.org")
        if role in MEMBERS:
            Member.objects.create(organisation=organisation, user=user, role=role)
        made[role] = with_token(user, write=True)
    owner = User.objects.get(username="owner")
    made["owner with a token that may only read"] = with_token(owner, write=False)
    made["owner by cookie"] = Client()
    made["owner by cookie"].force_login(owner)
    return made


def with_token(user: User, *, write: bool) -> Client:
    return Client(headers={"Authorization": f"Bearer {AccessToken.issue(user, name='x', write=write)[1]}"})


def ask(client: Client, rule: Rule, commit: Commit) -> Any:
    """The answer; whatever the request changed is undone."""
    file = File.objects.get(commit=commit, path="tiny-Q8_0.gguf")
    repo = commit.repo
    names = {"{repo}": repo.repo_id, "{name}": repo.name, "{sha256}": file.held.sha256}
    fill = filler(names)
    try:
        with transaction.atomic():
            response = getattr(client, rule.method.lower())(fill(rule.path), **sent(rule.body, fill))
            if response.streaming:
                response.getvalue()
            raise _Undo
    except _Undo:
        return response


def sent(body: Json | bytes | None, fill: Callable[[str], str]) -> dict[str, Any]:
    if body is None:
        return {}
    if isinstance(body, bytes):
        return {"content_type": "application/x-ndjson", "data": body}
    return {"content_type": "application/json", "data": fill(json.dumps(body))}


class _Undo(Exception):
    pass


def filler(names: dict[str, str]) -> Callable[[str], str]:
    def fill(text: str) -> str:
        for name, value in names.items():
            text = text.replace(name, value)
        return text

    return fill


def each_rule() -> Iterator[tuple[str, Rule]]:
    return ((view, rule) for view, rules in RULES.items() for rule in rules)


def test_every_endpoint_answers_everybody_as_its_rule_says(
    repos: dict[bool, Commit], callers: dict[str, Client]
) -> None:
    wrong = []
    for view, rule in each_rule():
        for private, commit in repos.items():
            for role, client in callers.items():
                due = expected(rule.name, role, private)
                got = found(response := ask(client, rule, commit))
                if got != due:
                    where = "private" if private else "public"
                    said = response.getvalue()[:150] if response.streaming else response.content[:150]
                    wrong.append(
                        f"{view} ({rule.method} {rule.path}) {where}, {role}: {got}, not {due}: {said!r}"
                    )
    assert not wrong, "\n".join(wrong)


def test_every_page_of_a_private_repo_is_not_found_for_who_may_not_know(
    repos: dict[bool, Commit], callers: dict[str, Client]
) -> None:
    wrong = []
    for private, commit in repos.items():
        base, sha256 = (
            commit.repo.get_absolute_url(),
            File.objects.get(commit=commit, path="tiny-Q8_0.gguf").sha256,
        )
        below = ("", "/tree/main", "/blob/main/config.json", "/tensors", "/commits", "/lineage", "/validation",
                 f"/validation/{sha256}", "/events")  # fmt: skip
        for path in below:
            for role in ("anonymous", "owner by cookie"):
                status = callers[role].get(base + path).status_code
                due = 404 if private and role == "anonymous" else 200
                if status != due:
                    wrong.append(f"{base}{path}, {role}: {status}, not {due}")
    assert not wrong, "\n".join(wrong)
    assert Repo.objects.count() == 2
