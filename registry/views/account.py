"""Signing in and out, and the choice of light or dark."""

from django.contrib.auth import views as auth
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.utils.http import url_has_allowed_host_and_scheme
from django.views.decorators.http import require_POST

from registry.forms import SignInForm

THEME_SECONDS = 365 * 24 * 3600


class SignIn(auth.LoginView):
    """Name and password; `?next=` leads back, within this site only."""

    template_name = "account/sign_in.html"
    authentication_form = SignInForm
    redirect_authenticated_user = True
    extra_context = {"section": "account"}


@require_POST
def theme(request: HttpRequest) -> HttpResponse:
    """The other theme is chosen, by cookie: light after dark, dark after light or no choice yet."""
    chosen = "light" if request.COOKIES.get("theme") == "dark" else "dark"
    response = redirect(_way_back(request))
    response.set_cookie(
        "theme", chosen, max_age=THEME_SECONDS, samesite="Lax", secure=request.is_secure(), httponly=False
    )
    return response


def _way_back(request: HttpRequest) -> str:
    wanted = request.POST.get("next", "")
    is_ours = url_has_allowed_host_and_scheme(wanted, {request.get_host()}, require_https=request.is_secure())
    return wanted if is_ours else "/"
