"""Kernels are compiled once and kept, never run stale, and never needed: each promise in a process of its own."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from conversion.quants import kernels
from conversion.quants.kernels import caching
from conversion.quants.kernels.caching import PACKAGE, cache_root, digest_of_files
from tests.services.deployment import ROOT

WORK = """
import json, sys, time
import numpy as np
started = time.process_time()
from conversion.quants import kernels, quantize
imported = time.process_time() - started
values = np.random.default_rng(1).normal(0, 1, (2, 256)).astype(np.float32)
digest = quantize(values, "Q8_0").tobytes().hex()
print(json.dumps({"digest": digest, "state": kernels.state()["Q8_0"], "numba": "numba" in sys.modules}))
"""


def run(code: str = WORK, cwd: Path = ROOT, **environment: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=cwd,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def test_numba_is_not_imported_for_little_work() -> None:
    made = run(HOLDFAST_KERNELS="auto")
    assert made["numba"] is False


def test_two_processes_fill_an_empty_cache_at_once_and_a_third_finds_it(tmp_path: Path) -> None:
    environment = os.environ | {"HOLDFAST_KERNELS": "compiled", "HOLDFAST_KERNEL_CACHE": str(tmp_path)}
    both = [
        subprocess.Popen(
            [sys.executable, "-c", WORK], cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    made = [json.loads(process.communicate()[0]) for process in both]
    assert [process.returncode for process in both] == [0, 0]
    look = "import json; from conversion.quants import kernels; print(json.dumps(kernels.state()['Q8_0']))"
    assert run(look, HOLDFAST_KERNELS="auto", HOLDFAST_KERNEL_CACHE=str(tmp_path))["quantize"] == "cached"
    files = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.kernel")}
    made.append(run(HOLDFAST_KERNELS="compiled", HOLDFAST_KERNEL_CACHE=str(tmp_path)))
    assert [result["numba"] for result in made] == [True, True, False]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.kernel")} == files
    assert len({result["digest"] for result in made}) == 1
    assert all(result["state"]["quantize"] == "compiled" for result in made)


def test_a_damaged_cache_is_compiled_anew(tmp_path: Path) -> None:
    environment = {"HOLDFAST_KERNELS": "compiled", "HOLDFAST_KERNEL_CACHE": str(tmp_path)}
    first = run(**environment)
    (cut,), (changed,) = tmp_path.rglob("q8_0.quantize.kernel"), tmp_path.rglob("finite.*.kernel")
    cut.write_bytes(cut.read_bytes()[:-100])
    changed.write_bytes(changed.read_bytes()[:-1] + b"?")
    assert run(**environment) == first
    assert run(**environment) == first | {"numba": False}


@pytest.mark.parametrize(
    "damage",
    [
        lambda path, other: path.write_bytes(b""),
        lambda path, other: path.write_bytes(path.read_bytes()[:30]),
        lambda path, other: path.write_bytes(path.read_bytes() + b"\0"),
        lambda path, other: path.write_bytes(path.read_bytes().replace(b"entry", b"exit!")),
        lambda path, other: path.write_bytes(b"[" * 100_000),
        lambda path, other: other.replace(path),
    ],
    ids=["emptied", "cut in its head", "longer", "another code", "nested", "another kernel's"],
)
def test_machine_code_that_is_not_what_was_kept_is_not_found(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, damage: Callable[[Path, Path], object]
) -> None:
    monkeypatch.setenv("HOLDFAST_KERNEL_CACHE", str(tmp_path))
    code = caching.MachineCode("entry", b"as if this were the entry of a kernel")
    for kernel in ("q8_0.quantize", "q4_0.quantize"):
        caching.keep(kernel, "cpu", code)
    assert caching.find("q8_0.quantize", "cpu") == code
    assert caching.find("q8_0.quantize", "another-cpu") is None
    folder = tmp_path / caching.digest_of_sources() / "cpu"
    damage(folder / "q8_0.quantize.kernel", folder / "q4_0.quantize.kernel")
    assert caching.find("q8_0.quantize", "cpu") is None


@pytest.mark.parametrize(
    ("name", "values", "weights"),
    [
        ("of another dtype", np.zeros((1, 32), np.float64), np.zeros(0, np.float32)),
        ("of another rank", np.zeros(32, np.float32), np.zeros(0, np.float32)),
        ("with gaps", np.zeros((1, 64), np.float32)[:, ::2], np.zeros(0, np.float32)),
        ("misaligned", np.zeros(129, np.uint8)[1:].view(np.float32).reshape(1, 32), np.zeros(0, np.float32)),
    ],
)  # fmt: skip
def test_a_kernel_refuses_an_array(name: str, values: np.ndarray, weights: np.ndarray) -> None:
    kernel = kernels.load("Q8_0", "quantize")
    assert kernel is not None
    with pytest.raises(TypeError, match="a kernel takes"):
        kernel(values, weights, np.zeros((1, 34), np.uint8))
    fixed = np.zeros((1, 34), np.uint8)
    fixed.flags.writeable = False
    with pytest.raises(TypeError, match="a kernel takes"):
        kernel(np.zeros((1, 32), np.float32), weights, fixed)


def test_a_cache_that_cannot_be_written_costs_compiling_only(tmp_path: Path) -> None:
    (tmp_path / "a-file").write_text("")
    environment = {
        "HOLDFAST_KERNELS": "compiled",
        "HOLDFAST_KERNEL_CACHE": str(tmp_path / "a-file" / "below"),
    }
    assert run(**environment)["state"]["quantize"] == "compiled"
    assert not list(PACKAGE.rglob("*.kernel"))


def test_without_numba_numpy_makes_the_same_bytes_and_says_why(tmp_path: Path) -> None:
    (tmp_path / "numba.py").write_text("raise ImportError('no LLVM on this machine')")
    load = "import conversion.quants.kernels as k; k.load('Q8_0', 'quantize');"
    broken = run(load + WORK, HOLDFAST_KERNELS="auto", PYTHONPATH=str(tmp_path))
    assert broken["state"]["quantize"] == "numpy: ImportError: no LLVM on this machine"
    assert broken["digest"] == run(HOLDFAST_KERNELS="numpy")["digest"]


def test_kernels_that_were_asked_for_and_cannot_be_had_are_an_error(tmp_path: Path) -> None:
    (tmp_path / "numba.py").write_text("raise ImportError('no LLVM on this machine')")
    code = """
import json, numpy as np
from conversion.quants import QuantError, quantize
try:
    quantize(np.zeros((1, 32), dtype=np.float32), "Q8_0")
except QuantError as error:
    print(json.dumps({"code": error.code, "message": error.message}))
"""
    refused = run(code, HOLDFAST_KERNELS="compiled", PYTHONPATH=str(tmp_path))
    assert refused["code"] == "kernels-unavailable"
    assert "HOLDFAST_KERNELS=auto" in str(refused["message"])


@pytest.mark.parametrize("edited", ["kernels/bits.py", "kernels/q8_0.py", "q8_0.py"])
def test_an_edit_to_any_file_leads_to_another_cache_folder(tmp_path: Path, edited: str) -> None:
    """numba itself looks only at the file a kernel stands in: it would run a stale one after an edit to a helper."""
    package = copy_of_package(tmp_path)
    before = digest_of_files(package)
    (package / edited).write_text(
        (package / edited).read_text() + "\n# Nothing that a kernel would notice.\n"
    )
    assert digest_of_files(package) != before


def test_what_a_process_compiles_after_an_upgrade_in_place_is_not_kept(tmp_path: Path) -> None:
    package = copy_of_package(tmp_path)
    code = f"""
import json, pathlib
import numpy as np
from conversion.quants import kernels, quantize
pathlib.Path({str(package)!r}, "upgraded.py").write_text("")
quantize(np.zeros((1, 32), dtype=np.float32), "Q8_0")
print(json.dumps({{"state": kernels.state()["Q8_0"]["quantize"], "file": kernels.__file__}}))
"""
    environment = {"HOLDFAST_KERNELS": "compiled", "HOLDFAST_KERNEL_CACHE": str(tmp_path / "cache")}
    made = run(code, cwd=tmp_path, **environment)
    assert made == {"state": "compiled", "file": str(package / "kernels" / "__init__.py")}
    assert not (tmp_path / "cache").exists()


def copy_of_package(folder: Path) -> Path:
    package = folder / "conversion" / "quants"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    (package.parent / "__init__.py").write_text("")
    assert digest_of_files(package) == digest_of_files(PACKAGE)
    return package


def test_numpy_hands_over_once_it_has_cost_what_the_kernel_costs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_KERNELS", "auto")
    code = """
import json, numpy as np
from conversion.quants import kernels, quantize
values = np.ones((1, 32), dtype=np.float32)
states = []
for seconds in (0.0, 60.0):
    kernels.spent("Q8_0", "quantize", seconds)
    quantize(values, "Q8_0")
    states.append(kernels.state()["Q8_0"]["quantize"])
print(json.dumps({"states": states}))
"""
    first, second = run(code)["states"]
    assert (first, second) in {("numpy", "compiled"), ("cached", "compiled")}


def test_warming_tells_what_it_does_and_imports_nothing_for_numpy() -> None:
    code = """
import json, sys
from conversion.quants.kernels import state
from conversion.quants.kernels.warming import warm, warm_in_background
heard = []
thread = warm_in_background(["Q8_0", "F32"], lambda *said: heard.append(said))
thread.join()
warm(["Q8_0"], lambda *said: heard.append(said))
print(json.dumps({"heard": heard, "state": state()["Q8_0"], "numba": "numba" in sys.modules}))
"""
    made = run(code, HOLDFAST_KERNELS="auto")
    assert made["heard"] == [
        ["Q8_0", "warming"], ["Q8_0", "compiled"], ["F32", "numpy-only"], ["Q8_0", "warming"], ["Q8_0", "compiled"],
    ]  # fmt: skip
    assert made["state"] == {"quantize": "compiled", "dequantize": "compiled"}
    made = run(code, HOLDFAST_KERNELS="numpy")
    assert (made["heard"], made["numba"]) == ([], False)


def test_a_mode_that_means_nothing_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOLDFAST_KERNELS", "fast")
    with pytest.raises(ValueError, match="HOLDFAST_KERNELS is 'fast'; use one of auto, compiled, numpy"):
        kernels.mode()


def test_the_cache_lies_where_the_user_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOLDFAST_KERNEL_CACHE", str(tmp_path))
    assert cache_root() == tmp_path
    monkeypatch.delenv("HOLDFAST_KERNEL_CACHE")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root() in {
        tmp_path / "xdg" / "holdfast" / "kernels",
        Path.home() / "Library/Caches/holdfast/kernels",
    }


def test_kernels_that_two_processes_compiled_do_not_take_each_others_parts(tmp_path: Path) -> None:
    """Both kernels have a part that one factory made: of the same name, and with the same number in each process."""
    code = """
import json, sys
import numpy as np
from conversion.quants import quantize
values = np.linspace(-3, 3, 64, dtype=np.float32)[None]
print(json.dumps({name: quantize(values, name).tobytes().hex() for name in sys.argv[1].split()}))
"""
    environment = {"HOLDFAST_KERNELS": "compiled", "HOLDFAST_KERNEL_CACHE": str(tmp_path)}
    alone: dict[str, object] = {}
    for name in ("F16", "BF16"):
        alone |= run(code.replace("sys.argv[1]", repr(name)), **environment)
    assert run(code.replace("sys.argv[1]", repr("F16 BF16")), **environment) == alone
    assert run(code.replace("sys.argv[1]", repr("BF16 F16")), **environment) == alone
