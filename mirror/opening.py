"""An upstream, ready to be asked: with its token, at the pace that all share, and led nowhere else."""

from django.conf import settings

from mirror.pace import PATIENCE_SECONDS, SharedPace
from mirror.tokens import token_for
from mirror.upstream import UpstreamClient, UpstreamRef, open_upstream
from mirror.upstream.guard import authority_of


def open_client(ref: UpstreamRef, *, patience_seconds: float = PATIENCE_SECONDS) -> UpstreamClient:
    """The client of the upstream. Everything that asks an upstream gets it here.

    A request that would have to wait for its turn longer than `patience_seconds` raises NotOurTurn instead. At most
    one query. Raises BadToken and TokenSealed.
    """
    pace = None
    if ref.kind != "directory":
        where = authority_of(ref.endpoint)
        pace = SharedPace(ref.kind, ref.endpoint, where, patience_seconds=patience_seconds)
    return open_upstream(
        ref.kind, ref.endpoint, token=token_for(ref.kind, ref.endpoint), repo_type=ref.repo_type, pace=pace,
        allow=frozenset(settings.HOLDFAST_UPSTREAM_ALLOW),
    )  # fmt: skip
