"""Users, organisations and tokens that huggingface_hub's suite expects of the hub that it is run against.

Run inside Django: `manage.py shell -c "from tests.compatibility.cast import make_cast; make_cast()"`.
"""

import json

from django.contrib.auth.models import User

from registry.models import AccessToken, Member, Organisation

PEOPLE = {"USER": "hub-user", "OTHER_USER": "DVUser", "ENTERPRISE_USER": "EnterpriseAdmin"}
FULL_NAME = ("Dummy", "User")
# Those that seeding.py fills belong to the user, as whoever has the public repos of these names does upstream.
ORGANISATIONS = [
    "valid_org_hub", "julien-c", "hf-internal-testing", "google", "HuggingFaceH4", "HuggingFaceBR4", "muellerzr",
    "facebook", "microsoft", "albert", "zai-org", "openchat", "huggingface-hub-ci", "gaia-benchmark", "lhoestq",
    "huggingface", "wikimedia", "openai", "Qwen", "HuggingFaceFW", "rajpurkar", "crowd",
]  # fmt: skip
ENTERPRISE = "EnterpriseOrgPrivate"


def make_cast() -> None:
    """Everybody is there; the constants of the suite that name them are on stdout, as JSON."""
    people = {role: _user(name) for role, name in PEOPLE.items()}
    for name in ORGANISATIONS:
        _owned(name, people["USER"])
    _owned(ENTERPRISE, people["ENTERPRISE_USER"])
    tokens = {role.removesuffix("USER") + "TOKEN": _token(user) for role, user in people.items()}
    print(json.dumps(PEOPLE | tokens | {"FULL_NAME": " ".join(FULL_NAME), "ENTERPRISE_ORG": ENTERPRISE}))


def _owned(name: str, owner: User) -> None:
    organisation = Organisation.objects.create(name=name)
    Member.objects.create(organisation=organisation, user=owner, role=Member.Role.OWNER)


def _user(name: str) -> User:
    first, last = FULL_NAME
    return User.objects.create_user(name, f"{name}@example.org", first_name=first, last_name=last)


def _token(user: User) -> str:
    return AccessToken.issue(user, name="compatibility", write=True)[1]
