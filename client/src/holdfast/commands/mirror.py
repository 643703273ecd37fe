"""`holdfast mirror add|run|list|status`"""

from __future__ import annotations

import argparse
from typing import Any

from holdfast.asking.work import Office, job_line, open_office
from holdfast.errors import OK, NotFound
from holdfast.output import Output, table
from holdfast.settings import Settings
from holdfast.text import count, format_bytes, printable

DESCRIPTION = (
    "Keep repos on a Holdfast server as an upstream has them. Adding and running are for its operators."
)
MOST_MIRRORS = 100_000
MOST_JOBS = 1000
DEFAULT_HUB = "https://huggingface.co"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The actions of `mirror`."""
    actions = parser.add_subparsers(dest="action", metavar="ACTION", required=True)
    add = actions.add_parser("add", help="mirror a repo that is not there yet")
    add.add_argument(
        "upstream", metavar="UPSTREAM", help="hf://org/name[@revision], or hf+https://host/org/name"
    )
    add.add_argument("--as", dest="name", default="", metavar="ORG/NAME", help="its name on the server")
    add.add_argument("--wait", action="store_true", help="until it is there")
    again = actions.add_parser("run", help="bring mirrored repos up to date, and wait for it")
    again.add_argument("repos", nargs="+", metavar="REPO", help="org/name, on the server")
    actions.add_parser("list", help="what is mirrored, and from where")
    status = actions.add_parser("status", help="what is mirrored at this moment, and what failed last")
    status.add_argument("repos", nargs="*", metavar="REPO", help="only of these; all if none")


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Does the one that was named."""
    office = open_office(None, settings, out)
    return int(ACTIONS[args.action](args, office, out))


def _add(args: argparse.Namespace, office: Office, out: Output) -> int:
    question = {"upstream": args.upstream} | ({"as": args.name} if args.name else {})
    job = office.order("mirrors", question, args.upstream)
    job = office.watch(job) if args.wait else job
    out.result(_done_line(job))
    out.json({"jobs": [job]})
    return OK


def _run(args: argparse.Namespace, office: Office, out: Output) -> int:
    """All are queued first, so that the server works on them side by side."""
    known = {one.get("repo_id"): one for one in _mirrors(office)}
    orders = [(repo, _upstream_of(known.get(repo), repo, office)) for repo in args.repos]
    jobs = [office.order("mirrors", {"upstream": upstream, "as": repo}, repo) for repo, upstream in orders]
    done = [office.watch(job) for job in jobs]
    for job in done:
        out.result(_done_line(job))
    out.json({"jobs": done})
    return OK


def _upstream_of(mirror: dict[str, Any] | None, repo: str, office: Office) -> str:
    upstream = (mirror or {}).get("upstream")
    upstream = upstream if isinstance(upstream, dict) else {}
    endpoint, name = upstream.get("endpoint"), upstream.get("repo_id")
    if not isinstance(endpoint, str) or not isinstance(name, str) or not name:
        raise NotFound(
            f"{printable(repo)} is not mirrored from a hub at {office.url}",
            hint="holdfast mirror list shows what is; holdfast mirror add brings more.",
            repo_id=repo,
        )
    return f"hf://{name}" if endpoint == DEFAULT_HUB else f"hf+{endpoint}/{name}"


def _list(args: argparse.Namespace, office: Office, out: Output) -> int:
    found = _mirrors(office)
    rows = [_row(one) for one in found]
    for line in (
        table(("REPO", "COMMIT", "SIZE", "ASKED", "UPSTREAM"), rows, right=(2,), flexible=4) if rows else ()
    ):
        out.result(line)
    out.json({"mirrors": found})
    out.note(f"{count(len(found), 'mirror')} at {office.url}")
    return OK


def _row(one: dict[str, Any]) -> tuple[str, ...]:
    upstream = one.get("upstream") if isinstance(one.get("upstream"), dict) else {}
    trouble = f" ({upstream['trouble']})" if upstream and upstream.get("trouble") else ""
    size = one.get("size_bytes")
    return (
        printable(one.get("repo_id")),
        printable(one.get("commit") or "")[:7] + ("" if one.get("is_complete") else " partly"),
        format_bytes(size) if isinstance(size, int) else "",
        printable((upstream or {}).get("asked_at") or "")[:10],
        printable((upstream or {}).get("endpoint") or "a folder") + printable(trouble),
    )


def _status(args: argparse.Namespace, office: Office, out: Output) -> int:
    """Every unfinished job, and of each repo the last that is finished."""
    jobs = [job for job in office.pages("jobs?limit=1000", "jobs", MOST_JOBS) if job.get("kind") == "mirror"]
    shown = [job for job in _newest(jobs) if not args.repos or _repo_of(job) in args.repos]
    for job in shown:
        out.result(
            job_line(job) + (f": {printable(job['error_message'])}" if job.get("error_message") else "")
        )
    out.json({"jobs": shown})
    if not shown:
        out.note("No job mirrors anything, and none did of late.")
    return OK


def _newest(jobs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    seen, kept = set(), []
    for job in jobs:
        name = _repo_of(job)
        if name not in seen or job.get("state") in ("queued", "running"):
            kept.append(job)
        seen.add(name)
    return kept


def _repo_of(job: dict[str, Any]) -> str:
    """The name here, which is upstream's unless another was given."""
    params = job.get("params")
    params = params if isinstance(params, dict) else {}
    return str(params.get("repo_id") or params.get("upstream_repo_id") or "")


def _mirrors(office: Office) -> list[dict[str, Any]]:
    return office.pages("mirrors?limit=1000", "mirrors", MOST_MIRRORS)


def _done_line(job: dict[str, Any]) -> str:
    result = job.get("result")
    if not isinstance(result, dict) or not isinstance(result.get("commit"), str):
        return job_line(job)
    fetched = result.get("fetched_bytes")
    news = "was held already" if result.get("already_held") else f"{format_bytes(fetched or 0)} fetched"
    return f"{printable(result.get('repo_id'))}@{printable(result['commit'])[:12]}: {news}"


ACTIONS = {"add": _add, "run": _run, "list": _list, "status": _status}
