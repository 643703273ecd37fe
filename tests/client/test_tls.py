"""https with an authority, a certificate or a trusted host of one's own: those are believed, and nobody else is."""

import os
import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.conftest import CARD, LARGE
from tests.client.proxy import Proxy
from tests.client.running import Home
from tests.client.server import HoldfastHub


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A certificate for localhost and its key, in one file, signed by itself."""
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("needs openssl, to make a certificate")
    file = tmp_path_factory.mktemp("tls") / "both.pem"
    subprocess.run(
        [openssl, "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost",
         "-addext", "subjectAltName=DNS:localhost", "-keyout", str(file), "-out", f"{file}.crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    file.write_bytes(file.read_bytes() + Path(f"{file}.crt").read_bytes())
    return file


class SecureHub(HoldfastHub):
    """The hub behind TLS; with `asks` it answers only those who show a certificate of this authority."""

    def __init__(self, certificate: Path, asks: Path | None = None) -> None:
        super().__init__()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        if asks is not None:
            context.verify_mode = ssl.CERT_REQUIRED
            context.load_verify_locations(asks)
        server = self._servers[0]
        server.socket = context.wrap_socket(server.socket, server_side=True)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"


@pytest.fixture
def secure(certificate: Path, tmp_path: Path) -> Iterator[Home]:
    with SecureHub(certificate) as hub:
        hub.add("org/model", {"a.txt": CARD, "model.safetensors": LARGE})
        yield Home(tmp_path, hub.url)


def test_an_authority_that_is_named_is_believed(secure: Home, certificate: Path) -> None:
    path = secure.ok("pull", "org/model", SSL_CERT_FILE=f"{certificate}.crt").path
    assert (path / "model.safetensors").read_bytes() == LARGE


def test_an_authority_that_nobody_named_is_not_and_is_not_asked_twice(secure: Home) -> None:
    error = secure.fails("network", "pull", "org/model", "--retries", "1000")
    assert "certificate verify failed" in error["message"].lower()
    assert "--cert" in error["hint"]
    assert secure.blobs() == {}


def test_an_authority_by_flag_takes_the_place_of_all_others(
    secure: Home, certificate: Path, tmp_path: Path
) -> None:
    home = Home(tmp_path, secure.index_url)
    home.ok("pull", "org/model//a.txt", "--cert", f"{certificate}.crt", SSL_CERT_FILE=os.devnull)
    home.ok("config", "set", "cert", f"{certificate}.crt")
    home.ok("pull", "org/model//a.txt", "--force")
    (home.folder / "no.pem").write_text("no certificate")
    for file in ("nowhere.pem", "no.pem"):
        for flag in ("--cert", "--client-cert"):
            error = home.fails("usage", "pull", "org/model", flag, file, exit_code=2)
            assert (flag in error["message"], file in error["message"]) == (True, True)


def test_a_folder_of_authorities_is_believed(secure: Home, certificate: Path, tmp_path: Path) -> None:
    folder = tmp_path / "authorities"
    folder.mkdir()
    done = subprocess.run(
        ["openssl", "x509", "-hash", "-noout", "-in", f"{certificate}.crt"],
        capture_output=True,
        text=True,
        check=True,
    )
    shutil.copy(f"{certificate}.crt", folder / f"{done.stdout.strip()}.0")
    secure.ok("pull", "org/model//a.txt", "--cert", str(folder))


def test_a_trusted_host_needs_no_certificate_and_no_other_is_trusted(secure: Home) -> None:
    port = secure.index_url.rpartition(":")[2]
    secure.ok("pull", "org/model//a.txt", "--trusted-host", f"localhost:{port}")
    secure.fails(
        "network",
        "pull",
        "org/model",
        "--force",
        "--trusted-host",
        "localhost:1",
        "--trusted-host",
        "ocalhost",
    )


def test_an_index_that_asks_for_our_certificate_gets_it(certificate: Path, tmp_path: Path) -> None:
    with SecureHub(certificate, asks=Path(f"{certificate}.crt")) as hub:
        hub.add("org/model", {"a.txt": CARD})
        home = Home(tmp_path, hub.url, {"HOLDFAST_CERT": f"{certificate}.crt"})
        home.fails("network", "pull", "org/model", "--retries", "0")
        home.ok("pull", "org/model", "--client-cert", str(certificate))
        home.ok("pull", "org/model", "--force", "--client-cert", f"{certificate}.crt,{certificate}")


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(
    secure: Home, certificate: Path, tmp_path: Path
) -> None:
    locked = tmp_path / "locked.pem"
    subprocess.run(
        ["openssl", "pkey", "-in", str(certificate), "-aes128", "-passout", "pass:x", "-out", str(locked)],
        check=True,
    )
    pair = f"{certificate}.crt,{locked}"
    assert (
        "password"
        in secure.fails("usage", "pull", "org/model", "--client-cert", pair, exit_code=2)["message"]
    )


def test_a_proxy_carries_what_it_cannot_read(secure: Home, certificate: Path) -> None:
    with Proxy(login="ada:secret") as proxy:
        address = f"http://ada:secret@{proxy.address}"
        secure.ok(
            "pull", "org/model//a.txt", "--proxy", address, NO_PROXY="", SSL_CERT_FILE=f"{certificate}.crt",
            HOLDFAST_TOKEN="hf_t",
        )  # fmt: skip
        refused = secure.fails("network", "pull", "org/model", "--proxy", proxy.address, NO_PROXY="")
        assert "NAME:PASSWORD" in refused["hint"]
        assert set(proxy.asked) == {f"CONNECT {secure.index_url.removeprefix('https://')}"}
        assert not any(b"hf_t" in headers for headers in proxy.headers)
