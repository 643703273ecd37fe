"""The reference grammar: `[index/]org/name[@revision][:variant][//path]`.

    bartowski/Llama-3.2-1B-Instruct-GGUF:Q4_K_M        a variant, case-insensitive
    org/name@v1.0//tokenizer.json                      one file (or folder) of a tag
    hf://org/name@refs/pr/1                            from huggingface.co (or HF_ENDPOINT)
    https://models.example/org/name                    from that index
    file:///media/disk/org/name                        from a folder of models, or a bundle
    oci://host/org/name:tag                            from a registry of images; localhost is asked by http
    ollama://llama3.2:1b                               the same of Ollama's, or ollama://host/org/name:tag
    sha256:<64 hex digits>                             wherever an index has these bytes (locating.py)

A git ref can hold a slash but neither `:` nor `@{`, so the parts are cut in this order: `//path`, then the index, then
`@revision`, then `:variant`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from holdfast.errors import UsageError
from holdfast.text import printable

HUGGING_FACE = "hf://"
FOLDERS = "file://"
REGISTRIES = "oci://"
OLLAMA_HOST = "registry.ollama.ai"
LATEST = "latest"
DEFAULT_REVISION = "main"

_SCHEME = re.compile(r"^([A-Za-z][A-Za-z0-9+.-]*)://")
_HOST = re.compile(r"^(localhost|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+)(:\d+)?\Z")
_REPO_SEGMENT = re.compile(r"^[A-Za-z0-9_](?:[A-Za-z0-9._-]{0,94}[A-Za-z0-9_])?\Z")
_REVISION = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._/+=-]{0,254}\Z")
_VARIANT = re.compile(r"^[A-Za-z0-9_][A-Za-z0-9._+-]{0,127}\Z")
_HASH_WITH_SCHEME = re.compile(r"^sha256:[0-9a-fA-F]{64}\Z")
LOCAL_NAMES = ("localhost", "127.")


@dataclass(frozen=True)
class Reference:
    """What a person asked for. `index_url` is None for the configured index, `hf://` for Hugging Face.

    `sha256` is what the bytes at `path` must be, where a person asked for bytes.
    """

    text: str
    repo_id: str
    revision: str = DEFAULT_REVISION
    variant: str | None = None
    path: str | None = None
    index_url: str | None = None
    sha256: str | None = None


def address(reference: Reference) -> str:
    """What names the same revision of the same repo at the same place; a `:variant` or `//path` may follow."""
    place = reference.index_url or ""
    if place.startswith(REGISTRIES):
        return f"{place}/{reference.repo_id}:{reference.revision}"
    at = "" if reference.revision == DEFAULT_REVISION else f"@{reference.revision}"
    slash = "/" if place and not place.endswith("/") else ""
    return f"{place}{slash}{reference.repo_id}{at}"


def parse_reference(text: str) -> Reference:
    """Returns the reference, or raises UsageError with the grammar."""
    scheme, rest = _cut_scheme(text)
    rest, path = _cut(rest, "//")
    index_url, rest = _cut_index(text, scheme, rest)
    repo_id, revision, variant = _cut_revision(rest)
    if index_url is not None and index_url.startswith(REGISTRIES):
        revision, variant = _tag(text, revision, variant), None
    reference = Reference(
        text=text,
        repo_id=repo_id,
        revision=DEFAULT_REVISION if revision is None else revision,
        variant=variant,
        path=path if path is None else path.strip("/"),
        index_url=index_url,
    )
    _check(reference)
    return reference


def _cut_scheme(text: str) -> tuple[str, str]:
    if _HASH_WITH_SCHEME.match(text):
        raise _unsupported(text, "sha256: is for pull, show and index: name the repo here")
    if text.startswith("sha256:"):
        raise _unsupported(text, "sha256: is followed by 64 hex digits")
    match = _SCHEME.match(text)
    if match is None:
        return "", text
    scheme = match.group(1).lower()
    if scheme not in ("hf", "http", "https", "file", "oci", "ollama"):
        raise _unsupported(text, f"nobody here speaks {scheme}://")
    return scheme, text[match.end() :]


def _cut(text: str, separator: str) -> tuple[str, str | None]:
    before, found, after = text.partition(separator)
    return before, after if found else None


def _cut_index(text: str, scheme: str, rest: str) -> tuple[str | None, str]:
    """The index that the reference names, and what follows it."""
    if scheme == "hf":
        return HUGGING_FACE, rest
    if scheme == "file":
        return _cut_folder(text, rest)
    host, slash, after = rest.partition("/")
    name_part = re.split(r"[@:]", after, maxsplit=1)[0]
    if scheme in ("oci", "ollama"):
        return _cut_registry(text, scheme, rest)
    if scheme:
        if not slash or "@" in host:
            raise _malformed(text, "an index URL is followed by /org/name and holds no credentials")
        folder = "/".join(name_part.split("/")[:-2])
        base = f"{scheme}://{host}/{folder}".rstrip("/")
        return base, after[len(folder) :].lstrip("/") if folder else after
    if slash and "/" in name_part and _HOST.match(host):
        return f"{'http' if host.startswith(LOCAL_NAMES) else 'https'}://{host}", after
    return None, rest


def _cut_folder(text: str, rest: str) -> tuple[str, str]:
    """The folder, as a URL, and what follows it; a Windows drive (`/C:/…`) belongs to the folder."""
    drive = rest[:3] if re.match(r"/[A-Za-z]:/", rest) else ""
    name_part = re.split(r"[@:]", rest[len(drive) :], maxsplit=1)[0]
    segments = name_part.split("/")
    if not rest.startswith("/") or len(segments) < 3:
        raise _malformed(text, "file:// is followed by the folder, from its root, and by /org/name")
    folder = drive + "/".join(segments[:-2])
    return f"{FOLDERS}{folder or '/'}", rest[len(folder) :].lstrip("/")


def _cut_registry(text: str, scheme: str, rest: str) -> tuple[str, str]:
    host, _slash, after = rest.partition("/")
    name_part = re.split(r"[@:]", after, maxsplit=1)[0]
    if scheme == "ollama" and not (_HOST.match(host) and "/" in name_part):
        host, after = (
            OLLAMA_HOST,
            rest if "/" in re.split(r"[@:]", rest, maxsplit=1)[0] else f"library/{rest}",
        )
    elif not _HOST.match(host):
        raise _malformed(text, "oci:// is followed by a host and /org/name")
    return f"{REGISTRIES}{host}", after


def _tag(text: str, revision: str | None, variant: str | None) -> str:
    """The tag stands after the colon."""
    if revision is not None:
        raise _malformed(text, "an image's tag follows a colon, and there is no @revision")
    return variant or LATEST


def _cut_revision(rest: str) -> tuple[str, str | None, str | None]:
    repo_id, revision = _cut(rest, "@")
    if revision is None:
        repo_id, variant = _cut(repo_id, ":")
        return repo_id, None, variant
    revision, variant = _cut(revision, ":")
    return repo_id, revision, variant


def _check(reference: Reference) -> None:
    segments = reference.repo_id.split("/")
    if len(segments) > 2 or not all(map(is_repo_segment, segments)):
        raise _malformed(reference.text, "a repo is named org/name")
    if not is_revision(reference.revision):
        raise _malformed(reference.text, "what follows @ is a branch, a tag or a commit")
    if reference.variant is not None and not _VARIANT.match(reference.variant):
        raise _malformed(reference.text, "what follows : is a variant such as Q4_K_M or safetensors")
    if reference.path == "":
        raise _malformed(reference.text, "what follows // is a path inside the repo")


def is_repo_id(repo_id: object) -> bool:
    """Whether a repo can be called this: `org/name`, or `name` alone."""
    segments = repo_id.split("/") if isinstance(repo_id, str) else []
    return 0 < len(segments) <= 2 and all(map(is_repo_segment, segments))


def is_repo_segment(segment: str) -> bool:
    """Whether a repo's namespace or name can be this (the hub's own rule, and safe as a folder name)."""
    return bool(_REPO_SEGMENT.match(segment)) and "--" not in segment and ".." not in segment


def is_revision(revision: str) -> bool:
    """Whether this can name a branch, tag or commit, and be a path below `refs/`."""
    segments = revision.split("/")
    return bool(_REVISION.match(revision)) and all(s and not s.startswith(".") for s in segments)


def _malformed(text: str, reason: str) -> UsageError:
    return UsageError(
        f"cannot read the reference {printable(text)!r}: {reason}",
        hint="write [index/]org/name[@revision][:variant][//path], for example org/name@main:Q4_K_M",
        reference=text,
    )


def _unsupported(text: str, why: str) -> UsageError:
    return UsageError(
        f"cannot read the reference {printable(text)!r}: {why}",
        hint="write org/name, hf://org/name, https://host/org/name, file:///folder/org/name, oci://host/org/name:tag "
        "or ollama://name:tag",
        reference=text,
    )
