"""What a variant needs and how close it is to its parent: the figures that a choice is made by.

Measured ones (`mean_kld`, `top1_agreement`, `perplexity_ratio`) are of the validation that counts for its main file;
the others are read from the headers of its files, and null where those say nothing.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from registry.models import Commit, Header
from registry.variants import Variant, main_file

WEIGHTS = (".gguf", ".safetensors")
CACHE_VALUE_BYTES = 2  # keys and values are kept as F16 unless a program is told otherwise
MOST = 2**40  # of a number in a header that is believed

Json = dict[str, Any]


def figures_of(variants: Iterable[Variant], commit: Commit) -> list[Json]:
    """The figures of each variant, in order; `commit` is the one that they are variants of. Two queries, or none."""
    listed = list(variants)
    counts = _parameter_counts(listed)
    headers = _gguf_headers(listed)
    return [_figures(variant, counts, headers.get(main_file(variant).blob_id), commit) for variant in listed]


def _figures(
    variant: Variant, counts: Mapping[int, int], header: Mapping[str, Any] | None, commit: Commit
) -> Json:
    run = variant.standing.validation
    weights = [file for file in variant.files if file.path.endswith(WEIGHTS)]
    n_parameters = sum(counts.get(file.blob_id or 0, 0) for file in weights)
    is_known = bool(weights) and all(file.blob_id in counts for file in weights)
    bits = 8 * sum(file.size_bytes for file in weights) / n_parameters if is_known and n_parameters else None
    said = _of_gguf(header) if header is not None else _of_config(commit)
    return {
        "mean_kld": run.mean_kld if run else None,
        "top1_agreement": run.top1_agreement if run else None,
        "perplexity_ratio": run.perplexity_ratio if run else None,
        "parameter_count": n_parameters if is_known and n_parameters else None,
        "bits_per_weight": round(bits, 3) if bits else None,
    } | said


def _parameter_counts(variants: list[Variant]) -> dict[int, int]:
    blobs = {file.blob_id for variant in variants for file in variant.files if file.path.endswith(WEIGHTS)}
    rows = Header.objects.filter(blob__in=[blob for blob in blobs if blob], error_code="")
    return dict(rows.values_list("blob_id", "parameter_count"))


def _gguf_headers(variants: list[Variant]) -> dict[int | None, Mapping[str, Any]]:
    main = {main_file(variant).blob_id for variant in variants if variant.path.endswith(".gguf")}
    rows = Header.objects.filter(blob__in=[blob for blob in main if blob], error_code="", format="gguf")
    return dict(rows.values_list("blob_id", "metadata"))


def _of_gguf(metadata: Mapping[str, Any]) -> Json:
    """Under `<architecture>.`: block_count, embedding_length, attention.head_count(_kv), attention.key_length."""

    def number(key: str) -> int | None:
        return _number(metadata.get(f"{architecture}.{key}"))

    architecture = metadata.get("general.architecture")
    n_heads = number("attention.head_count")
    n_kept = number("attention.head_count_kv") or n_heads
    per_head = _per_head(number("embedding_length"), n_heads)
    key, value = number("attention.key_length") or per_head, number("attention.value_length") or per_head
    width = key + value if key and value else None
    return _needs(number("context_length"), number("block_count"), n_kept, width)


def _of_config(commit: Commit) -> Json:
    """What inspection read of config.json, under the names of transformers."""
    config = commit.facts.get("config")
    config = config if isinstance(config, dict) else {}
    n_heads = _number(config.get("num_attention_heads"))
    n_kept = _number(config.get("num_key_value_heads")) or n_heads
    width = _number(config.get("head_dim")) or _per_head(_number(config.get("hidden_size")), n_heads)
    layers = _number(config.get("num_hidden_layers"))
    return _needs(commit.context_length, layers, n_kept, 2 * width if width else None)


def _needs(context: int | None, n_layers: int | None, n_heads: int | None, width: int | None) -> Json:
    """`width` is of a key and a value of one head together, in numbers."""
    cache = n_layers * n_heads * width * CACHE_VALUE_BYTES if n_layers and n_heads and width else None
    return {"context_length": context, "cache_bytes_per_token": cache}


def _per_head(width: int | None, n_heads: int | None) -> int | None:
    return width // n_heads if width and n_heads else None


def _number(value: object) -> int | None:
    """A count that a header gives, alone or for each layer; of several the largest that it tells."""
    if isinstance(value, dict):
        value = max((item for item in value.get("first", []) if type(item) is int), default=None)
    return value if type(value) is int and 0 < value < MOST else None
