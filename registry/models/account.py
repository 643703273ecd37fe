"""Organisation, Member, AccessToken: who may do what."""

import hashlib
import secrets
import string

from django.conf import settings
from django.contrib.auth.models import User
from django.db import models
from django.db.models.functions import Lower, Now

from registry.models.rules import NAME, SHA256, matches, one_of
from registry.prepared import Prepared

_ALPHABET = string.ascii_letters + string.digits


class Organisation(models.Model):
    """A namespace that belongs to people of this registry: a group's, or one person's own (`person`)."""

    name = models.CharField(max_length=96)
    person = models.OneToOneField(
        settings.AUTH_USER_MODEL,
        null=True,
        blank=True,
        on_delete=models.PROTECT,
        related_name="own_namespace",
    )
    created_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [
            models.UniqueConstraint(Lower("name"), name="organisation_name_once"),
            matches("organisation", "name", NAME),
        ]

    def __str__(self) -> str:
        return self.name


class Member(models.Model):
    """A user's role in an organisation."""

    class Role(models.TextChoices):
        OWNER = "owner", "owner"
        WRITER = "writer", "writer"
        READER = "reader", "reader"

    organisation = models.ForeignKey(Organisation, on_delete=models.CASCADE, related_name="members")
    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="memberships")
    role = models.CharField(max_length=10, choices=Role, default=Role.READER)

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["organisation", "user"], name="member_once"),
            one_of("member", "role", ["owner", "writer", "reader"]),
        ]


class AccessTokenQuerySet(models.QuerySet["AccessToken"]):
    def find(self, secret: str) -> "AccessToken | None":
        """The live token whose secret this is, with its user. One query; the secret itself is never stored."""
        found = _live(digest=AccessToken.digest_of(secret))
        return found[0] if found else None


class AccessToken(models.Model):
    """A bearer token. Only the SHA-256 of its 256 random bits is kept; the secret is shown once.

    Secrets look like `hf_` + 43 letters and digits: llama.cpp sends no token of another form
    (`^hf_[A-Za-z0-9]{34,253}$`).
    """

    class Role(models.TextChoices):
        READ = "read", "read"
        WRITE = "write", "write"

    user = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE, related_name="access_tokens")
    name = models.CharField(max_length=100)
    role = models.CharField(max_length=10, choices=Role, default=Role.READ)
    digest = models.CharField(max_length=64, unique=True)
    prefix = models.CharField(max_length=12, help_text="first characters of the secret, to recognise it by")
    created_at = models.DateTimeField(auto_now_add=True)
    last_used_at = models.DateTimeField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)

    objects = AccessTokenQuerySet.as_manager()

    class Meta:
        constraints = [
            matches("accesstoken", "digest", SHA256),
            one_of("accesstoken", "role", ["read", "write"]),
        ]

    @staticmethod
    def digest_of(secret: str) -> str:
        return hashlib.sha256(secret.encode()).hexdigest()

    @classmethod
    def issue(cls, user: User, *, name: str, write: bool = False) -> "tuple[AccessToken, str]":
        """A new token and its secret, which cannot be had again."""
        secret = "hf_" + "".join(secrets.choice(_ALPHABET) for _ in range(43))
        role = cls.Role.WRITE if write else cls.Role.READ
        row = cls.objects.create(
            user=user, name=name, role=role, digest=cls.digest_of(secret), prefix=secret[:7]
        )
        return row, secret


_live: Prepared[AccessToken] = Prepared(
    lambda digest: AccessToken.objects.select_related("user").filter(
        models.Q(expires_at__isnull=True) | models.Q(expires_at__gt=Now()),
        digest=digest,
        user__is_active=True,
    ),
    digest=str,
)
