"""How fast an upstream is asked: whoever sends a request takes a turn first, and says afterwards how it went.

The client of an upstream knows no database; what is shared between processes is given to it as a `Pace`
(`mirror.pace.SharedPace`). Without one, requests are sent as fast as they come.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Allowance:
    """What a hub says that we may still ask: so many requests in the next so many seconds."""

    n_requests: int
    seconds: float


class Pace(Protocol):
    """The pace of one upstream. Shared by threads."""

    def take_turn(self) -> None:
        """Returns when a request may be sent. Raises NotOurTurn when that is too far off to wait for it."""

    def answered(self, allowance: Allowance | None) -> None:
        """Upstream gave an answer, and perhaps said how many more there are."""

    def refused(self, seconds: float) -> None:
        """Upstream asked us to wait for so long (429)."""

    def failed(self, reason: str) -> None:
        """Upstream could not be reached, or broke off."""


class Unpaced:
    """As fast as it goes; nothing is remembered."""

    def take_turn(self) -> None:
        pass

    def answered(self, allowance: Allowance | None) -> None:
        pass

    def refused(self, seconds: float) -> None:
        pass

    def failed(self, reason: str) -> None:
        pass


def allowance_of(headers: Mapping[str, str]) -> Allowance | None:
    """What `RateLimit: "api";r=0;t=55` says, as the public hub sends it; None when it says nothing of the kind."""
    found: dict[str, int] = {}
    for part in headers.get("RateLimit", "").split(";"):
        name, _, number = part.strip().partition("=")
        if name in ("r", "t") and number.isascii() and number.isdecimal():
            found[name] = int(number[:12])
    return Allowance(found["r"], float(found["t"])) if len(found) == 2 else None
