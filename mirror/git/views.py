"""The doors for git: what is offered, what is asked for, and that pushing is not.

Git reads an error's text only when it is plain, and asks for a name and password only when told to, so both are done
here: a private repo answers 401 to strangers, exactly as one that does not exist.
"""

from collections.abc import Callable, Iterator
from functools import wraps
from typing import Any

from django.http import HttpRequest, HttpResponse, HttpResponseBase, StreamingHttpResponse

from mirror.git import answering
from mirror.git.asking import ListRefs, Refused, read_body, read_command, read_pack_request
from mirror.git.history import History
from mirror.hub.doors import door
from mirror.hub.errors import HubError
from mirror.hub.finding import check_may_read, find_repo
from registry.access import Somebody
from registry.models import Repo

CHALLENGE = 'Basic realm="holdfast", charset="UTF-8"'
NO_PUSH = "Pushing over git is not offered here. Use `hf upload`, which verifies what it stores."
NOT_DUMB = "This is not git's dumb protocol: any git since 1.6.6 asks for ?service=git-upload-pack."

View = Callable[..., HttpResponseBase]


def for_git(view: View) -> View:
    """Errors of the view are answered in plain text, and a 401 asks for credentials."""

    @wraps(view)
    def answer(request: HttpRequest, **names: Any) -> HttpResponseBase:
        response = view(request, **names)
        if response.status_code < 400:
            return response
        headers = {name: value for name, value in response.headers.items() if name != "Content-Type"}
        headers.pop("Content-Length", None)
        if response.status_code == 401:
            headers["WWW-Authenticate"] = CHALLENGE
        text = response.headers.get("X-Error-Message", "")
        return HttpResponse(
            f"{text}\n",
            status=response.status_code,
            content_type="text/plain; charset=utf-8",
            headers=headers,
        )

    return answer


@for_git
@door("GET")
def info_refs(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str
) -> HttpResponseBase:
    """The first thing git asks: the refs in version 0, only what is offered in version 2."""
    repo = _find(request, user, repo_type, f"{namespace}/{name}")
    service = request.GET.get("service", "")
    if service == "git-receive-pack":
        raise HubError(403, NO_PUSH)
    if service != answering.SERVICE:
        raise HubError(404, NOT_DUMB)
    return _stream(repo, "advertisement", lambda history: _advertise(request, history))


@for_git
@door("POST")
def upload_pack(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str
) -> HttpResponseBase:
    """Refs, or what the client lacks of the commits that it wants."""
    repo = _find(request, user, repo_type, f"{namespace}/{name}")
    return _stream(repo, "result", lambda history: _answer(request, history))


@for_git
@door("GET", "POST")
def receive_pack(
    request: HttpRequest, user: Somebody, *, repo_type: str, namespace: str, name: str
) -> HttpResponseBase:
    """A push is refused with a sentence."""
    find_repo(request, user, repo_type, f"{namespace}/{name}")
    raise HubError(403, NO_PUSH)


def _find(request: HttpRequest, user: Somebody, repo_type: str, repo_id: str) -> Repo:
    repo = find_repo(request, user, repo_type, repo_id)
    check_may_read(user, repo)
    return repo


def _is_v2(request: HttpRequest) -> bool:
    return "version=2" in request.headers.get("Git-Protocol", "").split(":")


def _advertise(request: HttpRequest, history: Callable[[], History]) -> Iterator[bytes]:
    return iter(answering.advertise_v2() if _is_v2(request) else answering.advertise_v0(history()))


def _answer(request: HttpRequest, history: Callable[[], History]) -> Iterator[bytes]:
    body = read_body(request)
    asked = read_command(body) if _is_v2(request) else read_pack_request(body)
    if asked is None:
        return iter(())
    if isinstance(asked, ListRefs):
        return iter(answering.list_refs(history(), asked))
    fetch = answering.fetch_v2 if _is_v2(request) else answering.fetch_v0
    return fetch(history(), asked)


def _stream(
    repo: Repo, kind: str, make: Callable[[Callable[[], History]], Iterator[bytes]]
) -> HttpResponseBase:
    """The packets as a response. What was refused is a packet too: git shows its text and ends."""
    try:
        packets = make(lambda: History(repo))
    except Refused as refusal:
        packets = iter([answering.error(str(refusal))])
    return StreamingHttpResponse(
        packets,
        content_type=f"application/x-{answering.SERVICE}-{kind}",
        headers={
            "Cache-Control": "no-cache, max-age=0, must-revalidate",
            "Vary": "Authorization, Git-Protocol",
        },
    )
