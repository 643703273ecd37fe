"""A child that handles text only: tokenizers and chat templates, many texts in one request, within tight limits."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from conversion.inference.confine import GIB, Limits
from conversion.inference.conversation import Answer, printable
from conversion.inference.engine import EngineError, Vocabulary
from conversion.inference.sandbox import Sandbox

LIMITS = Limits(address_space_bytes=3 * GIB, cpu_seconds=60, wall_seconds=120.0)
"""For the largest vocabulary known: llama.cpp takes 2 seconds and 400 MB for a quarter of a million pieces."""

RENDERING_LIMITS = Limits(address_space_bytes=512 * 2**20, cpu_seconds=30, wall_seconds=60.0)
"""For Jinja, which has nothing to load."""

RENDERING_CPU_SECONDS = 2.0
"""For all conversations by one template; real ones take some milliseconds."""

LLAMA_CPU_SECONDS = 10.0
"""For llama.cpp, which also analyses a template for each conversation, by rendering it some thirty times."""

NOTHING = Path(os.devnull)
"""What an engine opens that has nothing to load."""

MAX_TEXT_BYTES = 256 * 1024
"""Of the texts of one request, so that neither it nor its answer reaches the limit of a message."""


class TextSandbox(Sandbox):
    """A running child whose engine is a tokenizer, a vocabulary or a template engine."""

    def __init__(self, engine: str, path: Path = NOTHING, *, limits: Limits | None = None) -> None:
        default = RENDERING_LIMITS if path == NOTHING else LIMITS
        super().__init__(engine, path, limits=limits or default)

    def describe(self) -> Vocabulary:
        said = self._ask(do="describe").object("vocabulary")
        special, adds = said.object("special"), said.object("adds")
        return Vocabulary(
            printable(said.text("kind"))[:40],
            said.whole("n_tokens", 1),
            {printable(name): special.whole(name) for name in special},
            {printable(name): bool(adds[name]) for name in adds},
            said.wholes("ends"),
        )

    def encode(self, texts: Sequence[str], *, special: bool = False, parse: bool = False) -> list[list[int]]:
        """The ids of each text; with `parse` the text of a special token becomes that token."""
        found: list[list[int]] = []
        for some in _portions(texts):
            values = self._values(len(some), do="encode", texts=some, special=special, parse=parse)
            found += [Answer(ids=ids).wholes("ids") for ids in values]
        return found

    def decode(self, batches: Sequence[Sequence[int]]) -> list[str]:
        """The text of each list of ids."""
        values = self._values(len(batches), do="decode_texts", batches=list(batches))
        return [Answer(text=text).text("text") for text in values]

    def render(
        self,
        template: str,
        conversations: Sequence[dict[str, Any]],
        variables: dict[str, Any],
        *,
        cpu_seconds: float = RENDERING_CPU_SECONDS,
    ) -> list[Answer]:
        """`text` of each conversation by this chat template, or `error` and `message`.

        Raises EngineError `template-loops`, `template-too-large`, `template-refuses` and `template-crashes` where the
        child ended for that, and else as every method does.
        """
        try:
            values = self._values(
                len(conversations),
                do="render",
                template=template,
                conversations=list(conversations),
                variables=variables,
                cpu_seconds=cpu_seconds,
            )
            return Answer(values=values).objects("values")
        except EngineError as error:
            raise _of_the_template(error, cpu_seconds) from error

    def _values(self, count: int, **request: Any) -> list[Any]:
        values = self._ask(**request)["values"]
        if not isinstance(values, list) or len(values) != count:
            self._give_up("engine-answer", f"the engine did not answer {count} values")
        return values


def _of_the_template(error: EngineError, cpu_seconds: float) -> EngineError:
    """Whatever happens while a template renders is the template's fault, never the machine's.

    An exception of C++ aborts the process, so that SIGABRT is how llama.cpp refuses.
    """
    signal, said = error.facts.get("signal"), str(error.facts.get("said") or error.message)
    if signal == "SIGPROF" or error.code == "engine-timeout":
        return EngineError("template-loops", f"it was stopped after {cpu_seconds:g} seconds of CPU time")
    if error.code == "engine-out-of-memory" or "bad_alloc" in said:
        return EngineError(
            "template-too-large", "it was stopped where it wanted more memory than a template may have"
        )
    if signal == "SIGABRT":
        return EngineError("template-refuses", said.rsplit("Error: ", maxsplit=1)[-1])
    if error.code == "engine-crashed":
        return EngineError("template-crashes", error.message)
    return error


def _portions(texts: Sequence[str]) -> list[list[str]]:
    """The texts in order, parted so that none but the first of a portion takes it beyond MAX_TEXT_BYTES."""
    portions: list[list[str]] = [[]]
    size = 0
    for text in texts:
        size += 6 * len(text)
        if portions[-1] and size > MAX_TEXT_BYTES:
            portions.append([])
            size = 6 * len(text)
        portions[-1].append(text)
    return portions
