"""How the bytes of a commit are kept: how many, where, and when they were last verified."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from django.db.models import Count, Max, Min, Q

from registry.models import Blob, Commit


@dataclass(frozen=True)
class Kept:
    """How the bytes of a commit are kept."""

    n_blobs: int
    n_present: int
    oldest_check: datetime | None
    newest_check: datetime | None
    n_unchecked: int
    stores: list[str]

    @property
    def is_spread(self) -> bool:
        """Whether the oldest and the newest check are far enough apart to be told one by one."""
        if self.oldest_check is None or self.newest_check is None:
            return False
        return self.newest_check - self.oldest_check > timedelta(days=1)

    @property
    def is_whole(self) -> bool:
        return self.n_blobs == self.n_present


def kept_state(commit: Commit) -> Kept:
    """When each of the commit's blobs was last verified, and whether all are there. One query."""
    blobs = Blob.objects.filter(files__commit=commit)
    found = blobs.aggregate(
        n_blobs=Count("pk", distinct=True),
        n_present=Count("pk", distinct=True, filter=Q(state=Blob.State.PRESENT)),
        oldest_check=Min("verified_at"), newest_check=Max("verified_at"),
        n_unchecked=Count("pk", distinct=True, filter=Q(verified_at=None)),
        first_store=Min("store"), last_store=Max("store"),
    )  # fmt: skip
    stores = sorted({found.pop("first_store"), found.pop("last_store")} - {None})
    return Kept(**found, stores=stores)
