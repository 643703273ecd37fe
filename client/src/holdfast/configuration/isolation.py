"""--isolated: the same result on every machine, whatever its owner has set."""

from __future__ import annotations

from collections.abc import MutableMapping

PREFIXES = ("HOLDFAST_", "HF_", "HUGGINGFACE_")
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "no_proxy")
NAMES = frozenset({"SSL_CERT_FILE", "SSL_CERT_DIR", "NETRC", *PROXIES, *(name.upper() for name in PROXIES)})


def isolate(environ: MutableMapping[str, str]) -> None:
    """Afterwards the environment holds nothing that configures us, neither for us nor for the libraries we use."""
    for name in [name for name in environ if name.startswith(PREFIXES) or name in NAMES]:
        del environ[name]
