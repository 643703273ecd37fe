"""What `expand=` may name: the properties of a model or a dataset that clients know."""

from django.http import HttpRequest

from mirror.hub.asking import read_values
from mirror.hub.errors import HubError
from mirror.hub.wire import Json
from registry.models import Repo

_OF_BOTH = {
    "author", "cardData", "createdAt", "disabled", "downloads", "downloadsAllTime", "gated", "lastModified", "likes",
    "private", "resourceGroup", "sha", "siblings", "tags", "trendingScore", "usedStorage", "gitalyUid", "xetEnabled",
}  # fmt: skip
PROPERTIES: dict[str, set[str]] = {
    Repo.Type.MODEL: _OF_BOTH | {
        "baseModels", "childrenModelCount", "config", "evalResults", "gguf", "inference", "inferenceProviderMapping",
        "library_name", "mask_token", "model-index", "pipeline_tag", "safetensors", "spaces", "transformersInfo",
        "widgetData",
    },
    Repo.Type.DATASET: _OF_BOTH | {"citation", "description", "mainSize", "paperswithcode_id"},
}  # fmt: skip


def read_expand(request: HttpRequest, repo_type: str) -> list[str]:
    """The properties asked for, none if all are meant. A name that no client knows is a 400 in the hub's words."""
    asked = read_values(request, "expand")
    if any(name not in PROPERTIES[repo_type] for name in asked):
        known = ", ".join(sorted(PROPERTIES[repo_type]))
        raise HubError(400, f'"expand" must be one of [{known}]')
    return asked


def only(info: Json, expand: list[str]) -> Json:
    """With `expand` exactly what was asked for, and the id. What we do not know of is left out."""
    if not expand:
        return info
    return {name: value for name, value in info.items() if name in {"_id", "id", *expand}}
