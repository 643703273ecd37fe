"""The loopback hub with what only a Holdfast index has: it knows in which repo a variant of another repo is kept."""

import hashlib
import json
import re
from collections.abc import Mapping
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

from tests.services import hub_requests
from tests.services.hub import Hub

VALIDATIONS = re.compile(r"/api/holdfast/v1/validations/(?P<repo>[^/]+/[^/]+)$")
RESOLVE = re.compile(r"/api/holdfast/v1/resolve/(?P<repo>[^/]+/[^/]+)$")


class HoldfastHub(Hub):
    """`derived[(repo_id, variant in lower case)]` is the answer; `choices[repo_id]` what there is to choose from.

    `tells[path]` is the JSON for any other path; `asked` the queries that came for them, as they were sent; every
    such answer names `next_page` as its `Link`.
    """

    def __init__(self, **options: Any) -> None:
        self.derived: dict[tuple[str, str], Mapping[str, Any]] = {}
        self.choices: dict[str, list[Mapping[str, Any]]] = {}
        self.tells: dict[str, Any] = {}
        self.asked: list[str] = []
        self.next_page = ""
        self.verdicts: dict[str, dict[str, Mapping[str, Any]]] = {}
        super().__init__(**options)

    def _listen(self, port: int) -> ThreadingHTTPServer:
        server = super()._listen(port)
        server.RequestHandlerClass = type("Handler", (_Requests,), {"hub": self})
        return server

    def offer(
        self, repo_id: str, variant: str, kept_in: str, path: str, verdict: str = "passed", **figures: Any
    ) -> None:
        """From now on the index says that this file of another repo is a variant of the repo, and what it measured."""
        repo = self.repos[kept_in]
        entry = repo.commits[repo.branches["main"]].files[path]
        file = {"path": path, "size_bytes": entry.size, "sha256": entry.sha256}
        answer = {"repo_id": kept_in, "commit": repo.branches["main"], "files": [file]}
        self.derived[repo_id, variant.lower()] = answer
        self.choices.setdefault(repo_id, []).append(
            {
                "variant": variant,
                "repo_id": kept_in,
                "path": path,
                "size_bytes": entry.size,
                "verdict": verdict,
                **figures,
            }
        )

    def judge(
        self, repo_id: str, path: str, verdict: str, *, passed: bool, override: str | None = None
    ) -> str:
        """From now on this is the verdict on the file, or an operator's override. Returns the report's sha256."""
        entry = self.repos[repo_id].commits[self.repos[repo_id].branches["main"]].files[path]
        report = hashlib.sha256(f"{path} {verdict}".encode()).hexdigest()
        newest = {"verdict": verdict, "passed": passed, "report_sha256": report}
        self.verdicts.setdefault(repo_id, {})[path] = {
            "repo_id": repo_id, "path": path, "sha256": entry.sha256, "verdict": override or verdict,
            "override": {"verdict": override, "reason": "looked at"} if override else None, "newest": newest,
        }  # fmt: skip
        return report


class _Requests(hub_requests.Requests):
    hub: HoldfastHub

    def _route(self, path: str) -> Any:
        if judged := VALIDATIONS.match(urlsplit(self.path).path):
            return "validations", judged, self._validations
        parts = urlsplit(self.path)
        if parts.path in self.hub.tells:
            self.hub.asked.append(parts.query)
            return "told", None, lambda: self._tell(parts.path)
        match = RESOLVE.match(parts.path)
        return ("variant", match, self._variant) if match else super()._route(path)

    def _tell(self, path: str) -> None:
        more = {"Link": self.hub.next_page} if self.hub.next_page else {}
        self._send(
            200, json.dumps(self.hub.tells[path]).encode(), {"Content-Type": "application/json", **more}
        )

    def _validations(self, repo: str) -> None:
        rows = list(self.hub.verdicts.get(repo, {}).values())
        self._send(200, json.dumps(rows).encode(), {"Content-Type": "application/json"})

    def _variant(self, repo: str) -> None:
        choices = self.hub.choices.get(repo, [])
        found = self.hub.derived.get((repo, self.query["variant"].lower()))
        answer = found or {"repo_id": None, "commit": None, "files": []}
        self._send(
            200 if found else 404,
            json.dumps({**answer, "choices": choices}).encode(),
            {"Content-Type": "application/json", **({} if found else {"X-Error-Code": "VariantNotFound"})},
        )
