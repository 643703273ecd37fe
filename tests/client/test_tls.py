"""https with an authority of one's own: SSL_CERT_FILE is believed, and nobody else is."""

import shutil
import ssl
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.client.conftest import CARD, LARGE
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
    """The hub behind TLS."""

    def __init__(self, certificate: Path) -> None:
        super().__init__()
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
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
    assert secure.blobs() == {}
