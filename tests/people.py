"""The cast: Alice owns, Bob is a member, Charlie must be refused."""

import pytest
from django.contrib.auth.models import User

from registry.models import Member, Organisation


@pytest.fixture
def organisation(db: None) -> Organisation:
    return Organisation.objects.create(name="acme")


def _user(name: str) -> User:
    return User.objects.create_user(name, f"{name}@example.org", f"{name}-password")


@pytest.fixture
def alice(organisation: Organisation) -> User:
    """Owns acme, and is staff."""
    user = _user("alice")
    user.is_staff = True
    user.save(update_fields=["is_staff"])
    Member.objects.create(organisation=organisation, user=user, role=Member.Role.OWNER)
    return user


@pytest.fixture
def bob(organisation: Organisation) -> User:
    """Reads what acme has."""
    user = _user("bob")
    Member.objects.create(organisation=organisation, user=user, role=Member.Role.READER)
    return user


@pytest.fixture
def charlie(db: None) -> User:
    """Has an account and belongs to nothing."""
    return _user("charlie")
