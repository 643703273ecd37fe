"""A filter on system call numbers: what it denies fails with EPERM, whatever the file made the engine do.

Installed for every thread of the process at once. Three kinds of calls: denied always; denied unless they aim at this
very process; and `clone`, which may make threads but no processes. Numbers are those of <asm/unistd.h>; calls added
since 2018 have the same number on every architecture.
"""

import ctypes
import os
import struct

from conversion.inference.libc import LIBC

GRANTED = "no sockets, no processes, no exec, no signals to others"

_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_DENIED = {
    # network, and sockets of any other kind
    "socket": (41, 198), "socketpair": (53, 199), "connect": (42, 203), "bind": (49, 200), "listen": (50, 201),
    # processes
    "fork": (57, None), "vfork": (58, None), "execve": (59, 221), "execveat": (322, 281),
    # other processes
    "ptrace": (101, 117), "process_vm_readv": (310, 270), "process_vm_writev": (311, 271), "kcmp": (312, 272),
    "tkill": (200, 130), "rt_sigqueueinfo": (129, 138), "rt_tgsigqueueinfo": (297, 240),
    "pidfd_send_signal": (424, 424), "pidfd_open": (434, 434), "pidfd_getfd": (438, 438),
    "process_madvise": (440, 440), "process_mrelease": (448, 448), "migrate_pages": (256, 238),
    "move_pages": (279, 239), "setpriority": (141, 140), "ioprio_set": (251, 30), "sched_setparam": (142, 118),
    "sched_setscheduler": (144, 119), "sched_setattr": (314, 274),
    # namespaces, mounts, files by number instead of path
    "unshare": (272, 97), "setns": (308, 268), "mount": (165, 40), "umount2": (166, 39), "pivot_root": (155, 41),
    "chroot": (161, 51), "open_tree": (428, 428), "move_mount": (429, 429), "fsopen": (430, 430),
    "fsconfig": (431, 431), "fsmount": (432, 432), "fspick": (433, 433), "mount_setattr": (442, 442),
    "name_to_handle_at": (303, 264), "open_by_handle_at": (304, 265), "quotactl": (179, 60),
    "quotactl_fd": (443, 443), "fanotify_init": (300, 262),
    # memory that no limit of a process counts: segments stay when they are detached
    "shmget": (29, 194), "shmat": (30, 196), "msgget": (68, 186), "semget": (64, 190), "mq_open": (240, 180),
    "memfd_secret": (447, 447), "add_key": (248, 217), "request_key": (249, 218), "keyctl": (250, 219),
    # the kernel's wide doors
    "bpf": (321, 280), "userfaultfd": (323, 282), "perf_event_open": (298, 241), "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426), "io_uring_register": (427, 427), "init_module": (175, 105),
    "finit_module": (313, 273), "delete_module": (176, 106), "kexec_load": (246, 104),
    "kexec_file_load": (320, 294), "reboot": (169, 142), "acct": (163, 89), "swapon": (167, 224),
}  # fmt: skip
"""Name -> number on x86_64 and on aarch64."""

_OF_ITSELF_ONLY = {
    "kill": (62, 129), "tgkill": (234, 131), "prlimit64": (302, 261), "sched_setaffinity": (203, 122),
}  # fmt: skip
"""Calls whose first argument is a process: 0 and our own are allowed. `abort` is a tgkill."""

_CLONE, _CLONE3, _CLONE_THREAD = (56, 220), 435, 0x10000
_X32_CALLS = 0x40000000
_LOAD, _EQUAL, _AT_LEAST, _ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_ALLOW, _KILL, _FAIL = 0x7FFF0000, 0x80000000, 0x00050000
_EPERM, _ENOSYS = 1, 38
_NUMBER_AT, _ARCHITECTURE_AT, _FIRST_ARGUMENT_AT = 0, 4, 16
_SECCOMP, _SET_MODE_FILTER, _ALL_THREADS = {"x86_64": 317, "aarch64": 277}, 1, 1

Instruction = tuple[int, int, int, int]


def filter_calls() -> bool:
    """True: the filter is installed in every thread, and can never be taken away. Needs "no new privileges"."""
    machine = os.uname().machine
    return machine in _ARCHITECTURES and install(program_for(machine, os.getpid()))


def install(program: list[Instruction]) -> bool:
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *line) for line in program))
    filter_ = struct.pack("HxxxxxxP", len(program), ctypes.addressof(code))
    number = _SECCOMP[os.uname().machine]
    return bool(LIBC.syscall(number, _SET_MODE_FILTER, _ALL_THREADS, filter_) == 0)


def program_for(machine: str, pid: int) -> list[Instruction]:
    """(code, jump if true, jump if false, operand): jumps count the instructions that are skipped."""
    column = list(_ARCHITECTURES).index(machine)
    deny = (_RETURN, 0, 0, _FAIL | _EPERM)
    program = [
        (_LOAD, 0, 0, _ARCHITECTURE_AT),
        (_EQUAL, 1, 0, _ARCHITECTURES[machine]),
        (_RETURN, 0, 0, _KILL),
        (_LOAD, 0, 0, _NUMBER_AT),
        (_AT_LEAST, 0, 1, _X32_CALLS),
        deny,
    ]
    for numbers in _DENIED.values():
        if (number := numbers[column]) is not None:
            program += [(_EQUAL, 0, 1, number), deny]
    for numbers in _OF_ITSELF_ONLY.values():
        allowed = [(_EQUAL, 2, 0, 0), (_EQUAL, 1, 0, pid), deny, (_RETURN, 0, 0, _ALLOW)]
        program += [(_EQUAL, 0, 5, numbers[column]), (_LOAD, 0, 0, _FIRST_ARGUMENT_AT), *allowed]
    # glibc falls back from clone3, whose arguments a filter cannot see, to clone; threads stay possible.
    program += [(_EQUAL, 0, 1, _CLONE3), (_RETURN, 0, 0, _FAIL | _ENOSYS)]
    program += [
        (_EQUAL, 0, 3, _CLONE[column]),
        (_LOAD, 0, 0, _FIRST_ARGUMENT_AT),
        (_ANY_BIT, 1, 0, _CLONE_THREAD),
    ]
    return [*program, deny, (_RETURN, 0, 0, _ALLOW)]
