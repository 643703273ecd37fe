"""The organisation behind the first half of a repo_id: found for those who may make repos in it."""

import re

from django.contrib.auth.models import User
from django.db import IntegrityError, transaction
from django.db.models.functions import Lower

from registry.access import may_create_in
from registry.models import Member, Organisation
from registry.models.repo import RESERVED_NAMESPACES
from registry.models.rules import NAME

_NAME = re.compile(NAME)


class BadName(Exception):
    """No repo or organisation can be called that."""

    code = "bad-name"


class NamespaceRefused(Exception):
    """The user may not make repos under that name, whether there is such an organisation or not."""

    code = "namespace-refused"

    def __init__(self, user: User, namespace: str) -> None:
        super().__init__(
            f"You don't have the rights to create a repo under the namespace {namespace!r}. {user.get_username()} "
            "needs to be a writer or an owner of that organisation: "
            f"`manage.py organisation add {namespace} {user.get_username()} --role writer`."
        )
        self.user, self.namespace = user, namespace


def check_namespace(name: str) -> str:
    """The name, which an organisation may have. Raises BadName."""
    if name.lower() in RESERVED_NAMESPACES:
        raise BadName(f"{name}/ is a page of this service, so no organisation can be called that.")
    if not is_sound(name):
        raise BadName(f"{name!r} cannot be the name of an organisation: {RULE}")
    return name


RULE = (
    "names are 1 to 96 letters, digits, dots, dashes and underscores, begin with a letter or digit, do not end in "
    ".git, and hold neither -- nor .."
)


def is_sound(name: str) -> bool:
    """Whether it follows the rule that clients check before they ask."""
    parts = ("--" in name) or (".." in name) or name.endswith((".git", ".", "-"))
    return _NAME.fullmatch(name) is not None and not parts


def find_organisation(name: str) -> Organisation | None:
    """The organisation of that name, whatever the case of its letters. One query."""
    return Organisation.objects.alias(lower=Lower("name")).filter(lower=name.lower()).first()


def namespace_of(user: User, name: str | None) -> Organisation:
    """The organisation of that name in which `user` may make repos; without a name the user's own.

    A user's own namespace is made when it is first needed, with the user as its owner. Raises NamespaceRefused, and
    BadName where the user is called what no organisation can be called.
    """
    own = name is None or name.lower() == user.get_username().lower()
    wanted = user.get_username() if name is None else name
    organisation = find_organisation(wanted)
    if organisation is None and own:
        organisation = _make_own(user)
    if organisation is None or not may_create_in(user, organisation):
        raise NamespaceRefused(user, wanted)
    return organisation


def _make_own(user: User) -> Organisation | None:
    name = check_namespace(user.get_username())
    try:
        with transaction.atomic():
            organisation = Organisation.objects.create(name=name, person=user)
            Member.objects.create(organisation=organisation, user=user, role=Member.Role.OWNER)
    except IntegrityError:  # another request of the same user was faster
        return find_organisation(name)
    return organisation
