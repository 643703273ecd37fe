"""What a list says of each repo, read by key: a page is first found, then read, in words that never change.

Rows of values with the names that models have, since making models of them takes three times as long.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connection

from registry.models import Repo
from registry.prepared import OneOf, Prepared


class ListedHead(NamedTuple):
    """Of a commit what `wire.repo_info` says in a list."""

    commit_hash: str
    committed_at: datetime | None
    recorded_at: datetime
    tags: list[Any]
    license: str
    pipeline_tag: str
    library_name: str
    card_data: dict[str, Any]
    architecture: str
    parameter_count: int | None
    context_length: int | None
    size_bytes: int
    facts: dict[str, Any]


class ListedRepo(NamedTuple):
    """Of a repo what `wire.repo_info` says in a list."""

    pk: int
    repo_id: str
    repo_type: str
    namespace: str
    private: bool
    gated: str
    created_at: datetime
    updated_at: datetime
    head_id: int
    head: ListedHead


_OF_REPO = ListedRepo._fields[:-1]
_OF_HEAD = [f"head__{name}" for name in ListedHead._fields]

_rows: Prepared[tuple[Any, ...]] = Prepared(
    lambda keys: Repo.objects.filter(OneOf("pk", keys)).values_list(*_OF_REPO, *_OF_HEAD), keys=str
)


def read_listed(keys: Sequence[int]) -> list[ListedRepo]:
    """The repos of these keys that are still there, in their order. One query."""
    n = len(_OF_REPO)
    bound: Any = list(keys) if connection.vendor == "postgresql" else json.dumps(list(keys))
    rows = {row[0]: ListedRepo._make((*row[:n], ListedHead._make(row[n:]))) for row in _rows(keys=bound)}
    return [rows[key] for key in keys if key in rows]
