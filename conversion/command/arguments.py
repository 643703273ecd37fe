"""What the command line takes, and what its exit status says."""

import argparse
import os
from collections.abc import Sequence

MADE, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130

UNITS = {"M": 10**6, "G": 10**9}

EPILOG = """\
SRC is a folder in Hugging Face's layout, or a .safetensors, .gguf (the first of a split one), PyTorch (.bin, .pt,
.pth) or llama2.c file; or, with --base, the folder of a LoRA adapter, which becomes a GGUF adapter. DST is a folder,
or the file's own name where one file is made.

TYPES are file types of llama.cpp (F32, F16, BF16, Q8_0, Q6_K, Q5_K_M, Q4_K_M, IQ4_XS, ...), each a GGUF, or
`safetensors`, `safetensors-f32`, `safetensors-f16`, `safetensors-bf16`. Several are made in one pass over the source.
Safetensors of a GGUF have Hugging Face's names, config.json and tokenizer again where its architecture can be restored.

Files get their names when all of them are whole; a run that fails or is interrupted leaves nothing.

Exit status: 0 made, or shown with --dry-run; 1 refused or failed, with the code of the reason on stderr; 2 the command
line is wrong; 130 interrupted.
"""


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        prog="python -m conversion",
        description="Convert and requantise model weights: the same bytes as llama.cpp's converter and llama-quantize.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    made.add_argument("source", metavar="SRC", help="a folder or a file with weights")
    made.add_argument("target", metavar="DST", help="a folder, or a file where one is made")
    made.add_argument("--to", metavar="TYPES", required=True, help="file types, comma-separated")
    _add_choosing(made)
    made.add_argument("--adapter", metavar="DIR", default="", help="merge this LoRA adapter into SRC first")
    made.add_argument(
        "--base", metavar="DIR", default="", help="where SRC is an adapter: the folder of its base"
    )
    made.add_argument(
        "--pre-tokenizer", metavar="NAME", default="", help="a BPE tokenizer's, where it is not recognised"
    )
    made.add_argument(
        "--max-shard-bytes",
        metavar="N",
        type=int,
        default=0,
        help="safetensors files of at most N bytes of tensors",
    )
    made.add_argument(
        "--keep-names", action="store_true", help="safetensors of a GGUF keep the names that GGUF has"
    )
    _add_cutting(made)
    made.add_argument(
        "--threads", metavar="N", type=int, default=os.cpu_count() or 1, help="default: all cores"
    )
    made.add_argument("--force", action="store_true", help="replace files that are there")
    made.add_argument("--dry-run", action="store_true", help="show tensors, types and sizes; make nothing")
    made.add_argument("--json", action="store_true", help="results as JSON on stdout")
    made.add_argument("--quiet", action="store_true", help="no progress on stderr")
    return made


def _add_choosing(made: argparse.ArgumentParser) -> None:
    choosing = made.add_argument_group("which type each tensor gets, as for llama-quantize")
    choosing.add_argument("--imatrix", metavar="FILE", help="importance matrix, GGUF or the older form")
    choosing.add_argument("--pure", action="store_true", help="no mixture: every tensor the file's own type")
    choosing.add_argument("--leave-output-tensor", action="store_true", help="output.weight stays as it is")
    choosing.add_argument(
        "--token-embedding-type", metavar="TYPE", default="", help="for the token embeddings"
    )
    choosing.add_argument("--output-tensor-type", metavar="TYPE", default="", help="for output.weight")
    choosing.add_argument(
        "--tensor-type", metavar="PATTERN=TYPE", action="append", default=[],
        help="for tensors in whose name the regular expression is found; may be repeated, the first that fits counts",
    )  # fmt: skip
    choosing.add_argument(
        "--allow-requantize", action="store_true",
        help="quantise quantised tensors again; it loses more than quantising the original once, and the file says so",
    )  # fmt: skip


def _add_cutting(made: argparse.ArgumentParser) -> None:
    cutting = made.add_argument_group("a GGUF in several files, as for llama-gguf-split")
    limits = cutting.add_mutually_exclusive_group()
    limits.add_argument(
        "--split-max-size",
        metavar="N(M|G)",
        type=size_bytes,
        default=0,
        help="bytes of tensors in a part, e.g. 2G",
    )
    limits.add_argument("--split-max-tensors", metavar="N", type=int, default=0, help="tensors in a part")
    cutting.add_argument(
        "--no-tensor-first-split", action="store_true", help="the first part has metadata alone"
    )


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """The options; argparse ends the process with status 2 where they are wrong."""
    made = parser()
    options = made.parse_args(arguments)
    options.types = [part for part in dict.fromkeys(name.strip() for name in options.to.split(",")) if part]
    if not options.types:
        made.error("--to needs at least one file type, such as Q4_K_M")
    if options.threads < 1 or options.max_shard_bytes < 0 or options.split_max_tensors < 0:
        made.error("--threads must be at least 1, --max-shard-bytes and --split-max-tensors positive")
    if options.no_tensor_first_split and not (options.split_max_size or options.split_max_tensors):
        made.error("--no-tensor-first-split goes with --split-max-size or --split-max-tensors")
    return options


def size_bytes(text: str) -> int:
    """`300M` or `2G`, in thousands as llama-gguf-split counts."""
    number, unit = text[:-1], text[-1:]
    if unit not in UNITS or not number.isdecimal() or not int(number):
        raise argparse.ArgumentTypeError(f"{text!r} is not a size such as 300M or 2G")
    return int(number) * UNITS[unit]
