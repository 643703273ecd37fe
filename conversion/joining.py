"""Adapters and bases of other commits: what a recipe needs beside its own source, read from the store by ranges."""

from functools import partial
from pathlib import Path

from conversion.formats.errors import HeaderError
from conversion.formats.lora import Adapter, MergedWeights, open_adapter
from conversion.formats.lora_folder import CONFIG, MAX_CONFIG_BYTES, WEIGHTS, parse_adapter_config
from conversion.formats.opening import open_weights
from conversion.formats.packed import unpack
from conversion.formats.source import RangeSource
from conversion.formats.weights import Weights
from conversion.naming import NamingError
from conversion.naming.adapter import plan_adapter
from conversion.naming.plan import MAX_CONFIG_BYTES as MAX_MODEL_CONFIG_BYTES
from conversion.naming.plan import Plan, parse_config, read_config
from conversion.recipes import GGUF, Choice, Partner
from mirror.blobs import BlobStore
from mirror.blobs.keys import blob_key
from registry.models import Commit, File, Lineage


def is_adapter(commit: Commit) -> bool:
    """Whether the commit is a LoRA adapter as PEFT saves it, and no model beside it. One query."""
    found = commit.files.filter(path__in=(CONFIG, "config.json")).values_list("path", flat=True)
    return list(found) == [CONFIG]


def declared_base(commit: Commit) -> Commit | None:
    """The base that an adapter's repo declares, if exactly one is here. One query."""
    edges = Lineage.objects.filter(
        child=commit.repo, relation=Lineage.Relation.ADAPTER, parent__head__is_complete=True
    )
    found = {edge.parent.head for edge in edges.select_related("parent__head__repo") if edge.parent}
    return found.pop() if len(found) == 1 else None


def merged_with(
    store: BlobStore, commit: Commit, base: Weights, folder: Path, partner: Partner
) -> MergedWeights:
    """The base that the commit holds, its small files in `folder`, with an adapter merged in; unpacked for it.

    Raises HeaderError `lora-…`, NamingError `partner-missing`, and `partner-private` for an adapter that fewer people
    may see than what it would become a part of.
    """
    adapter, repo = find_partner(partner), commit.repo
    if adapter.repo.private and not (repo.private and repo.organisation_id == adapter.repo.organisation_id):
        raise NamingError(
            "partner-private",
            f"{partner.repo_id} is private, and what is made of {repo.repo_id} is seen by more people than it.",
        )
    config = read_config(folder) if (folder / "config.json").is_file() else {}
    return MergedWeights(unpack(base, config), _adapter_of(store, adapter))


def plan_own_gguf(store: BlobStore, commit: Commit, weights: Weights, folder: Path, choice: Choice) -> Plan:
    """The adapter that the commit is as a GGUF of its own. NamingError `adapter-…`, `partner-missing`."""
    if choice.base is None:
        raise NamingError(
            "adapter-base",
            f"{commit.repo.repo_id} is a LoRA adapter: name its base with --base to make a GGUF adapter, or convert "
            "the base with --adapter to merge it.",
        )
    if choice.format != GGUF:
        raise NamingError("adapter-type", "an adapter alone becomes a GGUF; merge it to make a checkpoint.")
    config = parse_config(_read(store, find_partner(choice.base), "config.json", MAX_MODEL_CONFIG_BYTES))
    adapter = open_adapter(weights, _adapter_config(store, commit))
    return plan_adapter(adapter, folder, config, choice.file_type)


def find_partner(partner: Partner) -> Commit:
    """The commit that a recipe names. NamingError `partner-missing` if it is not here."""
    rows = Commit.objects.filter(repo__repo_id=partner.repo_id, commit_hash=partner.commit_hash)
    commit = rows.filter(is_complete=True).select_related("repo").first()
    if commit is None:
        raise NamingError(
            "partner-missing",
            f"the recipe needs {partner.repo_id}@{partner.commit_hash[:8]}, which is not here. Mirror it again.",
        )
    return commit


def _adapter_of(store: BlobStore, commit: Commit) -> Adapter:
    found = _file(commit, *WEIGHTS)
    if found is None:
        raise HeaderError("lora-missing", f"{commit.repo.repo_id} has neither {' nor '.join(WEIGHTS)}")
    source = RangeSource(found.size_bytes, partial(store.read, blob_key(found.held.sha256)))
    return open_adapter(open_weights({found.path: source}), _adapter_config(store, commit))


def _adapter_config(store: BlobStore, commit: Commit) -> dict[str, object]:
    return parse_adapter_config(_read(store, commit, CONFIG, MAX_CONFIG_BYTES))


def _file(commit: Commit, *paths: str) -> File | None:
    """The first of these files that the commit has. One query."""
    found = {file.path: file for file in commit.files.filter(path__in=paths).select_related("blob")}
    return next((found[path] for path in paths if path in found), None)


def _read(store: BlobStore, commit: Commit, path: str, most: int) -> bytes:
    """All bytes of a small file; NamingError `partner-missing` without one, `side-file-large` for a large one."""
    file = _file(commit, path)
    if file is None:
        raise NamingError("partner-missing", f"{commit.repo.repo_id} has no {path}.")
    if file.size_bytes > most:
        raise NamingError("side-file-large", f"{path} has {file.size_bytes} bytes; at most {most} are read.")
    return store.read(blob_key(file.held.sha256), 0, file.size_bytes)
