"""From what was asked to files planned to the last byte."""

import argparse
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from conversion.command.sources import LocalSource
from conversion.command.writing import Output
from conversion.formats.source import FileSource
from conversion.formats.weights import Weights
from conversion.naming.base import NamingError
from conversion.naming.file_types import file_type_by_name
from conversion.naming.joint import one_reading
from conversion.naming.overrides import Overrides, check_type, parse_tensor_types
from conversion.naming.settling import Plan, Wish

SAFETENSORS = {
    "safetensors": "", "safetensors-f32": "F32", "safetensors-f16": "F16", "safetensors-bf16": "BF16",
}  # fmt: skip


@dataclass(frozen=True)
class Made:
    """What one of the asked types becomes: big files planned, small ones beside them ready, and what is to be said."""

    type_name: str
    outputs: tuple[Output, ...]
    small_files: dict[Path, bytes] = field(default_factory=dict)
    lacks: tuple[str, str] | None = None
    said: tuple[str, ...] = ()

    @property
    def size_bytes(self) -> int:
        return sum(output.plan.layout.size_bytes for output in self.outputs) + sum(
            map(len, self.small_files.values())
        )


@dataclass(frozen=True)
class Job:
    """Everything that one run makes, and the weights it is made of."""

    weights: Weights
    made: tuple[Made, ...]

    @property
    def outputs(self) -> tuple[Output, ...]:
        return tuple(output for one in self.made for output in one.outputs)

    @property
    def small_files(self) -> dict[Path, bytes]:
        return {path: data for one in self.made for path, data in one.small_files.items()}


@contextmanager
def planned(options: argparse.Namespace, source: LocalSource) -> Iterator[Job]:
    """The job; an importance matrix stays open for as long. NamingError and HeaderError say what is not possible."""
    with ExitStack() as at_end:
        for name in options.types:
            if name.lower() not in SAFETENSORS:
                file_type_by_name(name)
        wish = _wish(options, at_end)
        readings: list[Weights] = []
        made: list[Made] = []
        for name in options.types:
            if name.lower() in SAFETENSORS:
                weights, one = _safetensors(options, source, name.lower())
            else:
                weights, one = _gguf(options, source, name, wish)
            readings.append(weights)
            made.append(one)
        job = Job(one_reading(readings), tuple(made))
        _check_free(job, replace=options.force or options.dry_run)
        yield job


def _wish(options: argparse.Namespace, at_end: ExitStack) -> Wish:
    """What is asked of every GGUF alike; its file type is filled in later."""
    overrides = Overrides(
        token_embedding=options.token_embedding_type and check_type(options.token_embedding_type),
        output=options.output_tensor_type and check_type(options.output_tensor_type),
        tensor_types=parse_tensor_types(options.tensor_type),
        pure=options.pure,
        leave_output=options.leave_output_tensor,
    )
    imatrix = None
    if options.imatrix:
        from conversion.formats.imatrix import open_imatrix

        source = at_end.enter_context(FileSource(Path(options.imatrix)))
        imatrix = open_imatrix(source, options.imatrix)
    return Wish(file_type_by_name("F32"), overrides, imatrix, options.dry_run, options.pre_tokenizer)


def _gguf(options: argparse.Namespace, source: LocalSource, name: str, wish: Wish) -> tuple[Weights, Made]:
    file_type = file_type_by_name(name)
    wish = Wish(file_type, wish.overrides, wish.imatrix, wish.is_dry_run, wish.pre_tokenizer)
    if (source.folder / "adapter_config.json").is_file() and not source.is_gguf:
        from conversion.command.adapters import plan_own_gguf

        plan, weights = plan_own_gguf(source.weights, source.folder, options.base, file_type), source.weights
    else:
        plan, weights = _plan(source, wish, allow_requantize=options.allow_requantize)
    path = _path(options, f"{source.name}-{file_type.name}.gguf", ".gguf")
    return weights, Made(file_type.name, _parts(options, path, plan), lacks=plan.lacks)


def _parts(options: argparse.Namespace, path: Path, plan: Plan) -> tuple[Output, ...]:
    """The one file, or the parts that it is cut into."""
    if not options.split_max_size and not options.split_max_tensors:
        return (Output(path, plan),)
    from conversion.naming.splitting import Split, split_plan

    split = Split(options.split_max_size, options.split_max_tensors, options.no_tensor_first_split)
    parts = split_plan(plan, path.name.removesuffix(".gguf"), split)
    return tuple(Output(path.with_name(name), part) for name, part in parts.items())


def _plan(source: LocalSource, wish: Wish, *, allow_requantize: bool) -> tuple[Plan, Weights]:
    from conversion.formats.gguf.weights import GgufWeights

    if isinstance(source.weights, GgufWeights):  # without importing any family
        from conversion.naming.requantise import plan_requantised

        metadata = source.weights.read_metadata()
        plan = plan_requantised(source.weights.entries, metadata, wish, allow_requantize=allow_requantize)
        return plan, source.weights
    import tempfile

    from conversion.naming.plan import SIDE_FILES
    from conversion.naming.planning import plan_from

    # A copy of the small files: what is made on the way for some checkpoints never lands in the source.
    with tempfile.TemporaryDirectory(prefix="conversion-") as home:
        folder = Path(home) / source.name
        folder.mkdir()
        for side in SIDE_FILES:
            if (source.folder / side).is_file():
                (folder / side).parent.mkdir(exist_ok=True)
                (folder / side).symlink_to((source.folder / side).resolve())
        return plan_from(source.weights, folder, wish, allow_requantize=allow_requantize)


def _safetensors(options: argparse.Namespace, source: LocalSource, name: str) -> tuple[Weights, Made]:
    from conversion.formats.safetensors_shards import MAX_SHARD_BYTES
    from conversion.naming.checkpoints import plan_checkpoint

    one = plan_checkpoint(
        source.weights, source.folder, SAFETENSORS[name], keep_names=options.keep_names,
        max_shard_bytes=options.max_shard_bytes or MAX_SHARD_BYTES,
    )  # fmt: skip
    files, target = one.planned.files, Path(options.target)
    if len(options.types) == 1 and len(files) == 1 and target.suffix == ".safetensors":
        return one.weights, Made(name, tuple(Output(target, plan) for plan in files.values()), said=one.said)
    folder = target if len(options.types) == 1 else target / f"{source.name}-{name}"
    small = {folder / path: data for path, data in one.small.items()}
    outputs = tuple(Output(folder / path, plan) for path, plan in files.items())
    return one.weights, Made(name, outputs, small, said=one.said)


def _path(options: argparse.Namespace, name: str, suffix: str) -> Path:
    target = Path(options.target)
    return target if len(options.types) == 1 and target.suffix == suffix else target / name


def _check_free(job: Job, *, replace: bool) -> None:
    paths = [output.path for output in job.outputs] + list(job.small_files)
    if len(set(paths)) != len(paths):
        raise NamingError("same-target", "two of the types would have the same file name; name each once.")
    there = next((path for path in paths if path.exists()), None)
    if there is not None and not replace:
        raise NamingError("target-exists", f"{there} is there already. Choose another DST, or --force.")
