"""Everything a hostile file could make an engine try, as an engine: only probe.py starts it.

An attempt returns what it got hold of, or raises: OSError, MemoryError, RuntimeError, ValueError or Nothing. It takes
one text, its target; where that is a folder, none means its scratch folder. Succeeding they would do no harm,
for what they hit is planted. The last ones break the conversation itself.
"""

import ctypes
import mmap
import os
import resource
import signal
import socket
import struct
import sys
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from conversion.inference.engine import EngineReport, Facts
from conversion.inference.libc import LIBC, check

ENOUGH_BYTES = 256 * 2**20
"""Who has written or kept this much beyond its limits could go on to a terabyte."""
TERABYTE = 2**40
OWN_VARIABLES = frozenset({
    "LC_CTYPE", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "RAYON_NUM_THREADS", "HF_HUB_OFFLINE", "GGML_NO_BACKTRACE",
    "TMPDIR", "HOME",
})  # fmt: skip
OWN_DESCRIPTORS = 6
"""Standard input, output and error, the two pipes, the shared memory."""


class Nothing(Exception):
    """It was allowed and got nothing."""


# --- network -----------------------------------------------------------------------------------------------


def connect_tcp(address: str) -> str:
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port)), 2) as connection:
        return f"connected to {connection.getpeername()}"


def send_udp(address: str) -> str:
    host, _, port = address.rpartition(":")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        return f"sent {one.sendto(b'secret', (host, int(port)))} bytes"


def resolve_name(name: str) -> str:
    return socket.gethostbyname(name)


def connect_unix(path: str) -> str:
    with socket.socket(socket.AF_UNIX) as one:
        one.connect(path)
        return f"connected to {path}"


def listen(address: str) -> str:
    with socket.create_server((address, 0)) as server:
        return f"listens at {server.getsockname()}"


def open_netlink(_: str) -> str:
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW):
        return "a netlink socket"


# --- files -------------------------------------------------------------------------------------------------


def read(path: str) -> str:
    place = Path(path)
    found = os.listdir(place) if place.is_dir() else place.open("rb").read(40)  # noqa: PTH208
    return f"read {found[:3]!r}"


def read_through_link(path: str) -> str:
    link = Path(os.environ["TMPDIR"], "link")
    link.symlink_to(path)
    return read(str(link))


def link_into_scratch(path: str) -> str:
    link = Path(os.environ["TMPDIR"], "hard")
    link.hardlink_to(path)
    return read(str(link))


def read_above(path: str) -> str:
    return read("/" + "../" * 40 + path.lstrip("/"))


def open_by_handle(path: str) -> str:
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0) + bytes(128))
    number = ctypes.c_int()
    check(LIBC.name_to_handle_at(-100, path.encode(), handle, ctypes.byref(number), 0))
    return "a handle that needs no path"


def other_descriptors(_: str) -> str:
    found = []
    for number in range(64):
        with suppress(OSError):
            os.fstat(number)
            found.append(number)
    if len(found) <= OWN_DESCRIPTORS:
        raise Nothing("only its own pipes")
    return f"holds {len(found)} descriptors"


def environment(_: str) -> str:
    found = set(os.environ) - OWN_VARIABLES
    if not found:
        raise Nothing("it is empty")
    return ", ".join(sorted(found))


# --- writing -----------------------------------------------------------------------------------------------


def write(path: str) -> str:
    with Path(path).open("r+b") as file:
        return f"wrote {file.write(b'x')} byte"


def truncate(path: str) -> str:
    os.truncate(path, 0)
    return "truncated"


def make_writable(path: str) -> str:
    Path(path).chmod(0o666)
    return "changed its mode"


def remove(path: str) -> str:
    Path(path).unlink()
    return "removed"


def rename(path: str) -> str:
    Path(path).rename(path + "-renamed")
    return "renamed"


def create(folder: str) -> str:
    with Path(folder, "planted-by-the-probe").open("xb") as file:
        return f"wrote {file.write(b'x')} byte"


def write_a_terabyte(folder: str) -> str:
    """First at once and sparse, then as many files as there can be."""
    folder = folder or os.environ["TMPDIR"]
    with suppress(OSError), Path(folder, "sparse").open("wb") as file:
        file.truncate(TERABYTE)
        return "one file of 1 TB"
    written, piece = 0, bytes(2**20)
    for number in range(ENOUGH_BYTES // len(piece)):
        with Path(folder, f"piece-{number}").open("wb") as file:
            written += file.write(piece)
    return f"{written:,} bytes in many files"


def keep_memory_files(_: str) -> str:
    """Memory that no address space holds: files in memory, each filled and kept open."""
    kept: list[int] = []
    piece = bytes(2**20)
    while len(kept) * len(piece) < ENOUGH_BYTES:
        kept.append(os.memfd_create("kept"))
        os.write(kept[-1], piece)
    return f"{len(kept)} files in memory"


def flood_errors(_: str) -> str:
    written, piece = 0, b"x" * 2**16
    while written < ENOUGH_BYTES:
        written += os.write(2, piece)
    return f"{written:,} bytes of last words"


def grow_shared(_: str) -> str:
    for number in range(3, 64):
        with suppress(OSError):
            os.ftruncate(number, TERABYTE)
            return "1 TB of shared memory"
    raise Nothing("sealed")


# --- processes ---------------------------------------------------------------------------------------------


def fork(_: str) -> str:
    if (pid := os.fork()) == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return "a new process"


def spawn(path: str) -> str:
    pid = os.posix_spawn(path, [path], {})
    os.waitpid(pid, 0)
    return "a new process"


def execute(path: str) -> str:
    os.execv(path, [path])


def start_threads(_: str) -> str:
    threading.stack_size(2**16)
    end = threading.Event()
    threads = [threading.Thread(target=end.wait, daemon=True) for _ in range(2_000)]
    try:
        for thread in threads:
            thread.start()
    finally:
        end.set()
    return f"{len(threads):,} threads"


def send_signal(pid: str) -> str:
    os.kill(int(pid), signal.SIGCONT)
    return "a signal was delivered"


def kill(pid: str) -> str:
    os.kill(int(pid), signal.SIGKILL)
    return "killed"


def open_process(pid: str) -> str:
    os.pidfd_open(int(pid))
    return "a descriptor of another process"


def trace(pid: str) -> str:
    check(LIBC.ptrace(0x4206, int(pid), 0, 0))  # PTRACE_SEIZE, which stops nobody
    return "traces another process"


def read_memory(pid: str) -> str:
    vector = ctypes.create_string_buffer(struct.pack("QQ", 0, 0))
    check(LIBC.process_vm_readv(int(pid), vector, 1, vector, 1, 0))
    return "reads another process"


def limit_other(pid: str) -> str:
    return f"its limits are {resource.prlimit(int(pid), resource.RLIMIT_NOFILE)}"


def lift_limits(_: str) -> str:
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    return "no limit of memory"


# --- the kernel --------------------------------------------------------------------------------------------


def become_root(_: str) -> str:
    os.setresuid(0, 0, 0)
    if os.getuid() == 0:
        os.chown("/", 0, 0)
    return "is root"


def new_namespaces(_: str) -> str:
    check(LIBC.unshare(0x10000000))
    return "a user namespace, in which it is root"


def mount(folder: str) -> str:
    folder = folder or os.environ["TMPDIR"]
    check(LIBC.mount(b"proc", folder.encode(), b"proc", 0, None))
    return "mounted /proc"


def change_root(folder: str) -> str:
    os.chroot(folder or os.environ["TMPDIR"])
    return "another root"


def system_call(numbers: str) -> str:
    """`numbers`: that of the call on x86_64 and on aarch64, then its arguments."""
    x86, arm, *arguments = map(int, numbers.split())
    buffer = ctypes.create_string_buffer(256)
    given = [buffer if value == -1 else ctypes.c_long(value) for value in arguments]
    check(LIBC.syscall(x86 if os.uname().machine == "x86_64" else arm, *given))
    return "done"


# --- memory ------------------------------------------------------------------------------------------------


def map_a_terabyte(_: str) -> str:
    with mmap.mmap(-1, TERABYTE):
        return "1 TB of address space"


def fill_memory(_: str) -> str:
    kept: list[bytes] = []
    while len(kept) < 64:
        kept.append(bytes(64 * 2**20))
    return "4 GB of memory"


def keep_segments(_: str) -> str:
    """System V segments stay when nobody is attached, outside every limit of a process."""
    for _n in range(64):
        check(LIBC.shmget(0, ctypes.c_size_t(2**20), 0o1600))
    return "64 segments"


# --- the conversation --------------------------------------------------------------------------------------


def _answers() -> int:
    return int(sys.argv[2])


def _say(data: bytes, claimed: int | None = None) -> None:
    view = memoryview(struct.pack("<I", len(data) if claimed is None else claimed) + data)
    while view:
        view = view[os.write(_answers(), view) :]


def answer_gigabytes(_: str) -> None:
    _say(b"[" * 2**16, claimed=2**31)
    time.sleep(60)


def answer_deep(_: str) -> None:
    _say(b"[" * 2**20)


def answer_nonsense(_: str) -> None:
    _say(b'{"got": NaN}')


def answer_something_else(_: str) -> None:
    _say(b'{"yes": 1}')


def answer_half(_: str) -> None:
    _say(b'{"got": ', claimed=100)
    time.sleep(60)


def answer_in_drops(_: str) -> None:
    os.write(_answers(), struct.pack("<I", 2**20))
    while True:
        os.write(_answers(), b" ")
        time.sleep(0.001)


def hang_up(_: str) -> None:
    for number in map(int, sys.argv[1:3]):
        os.close(number)
    time.sleep(60)


def stop_listening(_: str) -> None:
    _say(b'{"got": ""}')
    time.sleep(60)


def leave(_: str) -> None:
    os._exit(0)


def abort(_: str) -> None:
    os.abort()


def compute_forever(_: str) -> None:
    signal.signal(signal.SIGXCPU, signal.SIG_DFL)
    while True:
        pass


def sleep_forever(_: str) -> None:
    time.sleep(3600)


class Attacker:
    """Looks like a loaded model; `attempt` is what it is for."""

    facts = Facts(n_vocab=2, n_context=8, bos_id=None, adds_bos=False, description="hostile")

    def attempt(self, name: str, target: str) -> dict[str, str]:
        """`got`, or what `refused` it."""
        try:
            return {"got": str(globals()[name](target))}
        except OSError as error:
            return {"refused": str(error.strerror or error)}
        except (MemoryError, RuntimeError, ValueError, Nothing) as error:
            return {"refused": str(error) or "not enough memory"}

    def tokenize(self, text: str, *, special: bool) -> list[int]:
        return [0] * len(text)

    def detokenize(self, ids: Sequence[int]) -> str:
        return ""

    def is_end(self, token: int) -> bool:
        return True

    def logits(self, ids: Sequence[int], *, first: int, extend: bool) -> memoryview:
        return memoryview(bytes(8 * (len(ids) - first)))


class AttackerEngine:
    """Loads any file: it does not even look."""

    report = EngineReport("probe", "holdfast", "1")

    def load(self, path: str) -> Attacker:
        return Attacker()


def start(threads: int) -> AttackerEngine:
    return AttackerEngine()
