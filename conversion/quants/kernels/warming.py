"""Getting kernels ready before the work that needs them, and saying so."""

import threading
from collections.abc import Callable, Iterable

from conversion.quants.kernels import ACTIONS, FROM_STORED, has_kernels, load, mode, state

OnState = Callable[[str, str], None]


def warm(names: Iterable[str] | None = None, on_state: OnState = lambda name, state: None) -> None:
    """The kernels of these types (None: of all) are loaded, or compiled and kept; numpy where that fails.

    `on_state` hears each name with "warming", then "compiled" or what else `state()` says of quantising. Safe to run
    twice, and in two processes at once. After a fork, run it in the child: a lock of the compiler does not survive one.
    """
    if mode() == "numpy":
        return
    for name in state() if names is None else names:
        if has_kernels(name):
            on_state(name, "warming")
            shortcuts = (action for (_, made), action in FROM_STORED.items() if made == name)
            for action in (*ACTIONS, *shortcuts):
                load(name, action)
        on_state(name, state()[name]["quantize"])


def warm_in_background(
    names: Iterable[str] | None = None, on_state: OnState = lambda name, state: None
) -> threading.Thread:
    """As `warm`, in a thread of its own that does not keep the process alive."""
    thread = threading.Thread(target=warm, args=(names, on_state), name="warm-kernels", daemon=True)
    thread.start()
    return thread
