"""Everything a hostile file could make an engine try, as an engine: only probe.py starts it.

An attempt returns what it got hold of, or raises: OSError, MemoryError, RuntimeError, ValueError or Nothing. It takes
one text, its target; where that is a folder, none means its scratch folder. Succeeding they would do no harm,
for what they hit is planted. Those of conversation.py break the conversation itself.
"""

from collections.abc import Callable, Sequence

from conversion.inference.attacks import conversation, files, kernel, memory, network, processes, writing
from conversion.inference.attacks.common import Nothing
from conversion.inference.engine import EngineReport, Facts

ATTEMPTS: dict[str, Callable[[str], str | None]] = {
    name: attempt
    for module in (network, files, writing, processes, kernel, memory, conversation)
    for name, attempt in vars(module).items()
    if getattr(attempt, "__module__", "") == module.__name__ and not name.startswith("_")
}
"""Name -> what tries it."""


class Attacker:
    """Looks like a loaded model; `attempt` is what it is for."""

    facts = Facts(n_vocab=2, n_context=8, bos_id=None, adds_bos=False, description="hostile")

    def attempt(self, name: str, target: str) -> dict[str, str]:
        """`got`, or what `refused` it."""
        try:
            return {"got": str(ATTEMPTS[name](target))}
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
