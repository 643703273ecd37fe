"""Querysets whose SQL is made once: what every request asks costs Django more to put into words than to answer.

    find = Prepared(lambda name: Repo.objects.filter(name=name), name=str)
    find(name="base")   # a list of Repos, by the SQL of the first call

Putting the look-up of a repo into words takes some 4,000 calls of Python, most of what an answer of
`/api/models/{repo}` takes; binding values to what was made before takes 300. Only for queries whose shape does not
depend on the values. PostgreSQL plans it once per connection too (`registry/postgresql/base.py`): of a look-up by key
that joins three tables, planning is four fifths.

Of Django's insides it needs that an iterable asks its query for a compiler, and the compiler for its rows and for
what makes Python's values of them (`django/db/models/query.py: ModelIterable`, `sql/compiler.py: results_iter`).
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.models.sql.compiler import SQLCompiler

Row = TypeVar("Row")
Value = str | int
Bound = Value | list[int]


@dataclass(frozen=True)
class _Made:
    """A queryset in words. `converters` make Python's values of the database's, by column."""

    queryset: Any
    compiler: SQLCompiler
    sql: str
    params: tuple[Any, ...]
    converters: dict[int, Any]


class Prepared(Generic[Row]):
    """Called with the values by name it gives the rows of the queryset. Safe to share between threads.

    `build` gets a placeholder for each value, of the kind that is said, and may only let the database compare it.
    Values are bound as they are: a text that the database keeps in lower case is given in lower case.
    """

    def __init__(self, build: Callable[..., Any], **kinds: type[Value]) -> None:
        self._build = build
        self._marks = {name: _mark(name, at, kind) for at, (name, kind) in enumerate(kinds.items())}
        self._names = {mark: name for name, mark in self._marks.items()}

    def __call__(self, **values: Bound) -> list[Row]:
        """One query."""
        made, names = self._made, self._names
        bound = [values[names[param]] if param in names else param for param in made.params]
        connection: Any = connections[DEFAULT_DB_ALIAS]
        rows = _rows(connection, made.sql, bound)
        asking: Any = object.__new__(type(made.compiler))  # a copy; `copy` takes ten times as long
        asking.__dict__ = made.compiler.__dict__ | {
            "connection": connection,
            "execute_sql": lambda *_, **__: [rows],
            "get_converters": lambda *_: made.converters,
        }
        found: Any = models.QuerySet(made.queryset.model, query=_Asked(made.queryset.query, asking))  # type: ignore[arg-type]
        found._fields = made.queryset._fields
        return list(made.queryset._iterable_class(found))

    @cached_property
    def _made(self) -> _Made:
        queryset = self._build(**self._marks)
        compiler = queryset.query.get_compiler(DEFAULT_DB_ALIAS)
        sql, params = compiler.as_sql()
        columns = [column for column, *_ in compiler.select[: compiler.col_count]]
        return _Made(queryset, compiler, sql, tuple(params), compiler.get_converters(columns))


def _rows(connection: Any, sql: str, bound: list[Bound]) -> list[Any]:
    """What the database answers, by a plan that it keeps where the backend has such."""
    cursor_of = getattr(connection, "prepared_cursor", connection.cursor)
    with cursor_of() as cursor:
        cursor.execute(sql, bound)
        rows: list[Any] = cursor.fetchall()
    return rows


class OneOf(models.Func):
    """Whether a field is one of a list that is bound as one value, so that the words are the same for any number.

    A list for PostgreSQL, JSON for SQLite.
    """

    output_field = models.BooleanField()
    template, arg_joiner = "%(expressions)s)", " = ANY("

    def __init__(self, field: str, mark: Value) -> None:
        super().__init__(models.F(field), models.Value(mark))

    def as_sqlite(self, compiler: SQLCompiler, connection: Any, **context: Any) -> Any:
        joiner = " IN (SELECT value FROM json_each("
        return self.as_sql(compiler, connection, template="%(expressions)s))", arg_joiner=joiner, **context)


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
