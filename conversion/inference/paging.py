"""A model larger than memory, computed without holding it: weights are let go of as soon as they were used.

llama.cpp maps the file and reads what it touches. Its graph goes through the layers once, so when all windows are in
one batch every weight is touched in one place only. llama.cpp asks a callback about each node before computing it:
here it counts the weights that are about to be used and, when they are more than `resident_bytes`, asks to be
called once the node is done, and then tells the kernel that the mapped pages are no longer needed. They are the file's
own, unchanged, and would be read again if anybody asked. So what is resident is bounded by `resident_bytes` and the
largest tensor, whatever the size of the model; not a single operation is another one than without it.

Loaded in the sandbox's child only.
"""

import ctypes
import os
from dataclasses import dataclass, field
from typing import Any

from conversion.inference.activations import EvalCallback, Tensor, bind_nodes, check_layout
from conversion.inference.engine import EngineError

MADV_DONTNEED = 4
_SHARED_READ_ONLY = "r--s"
"""Only such mappings are let go of: their pages are the file's. Anything else would lose what was written there."""


@dataclass
class Pager:
    """While its `callback` is a context's `cb_eval`, no more than about `resident_bytes` of weights are in memory.

    Made before the child is confined, since it needs to know its own mappings; `look` once the model is loaded.
    """

    library: Any
    resident_bytes: int
    fault: EngineError | None = None
    _ranges: list[tuple[int, int]] = field(default_factory=list)
    _used: int = 0
    _proven: bool = False

    def __post_init__(self) -> None:
        bind_nodes(self.library)
        self.callback = EvalCallback(self._called)
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._libc.madvise.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
        self._maps = os.open("/proc/self/maps", os.O_RDONLY)

    def look(self) -> None:
        """The files that are mapped now are those of the model. Their pages are let go of."""
        self._ranges = [_range(line) for line in self._read_maps() if line.split()[1] == _SHARED_READ_ONLY]
        self._ranges = [(start, end) for start, end in self._ranges if end > start]
        self._let_go()

    def check(self) -> None:
        """Raises what went wrong inside the callback, where nothing can be raised."""
        if self.fault is not None:
            raise self.fault

    def _called(self, pointer: Any, ask: bool, _: Any) -> bool:
        try:
            if not self._proven:
                check_layout(self.library, pointer)
                self._proven = True
            if not ask:
                self._let_go()
                return True
            self._used += sum(self._weights_of(pointer.contents))
            return self._used > self.resident_bytes
        except EngineError as error:
            self.fault = self.fault or error
        return False

    def _weights_of(self, node: Tensor) -> list[int]:
        """Bytes of the weights that the node reads."""
        sources = [source.contents for source in node.src if source]
        return [self._size_of(source) for source in sources if self._is_weight(source.data)]

    def _size_of(self, tensor: Tensor) -> int:
        return int(self.library.ggml_nbytes(ctypes.byref(tensor)))

    def _is_weight(self, address: int | None) -> bool:
        return address is not None and any(start <= address < end for start, end in self._ranges)

    def _let_go(self) -> None:
        for start, end in self._ranges:
            self._libc.madvise(start, end - start, MADV_DONTNEED)
        self._used = 0

    def _read_maps(self) -> list[str]:
        os.lseek(self._maps, 0, os.SEEK_SET)
        parts = []
        while part := os.read(self._maps, 65536):
            parts.append(part)
        return b"".join(parts).decode("utf-8", "surrogateescape").splitlines()


def _range(line: str) -> tuple[int, int]:
    start, end = line.split(maxsplit=1)[0].split("-")
    return int(start, 16), int(end, 16)
