"""llama.cpp's own chat templates: the engine for Jinja behind its server and its command line, called through ctypes.

The C function `llama_chat_apply_template` knows a few templates by heart and runs none; what people meet is the C++
function `common_chat_templates_apply`, which the pinned wheel exports. It is built with the old `std::string`: one
pointer to characters, before which lie length, capacity and a count of references. Objects are returned through a
hidden pointer, which ctypes passes for any struct of more than 16 bytes.

`prove` renders a conversation through our layout of the arguments and through llama.cpp's own example of it, which
needs none, and compares. An exception of C++ ends the process; its words are then on standard error.
"""

import ctypes
import json
from collections.abc import Sequence
from ctypes import POINTER, c_bool, c_char_p, c_int32, c_int64, c_size_t, c_void_p
from typing import Any

from conversion.inference.engine import MAX_RENDERED_CHARACTERS, EngineError


class Returned(ctypes.Structure):
    """Room for an object that C++ returns: none of ours is larger."""

    _fields_ = [("words", c_void_p * 256)]

    @property
    def pointer(self) -> int:
        return int(self.words[0] or 0)


class StdString(ctypes.Structure):
    """`std::string` as gcc made it before 2015."""

    _fields_ = [("characters", c_void_p)]


class StdVector(ctypes.Structure):
    _fields_ = [("begin", c_void_p), ("end", c_void_p), ("capacity", c_void_p)]


class StdMap(ctypes.Structure):
    """`std::map`: a comparison that holds nothing, then a header that is the whole of an empty tree."""

    _fields_ = [
        ("compare", c_void_p),
        ("color", c_void_p),
        ("root", c_void_p),
        ("leftmost", c_void_p),
        ("rightmost", c_void_p),
        ("size", c_size_t),
    ]

    def make_empty(self) -> None:
        self.leftmost = self.rightmost = ctypes.addressof(self) + StdMap.color.offset


class Inputs(ctypes.Structure):
    """`struct common_chat_templates_inputs`, 160 bytes."""

    _fields_ = [
        ("messages", StdVector),
        ("grammar", StdString),
        ("json_schema", StdString),
        ("add_generation_prompt", c_bool),
        ("continue_final_message", c_int32),
        ("use_jinja", c_bool),
        ("tools", StdVector),
        ("tool_choice", c_int32),
        ("parallel_tool_calls", c_bool),
        ("reasoning_format", c_int32),
        ("enable_thinking", c_bool),
        ("now", c_int64),
        ("chat_template_kwargs", StdMap),
        ("add_bos", c_bool),
        ("add_eos", c_bool),
        ("force_pure_content", c_bool),
    ]


_MAP = "St3mapISsSsSt4lessISsESaISt4pairIKSsSsEEE"
_STRING = POINTER(StdString)
FUNCTIONS: dict[str, tuple[str, Any, list[Any]]] = {
    "new_string": ("_ZNSsC1EPKcmRKSaIcE", None, [_STRING, c_char_p, c_size_t, c_void_p]),
    "parse_json": ("_ZN11common_json14parse_no_throwERKSs", Returned, [_STRING]),
    "messages": ("_Z32common_chat_msgs_parse_oaicompatRK11common_json", Returned, [POINTER(Returned)]),
    "tools": ("_Z33common_chat_tools_parse_oaicompatRK11common_json", Returned, [POINTER(Returned)]),
    "init": (
        "_Z26common_chat_templates_initPK11llama_modelRKSsS3_S3_",
        Returned,
        [c_void_p, _STRING, _STRING, _STRING],
    ),
    "free": ("_Z26common_chat_templates_freeP21common_chat_templates", None, [c_void_p]),
    "apply": (
        "_Z27common_chat_templates_applyPK21common_chat_templatesRK28common_chat_templates_inputs",
        Returned,
        [c_void_p, POINTER(Inputs)],
    ),
    "example": (
        f"_Z26common_chat_format_examplePK21common_chat_templatesbRK{_MAP}",
        Returned,
        [c_void_p, c_bool, POINTER(StdMap)],
    ),
}
PROMPT_AT = 1
"""The word of `struct common_chat_params` that holds `prompt`; before it is the format, an enumeration."""

EXAMPLE = {
    "messages": [
        {"role": "system", "content": "You are a helpful assistant"},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi there"},
        {"role": "user", "content": "How are you?"},
    ],
    "tools": [],
}
"""What `common_chat_format_example` renders."""

PROOF = (
    "{% for one in messages %}[{{ one.role }}:{{ one.content }}]{% endfor %}"
    "{% for one in tools or [] %}<{{ one.function.name }}>{% endfor %}{{ '>' if add_generation_prompt }}"
)
PROOF_TOOL = {"type": "function", "function": {"name": "proof", "description": "", "parameters": {}}}


class LlamaChat:
    """The functions of one library, typed. Memory of C++ objects is not given back: the process is thrown away."""

    def __init__(self, library: Any) -> None:
        self._call: dict[str, Any] = {}
        for name, (symbol, result, arguments) in FUNCTIONS.items():
            function = getattr(library, symbol, None)
            if function is None:
                raise EngineError("engine-mismatch", f"this build of llama.cpp exports no {symbol}")
            function.restype, function.argtypes = result, arguments
            self._call[name] = function

    def prove(self) -> None:
        """Our layouts are the library's. Raises EngineError `engine-mismatch`."""
        templates = self._open(PROOF, {})
        empty = StdMap()
        empty.make_empty()
        expected = _text(self._call["example"](templates, True, empty).pointer)
        found = self._apply(templates, EXAMPLE)
        with_tool = self._apply(templates, EXAMPLE | {"tools": [PROOF_TOOL]})
        if (found, with_tool) != (expected, expected.replace("]>", "]<proof>>")):
            raise EngineError("engine-mismatch", "llama.cpp's chat templates are not called as we call them")

    def render(
        self, template: str, conversations: Sequence[dict[str, Any]], variables: dict[str, Any]
    ) -> list[dict[str, Any]]:
        """`text` of each conversation; the process ends where llama.cpp refuses."""
        templates = self._open(template, variables)
        return [{"text": self._apply(templates, variables | one)} for one in conversations]

    def _open(self, template: str, variables: dict[str, Any]) -> int:
        bos, eos = (self._string(variables.get(name, "")) for name in ("bos_token", "eos_token"))
        templates: Returned = self._call["init"](None, self._string(template), bos, eos)
        return templates.pointer

    def _apply(self, templates: int, conversation: dict[str, Any]) -> str:
        inputs = Inputs(add_generation_prompt=conversation.get("add_generation_prompt", True), use_jinja=True)
        inputs.enable_thinking = True
        inputs.messages = self._listed("messages", conversation["messages"])
        inputs.tools = self._listed("tools", conversation.get("tools") or [])
        inputs.grammar, inputs.json_schema = self._string(""), self._string("")
        inputs.chat_template_kwargs.make_empty()
        answer: Returned = self._call["apply"](templates, inputs)
        return _text(int(answer.words[PROMPT_AT] or 0))

    def _listed(self, name: str, values: list[Any]) -> StdVector:
        """A vector of messages or tools, made by llama.cpp from the JSON of its server's interface."""
        parsed = self._call["parse_json"](self._string(json.dumps(values)))
        return StdVector.from_buffer(self._call[name](parsed))

    def _string(self, text: str) -> StdString:
        data, made = text.encode(), StdString()
        self._call["new_string"](made, data, len(data), ctypes.create_string_buffer(8))
        return made


def _text(characters: int) -> str:
    """The text of a `std::string`; EngineError `template-output` if it is longer than any prompt."""
    (length,) = (c_size_t * 1).from_address(characters - 3 * ctypes.sizeof(c_size_t))
    text = ctypes.string_at(characters, min(length, 4 * MAX_RENDERED_CHARACTERS)).decode("utf-8", "replace")
    if length > 4 * MAX_RENDERED_CHARACTERS or len(text) > MAX_RENDERED_CHARACTERS:
        raise EngineError("template-output", f"it writes more than {MAX_RENDERED_CHARACTERS} characters")
    return text
