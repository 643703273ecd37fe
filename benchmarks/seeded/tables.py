"""Very many rows at once: COPY on PostgreSQL, one prepared INSERT on SQLite; the same rows either way."""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from django.core.management.color import no_style
from django.db import connection, models


class Table:
    """Rows of a model, with their primary keys, given as tuples of `columns`; every other column has its default."""

    def __init__(self, model: type[models.Model], *columns: str) -> None:
        self.model = model
        fields = {field.attname: field for field in model._meta.concrete_fields}
        rest = [field for name, field in fields.items() if name not in columns]
        self._names = [fields[name].column for name in columns] + [field.column for field in rest]
        self._defaults = tuple(field.get_db_prep_save(field.get_default(), connection) for field in rest)

    def write(self, rows: Iterable[Sequence[Any]]) -> None:
        """They are in the table. Memory does not grow with their number."""
        whole = ((*row, *self._defaults) for row in rows)
        with connection.cursor() as cursor:
            if connection.vendor == "postgresql":
                with cursor.copy(f"COPY {self._table} ({self._listed}) FROM STDIN") as copy:
                    for row in whole:
                        copy.write_row(row)
            else:
                marks = ", ".join(["?"] * len(self._names))
                cursor.connection.executemany(
                    f"INSERT INTO {self._table} ({self._listed}) VALUES ({marks})", whole
                )

    @property
    def next_pk(self) -> int:
        return (self.model._default_manager.aggregate(most=models.Max("pk"))["most"] or 0) + 1

    @cached_property
    def _table(self) -> str:
        return connection.ops.quote_name(self.model._meta.db_table)

    @cached_property
    def _listed(self) -> str:
        return ", ".join(map(connection.ops.quote_name, self._names))


def when(seconds: float) -> str:
    """A moment as both databases keep it."""
    return datetime.fromtimestamp(seconds, tz=UTC).strftime("%Y-%m-%d %H:%M:%S")


def settle(tables: Iterable[Table]) -> None:
    """Rows made in the ordinary way get the next keys, and the planner knows how many there are."""
    with connection.cursor() as cursor:
        for statement in connection.ops.sequence_reset_sql(no_style(), [table.model for table in tables]):
            cursor.execute(statement)
        cursor.execute("VACUUM ANALYZE" if connection.vendor == "postgresql" else "ANALYZE")
