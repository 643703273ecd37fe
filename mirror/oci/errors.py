"""Errors as OCI clients read them, `{"errors": [{"code", "message"}]}`, and as Ollama and llama.cpp do, `error`."""

from collections.abc import Callable
from functools import wraps
from typing import Any, TypeVar

from django.http import HttpRequest, HttpResponse, JsonResponse

from mirror.hub.errors import HubError, header_text

# The specification's codes by what we know of the error: our own code, else the status.
CODES = {
    "RepoNotFound": "NAME_UNKNOWN",
    "RevisionNotFound": "MANIFEST_UNKNOWN",
    "EntryNotFound": "BLOB_UNKNOWN",
    "GatedRepo": "DENIED",
    401: "UNAUTHORIZED",
    403: "DENIED",
    404: "MANIFEST_UNKNOWN",
    405: "UNSUPPORTED",
    429: "TOOMANYREQUESTS",
}


Answer = TypeVar("Answer")


class OciError(HubError):
    """The same refusal, answered in OCI's form."""

    def answer(self) -> HttpResponse:
        code = CODES.get(self.code) or CODES.get(self.status, "UNKNOWN")
        body = {"errors": [{"code": code, "message": self.message}], "error": self.message}
        response = JsonResponse(body, status=self.status, headers=self.headers)
        response["X-Error-Message"] = header_text(self.message)
        response["Cache-Control"] = "no-store"
        if self.code:
            response["X-Error-Code"] = self.code
        return response


def in_oci_words(view: Callable[..., Answer]) -> Callable[..., Answer]:
    """A view, or what finds out who asks; refusals are told in OCI's form, and a 401 says where to get a token."""

    @wraps(view)
    def answer(request: HttpRequest, *args: Any, **names: Any) -> Answer:
        try:
            return view(request, *args, **names)
        except HubError as error:
            told = OciError(error.status, error.message, code=error.code)
            told.headers = dict(error.headers)
            if error.status == 401:
                told.headers["WWW-Authenticate"] = challenge(request)
            raise told from None

    return answer


def challenge(request: HttpRequest) -> str:
    realm = request.build_absolute_uri("/v2/token")
    return f'Bearer realm="{realm}",service="{request.get_host()}"'
