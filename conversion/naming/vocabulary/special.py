"""Special token ids, add_bos and its like, merges and the chat template, as the reference converter finds them.

| what | where it is looked for, the first that has it wins |
|---|---|
| merges | tokenizer.json, merges.txt |
| `add_bos_token` and its like | the post-processor of tokenizer.json, tokenizer_config.json |
| special ids | the name in tokenizer_config.json with the id of that added token; `*_token_id` in config.json |
| chat template | tokenizer_config.json, chat_template.jinja, chat_template.json |

(llama.cpp: gguf-py/gguf/vocab.py, SpecialVocab, at 0c1e57098: a release of the gguf package behind, 0.19, lets
tokenizer_config.json overrule the post-processor and does not know the normalizer's flags.)
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import gguf

from conversion.naming.base import NamingError
from conversion.naming.vocabulary.files import read_json, read_limited
from conversion.naming.vocabulary.postprocessors import Found, follow_post_processor

KINDS = ("bos", "eos", "unk", "sep", "pad", "cls", "mask")
LOWERCASE, STRIP_ACCENTS = "tokenizer.ggml.normalizer.lowercase", "tokenizer.ggml.normalizer.strip_accents"


@dataclass
class Special:
    """What the tokenizer's files say, in the order in which it is written."""

    merges: list[str] = field(default_factory=list)
    ids: dict[str, int] = field(default_factory=dict)
    adds: dict[str, bool] = field(default_factory=dict)
    template: str | list[Any] | None = None
    normalizer: dict[str, bool] = field(default_factory=dict)


def describe_special(
    folder: Path, writer: gguf.GGUFWriter, *, merges: bool, n_vocab: int | None = None
) -> None:
    """Merges if asked for, `tokenizer.ggml.*_token_id`, add_bos/add_eos/add_sep, chat template, normalizer's flags.

    Ids beyond `n_vocab` are passed over. NamingError `bad-tokenizer` for files that do not hold what they should.
    """
    try:
        special = read_special(folder, merges=merges, n_vocab=n_vocab)
        _write(special, writer)
    except (ValueError, TypeError, AttributeError, LookupError) as error:
        raise NamingError(
            "bad-tokenizer", f"the tokenizer's special tokens cannot be read: {str(error)[:200]}"
        ) from error


def set_special(writer: gguf.GGUFWriter, ids: Mapping[str, int]) -> None:
    """`tokenizer.ggml.<kind>_token_id` for each kind that GGUF has a key for."""
    for kind, number in ids.items():
        write = getattr(writer, f"add_{kind}_token_id", None)
        if write is not None:
            write(number)


def read_special(folder: Path, *, merges: bool, n_vocab: int | None = None) -> Special:
    """What the files in the folder say; raises plain ValueError and its like for what they should not hold."""
    tokenizer, settings = read_json(folder / "tokenizer.json"), read_json(folder / "tokenizer_config.json")
    special = Special(merges=_merges(folder, tokenizer) if merges else [])
    special.normalizer = _normalizer_flags(tokenizer.get("normalizer"))
    found = Found(dict(settings), KINDS)
    if tokenizer:
        follow_post_processor(tokenizer.get("post_processor"), found)
    special.adds = found.adds
    if settings:
        special.template = _template(folder, settings)
        _take_names(special, found, tokenizer.get("added_tokens") or (), n_vocab)
    _take_config(special, read_json(folder / "config.json"), found.kinds, n_vocab)
    return special


def _merges(folder: Path, tokenizer: Mapping[str, Any]) -> list[str]:
    listed = (tokenizer.get("model") or {}).get("merges")
    if isinstance(listed, list) and listed:
        return [_merge(one) for one in listed]
    path = folder / "merges.txt"
    if not path.is_file():
        return []
    lines = read_limited(path).decode("utf-8").splitlines()
    pairs = [line.split() for line in (lines[1:] if lines and lines[0].startswith("#") else lines)]
    return [" ".join(pair) for pair in pairs if len(pair) == 2]


def _merge(merge: Any) -> str:
    """`"a b"`, from that or from `["a", "b"]`, where a space within a part is written as byte-level BPE writes it."""
    if isinstance(merge, str):
        return merge
    left, right = merge
    return " ".join(part.replace(" ", "\u0120") for part in (left, right))


def _normalizer_flags(normalizer: Any) -> dict[str, bool]:
    """Flags by GGUF key, from a Lowercase, StripAccents or BertNormalizer, alone or in a sequence."""
    if not isinstance(normalizer, Mapping):
        return {}
    kind = normalizer.get("type")
    if kind == "Sequence":
        parts = [_normalizer_flags(one) for one in normalizer.get("normalizers") or ()]
        return {key: value for part in parts for key, value in part.items()}
    if kind in ("Lowercase", "StripAccents"):
        return {LOWERCASE if kind == "Lowercase" else STRIP_ACCENTS: True}
    stated = {LOWERCASE: normalizer.get("lowercase"), STRIP_ACCENTS: normalizer.get("strip_accents")}
    return {
        key: value for key, value in stated.items() if kind == "BertNormalizer" and isinstance(value, bool)
    }


def _template(folder: Path, settings: Mapping[str, Any]) -> str | list[Any] | None:
    found = settings.get("chat_template")
    if "chat_template" not in settings:
        if (folder / "chat_template.jinja").is_file():
            found = read_limited(folder / "chat_template.jinja").decode("utf-8")
        else:
            found = read_json(folder / "chat_template.json").get("chat_template")
    return found if isinstance(found, str | list) else None


def _take_names(special: Special, found: Found, added: Iterable[Any], n_vocab: int | None) -> None:
    ids: dict[str, Any] = {}
    for token in added:
        ids.setdefault(token["content"], token.get("id"))
    for kind in found.kinds:
        adds = found.settings.get(f"add_{kind}_token")
        if isinstance(adds, bool):
            special.adds.setdefault(kind, adds)
        entry = found.settings.get(f"{kind}_token")
        content = entry.get("content") if isinstance(entry, Mapping) else entry
        if isinstance(content, str):
            _take_id(special, kind, ids.get(content), n_vocab)


def _take_config(
    special: Special, config: Mapping[str, Any], kinds: Iterable[str], n_vocab: int | None
) -> None:
    inner = config.get("text_config")
    for kind in kinds:
        number = config.get(f"{kind}_token_id")
        if number is None and isinstance(inner, Mapping):
            number = inner.get(f"{kind}_token_id")
        _take_id(special, kind, number, n_vocab)


def _take_id(special: Special, kind: str, number: Any, n_vocab: int | None) -> None:
    if type(number) is not int or kind in special.ids:
        return
    if number < 0:
        raise ValueError(f"the {kind} token has the id {number}")
    if n_vocab is None or number < n_vocab:
        special.ids[kind] = number


def _write(special: Special, writer: gguf.GGUFWriter) -> None:
    if special.merges:
        writer.add_token_merges(special.merges)
    set_special(writer, special.ids)
    for kind, adds in special.adds.items():
        write = getattr(writer, f"add_add_{kind}_token", None)
        if write is not None:
            write(adds)
    _write_template(special.template, writer)
    for key, value in special.normalizer.items():
        writer.add_bool(key, value)


def _write_template(template: str | list[Any] | None, writer: gguf.GGUFWriter) -> None:
    """One template, or several by name; the list of names is sorted, which in the reference is the order of a set."""
    if not isinstance(template, list):
        if template is not None:
            writer.add_chat_template(template)
        return
    named = {_plain_name(choice.get("name", "")): choice.get("template") for choice in template}
    named = {name: text for name, text in named.items() if name and text is not None}
    default = named.pop("default", None)
    for name, text in named.items():
        writer.add_string(gguf.Keys.Tokenizer.CHAT_TEMPLATE_N.format(name=name), text)
    if named:
        writer.add_array(gguf.Keys.Tokenizer.CHAT_TEMPLATES, sorted(named))
    if default is not None:
        writer.add_chat_template(default)


def _plain_name(name: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in name)
