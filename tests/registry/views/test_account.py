import pytest
from django.contrib.auth.models import User
from django.test import Client

pytestmark = pytest.mark.django_db


def sign_in(client: Client, **fields: str) -> object:
    return client.post("/account/sign-in", {"username": "bob", "password": "bob-password"} | fields)


def test_bob_signs_in_and_out(client: Client, bob: User) -> None:
    assert sign_in(client, next="/jobs").url == "/jobs"
    assert "Sign out bob" in client.get("/").content.decode()
    assert client.post("/account/sign-out").url == "/"
    assert "Sign in" in client.get("/").content.decode()


def test_a_wrong_password_says_so_and_keeps_the_name(client: Client, bob: User) -> None:
    response = sign_in(client, password="guess")
    html = response.content.decode()
    assert response.status_code == 200
    assert "do not belong together" in html
    assert 'value="bob"' in html
    assert "guess" not in html


@pytest.mark.parametrize(
    "target", ["https://evil.example/", "//evil.example", "javascript:alert(1)", "/\\evil.example"]
)
def test_signing_in_leads_nowhere_else(client: Client, bob: User, target: str) -> None:
    assert sign_in(client, next=target).url == "/"
    client.post("/account/sign-out")
    assert client.post("/account/theme", {"next": target}).url == "/"


def test_the_theme_is_a_cookie_that_the_server_reads(client: Client) -> None:
    assert '<html lang="en">' in client.get("/").content.decode()
    assert client.post("/account/theme", {"next": "/jobs"}).url == "/jobs"
    assert 'data-theme="dark"' in client.get("/").content.decode()
    client.post("/account/theme")
    assert 'data-theme="light"' in client.get("/").content.decode()
    client.cookies["theme"] = '"><script>'
    assert '<html lang="en">' in client.get("/").content.decode()


def test_signing_out_and_theme_need_a_form(client: Client) -> None:
    assert client.get("/account/sign-out").status_code == 405
    assert client.get("/account/theme").status_code == 405


def test_an_expired_form_is_explained() -> None:
    response = Client(enforce_csrf_checks=True).post("/account/theme")
    assert response.status_code == 403
    assert "Nothing was changed" in response.content.decode()
