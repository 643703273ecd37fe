"""`holdfast serve [REPO…]`"""

from __future__ import annotations

import argparse
import signal
from typing import Any

from holdfast.errors import OK, UsageError
from holdfast.output import Output
from holdfast.reference import is_repo_segment
from holdfast.serving.server import ANYWHERE, LanServer, is_loopback, open_server, urls_of
from holdfast.serving.shelf import Missing
from holdfast.serving.views import describe
from holdfast.settings import Settings
from holdfast.text import count, format_bytes, printable

DESCRIPTION = "Serve the cache to other machines, read-only, as a Hub-compatible index. Ctrl-C ends it."
EXPOSED = (
    "Everybody who can reach this address can read what is served, without a token: also what you pulled "
    "from private or gated repos. holdfast serve ORG/NAME … serves only those."
)


def port(text: str) -> int:
    """The type of --port."""
    value = int(text)
    if not 0 <= value <= 65535:
        raise ValueError(text)
    return value


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The flags of `serve`."""
    add = parser.add_argument
    add("repos", nargs="*", metavar="REPO", help="org/name, to serve only these; all if none")
    add("--host", default=None, metavar="ADDRESS", help="the address to listen on (127.0.0.1)")
    add("--port", type=port, default=8000, metavar="N", help="the port (8000); 0 takes any that is free")
    add("--lan", action="store_true", help="listen on all addresses, so that neighbours reach it")
    add(
        "--name",
        action="append",
        default=[],
        metavar="HOST",
        help="a further name of this machine; repeatable",
    )


def run(args: argparse.Namespace, settings: Settings, out: Output) -> int:
    """Serves until it is interrupted; the first line on stdout is the address."""
    if args.lan and args.host is not None:
        raise UsageError("--lan and --host contradict each other", hint="--lan is --host 0.0.0.0")
    host = ANYWHERE if args.lan else args.host or "127.0.0.1"
    server = open_server(
        settings.cache_dir, host, args.port, only=_checked(args.repos), names=args.name,
        on_sent=out.trace, on_damage=out.note,
    )  # fmt: skip
    with server:
        _check_here(args.repos, server)
        _announce(server, host, settings, out)
        _serve(server)
    out.note(f"\nServed {count(server.n_requests, 'request')}, {format_bytes(server.sent_bytes)}.")
    return OK


def _checked(repos: list[str]) -> list[str]:
    for repo in repos:
        if repo.count("/") > 1 or not all(map(is_repo_segment, repo.split("/"))):
            raise UsageError(
                f"{printable(repo)!r} is no repo", hint="write org/name, as holdfast list shows it"
            )
    return repos


def _check_here(repos: list[str], server: LanServer) -> None:
    for repo in repos:
        try:
            server.shelf.newest(repo)
        except Missing as error:
            raise UsageError(error.message, hint=f"holdfast pull {repo} fetches it.", repo_id=repo) from error


def _announce(server: LanServer, host: str, settings: Settings, out: Output) -> None:
    urls = urls_of(host, server.server_port)
    out.json({"urls": urls, "cache_dir": str(settings.cache_dir), "repos": server.shelf.repo_ids()})
    for url in urls:
        out.result(url)
    address = urls[0].partition("//")[2]
    out.note(f"Serving {describe(server.shelf)} of {printable(settings.cache_dir)}. Ctrl-C ends it.")
    if not is_loopback(host):
        out.note(f"warning: {EXPOSED}")
    for line in (
        f"holdfast pull -i {urls[0]} ORG/NAME",
        f"HF_ENDPOINT={urls[0]} hf download ORG/NAME",
        f"ollama pull --insecure http://{address}/ORG/NAME:VARIANT",
    ):
        out.note(f"  {line}")


def _serve(server: LanServer) -> None:
    """Until Ctrl-C or SIGTERM."""
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        server.serve_forever(poll_interval=0.2)
    except KeyboardInterrupt:
        return


def _interrupt(number: int, frame: Any) -> None:
    raise KeyboardInterrupt
