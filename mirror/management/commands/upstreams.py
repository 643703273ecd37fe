"""`manage.py upstreams`: where we copy from, which names belong there, how fast we ask, and with which token."""

import getpass
import json
import math
import re
import sys
from argparse import ArgumentParser
from typing import Any

from django.conf import settings
from django.core.management.base import CommandError
from django.core.serializers.json import DjangoJSONEncoder
from django.db.models import Count, Q

from mirror.owners import release
from mirror.routing import BoundElsewhere, bind_by_hand, binding_of, pull_through
from mirror.tokens import keep_token, seal_again, token_of_environment, unseal
from mirror.upstream import UpstreamError, UpstreamRef, parse_hub
from mirror.upstream.guard import authority_of
from registry.foreground import FAILED, USAGE
from registry.management.base import HoldfastCommand
from registry.models import Binding, Upstream

_NAME = re.compile(
    r"(?:(datasets)/)?(?!datasets/)([A-Za-z0-9][A-Za-z0-9._-]{0,95}/[A-Za-z0-9][A-Za-z0-9._-]{0,95})"
)


class Command(HoldfastCommand):
    help = (
        "Show the upstreams, their health and pace, and which names belong to each; release a name that is held for "
        "review because upstream's repo or its owner changed; keep or forget an access token, which is sealed with the "
        "secret key and never shown; set how fast an upstream is asked. An UPSTREAM is written as hf://, "
        "hf+https://host, or as listed; a NAME as org/name or datasets/org/name. Exit status: 0 done, 1 there is no "
        "such thing, 2 the command line is wrong."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(
            dest="verb", required=True, metavar="list | bindings | held | release | bind | token | pace"
        )
        listing = verbs.add_parser(
            "list", help="every upstream: health, pace, where its token is, how many names"
        )
        bindings = verbs.add_parser("bindings", help="which names belong to which upstream")
        bindings.add_argument("upstream", nargs="?", metavar="UPSTREAM", help="those of one upstream")
        held = verbs.add_parser("held", help="the names that are held for review, and why")
        releasing = verbs.add_parser(
            "release", help="accept the repo and owner that upstream has for a name now"
        )
        releasing.add_argument("name", metavar="NAME")
        binding = verbs.add_parser("bind", help="say where a name belongs before anybody asks for it")
        binding.add_argument("name", metavar="NAME")
        binding.add_argument("upstream", metavar="UPSTREAM")
        binding.add_argument(
            "--instead", action="store_true", help="of where it belonged, as long as nothing of it is here"
        )
        for verb in (releasing, binding):
            verb.add_argument(
                "--by", default=getpass.getuser(), help="who decides (default: the user of this shell)"
            )
        token = verbs.add_parser("token", help="keep the token for an upstream, forget it, or seal all anew")
        token.add_argument("what", choices=["set", "clear", "reseal"], help="set reads the token from stdin")
        token.add_argument("upstream", nargs="?", metavar="UPSTREAM", help="needed but for reseal")
        pace = verbs.add_parser("pace", help="how fast an upstream is asked by all processes together")
        pace.add_argument("upstream", metavar="UPSTREAM")
        how = pace.add_mutually_exclusive_group(required=True)
        how.add_argument("--per-second", type=float, metavar="N", help="at most N requests a second")
        how.add_argument("--unlimited", action="store_true", help="as fast as it goes, until it says 429")
        how.add_argument(
            "--resume", action="store_true", help="end a pause, and forget what its 429s taught us"
        )
        for verb in (listing, bindings, held, releasing, binding, token, pace):
            verb.add_argument("--json", action="store_true", help="one JSON value on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        verbs = {"list": self._list, "bindings": self._bindings, "held": self._held, "release": self._release,
                 "bind": self._bind, "token": self._token, "pace": self._pace}  # fmt: skip
        try:
            verbs[options["verb"]](options)
        except (BoundElsewhere, UpstreamError) as error:
            raise CommandError(f"{error.code}: {error}", returncode=FAILED) from None

    # --- showing ------------------------------------------------------------------------------------------

    def _list(self, options: dict[str, Any]) -> None:
        rows = Upstream.objects.annotate(
            bound=Count("bindings"), held=Count("bindings", filter=Q(bindings__state=Binding.State.HELD))
        )
        order = pull_through()
        facts = [_facts(row, order) for row in rows.order_by("pk")]
        if options["json"]:
            self.stdout.write(_as_json(facts))
            return
        for one in facts:
            self.stdout.write("\n  ".join(_told(one)))
        if not facts:
            self.stderr.write("There are no upstreams yet.")

    def _bindings(self, options: dict[str, Any]) -> None:
        rows = Binding.objects.all()
        if options["upstream"]:
            rows = rows.filter(upstream=_find_upstream(options["upstream"]))
        self._show_bindings(options, rows, "No name is bound.")

    def _held(self, options: dict[str, Any]) -> None:
        self._show_bindings(
            options, Binding.objects.filter(state=Binding.State.HELD), "No name is held for review."
        )

    def _show_bindings(self, options: dict[str, Any], rows: Any, nothing: str) -> None:
        found = [
            _binding_facts(row) for row in rows.select_related("upstream").order_by("repo_type", "repo_id")
        ]
        if options["json"]:
            self.stdout.write(_as_json(found))
            return
        for one in found:
            owner = f", owner {one['owner']}" if one["owner"] else ""
            held = f"\n  held for review: {one['reason']}" if one["state"] == Binding.State.HELD else ""
            self.stdout.write(f"{one['name']}  {one['upstream']}{owner}{held}")
        if not found:
            self.stderr.write(nothing)

    # --- deciding -----------------------------------------------------------------------------------------

    def _release(self, options: dict[str, Any]) -> None:
        repo_type, repo_id = _read_name(options["name"])
        binding = binding_of(repo_type, repo_id)
        if binding is None or binding.state != Binding.State.HELD:
            raise CommandError(
                f"{repo_id} is not held; `manage.py upstreams held` shows what is", returncode=FAILED
            )
        release(binding, by=options["by"])
        self._say(
            options,
            _binding_facts(binding),
            f"{binding.repo_id} belongs to {binding.owner} at {binding.upstream}",
        )

    def _bind(self, options: dict[str, Any]) -> None:
        repo_type, repo_id = _read_name(options["name"])
        kind, endpoint = _read_upstream(options["upstream"])
        ref = UpstreamRef(kind, endpoint, repo_id, repo_type=repo_type)
        binding = bind_by_hand(repo_id, ref, by=options["by"], instead=options["instead"])
        self._say(options, _binding_facts(binding), f"{binding.repo_id} belongs to {binding.upstream}")

    def _token(self, options: dict[str, Any]) -> None:
        if options["what"] == "reseal":
            kept = list(Upstream.objects.exclude(sealed_token=""))
            for row in kept:
                seal_again(row)
            self._say(
                options, {"resealed": len(kept)}, f"{len(kept)} tokens are sealed with the newest secret key"
            )
            return
        if not options["upstream"]:
            raise CommandError("name the upstream whose token it is", returncode=USAGE)
        kind, endpoint = _read_upstream(options["upstream"])
        if kind == Upstream.Kind.DIRECTORY:
            raise CommandError(f"{endpoint} is a folder, which needs no token", returncode=USAGE)
        row, _ = Upstream.objects.get_or_create(kind=kind, endpoint=endpoint)
        token = _read_token(self.stderr) if options["what"] == "set" else ""
        keep_token(row, token)
        self._say(
            options, _facts(row, pull_through()), f"{row}: token {_where_its_token_is(row) or 'forgotten'}"
        )

    def _pace(self, options: dict[str, Any]) -> None:
        rate = _read_rate(options["per_second"])
        row = _find_upstream(options["upstream"], make=True)
        if options["resume"]:
            row.paused_until = row.next_request_at = row.learned_per_second = row.ceiling_per_second = None
        else:
            row.requests_per_second = rate
        row.save(
            update_fields=[
                "paused_until", "next_request_at", "learned_per_second", "ceiling_per_second", "requests_per_second",
            ]
        )  # fmt: skip
        pace = (
            f"{row.requests_per_second:g} requests a second"
            if row.requests_per_second
            else "as fast as it goes"
        )
        self._say(options, _facts(row, pull_through()), f"{row} is asked at {pace}")

    # --- output -------------------------------------------------------------------------------------------

    def _say(self, options: dict[str, Any], value: object, sentence: str) -> None:
        self.stdout.write(_as_json(value) if options["json"] else sentence)


def _facts(row: Upstream, order: list[str]) -> dict[str, Any]:
    rates = [rate for rate in (row.requests_per_second, row.learned_per_second) if rate is not None]
    return {
        "upstream": row.endpoint, "kind": row.kind,
        "pull_through": order.index(row.endpoint) + 1 if row.endpoint in order else None,
        "token": _where_its_token_is(row), "per_second": round(min(rates), 2) if rates else None,
        "requests_per_second": row.requests_per_second, "learned_per_second": row.learned_per_second,
        "paused_until": row.paused_until, "answered_at": row.answered_at, "trouble_at": row.trouble_at,
        "trouble": row.trouble, "bound": getattr(row, "bound", None), "held": getattr(row, "held", None),
    }  # fmt: skip


def _told(facts: dict[str, Any]) -> list[str]:
    """What `list` says of one upstream: a line with its name, and one for each thing to know of it."""
    place, rate = facts["pull_through"], facts["per_second"]
    pace = f"asked at {rate:g} requests a second" if rate else "asked as fast as it goes"
    lines = [
        facts["upstream"] + (f"  (pull-through {place})" if place else ""),
        f"names: {facts['bound']}, held for review: {facts['held']}; token: {facts['token'] or 'none'}",
        pace + ("" if facts["learned_per_second"] is None else ", as its 429s taught us"),
    ]
    words = {"paused_until": "paused until", "answered_at": "answered", "trouble_at": "in trouble"}
    times = [f"{word} {facts[name]:%Y-%m-%d %H:%M:%S}" for name, word in words.items() if facts[name]]
    return lines + [", ".join(times)] * bool(times) + [facts["trouble"]] * bool(facts["trouble"])


def _where_its_token_is(row: Upstream) -> str:
    """environment, kept, or unreadable (sealed with a key that we have not); empty: it has none."""
    if row.kind == Upstream.Kind.HUGGINGFACE and token_of_environment(row.endpoint):
        return "environment"
    try:
        return "kept" if unseal(row) else ""
    except UpstreamError:
        return "unreadable"


def _binding_facts(row: Binding) -> dict[str, Any]:
    prefix = "datasets/" if row.repo_type == "dataset" else ""
    return {"name": prefix + row.repo_id, "repo_type": row.repo_type, "upstream": row.upstream.endpoint} | {
        name: getattr(row, name)
        for name in ("upstream_repo_id", "owner", "upstream_object_id", "state", "reason", "seen_owner",
                     "seen_object_id", "bound_at", "asked_at")
    }  # fmt: skip


def _as_json(value: object) -> str:
    return json.dumps(value, cls=DjangoJSONEncoder, indent=1)


# --- input ------------------------------------------------------------------------------------------------


def _read_name(text: str) -> tuple[str, str]:
    """(repo_type, repo_id)"""
    if not (found := _NAME.fullmatch(text)):
        raise CommandError(f"{text!r} is not a name like org/name or datasets/org/name", returncode=USAGE)
    return "dataset" if found[1] else "model", found[2]


def _read_upstream(text: str) -> tuple[str, str]:
    """(kind, endpoint) of an upstream, whether or not it has a row."""
    known = Upstream.objects.filter(
        Q(endpoint=text) | Q(endpoint__in=[f"https://{text}", f"http://{text}"])
    ).first()
    if known:
        return known.kind, known.endpoint
    try:
        written = text if text.startswith("hf") else f"hf+{text}"
        endpoint = parse_hub(written, hub_endpoint=settings.HOLDFAST_HUB_ENDPOINT)
        authority_of(endpoint)
    except UpstreamError as error:
        why = getattr(error, "why", error)
        raise CommandError(f"{text!r} is no upstream: {why}", returncode=USAGE) from None
    return Upstream.Kind.HUGGINGFACE, endpoint


def _find_upstream(text: str, *, make: bool = False) -> Upstream:
    kind, endpoint = _read_upstream(text)
    if make:
        return Upstream.objects.get_or_create(kind=kind, endpoint=endpoint)[0]
    row = Upstream.objects.filter(kind=kind, endpoint=endpoint).first()
    if row is None:
        raise CommandError(
            f"{endpoint} was never asked; `manage.py upstreams list` shows those that were", returncode=FAILED
        )
    return row


def _read_rate(rate: float | None) -> float | None:
    if rate is not None and not (0.001 <= rate < math.inf):
        raise CommandError("--per-second takes a number of at least 0.001", returncode=USAGE)
    return rate


def _read_token(stderr: Any) -> str:
    """From stdin, so that it is in no list of processes and no shell history."""
    if sys.stdin.isatty():
        token = getpass.getpass("Token (not shown): ", stream=stderr)
    else:
        token = sys.stdin.readline(8192)
    if not token.strip():
        raise CommandError(
            "there is no token on stdin; `token clear` forgets the one that is kept", returncode=USAGE
        )
    return token.strip()
