"""Signatures of a manifest, made and checked by OpenSSH's `ssh-keygen -Y`, which is on nearly every machine.

A signature says who vouches for the manifest; the manifest says the sha256 of everything else. Who is believed stands
in an allowed-signers file (ssh-keygen(1), ALLOWED SIGNERS): `ada@example.org ssh-ed25519 AAAA…` a line.
"""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from holdfast.bundles.manifest import NAME, SIGNATURE_NAME
from holdfast.errors import NotFound, SignatureInvalid, UsageError
from holdfast.text import printable

NAMESPACE = "holdfast-bundle"
MAX_SIGNATURE_BYTES = 64 * 1024


def check_key(key: Path) -> None:
    """Raises what would keep the key from signing, as far as that can be told before the work is done."""
    if not key.is_file():
        raise UsageError(f"--sign: there is no key {printable(key)}", hint="ssh-keygen -t ed25519 makes one")
    _program()


def sign(folder: Path, key: Path) -> None:
    """Afterwards the manifest's signature lies beside it. A key's passphrase is asked for at the terminal."""
    manifest, signature = folder / NAME, folder / SIGNATURE_NAME
    signature.unlink(missing_ok=True)
    done = _ssh_keygen(["-Y", "sign", "-f", str(key), "-n", NAMESPACE, str(manifest)], b"")
    if done.returncode != 0 or not signature.exists():
        raise SignatureInvalid(
            f"{printable(key)} did not sign: {_words(done)}",
            hint="The bundle is complete but not signed. Name a private SSH key, or a public one that the agent holds.",
            key=str(key),
        )


def check_signature(manifest: bytes, folder: Path, allowed_signers: Path) -> str:
    """Who signed exactly these bytes, as the allowed-signers file calls them. Raises SignatureInvalid."""
    if not allowed_signers.is_file():
        raise UsageError(
            f"--allowed-signers: there is no file {printable(allowed_signers)}",
            hint="a line of it is: ada@example.org ssh-ed25519 AAAA…",
        )
    with tempfile.TemporaryDirectory(prefix="holdfast-") as private:
        signature = Path(private) / SIGNATURE_NAME
        signature.write_bytes(_read_signature(folder))
        principal = _principal(signature, allowed_signers, folder)
        done = _ssh_keygen(
            [
                "-Y",
                "verify",
                "-f",
                str(allowed_signers),
                "-I",
                principal,
                "-n",
                NAMESPACE,
                "-s",
                str(signature),
            ],
            manifest,
        )
    if done.returncode != 0:
        raise _invalid(folder, f"{NAME} is not what {printable(principal)} signed")
    return principal


def _read_signature(folder: Path) -> bytes:
    try:
        with (folder / SIGNATURE_NAME).open("rb") as file:
            return file.read(MAX_SIGNATURE_BYTES)
    except FileNotFoundError as error:
        raise _invalid(folder, f"it has no {SIGNATURE_NAME}") from error


def _principal(signature: Path, allowed_signers: Path, folder: Path) -> str:
    done = _ssh_keygen(["-Y", "find-principals", "-f", str(allowed_signers), "-s", str(signature)], b"")
    names = done.stdout.decode("utf-8", "replace").splitlines()
    if done.returncode != 0 or not names or names[0].startswith("-"):
        raise _invalid(folder, f"nobody in {printable(allowed_signers)} made its signature")
    return names[0]


def _invalid(folder: Path, why: str) -> SignatureInvalid:
    return SignatureInvalid(
        f"the bundle {printable(folder)} is not signed as asked: {why}",
        hint="Nothing was taken. Ask whoever made the bundle for it again, or for their public key.",
        bundle=str(folder),
    )


def _program() -> str:
    program = shutil.which("ssh-keygen")
    if program is None:
        raise NotFound(
            "signatures need OpenSSH's ssh-keygen, and it is not on PATH",
            hint="Install OpenSSH (8.2 or newer), or leave --sign and --allowed-signers out.",
        )
    return program


def _ssh_keygen(arguments: Sequence[str], stdin: bytes) -> subprocess.CompletedProcess[bytes]:
    return subprocess.run([_program(), *arguments], input=stdin, capture_output=True, check=False)


def _words(done: subprocess.CompletedProcess[bytes]) -> str:
    return printable(" ".join(done.stderr.decode("utf-8", "replace").split()))[:300] or "it said nothing"
