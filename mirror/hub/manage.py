"""Repos as a whole: made. Only tokens that may write act here; a session does not."""

from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.creating import create_repo
from mirror.hub.doors import door, writer_of
from mirror.hub.verbs import read_name, read_object, read_private, read_type, refusals
from mirror.store import blob_store
from registry.access import Somebody
from registry.models import Repo
from registry.namespaces import namespace_of
from registry.repos import RepoExists


@door("POST")
def create(request: HttpRequest, user: Somebody) -> HttpResponse:
    """A new repo with a first commit; 409 with its url when it is there already."""
    writer, asked = writer_of(request), read_object(request)
    repo_type, name, private = read_type(asked), read_name(asked, "name"), bool(read_private(asked))
    namespace = None if asked.get("organization") is None else read_name(asked, "organization")
    try:
        with refusals():
            organisation = namespace_of(writer, namespace)
            repo = create_repo(blob_store(), writer, organisation, name, repo_type=repo_type, private=private)
    except RepoExists as taken:
        return JsonResponse({"error": str(taken), "url": repo_url(request, taken.repo)}, status=409)
    return JsonResponse({"url": repo_url(request, repo), "name": repo.repo_id, "id": f"{repo.pk:024x}"})


def repo_url(request: HttpRequest, repo: Repo) -> str:
    """Where the repo is, on the host that was asked: clients read its id out of this."""
    folder = "" if repo.repo_type == Repo.Type.MODEL else f"{repo.repo_type}s/"
    return request.build_absolute_uri(f"/{folder}{repo.repo_id}")
