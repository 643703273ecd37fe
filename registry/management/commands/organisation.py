"""`manage.py organisation`: the groups of people that repos belong to, and who is in them."""

import json
from argparse import ArgumentParser
from typing import Any

from django.contrib.auth.models import User
from django.core.management.base import CommandError
from django.db.models import ProtectedError

from registry.management.base import HoldfastCommand
from registry.models import Event, Member, Organisation
from registry.namespaces import BadName, check_namespace, find_organisation

AGENT = "manage.py organisation"


class Command(HoldfastCommand):
    help = (
        "Make an organisation, put people into it or take them out, list what there is, or remove an empty one. "
        "Owners may do everything to its repos, writers make repos and commit to them, readers see private ones."
    )

    def add_arguments(self, parser: ArgumentParser) -> None:
        verbs = parser.add_subparsers(dest="verb", required=True, metavar="create | add | list | remove")
        create = verbs.add_parser("create", help="a new organisation")
        create.add_argument("name")
        create.add_argument(
            "--owner", action="append", default=[], help="a user who owns it; may be repeated"
        )
        add = verbs.add_parser("add", help="put a user into it, or change the user's role")
        add.add_argument("name")
        add.add_argument("user")
        add.add_argument("--role", choices=Member.Role.values, default=Member.Role.READER)
        listing = verbs.add_parser("list", help="every organisation, or one, with its members")
        listing.add_argument("name", nargs="?")
        remove = verbs.add_parser(
            "remove", help="take a user out of it; without a user remove the organisation"
        )
        remove.add_argument("name")
        remove.add_argument("user", nargs="?")
        for verb in (create, add, listing, remove):
            verb.add_argument("--json", action="store_true", help="one JSON value on stdout")

    def handle(self, *args: Any, **options: Any) -> None:
        verbs = {"create": self._create, "add": self._add, "list": self._list, "remove": self._remove}
        verbs[options["verb"]](options)

    def _create(self, options: dict[str, Any]) -> None:
        owners = [_find_user(name) for name in options["owner"]]
        try:
            name = check_namespace(options["name"])
        except BadName as bad:
            raise CommandError(str(bad)) from None
        if found := find_organisation(name):
            raise CommandError(f"there is an organisation {found.name} already.")
        organisation = Organisation.objects.create(name=name)
        for owner in owners:
            Member.objects.create(organisation=organisation, user=owner, role=Member.Role.OWNER)
        _note(f"made the organisation {name}")
        self._show(organisation, options)

    def _add(self, options: dict[str, Any]) -> None:
        organisation, user = _find(options["name"]), _find_user(options["user"])
        Member.objects.update_or_create(
            organisation=organisation, user=user, defaults={"role": options["role"]}
        )
        _note(f"{user.get_username()} is {options['role']} of {organisation.name}")
        self._show(organisation, options)

    def _list(self, options: dict[str, Any]) -> None:
        if options["name"]:
            self._show(_find(options["name"]), options)
            return
        rows = [_facts(row) for row in Organisation.objects.order_by("name")]
        self.stdout.write(json.dumps(rows, indent=1) if options["json"] else "\n".join(map(_line, rows)))

    def _remove(self, options: dict[str, Any]) -> None:
        organisation = _find(options["name"])
        if options["user"] is None:
            self._remove_organisation(organisation, options)
            return
        user = _find_user(options["user"])
        if not Member.objects.filter(organisation=organisation, user=user).delete()[0]:
            raise CommandError(f"{user.get_username()} is not in {organisation.name}.")
        _note(f"{user.get_username()} left {organisation.name}")
        self._show(organisation, options)

    def _remove_organisation(self, organisation: Organisation, options: dict[str, Any]) -> None:
        facts = _facts(organisation)
        try:
            organisation.delete()
        except ProtectedError:
            raise CommandError(
                f"{facts['name']} has {facts['n_repos']} repos. Move or delete them first: nobody would own them."
            ) from None
        _note(f"removed the organisation {facts['name']}")
        self.stdout.write(json.dumps(facts, indent=1) if options["json"] else f"{facts['name']} is no more")

    def _show(self, organisation: Organisation, options: dict[str, Any]) -> None:
        facts = _facts(organisation)
        self.stdout.write(json.dumps(facts, indent=1) if options["json"] else _line(facts))


def _find(name: str) -> Organisation:
    organisation = find_organisation(name)
    if organisation is None:
        raise CommandError(
            f"there is no organisation {name!r}. `manage.py organisation create {name}` makes one."
        )
    return organisation


def _find_user(name: str) -> User:
    user = User.objects.filter(username=name).first()
    if user is None:
        raise CommandError(
            f"there is no user {name!r}. `manage.py token create {name} --new-user` makes one, with a token."
        )
    return user


def _facts(organisation: Organisation) -> dict[str, Any]:
    members = organisation.members.select_related("user").order_by("user__username")
    return {
        "name": organisation.name,
        "person": organisation.person.get_username() if organisation.person else None,
        "n_repos": organisation.repos.count(),
        "members": [{"user": row.user.get_username(), "role": row.role} for row in members],
    }


def _line(facts: dict[str, Any]) -> str:
    members = ", ".join(f"{one['user']} ({one['role']})" for one in facts["members"]) or "nobody"
    return f"{facts['name']}: {facts['n_repos']} repos; {members}"


def _note(summary: str) -> None:
    Event.objects.create(type=Event.Type.METADATA, agent=AGENT, summary=summary[:500])
