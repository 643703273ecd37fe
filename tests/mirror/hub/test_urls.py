"""The document of the API and its routes are the same list."""

import re

from mirror.hub.urls import urlpatterns
from registry import urls as root
from tests.services.deployment import ROOT

PLACES = {
    "<path:path>": "{path}",
    "<str:namespace>": "{org}", "<str:name>": "{name}", "<int:number>": "{number}", "<str:sha256>": "{sha256}",
    "<str:reference>": "{reference}", "<str:digest>": "{digest}", "<str:signed>": "{signed}", "<str:verb>": "{verb}",
}  # fmt: skip


def documented() -> set[str]:
    """The paths in the headings of docs/api.md, without query and optional parts."""
    page = (ROOT / "docs" / "api.md").read_text()
    headings = [line for line in page.splitlines() if line.startswith("### ")]
    found = re.findall(r"`(?:GET|POST|PUT|DELETE) /([^`?\[]+)", "\n".join(headings))
    return {re.sub(r"\{revision\}(/\{path\})?$", "<rest>", path.strip()) for path in found}


def routed() -> set[str]:
    """The paths of the URL confs; those of datasets are the same, and what only says no is left out."""
    ours = [pattern for pattern in root.urlpatterns if str(pattern.pattern).startswith("api/")]
    found = set()
    for pattern in [*urlpatterns, *ours]:
        route = str(pattern.pattern)
        for old, new in PLACES.items():
            route = route.replace(old, new)
        is_refusal = pattern.callback.__name__ in ("nothing_here", "no_such_repo", "resolve_legacy")
        if not is_refusal and "datasets/" not in route and route != "api/datasets":
            found.add(route.replace("<rest:rest>", "<rest>"))
    return found


def test_every_endpoint_is_documented_and_every_documented_one_exists() -> None:
    assert documented() == routed()
