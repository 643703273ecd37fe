"""LoRA adapters: what they add is measured, and the base is run with it.

An adapter is meant to make its base say other things, so that how far the two are apart is told and never judged. A
GGUF adapter made of a PEFT one is judged: it must add the same, within what its type can hold.

A PEFT adapter is merged into its base, as our own F32 GGUF in a scratch folder; a GGUF adapter is applied by llama.cpp
itself. Without a base only its tensors are judged.
"""

import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from conversion.formats.errors import HeaderError
from conversion.formats.gguf.weights import GgufWeights
from conversion.formats.lora import Adapter, MergedWeights
from conversion.formats.lora_folder import is_adapter, open_adapter_folder
from conversion.formats.weights import Weights
from conversion.inference import adapters
from conversion.inference.adapters import AdapterFindings, PlannedWeights, delta_distance, measure
from conversion.inference.checks.trial import Trial
from conversion.inference.engine import EngineError
from conversion.inference.fidelity import Comparison
from conversion.inference.fidelity import measure as measure_logits
from conversion.inference.kinds.base import Kind
from conversion.inference.own_gguf import open_folder, write_gguf
from conversion.inference.report import Check
from conversion.inference.sandbox import Sandbox
from conversion.inference.selftest import check_engine
from conversion.inference.subjects import Look, look_at, subject_of
from conversion.inference.windows import TEXTS, Window, cut_windows
from conversion.naming import NamingError
from conversion.naming.adapter import plan_adapter
from conversion.naming.base import Config
from conversion.naming.file_types import file_type_by_name
from conversion.naming.plan import parse_config, read_config
from conversion.naming.restoring import restored
from conversion.quants import QuantError

MAX_WINDOWS = 4
"""Enough to see that logits are finite and to say about how far the base is."""


@dataclass(frozen=True)
class Family:
    """Where the base of an adapter is, and the PEFT adapter it was made of; either may be unknown."""

    base: Path | None
    parent: Path | None


def family_of(trial: Trial) -> Family:
    """A reference that is an adapter is what it was made of; any other is the base."""
    if trial.reference is None:
        return Family(None, None)
    if trial.reference.path.is_dir() and is_adapter(trial.reference.path):
        return Family(trial.reference.base, trial.reference.path)
    return Family(trial.reference.base or trial.reference.path, None)


def load(trial: Trial, check: Check) -> None:
    """The adapter is kept for the next steps; the base runs with it and without it."""
    base = family_of(trial).base
    try:
        adapter = trial.kept["adapter"] = _open(trial.look, trial)
        weights = _fitting_base(adapter, base, trial) if base is not None else None
        found = measure(adapter, weights)
    except HeaderError as error:
        _refuse(check, error)
        return
    trial.report.artifact["adapter"] = found.as_json()
    if _fails(check, found):
        return
    if (why := _why_not_run(trial, base)) or base is None:
        trial.report.level = "tensors"
        check.skip(f"{_said(found)}; {why}")
    else:
        _run(trial, check, adapter, base, found)


def _why_not_run(trial: Trial, base: Path | None) -> str:
    if base is None:
        return "its base is not known here, so it was not run"
    look = look_at(base, trial.stack)
    if subject_of(look).kind != "decoder":
        return "its base writes no text, so it was not run"
    if look.header is not None and trial.look.header is None:
        return "its base is here only as a GGUF, into which it cannot be merged"
    return ""


def _open(look: Look, trial: Trial) -> Adapter:
    if look.header is not None:
        return adapters.gguf_adapter(look.weights, look.header)
    folder = look.path if look.path.is_dir() else look.path.parent
    return open_adapter_folder(folder, trial.stack)


def _fitting_base(adapter: Adapter, base: Path, trial: Trial) -> Weights | None:
    """The base's weights, which have every tensor that the adapter changes; None where names cannot be compared."""
    is_gguf = trial.look.header is not None
    if base.is_dir() and not is_gguf:
        weights = open_folder(base, trial.stack)
        MergedWeights(weights, adapter)
        return weights
    if not base.is_dir() and is_gguf:
        weights = look_at(base, trial.stack).weights
        adapters.check_gguf_base(adapter, weights)
        return weights
    return None


def _refuse(check: Check, error: HeaderError) -> None:
    """Another variant of LoRA is no fault of the file."""
    is_variant = error.code == "lora-variant"
    what = {
        "lora-base": "it is not an adapter of this base",
        "lora-variant": "it is not a plain LoRA adapter",
    }
    check.fail(f"{what.get(error.code, 'it is not a sound adapter')}: {error}",
               code="unsupported-architecture" if is_variant else error.code)  # fmt: skip


def _fails(check: Check, found: AdapterFindings) -> bool:
    n, value = len(found.deltas), found.as_json()
    if found.not_finite:
        check.fail(
            f"NaN or infinity in what it adds to {found.not_finite[0]}", value, code="tensor-not-finite"
        )
    elif len(found.without_effect) == n:
        check.fail(f"it adds nothing: all {n} pairs multiply to zero, as before training", value,
                   code="adapter-without-effect")  # fmt: skip
    return check.verdict == "fail"


def _said(found: AdapterFindings) -> str:
    value = found.as_json()
    ranks = " and ".join(map(str, value["ranks"][:4]))
    return f"it changes {value['n_pairs']} weights by rank {ranks}, norm {value['norm']:.3g} in all"


def _run(trial: Trial, check: Check, adapter: Adapter, base: Path, found: AdapterFindings) -> None:
    trial.report.engines["artifact"] = check_engine("llama.cpp", trial.threads)
    scratch = Path(trial.stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-adapter-")))
    is_gguf = trial.look.header is not None
    plain = write(base, scratch / "base.gguf") if base.is_dir() else base
    if is_gguf:
        trial.artifact = trial.open("llama.cpp", plain, beside=[trial.path])
        trial.artifact.add_adapter(trial.path)
    else:
        trial.artifact = trial.open("llama.cpp", write(base, scratch / "merged.gguf", adapter))
    trial.parent = trial.open("llama.cpp", plain)
    trial.report.isolation = trial.artifact.isolation
    if found.without_effect or found.odd_scales:
        odd = [*found.without_effect, *found.odd_scales]
        check.warn(f"{_said(found)}; nothing is added, or by an odd scale, in {odd[0]}", found.as_json())
    else:
        check.pass_(f"{_said(found)}; the base runs with it", found.as_json())


def write(folder: Path, path: Path, adapter: Adapter | None = None) -> Path:
    """Our own F32 GGUF of the base. EngineError `parent-not-run`: a faulty base is not the adapter's fault."""
    try:
        return write_gguf(folder, path, adapter)
    except HeaderError as error:
        if error.code == "lora-base":
            raise EngineError("load-refused", f"it is not an adapter of this base: {error}") from error
        raise EngineError("parent-not-run", f"its base cannot be run: {error}") from error
    except (NamingError, QuantError) as error:
        raise EngineError("parent-not-run", f"its base cannot be run: {error}") from error


def forward(trial: Trial, check: Check) -> None:
    if trial.parent is None:
        check.skip("it was not run")
        return
    trial.report.texts |= TEXTS
    windows = list(cut_windows(trial.parent, trial.parent.facts))
    windows, comparison = windows[:: max(1, len(windows) // MAX_WINDOWS)], Comparison()
    for index, window in enumerate(windows):
        trial.on_progress("comparing", 0.3 + 0.6 * index / len(windows))
        if not _read(trial, trial.parent, window, comparison):
            check.fail("with it, its base gives logits of NaN or infinity", code="logits-not-finite")
            return
    figures = comparison.figures()
    moved = (
        f"mean KLD {figures.mean_kld:.2g} from its base, the same next token at {figures.top1_agreement:.0%}"
    )
    check.pass_(
        f"finite logits at {figures.n_positions:,} positions; {moved}, which is not judged", figures.as_json()
    )


def _read(trial: Trial, base: Sandbox, window: Window, comparison: Comparison) -> bool:
    """Both read the window; False if the logits with the adapter are not finite."""
    done = 0
    pieces = (model.logits(window.ids[:-1], first=window.first) for model in (base, trial.artifact))
    for theirs, ours in zip(*pieces, strict=True):
        if not np.isfinite(theirs).all():
            raise EngineError("parent-not-run", "the base's own logits hold NaN or infinity")
        if not np.isfinite(ours).all():
            return False
        comparison.add(measure_logits(theirs, ours, window.next_ids[done : done + len(ours)]))
        done += len(ours)
    return True


def fidelity(trial: Trial, check: Check) -> None:
    family = family_of(trial)
    if family.parent is None or trial.look.header is None:
        check.skip("an adapter is meant to differ from its base; what it was made of is not known here")
    elif family.base is None:
        check.skip("its parent's weights have other names; its base would say which is which")
    else:
        _compare(trial, check, family.parent, family.base)


def _compare(trial: Trial, check: Check, parent: Path, base: Path) -> None:
    ours: Adapter = trial.kept["adapter"]
    try:
        made_of = open_adapter_folder(parent, trial.stack)
        plan = plan_adapter(made_of, parent, _config_of(base, trial), file_type_by_name("F32"))
        planned = PlannedWeights(plan, made_of.weights)
        theirs = {
            stem: adapters.gguf_pair(planned, stem, made_of.alpha) for stem in adapters.stems(planned.entries)
        }
    except (HeaderError, NamingError) as error:
        check.error(f"what it was made of cannot be read: {error}", code="parent-not-run")
        return
    if ours.pairs.keys() != theirs.keys():
        other = sorted(ours.pairs.keys() ^ theirs.keys())
        check.fail(
            f"it does not change the weights that its parent changes: {other[0]}", code="adapter-differs"
        )
        return
    distances = {
        name: delta_distance(ours.weights, pair, planned, theirs[name]) for name, pair in ours.pairs.items()
    }
    _judge(check, ours, distances)


def _config_of(base: Path, trial: Trial) -> Config:
    """The base's config.json, or the one that its GGUF could have been made with. NamingError."""
    if base.is_dir():
        return read_config(base)
    weights = look_at(base, trial.stack).weights
    if not isinstance(weights, GgufWeights):
        raise NamingError("bad-config", f"{base.name} has no config, so its architecture is unknown.")
    return parse_config(restored(weights).files["config.json"])


def _judge(check: Check, ours: Adapter, distances: dict[str, float]) -> None:
    worst = max(distances, key=lambda name: distances[name])
    pair, entries = ours.pairs[worst], ours.weights.entries
    kinds = [entries[pair.a].dtype, entries[pair.b].dtype]
    limit = max(adapters.DISTANCES.get(kind, adapters.LARGEST_DISTANCE) for kind in kinds)
    what = f"relative distance {distances[worst]:.2g} in {worst} ({' and '.join(dict.fromkeys(kinds))})"
    if not distances[worst] <= limit:
        check.fail(
            f"it does not add what its parent adds: {what}", distances[worst], limit, code="adapter-differs"
        )
    else:
        check.pass_(f"it adds what its parent adds: {what}", distances[worst], limit)


ADAPTER = Kind(load, forward, fidelity)
