"""One job in words: what it does, how far it is, how long still, what went wrong and what to do."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.utils import timezone

from registry.models import Job
from registry.templatetags.humane import duration, grouped, words_of_bytes

# The phases that the handlers of each kind name, in order. A phase that is not listed is shown as it is named.
PHASES: dict[str, list[str]] = {
    "mirror": ["asking upstream", "fetching", "recording"],
    "fetch": ["fetching", "recording"],
    "inspect": ["read", "record"],
    "convert": ["plan", "convert", "store", "record"],
    "reproduce": ["compare"],
    "rebuild": ["convert"],
    "validate": ["preparing", "hashing", "tensors", "loading", "comparing", "writing", "recording"],
}

SUBPHASES = {
    "held already": "recording", "reading the parent": "preparing", "loading the parent": "loading",
    "reading the tokenizer": "loading", "embedding": "comparing", "done": "writing",
}  # fmt: skip

AFTERWARDS = {
    "mirror": "Cancelling is safe. What has arrived stays staged, and a retry goes on from there.",
    "lookup": "A client asked for a revision that was not held, or may have moved. What is held is served meanwhile.",
    "fetch": "Clients wait for these bytes, and read them as they arrive. Cancelling is safe: the next one goes on.",
    "inspect": "Only headers are read, by ranges; the weights are not downloaded again.",
    "convert": "Nothing is visible before it is whole, and nothing is published before test inference passed it.",
    "reproduce": "Nothing is written: every byte is made again and compared with what is stored.",
    "rebuild": "The bytes were evicted; they come back under the sha256 they always had, or not at all.",
    "validate": "It runs in a sandbox without network. Published is only what its gate lets through.",
}


@dataclass(frozen=True)
class JobView:
    """A job as a page shows it. `full` adds what only staff may know: paths of this machine, names of people."""

    job: Job
    full: bool
    sample: tuple[datetime, int] | None = None

    @property
    def title(self) -> str:
        """`Convert org/name to Q8_0`."""
        if self.job.kind != "mirror":  # whose label may hold a path of this machine
            return self.job.label[:1].upper() + self.job.label[1:]
        named = self._params.get("repo_id") or self._params.get("upstream_repo_id") or self.job.label
        subject = self.job.repo.repo_id if self.job.repo else named
        return f"Mirror {subject}"

    @property
    def subject(self) -> str:
        return self.title.split(" ", 1)[-1]

    @property
    def _params(self) -> dict[str, Any]:
        return self.job.params if isinstance(self.job.params, dict) else {}

    @property
    def upstream(self) -> str:
        """What a mirror job copies from."""
        endpoint, name = str(self._params.get("endpoint", "")), self._params.get("upstream_repo_id", "")
        if self._is_directory:
            return endpoint if self.full else "a directory of the operator"
        return f"{endpoint.split('://', 1)[-1]}/{name}" if endpoint else ""

    @property
    def revision(self) -> str:
        return str(self._params.get("revision", ""))

    @property
    def _is_directory(self) -> bool:
        return self._params.get("kind") == "directory"

    @property
    def is_guarded(self) -> bool:
        """Whether this visitor must not read the paths of this machine's directories."""
        return self._is_directory and not self.full

    @property
    def error(self) -> str:
        if self.is_guarded and self.job.error_message:
            return "The operator can read why."
        return self.job.error_message

    @property
    def beat_at(self) -> datetime | None:
        """When the worker last said that it is alive."""
        if self.job.lease_until is None:
            return None
        return self.job.lease_until - timedelta(seconds=settings.HOLDFAST_LEASE_SECONDS)

    @property
    def worker(self) -> str:
        return self.job.owner.rsplit(":", 1)[0] if self.full else ""

    @property
    def seconds(self) -> float | None:
        """How long it has worked, or did."""
        if self.job.started_at is None:
            return None
        return ((self.job.finished_at or timezone.now()) - self.job.started_at).total_seconds()

    @property
    def bytes_per_second(self) -> float | None:
        """The rate since the reading that the page remembers, else since the start."""
        if self.job.state == "queued" or self.job.started_at is None:
            return None
        since, done = self.sample or (self.job.started_at, 0)
        elapsed = ((self.job.finished_at or timezone.now()) - since).total_seconds()
        moved = self.job.bytes_done - done
        return moved / elapsed if elapsed >= 1 and moved > 0 else None

    @property
    def rate(self) -> str:
        return f"{words_of_bytes(round(rate))}/s" if (rate := self.bytes_per_second) else ""

    @property
    def seconds_left(self) -> float | None:
        rate = self.bytes_per_second
        if self.job.state != "running" or not self.job.bytes_total or not rate:
            return None
        return max(0.0, (self.job.bytes_total - self.job.bytes_done) / rate)

    @property
    def phases(self) -> list[tuple[str, str]]:
        """Each phase with `done`, `now` or nothing; empty when the handler named one that is not listed."""
        names, current = PHASES.get(self.job.kind, []), SUBPHASES.get(self.job.phase, self.job.phase)
        if self.job.state == "succeeded":
            return [(name, "done") for name in names]
        if current not in names:
            return []
        place = names.index(current)
        now = "now" if self.job.state == "running" else ""
        return [(name, "done" if i < place else now if i == place else "") for i, name in enumerate(names)]

    @property
    def waits_until(self) -> datetime | None:
        """When a queued job may start, if that is still to come."""
        is_later = self.job.state == "queued" and self.job.run_after > timezone.now()
        return self.job.run_after if is_later else None

    @property
    def seconds_to_wait(self) -> float | None:
        return (self.waits_until - timezone.now()).total_seconds() if self.waits_until else None

    @property
    def reading(self) -> str:
        """What the page gives back as `?since=` to learn the rate of the meantime."""
        return f"{timezone.now().timestamp():.1f}:{self.job.bytes_done}"

    @property
    def report(self) -> str:
        """Where the report is of what this job made or judged."""
        found = self.job.result if isinstance(self.job.result, dict) else {}
        judged = found.get("sha256") if self.job.kind == "validate" else None
        named = judged or self._params.get("artifact") or found.get("artifact")
        if self.job.repo is None or not isinstance(named, int | str):
            return ""
        return f"{self.job.repo.get_absolute_url()}/validation/{named}"

    @property
    def result(self) -> list[tuple[str, str]]:
        """What the job left, as far as it is short enough to read."""
        pairs = self.job.result.items() if isinstance(self.job.result, dict) else []
        told = [(name, _told(name, value)) for name, value in pairs if name not in HIDDEN]
        return [(_named(name), words) for name, words in told if words and len(words) <= LONGEST_RESULT]

    @property
    def afterwards(self) -> str:
        return AFTERWARDS.get(self.job.kind, "")


HIDDEN = {
    "repo_id",
    "recipe",
    "artifact",
    "artifacts",
    "validation",
    "passed",
    "sha256",
    "report_sha256",
}  # numbers of rows, and what the page says already
LONGEST_RESULT = 300


def _named(name: str) -> str:
    return name.removeprefix("n_").removesuffix("_bytes").replace("_", " ").capitalize()


def _told(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    if name == "seconds":
        return duration(value)
    if isinstance(value, int):
        return words_of_bytes(value) if name.endswith("_bytes") else grouped(value)
    if isinstance(value, list) and all(isinstance(item, str) for item in value):
        return ", ".join(value)
    return str(value) if isinstance(value, str | float) else ""
