"""Querysets whose SQL is made once: what every request asks costs Django more to put into words than to answer.

    find = Prepared(lambda name: Repo.objects.filter(name=name), name=str)
    find(name="base")   # a list of Repos, by the SQL of the first call

Putting the look-up of a repo into words takes some 4,000 calls of Python, most of what an answer of
`/api/models/{repo}` takes; binding values to what was made before takes 300. Only for queries whose shape does not
depend on the values. Of Django's insides it needs that an iterable asks its query for a compiler, and the compiler
itself for its SQL (`django/db/models/query.py: ModelIterable`, `sql/compiler.py: execute_sql`).
"""

from collections.abc import Callable
from copy import copy
from functools import cached_property
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.models.sql.compiler import SQLCompiler

Row = TypeVar("Row")
Value = str | int


class Prepared(Generic[Row]):
    """Called with the values by name it gives the rows of the queryset. Safe to share between threads.

    `build` gets a placeholder for each value, of the kind that is said, and may only let the database compare it.
    Values are bound as they are: a text that the database keeps in lower case is given in lower case.
    """

    def __init__(self, build: Callable[..., Any], **kinds: type[Value]) -> None:
        self._build = build
        self._marks = {name: _mark(name, at, kind) for at, (name, kind) in enumerate(kinds.items())}
        self._names = {mark: name for name, mark in self._marks.items()}

    def __call__(self, **values: Value) -> list[Row]:
        """One query."""
        queryset, compiler, sql, params = self._made
        bound = tuple(values[self._names[param]] if param in self._names else param for param in params)
        asking = copy(compiler)
        asking.connection = connections[DEFAULT_DB_ALIAS]
        asking.as_sql = lambda *_, **__: (sql, bound)  # type: ignore[method-assign]  # of this copy only
        found: Any = models.QuerySet(queryset.model, query=_Asked(queryset.query, asking))  # type: ignore[arg-type]
        found._fields = queryset._fields
        return list(queryset._iterable_class(found))

    @cached_property
    def _made(self) -> tuple[Any, SQLCompiler, str, tuple[Any, ...]]:
        queryset = self._build(**self._marks)
        compiler = queryset.query.get_compiler(DEFAULT_DB_ALIAS)
        sql, params = compiler.as_sql()
        return queryset, compiler, sql, tuple(params)


class _Asked:
    """A query that has its compiler already."""

    def __init__(self, query: Any, compiler: SQLCompiler) -> None:
        self._query, self._compiler = query, compiler

    def get_compiler(self, using: str | None = None) -> SQLCompiler:
        return self._compiler

    def __getattr__(self, name: str) -> Any:
        return getattr(self._query, name)


def _mark(name: str, at: int, kind: type[Value]) -> Value:
    """A value that no query has of its own accord, the same in lower case."""
    return f"\x01{name.lower()}\x01" if kind is str else -(2**53) - at
