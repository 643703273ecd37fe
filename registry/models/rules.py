"""Patterns and check constraints that several tables share."""

from django.db.models import CheckConstraint, Q

SHA256 = r"^[0-9a-f]{64}$"
GIT_OID = r"^[0-9a-f]{40}$"
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$"


def matches(table: str, field: str, pattern: str) -> CheckConstraint:
    """A database rule: `field`, when not NULL, matches `pattern`."""
    rule = Q(**{f"{field}__regex": pattern}) | Q(**{f"{field}__isnull": True})
    return CheckConstraint(condition=rule, name=f"{table}_{field}_pattern")


def one_of(table: str, field: str, choices: list[str]) -> CheckConstraint:
    """A database rule: `field` holds one of `choices`."""
    return CheckConstraint(condition=Q(**{f"{field}__in": choices}), name=f"{table}_{field}_known")


def not_negative(table: str, field: str) -> CheckConstraint:
    """A database rule: `field`, when not NULL, is 0 or more."""
    rule = Q(**{f"{field}__gte": 0}) | Q(**{f"{field}__isnull": True})
    return CheckConstraint(condition=rule, name=f"{table}_{field}_not_negative")
