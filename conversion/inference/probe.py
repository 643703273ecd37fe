"""Whether the sandbox holds here: a hostile engine tries everything of attacks/, and nothing may succeed.

The attempts are made by a real child behind the real border, against real targets that stand beside it: a service on
loopback, a secret file, a process with a secret in its environment. `probe()` says of each what it was and what
refused it; what this kernel does not grant is named, with what stands in its place.
"""

import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from conversion.inference.confine import MIB, NOT_ISOLATED, Limits
from conversion.inference.engine import EngineError
from conversion.inference.sandbox import Sandbox

LIMITS = Limits(address_space_bytes=512 * MIB, cpu_seconds=20, wall_seconds=60.0)
HASTY = Limits(address_space_bytes=512 * MIB, cpu_seconds=1, wall_seconds=0.4)
PATIENT = Limits(address_space_bytes=512 * MIB, cpu_seconds=1, wall_seconds=30.0)
SECRET = b"HOLDFAST_SECRET_KEY=planted-by-the-probe"
LARGE_REQUEST = "x" * MIB
"""More than a pipe holds: it cannot be written to who does not read."""

SYSTEM_CALLS = {
    "a BPF program": "321 280 0 -1 128",
    "io_uring": "425 425 8 -1",
    "userfaultfd": "323 282 1",
    "performance counters": "298 241 -1 0 -1 -1 0",
    "the kernel's keys": "250 219 0 -3 0",
    "another process's namespaces": "308 268 3 0",
    "asking by the old 32-bit numbers": "1073741865 198 2 1 0",
}
"""What -> the numbers of the call on x86_64 and on aarch64, and its arguments; -1 is an empty structure."""

MISSING = {
    "network": "landlock refuses TCP and the filter every socket",
    "user": "it has no capabilities, and sees no process and no file but its own",
    "limits": "",
    "capabilities": "the filter refuses what they are for",
    "files": "only what the user may not read is out of reach: run as a user of its own",
    "system calls": "namespaces, landlock and limits, but it may start processes",
}
"""Protection -> what still stands where it is not granted."""


@dataclass(frozen=True)
class Attempt:
    """One thing that was tried. `how` is what it got, or what refused it."""

    group: str
    what: str
    succeeded: bool
    how: str


@dataclass
class Outcome:
    """What was granted here, and what came of every attempt."""

    isolation: dict[str, str]
    attempts: list[Attempt] = field(default_factory=list)

    @property
    def succeeded(self) -> list[Attempt]:
        return [attempt for attempt in self.attempts if attempt.succeeded]

    def as_json(self) -> dict[str, Any]:
        return {
            "isolation": self.isolation,
            "missing": self.missing,
            "attempts": [vars(attempt) for attempt in self.attempts],
        }

    @property
    def missing(self) -> dict[str, str]:
        """Protections that this kernel or container does not grant, and what still stands."""
        absent = (NOT_ISOLATED, "kept", "not filtered")
        return {name: MISSING.get(name, "") for name, what in self.isolation.items() if what in absent}


@dataclass(frozen=True)
class Targets:
    """What stands beside the child, and must be as it was afterwards."""

    artifact: str
    folder: str
    tcp: str
    udp: str
    unix: str
    secret: str
    bystander: str
    controller: str = str(os.getpid())


Attempts = dict[str, tuple[str, str]]
"""What is tried -> the attempt in attacks/ that tries it, and its target."""

MISCHIEF = {
    "an answer of two gigabytes": ("answer_gigabytes", PATIENT),
    "an answer a million levels deep": ("answer_deep", PATIENT),
    "an answer that is no JSON": ("answer_nonsense", PATIENT),
    "another answer than was asked for": ("answer_something_else", PATIENT),
    "half an answer": ("answer_half", HASTY),
    "an answer byte by byte": ("answer_in_drops", HASTY),
    "not reading what it is asked": ("stop_listening", HASTY),
    "closing its pipes and living on": ("hang_up", PATIENT),
    "ending": ("leave", PATIENT),
    "ending by a signal": ("abort", PATIENT),
    "sleeping for an hour": ("sleep_forever", HASTY),
    "computing for ever": ("compute_forever", PATIENT),
}
"""What is done to the conversation -> the function that does it, and the limits under which it is tried."""


KERNEL: Attempts = {
    "becoming root": ("become_root", ""),
    "new namespaces": ("new_namespaces", ""),
    "mounting /proc": ("mount", ""),
    "another root": ("change_root", ""),
} | {name: ("system_call", numbers) for name, numbers in SYSTEM_CALLS.items()}
MEMORY: Attempts = {
    "1 TB at once": ("map_a_terabyte", ""),
    "4 GB, piece by piece": ("fill_memory", ""),
    "memory in files that have no name": ("keep_memory_files", ""),
    "shared segments that outlive it": ("keep_segments", ""),
}


def plan(targets: Targets, files: Mapping[str, Path]) -> dict[str, Attempts]:
    """Everything that one child tries, by group."""
    return {
        "network": _network(targets),
        "secrets": _secrets(targets) | {name: ("read", str(path)) for name, path in files.items()},
        "writing": _writing(targets),
        "processes": _processes(targets),
        "kernel": KERNEL,
        "memory": MEMORY,
    }


def _network(at: Targets) -> Attempts:
    return {
        "TCP to a service on loopback": ("connect_tcp", at.tcp),
        "TCP to the Internet": ("connect_tcp", "192.0.2.1:443"),
        "a datagram": ("send_udp", at.udp),
        "the address of a name": ("resolve_name", "example.org"),
        "a Unix socket": ("connect_unix", at.unix),
        "listening": ("listen", "127.0.0.1"),
        "the kernel's own network": ("open_netlink", ""),
    }


def _secrets(at: Targets) -> Attempts:
    return {
        "its environment": ("environment", ""),
        "descriptors it was not given": ("other_descriptors", ""),
        "a file that everybody may read": ("read", at.secret),
        "the same by a symbolic link": ("read_through_link", at.secret),
        "the same by a hard link": ("link_into_scratch", at.secret),
        "the same from above the root": ("read_above", at.secret),
        "the same by its number": ("open_by_handle", at.secret),
        "the folder of the artifact": ("read", at.folder),
        "/etc/passwd": ("read", "/etc/passwd"),
        "/etc/shadow": ("read", "/etc/shadow"),
        "a home folder": ("read", str(Path.home())),
        "the worker's environment": ("read", f"/proc/{at.controller}/environ"),
        "the worker's memory": ("read", f"/proc/{at.controller}/mem"),
        "another process's environment": ("read", f"/proc/{at.bystander}/environ"),
        "another process's root": ("read", f"/proc/{at.bystander}/root/etc/passwd"),
        "the machine's memory": ("read", "/dev/mem"),
        "the kernel's messages": ("read", "/dev/kmsg"),
    }


def _writing(at: Targets) -> Attempts:
    return {
        "the artifact": ("write", at.artifact),
        "emptying the artifact": ("truncate", at.artifact),
        "the artifact's mode": ("make_writable", at.artifact),
        "removing the artifact": ("remove", at.artifact),
        "renaming the artifact": ("rename", at.artifact),
        "a file beside the artifact": ("create", at.folder),
        "a file in /tmp": ("create", "/tmp"),  # noqa: S108  # tried, and to be refused
        "a file in /dev/shm": ("create", "/dev/shm"),  # noqa: S108  # tried, and to be refused
        "our own code": ("create", str(Path(__file__).parent)),
        "the interpreter's modules": ("create", sys.prefix),
        "1 TB into its scratch folder": ("write_a_terabyte", ""),
        "1 TB of last words": ("flood_errors", ""),
        "growing the shared memory": ("grow_shared", ""),
    }


def _processes(at: Targets) -> Attempts:
    return {
        "a fork": ("fork", ""),
        "another program": ("spawn", sys.executable),
        "becoming another program": ("execute", sys.executable),
        "two thousand threads": ("start_threads", ""),
        "a signal to the worker": ("send_signal", at.controller),
        "killing another process": ("kill", at.bystander),
        "tracing the worker": ("trace", at.controller),
        "tracing another process": ("trace", at.bystander),
        "reading another process": ("read_memory", at.bystander),
        "holding another process": ("open_process", at.bystander),
        "the limits of the worker": ("limit_other", at.controller),
        "lifting its own limits": ("lift_limits", ""),
    }


def probe(files: Mapping[str, Path] | None = None) -> Outcome:
    """What came of every attempt. `files`: what else must be out of reach, by name: the store, the database.

    Takes two seconds, and one of CPU time.
    """
    with _targets() as targets:
        with _sandbox(targets.artifact, LIMITS) as sandbox:
            outcome = Outcome(sandbox.isolation)
        outcome.attempts += _attack(targets, files or {})
        outcome.attempts += [_break(targets.artifact, what, *how) for what, how in MISCHIEF.items()]
        outcome.attempts += _damage(targets)
    return outcome


def _attack(targets: Targets, files: Mapping[str, Path]) -> Iterator[Attempt]:
    """One child makes all attempts; where one kills it, another goes on."""
    with ExitStack() as stack:
        sandbox: Sandbox | None = None
        for group, attempts in plan(targets, files).items():
            for what, (name, target) in attempts.items():
                if sandbox is None or sandbox.is_gone:
                    sandbox = stack.enter_context(_sandbox(targets.artifact, LIMITS))
                yield _try(sandbox, group, what, name, target)


def _sandbox(artifact: str, limits: Limits) -> Sandbox:
    return Sandbox("probe", Path(artifact), limits=limits)


def _try(sandbox: Sandbox, group: str, what: str, name: str, target: str) -> Attempt:
    try:
        answer = sandbox.attempt(name, target)
    except EngineError as error:
        return Attempt(group, what, False, f"it did not survive: {error}")
    return Attempt(group, what, "got" in answer, answer.get("got") or answer.get("refused", ""))


def _break(artifact: str, what: str, name: str, limits: Limits) -> Attempt:
    """The attacker breaks the conversation: it succeeds if anything but an EngineError in time comes of it."""
    started = time.monotonic()
    try:
        with _sandbox(artifact, limits) as sandbox:
            sandbox.attempt(name, "")
            sandbox.tokenize(LARGE_REQUEST, special=False)
    except EngineError as error:
        seconds = time.monotonic() - started
        return Attempt("conversation", what, seconds > limits.wall_seconds + 10, f"{error.code}: {error}")
    return Attempt("conversation", what, True, "the controller took it for an answer")


def outcome_lines(outcome: Outcome) -> Iterator[str]:
    """What a person reads: the protections, every attempt, and one sentence at the end."""
    for name, what in outcome.isolation.items():
        yield f"  {name:<14} {what}"
    for name, instead in outcome.missing.items():
        yield f"  NOT GRANTED HERE: {name}. What still stands: {instead}."
    group = ""
    for attempt in outcome.attempts:
        if attempt.group != group:
            group = attempt.group
            yield group
        yield f"  {'SUCCEEDED' if attempt.succeeded else 'refused':<10} {attempt.what:<38} {attempt.how[:90]}"
    n = len(outcome.attempts)
    if outcome.succeeded:
        names = ", ".join(attempt.what for attempt in outcome.succeeded)
        yield f"THE SANDBOX DOES NOT HOLD: {len(outcome.succeeded)} of {n} attempts succeeded: {names}"
    else:
        yield f"The sandbox holds: none of {n} attempts succeeded."


def main() -> int:
    outcome = probe()
    sys.stdout.write("\n".join(outcome_lines(outcome)) + "\n")
    return 1 if outcome.succeeded else 0


# --- targets -----------------------------------------------------------------------------------------------


@contextmanager
def _targets() -> Iterator[Targets]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="holdfast-probe-")))
        folder.chmod(0o755)
        artifact, secret = folder / "artifact.gguf", folder / "secret"
        artifact.write_bytes(b"GGUF")
        secret.write_bytes(SECRET)
        secret.chmod(0o644)  # so that only the border can refuse it
        tcp = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        udp = stack.enter_context(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        udp.bind(("127.0.0.1", 0))
        unix = stack.enter_context(socket.socket(socket.AF_UNIX))
        unix.bind(str(folder / "socket"))
        unix.listen()
        yield Targets(
            artifact=str(artifact),
            folder=str(folder),
            tcp="{}:{}".format(*tcp.getsockname()),
            udp="{}:{}".format(*udp.getsockname()),
            unix=str(folder / "socket"),
            secret=str(secret),
            bystander=str(stack.enter_context(_bystander())),
        )


@contextmanager
def _bystander() -> Iterator[int]:
    """The id of another process of this user, which keeps a secret in its environment."""
    command = [sys.executable, "-I", "-S", "-c", "input()"]
    name, _, value = SECRET.decode().partition("=")
    with subprocess.Popen(command, stdin=subprocess.PIPE, env={name: value}) as process:
        try:
            yield process.pid
        finally:
            process.kill()


def _damage(targets: Targets) -> Iterator[Attempt]:
    """What the probe finds changed afterwards, whatever the attempts said of themselves."""
    folder = Path(targets.folder)
    artifact = Path(targets.artifact)
    whole = artifact.exists() and artifact.read_bytes() == b"GGUF"
    yield Attempt("afterwards", "the artifact is another", not whole, "its bytes are the same")
    found = sorted(path.name for path in folder.iterdir())
    yield Attempt("afterwards", "files were left", len(found) != 3, ", ".join(found))
    alive = Path(f"/proc/{targets.bystander}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    yield Attempt("afterwards", "another process is gone", not alive, "it lives")
