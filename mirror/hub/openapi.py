"""The OpenAPI document of our own API, as it lies beside this file."""

import json
from functools import cache
from pathlib import Path

import yaml
from django.http import HttpRequest, HttpResponse

from mirror.hub.doors import door
from registry.access import Somebody

SOURCE = Path(__file__).with_suffix(".yaml")


@door("GET")
def openapi(request: HttpRequest, user: Somebody) -> HttpResponse:
    """The document as JSON."""
    return HttpResponse(
        document(), content_type="application/json", headers={"Cache-Control": "public, max-age=300"}
    )


@cache
def document() -> str:
    return json.dumps(yaml.safe_load(SOURCE.read_text(encoding="utf-8")))
