"""What JSON the API answers: one function per shape, rows in, plain dicts out, no query.

The names are the hub's, not ours: `oid` and `blobId` are git oids, `lfs.oid` is a sha256, `sha` is a commit hash.
Nothing of upstream's Xet data is ever said: it would send clients past us.
"""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from django.contrib.auth.models import User
from django.utils.html import escape, linebreaks

from mirror.hub.listed import ListedHead, ListedRepo
from registry import git
from registry.models import AccessToken, Commit, File, Member, Ref, Repo

Json = dict[str, Any]

ROLES = {"owner": "admin", "writer": "write", "reader": "read"}

# Of a list entry; everything else only on request.
LIGHT = {"_id", "id", "modelId", "author", "private", "gated", "disabled", "tags", "downloads", "likes",
         "trendingScore", "createdAt", "lastModified", "pipeline_tag", "library_name"}  # fmt: skip
# {kind of tag: key of the card}: what the card says there is a tag `kind:value`.
TAGGED: dict[str, dict[str, str]] = {
    Repo.Type.MODEL: {"dataset": "datasets", "base_model": "base_model"},
    Repo.Type.DATASET: {kind: kind for kind in (
        "annotations_creators", "language", "language_creators", "multilinguality", "size_categories",
        "source_datasets", "task_categories", "task_ids")},
}  # fmt: skip
TOLD = {"co2_eq_emissions"}  # a tag of every model whose card says something of it
NOT_SCANNED = {"scansDone": False, "filesWithIssues": []}
"""What is said of a repo's security: no scanner of viruses or pickles runs here."""


def date(when: datetime) -> str:
    """`2026-01-02T03:04:05.000Z`."""
    return when.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.") + f"{when.microsecond // 1000:03d}Z"


def last_modified(repo: Repo | ListedRepo, commit: Commit | ListedHead | None) -> datetime:
    if commit is None:
        return repo.updated_at
    return commit.committed_at or commit.recorded_at


def repo_info(
    repo: Repo | ListedRepo, commit: Commit | ListedHead | None, siblings: list[Json] | None = None
) -> Json:
    """A repo at one commit, as `model_info` and the list show it."""
    info: Json = {
        "_id": f"{repo.pk:024x}",
        "id": repo.repo_id,
        "author": repo.namespace,
        "private": repo.private,
        "gated": repo.gated or False,
        "disabled": False,
        "downloads": 0,
        "downloadsAllTime": 0,
        "likes": 0,
        "trendingScore": 0,
        "createdAt": date(repo.created_at),
        "lastModified": date(last_modified(repo, commit)),
        "tags": tags(commit, repo.repo_type) if commit else [],
    }
    if repo.repo_type == Repo.Type.MODEL:
        info |= {"modelId": repo.repo_id, "spaces": []}
    if commit:
        info |= _of_commit(commit)
    if siblings is not None:
        info["siblings"] = siblings
    return info


def _of_commit(commit: Commit | ListedHead) -> Json:
    known: Json = {
        "sha": commit.commit_hash,
        "usedStorage": commit.size_bytes,
        "cardData": commit.card_data or None,
        "pipeline_tag": commit.pipeline_tag or None,
        "library_name": commit.library_name or None,
        "widgetData": commit.card_data.get("widget"),
        "config": {"model_type": commit.architecture} if commit.architecture else None,
        "safetensors": _safetensors(commit),
        "gguf": _gguf(commit),
    }
    return {name: value for name, value in known.items() if value is not None}


def tags(commit: Commit | ListedHead, repo_type: str) -> list[str]:
    """What `filter=` finds a repo by: the card's tags and what follows from its facts, each once."""
    card = commit.card_data
    found = [str(tag) for tag in commit.tags]
    found += [commit.library_name, commit.pipeline_tag]
    found += [f"license:{commit.license}"] if commit.license else []
    found += [f"{kind}:{value}" for kind, key in TAGGED[repo_type].items() for value in _texts(card.get(key))]
    if repo_type == Repo.Type.MODEL:
        found += [
            *_texts(card.get("language")),
            *(name for name in sorted(TOLD) if card.get(name) is not None),
        ]
    return list(dict.fromkeys(tag for tag in [*found, "region:us"] if tag))


def _texts(value: object) -> list[str]:
    """A card says one thing or a list of things; what is neither is not repeated."""
    values = value if isinstance(value, list) else [value]
    return [item for item in values if isinstance(item, str)]


def _safetensors(commit: Commit | ListedHead) -> Json | None:
    parameters = commit.facts.get("parameters")
    if not isinstance(parameters, Mapping) or "safetensors" not in commit.facts.get("formats", []):
        return None
    return {"parameters": dict(parameters), "total": sum(parameters.values())}


def _gguf(commit: Commit | ListedHead) -> Json | None:
    if "gguf" not in commit.facts.get("formats", []):
        return None
    known = {
        "total": commit.parameter_count,
        "architecture": commit.architecture,
        "context_length": commit.context_length,
    }
    return {name: value for name, value in known.items() if value} or None


def sibling(path: str) -> Json:
    """A file of a repo's info: its name."""
    return {"rfilename": path}


def sibling_with_blob(file: File) -> Json:
    """The same with `blobs=true`."""
    entry: Json = {"rfilename": file.path, "size": file.size_bytes, "blobId": file.git_oid}
    if file.is_lfs:
        entry["lfs"] = {
            "sha256": file.lfs_sha256,
            "size": file.size_bytes,
            "pointerSize": _pointer_size(file),
        }
    return entry


def tree_file(file: File, last_commit: Commit | None = None) -> Json:
    """A file of a listing."""
    entry: Json = {"type": "file", "oid": file.git_oid, "size": file.size_bytes, "path": file.path}
    if file.is_lfs:
        entry["lfs"] = {"oid": file.lfs_sha256, "size": file.size_bytes, "pointerSize": _pointer_size(file)}
    return entry | _last_commit(last_commit)


def tree_folder(path: str, oid: str, last_commit: Commit | None = None) -> Json:
    """A folder of a listing; `oid` is that of its git tree."""
    return {"type": "directory", "oid": oid, "size": 0, "path": path} | _last_commit(last_commit)


def _last_commit(row: Commit | None) -> Json:
    if row is None:
        return {}
    when = date(row.committed_at or row.recorded_at)
    return {"lastCommit": {"id": row.commit_hash, "title": row.title, "date": when}}


def _pointer_size(file: File) -> int:
    return len(git.lfs_pointer(file.lfs_sha256 or "", file.size_bytes))


def refs(rows: Iterable[Ref], *, with_pull_requests: bool) -> Json:
    """Every ref, by kind. There are no conversions by a robot here."""
    found: Json = {"branches": [], "tags": [], "converts": []}
    lists = {Ref.Kind.BRANCH: "branches", Ref.Kind.TAG: "tags", Ref.Kind.PULL_REQUEST: "pullRequests"}
    if with_pull_requests:
        found["pullRequests"] = []
    for row in rows:
        entry = {"name": row.name, "ref": row.full_name, "targetCommit": row.commit.commit_hash}
        found[lists[Ref.Kind(row.kind)]].append(entry)
    return found


def commit(row: Commit, *, formatted: bool = False) -> Json:
    """An entry of a history; `formatted` adds its words as HTML."""
    title, _, rest = row.message.partition("\n")
    entry: Json = {
        "id": row.commit_hash,
        "title": row.title or title,
        "message": rest.strip() if row.title in ("", title) else row.message,
        "authors": [{"user": row.author}],
        "date": date(row.committed_at or row.recorded_at),
    }
    if formatted:
        entry["formatted"] = {
            "title": escape(entry["title"]),
            "message": linebreaks(entry["message"], autoescape=True),
        }
    return entry


def person(user: User) -> Json:
    """A user, as clients list people."""
    name = user.get_username()
    return {
        "_id": f"{user.pk:024x}", "user": name, "fullname": user.get_full_name() or name, "avatarUrl": "",
        "type": "user", "isPro": False,
    }  # fmt: skip


def member(row: Member) -> Json:
    """Somebody in an organisation, with the role."""
    return person(row.user) | {"role": ROLES[row.role]}


def whoami(token: AccessToken, members: Iterable[Member]) -> Json:
    """Who a token belongs to."""
    user = token.user
    orgs = [
        {
            "type": "org",
            "id": f"{row.organisation_id:024x}",
            "name": row.organisation.name,
            "fullname": row.organisation.name,
            "roleInOrg": ROLES[row.role],
            "isEnterprise": False,
        }
        for row in members
    ]
    access = {"displayName": token.name, "role": token.role, "createdAt": date(token.created_at)}
    return {
        "type": "user",
        "id": f"{user.pk:024x}",
        "name": user.get_username(),
        "fullname": user.get_full_name() or user.get_username(),
        "email": user.email,
        "emailVerified": bool(user.email),
        "isPro": False,
        "orgs": orgs,
        "auth": {"type": "access_token", "accessToken": access},
    }
