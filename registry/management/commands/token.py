"""`manage.py token`: access tokens for programs, given, listed and withdrawn."""

import json
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError
from django.core.serializers.json import DjangoJSONEncoder
from rich import box
from rich.console import Console
from rich.table import Table

from registry.management.base import HoldfastCommand
from registry.models import AccessToken

COLUMNS = ["id", "user", "name", "role", "prefix", "created_at", "last_used_at", "expires_at"]


class Command(HoldfastCommand):
    help = (
        "Give a user an access token (shown once, on stdout), list the tokens there are, or withdraw one. "
        "Programs send it as HF_TOKEN or HOLDFAST_TOKEN."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        json_option = {"action": "store_true", "help": "one JSON value on stdout"}
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="create | list | revoke")
        create = verbs.add_parser("create", help="a new token for a user")
        create.add_argument(
            "user", help="user name; the user is made, without a password, if --new-user is given"
        )
        create.add_argument("--write", action="store_true", help="may also write (default: only read)")
        create.add_argument("--name", default="shell", help="what to call it (default %(default)s)")
        create.add_argument(
            "--new-user", action="store_true", help="make the user if there is none of that name"
        )
        create.add_argument("--json", **json_option)  # type: ignore[arg-type]
        listing = verbs.add_parser("list", help="every token, or those of one user; never the secrets")
        listing.add_argument("user", nargs="?", help="user name")
        listing.add_argument("--json", **json_option)  # type: ignore[arg-type]
        revoke = verbs.add_parser("revoke", help="the token ends at once")
        revoke.add_argument("token", help="its number in the list, or its secret")
        revoke.add_argument("--json", **json_option)  # type: ignore[arg-type]

    def handle(self, *args: Any, **options: Any) -> None:
        verb = {"create": self._create, "list": self._list, "revoke": self._revoke}[options["verb"]]
        verb(options)

    def _create(self, options: dict[str, Any]) -> None:
        user = _find_user(options["user"], make=options["new_user"])
        token, secret = AccessToken.issue(user, name=options["name"], write=options["write"])
        if options["json"]:
            self._print_json(_facts(token) | {"token": secret})
            return
        self.stdout.write(secret)
        self.stderr.write(
            f"Token {token.pk} ({token.role}) of {user.username}. It is shown this once; keep it like a password."
        )

    def _list(self, options: dict[str, Any]) -> None:
        tokens = AccessToken.objects.select_related("user").order_by("pk")
        if options["user"]:
            tokens = tokens.filter(user=_find_user(options["user"]))
        if options["json"]:
            self._print_json([_facts(token) for token in tokens])
        else:
            _print_table([_facts(token) for token in tokens])

    def _revoke(self, options: dict[str, Any]) -> None:
        token = _find_token(options["token"])
        if token is None:
            raise CommandError("there is no such token. `manage.py token list` shows those that are live.")
        facts = _facts(token)
        token.delete()
        if options["json"]:
            self._print_json(facts)
        else:
            self.stdout.write(f"token {facts['id']} ({facts['name']}) of {facts['user']} has ended")

    def _print_json(self, value: Any) -> None:
        self.stdout.write(json.dumps(value, cls=DjangoJSONEncoder, indent=1))


def _find_user(name: str, *, make: bool = False) -> User:
    user = User.objects.filter(username=name).first()
    if user is None and make:
        return User.objects.create_user(name)
    if user is None:
        raise CommandError(
            f"there is no user {name!r}. Make one with `manage.py createsuperuser --username {name}`, "
            f"or let this do it: `manage.py token create {name} --new-user`."
        )
    return user


def _find_token(text: str) -> AccessToken | None:
    tokens = AccessToken.objects.select_related("user")
    if text.isascii() and text.isdecimal() and len(text) < 19:
        return tokens.filter(pk=int(text)).first()
    return tokens.filter(digest=AccessToken.digest_of(text)).first()


def _facts(token: AccessToken) -> dict[str, Any]:
    return {name: token.user.username if name == "user" else getattr(token, name, None) for name in COLUMNS}


def _print_table(rows: list[dict[str, Any]]) -> None:
    if not rows:
        Console(stderr=True).print("There are no tokens. `manage.py token create USER` makes one.")
        return
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name.replace("_", " ").removesuffix(" at"))
    for row in rows:
        shown = [
            f"{row[name]:%Y-%m-%d %H:%M}" if name.endswith("_at") and row[name] else row[name]
            for name in COLUMNS
        ]
        table.add_row(*("" if value is None else str(value) for value in shown))
    Console().print(table)
