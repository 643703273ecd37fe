"""What a verdict is good for: which files may be published, and which are pulled without being asked for.

A gate is a row for a pattern of repo ids. Of several that match, the most exact decides: the one with the most
letters that are not wildcards. The repo is the one that holds the file: `org/name-GGUF` for what is made here. Where
no gate matches, `DEFAULT` holds: only what is verified is published; everything that is not damaged may be pulled.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from registry.models import Blob, Gate, Override, Validation
from registry.models.gate import ADMISSIBLE
from registry.models.validation import VERDICTS

DEFAULT = Gate(repos="*", publish="verified", pull=",".join(ADMISSIBLE))
"""Not a row: what is true while the operator says nothing else."""


class BadGate(Exception):
    """No gate may say this; the message says what one may."""

    code = "bad-gate"


@dataclass(frozen=True)
class Standing:
    """What is held to be true of some bytes: the newest decided verdict, unless an operator decided otherwise."""

    validation: Validation | None = None
    override: Override | None = None

    @property
    def verdict(self) -> str:
        if self.override:
            return self.override.verdict
        return self.validation.verdict if self.validation else "untested"


UNKNOWN = Standing()


@dataclass(frozen=True)
class Gates:
    """Every gate there is, the most exact first."""

    rows: tuple[Gate, ...]

    def of(self, repo_id: str) -> Gate:
        """The gate that decides on the files of this repo; `DEFAULT` where none does."""
        return next((gate for gate in self.rows if gate.is_for(repo_id)), DEFAULT)


def read_gates() -> Gates:
    """One query. Read them once for many files."""
    return Gates(tuple(sorted(Gate.objects.all(), key=lambda gate: (-_exactness(gate.repos), gate.repos))))


def _exactness(pattern: str) -> int:
    return 2 * sum(letter not in "*?" for letter in pattern) + (not set(pattern) & set("*?"))


def standings(blobs: Iterable[int]) -> dict[int, Standing]:
    """What is held of each of these blobs, by primary key; unknown ones are left out. Two queries, reports deferred."""
    wanted = set(blobs)
    best: dict[int, Validation] = {}
    for row in Validation.objects.filter(blob__in=wanted).best_known().defer("report"):
        best.setdefault(row.blob_id, row)
    decided = {
        row.blob_id: row for row in Override.objects.filter(blob__in=wanted, withdrawn_at__isnull=True)
    }
    return {blob: Standing(best.get(blob), decided.get(blob)) for blob in best.keys() | decided.keys()}


def override_of(blob: Blob) -> Override | None:
    """The override that is in force for these bytes. One query."""
    return Override.objects.filter(blob=blob, withdrawn_at__isnull=True).first()


def save_gate(repos: str, *, publish: Iterable[str] | None, pull: Iterable[str] | None) -> Gate:
    """The gate of that pattern says exactly this from now on; None leaves its part as it is. Raises BadGate."""
    if not 0 < len(repos) <= 200:
        raise BadGate("a gate is for a pattern of 1 to 200 characters, e.g. acme/* or *-GGUF")
    before = Gate.objects.filter(repos__iexact=repos).first() or DEFAULT
    gate, _ = Gate.objects.update_or_create(
        repos=repos if before is DEFAULT else before.repos,
        defaults={
            "publish": before.publish if publish is None else _joined(publish),
            "pull": before.pull if pull is None else _joined(pull),
        },
    )
    return gate


def _joined(verdicts: Iterable[str]) -> str:
    chosen = set(verdicts)
    if unknown := sorted(chosen - set(ADMISSIBLE)):
        words = ", ".join(ADMISSIBLE)
        hint = " Damaged bytes pass only by an override that names them." if "damaged" in unknown else ""
        raise BadGate(
            f"{', '.join(unknown)!r:.80} is nothing that a gate lets through; there are {words}.{hint}"
        )
    return ",".join(verdict for verdict in VERDICTS if verdict in chosen)


def standing_json(standing: Standing, gate: Gate) -> dict[str, Any]:
    """What a client is told of a file beside its verdict."""
    override = standing.override
    return {
        "pulled_by_default": standing.verdict in gate.pulls,
        "override": override.as_json() if override else None,
    }
