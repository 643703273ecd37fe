"""The token dance of OCI clients: a 401 at `/v2/` names `/v2/token`, which answers everybody with a short-lived token.

Who sends no password gets a token for what is public. Who sends one of our access tokens as password gets one that
reads what that user may. It is a signed user number (django.core.signing): nothing to keep, and over in five minutes.
"""

from django.contrib.auth.models import AnonymousUser, User
from django.core import signing
from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.hub.doors import authenticate, door
from mirror.oci.errors import in_oci_words
from registry.access import Somebody

SALT = "holdfast.oci"
START = "oci."
LIFETIME_SECONDS = 300


@in_oci_words
def reader_of(request: HttpRequest) -> Somebody:
    """Who asks: by a token that we gave at `/v2/token`, else as everywhere."""
    scheme, _, value = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not value.startswith(START):
        return authenticate(request)
    try:
        number = signing.loads(value.removeprefix(START), salt=SALT, max_age=LIFETIME_SECONDS)
    except signing.BadSignature:
        return AnonymousUser()
    return User.objects.filter(pk=number, is_active=True).first() or AnonymousUser()


@door("GET")
@in_oci_words
def give_token(request: HttpRequest, user: Somebody) -> HttpResponse:
    """A token for whoever asks; `door` has refused a wrong password already."""
    token = START + signing.dumps(user.pk, salt=SALT)
    answer = {"token": token, "access_token": token, "expires_in": LIFETIME_SECONDS}
    return JsonResponse(answer, headers={"Cache-Control": "no-store"})
