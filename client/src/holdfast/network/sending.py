"""Questions to an index that change something there: JSON out, JSON in, and refusals in our words."""

from __future__ import annotations

import json
from typing import Any

from holdfast.errors import BadAnswer, HoldfastError, Refused
from holdfast.network.patience import with_patience
from holdfast.network.transport import MAX_JSON_BYTES, Answer, Transport, said, show_url
from holdfast.sources.hub import refusal_of
from holdfast.text import printable

WRITING = "Set HOLDFAST_TOKEN (or HF_TOKEN) to a token that may write; holdfast login asks for one."
_REFUSALS = frozenset({400, 409, 411, 412, 413, 415, 422})


def post_json(
    transport: Transport, url: str, question: Any, *, name: str, retries: int, kind: str = "application/json"
) -> Any:
    """What the index answers to a JSON object. Only for questions that may be asked twice."""
    headers = {"Content-Type": kind, "Accept": kind}
    body = json.dumps(question).encode()
    return with_patience(retries, lambda: _post(transport, url, body, headers, name))


def _post(transport: Transport, url: str, body: bytes, headers: dict[str, str], name: str) -> Any:
    with transport.send("POST", url, body, headers) as answer:
        if answer.status not in (200, 201, 202):
            raise refused(answer, name)
        return read_json(answer)


def read_json(answer: Answer) -> Any:
    """The body, or BadAnswer. An empty one is an empty object."""
    try:
        return json.loads(answer.read_all(MAX_JSON_BYTES) or b"{}")
    except (ValueError, RecursionError) as error:
        kind = printable(answer.headers.get("Content-Type", "no content type"))
        raise BadAnswer(
            f"{show_url(answer.url)} answered with {kind} instead of JSON", url=answer.url
        ) from error


def refused(answer: Answer, name: str) -> HoldfastError:
    """Why the index did not do it."""
    if answer.status in _REFUSALS:
        words = f"{name}: the index refused ({answer.status}): {said(answer)}"
        return Refused(words, hint="Nothing was changed.", url=answer.url, status=answer.status)
    if 300 <= answer.status < 400:
        where = printable(answer.headers.get("Location", ""))
        words = f"{name} is elsewhere now: {where}"
        return Refused(words, hint="Use the name that it has now.", url=answer.url, status=answer.status)
    error = refusal_of(answer, name)
    if answer.status in (401, 403):
        error.hint = WRITING
    return error
