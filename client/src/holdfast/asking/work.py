"""Work that a Holdfast server does for us: ask for it, and watch it to its end."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Callable

from holdfast.errors import BadAnswer, HoldfastError, NotFound, Offline, WorkFailed
from holdfast.network.connecting import open_transport
from holdfast.network.sending import post_json
from holdfast.network.transport import Transport
from holdfast.output import Output, say
from holdfast.reference import HUGGING_FACE, Reference
from holdfast.settings import Settings
from holdfast.sources.hub import Hub
from holdfast.text import format_bytes, printable

FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 0.2, 2.0
FINISHED = frozenset({"succeeded", "failed", "cancelled"})
_NO_SUCH_DOOR = frozenset({404, 405, 501})


@dataclass(frozen=True)
class Office:
    """One Holdfast server that takes orders."""

    url: str
    transport: Transport
    hub: Hub
    settings: Settings
    out: Output

    def order(self, what: str, question: dict[str, Any], name: str) -> dict[str, Any]:
        """The job that the server makes of it; asking again while it waits or runs is the same job."""
        address = f"{self.url}/api/holdfast/v1/{what}"
        try:
            job = post_json(self.transport, address, question, name=name, retries=self.settings.retries)
        except HoldfastError as error:
            if error.facts.get("status") not in _NO_SUCH_DOOR or "error_code" in error.facts:
                raise
            words = f"{self.url} takes no orders to {what}: it is no Holdfast server, or an older one"
            raise NotFound(words, hint="Check -i, or ask who runs it.", url=self.url) from error
        return _checked(job, address)

    def look(self, number: int) -> dict[str, Any]:
        """The job as it is now."""
        path = f"api/holdfast/v1/jobs/{number}"
        return _checked(self.hub.get(path, f"job {number}")[0], path)

    def watch(self, job: dict[str, Any]) -> dict[str, Any]:
        """The job at its end, told on the way. Raises WorkFailed if it failed or was cancelled."""
        told, pause = "", FIRST_PAUSE_SECONDS
        while job["state"] not in FINISHED:
            told = _tell(job, told, self._say)
            time.sleep(pause)
            pause = min(pause * 1.5, LAST_PAUSE_SECONDS)
            job = self.look(job["id"])
        _tell(job, told, self._say)
        if job["state"] != "succeeded":
            raise _failure(job)
        return job

    def pages(self, path: str, name: str, most: int) -> list[dict[str, Any]]:
        """The entries of a list, from as many pages as it takes, at most so many."""
        found: list[dict[str, Any]] = []
        after: str | None = f"api/holdfast/v1/{path}"
        while after is not None and len(found) < most:
            entries, after = self.hub.get(after, name)
            if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
                raise BadAnswer(f"{self.url}: {path} is not a list", url=self.url)
            found += entries
        return found[:most]

    def _say(self, job: dict[str, Any], text: str) -> None:
        if self.settings.progress == "json":
            facts = {name: job.get(name) for name in ("id", "state", "phase", "bytes_done", "bytes_total")}
            say(json.dumps({"event": "job", **facts}))
        elif self.settings.progress != "off":
            self.out.note(text)


def open_office(reference: Reference | None, settings: Settings, out: Output) -> Office:
    """The server that the reference names, else the configured index. Raises Offline."""
    if settings.offline:
        raise Offline("offline: this is done by the index", hint="Run without --offline.")
    url = settings.index_url if reference is None else index_url_of(reference, settings)
    transport = open_transport(url, settings, out)
    return Office(url, transport, Hub(url, transport, retries=settings.retries), settings, out)


def index_url_of(reference: Reference, settings: Settings) -> str:
    """Where the reference leads."""
    if reference.index_url == HUGGING_FACE:
        return settings.hugging_face_url
    return reference.index_url or settings.index_url


def job_line(job: dict[str, Any]) -> str:
    """`job 17 running: convert acme/model@1a2b3c4d to Q4_K_M: quantising, 34 %, 1.2 GB of 3.5 GB`"""
    phase = f": {printable(job['phase'])}" if job.get("phase") else ""
    done, total = job.get("bytes_done"), job.get("bytes_total")
    share = ""
    if isinstance(done, int) and isinstance(total, int) and 0 < done <= total and job["state"] == "running":
        share = f", {done * 100 // total} %, {format_bytes(done)} of {format_bytes(total)}"
    return f"job {job['id']} {job['state']}: {printable(job.get('label') or job.get('kind'))}{phase}{share}"


def _tell(job: dict[str, Any], told: str, tell: Callable[[dict[str, Any], str], None]) -> str:
    """One line whenever the state, the phase, or a tenth of the bytes has changed."""
    done, total = job.get("bytes_done") or 0, job.get("bytes_total") or 0
    news = f"{job['state']} {job.get('phase')} {done * 10 // total if total else 0}"
    if news != told:
        tell(job, job_line(job))
    return news


def _checked(job: Any, address: str) -> dict[str, Any]:
    known = isinstance(job, dict) and isinstance(job.get("id"), int) and isinstance(job.get("state"), str)
    if not known:
        raise BadAnswer(f"{address} did not answer with a job", url=address)
    return dict(job)


def _failure(job: dict[str, Any]) -> HoldfastError:
    words = printable(job.get("error_message") or job["state"])
    return WorkFailed(
        f"{job_line(job)}: {words}",
        hint="The server has tried as often as it does; ask again when the cause is gone.",
        job=job["id"],
        error_code=job.get("error_code"),
    )
