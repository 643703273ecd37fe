"""An ONNX model without its weights: versions, inputs and outputs, which operators, and where every tensor lies.

| message | fields read here |
|---|---|
| ModelProto | ir_version = 1, producer_name = 2, producer_version = 3, graph = 7, opset_import = 8, functions = 25 |
| GraphProto | node = 1, initializer = 5, input = 11, output = 12, sparse_initializer = 15 |
| NodeProto | output = 2, name = 3, op_type = 4, attribute = 5, domain = 7 |
| AttributeProto | name = 1, t = 5, g = 6, tensors = 10, graphs = 11 |
| ValueInfoProto | name = 1, type = 2 (TypeProto: tensor_type = 1: elem_type = 1, shape = 2: dim = 1) |
| FunctionProto | node = 7 |

(onnx/onnx.proto.) Graphs lie in the attributes of nodes (If, Loop, Scan), at any depth a writer likes: at most
MAX_DEPTH here. Weights are initialisers, and constants that a node gives; one in an inner graph is named by the
way to it.
"""

from collections import Counter
from dataclasses import dataclass, field, replace
from itertools import islice

from conversion.formats.errors import HeaderError, quoted
from conversion.formats.onnx.tensors import DTYPES, OnnxTensor, read_tensor
from conversion.formats.onnx.wire import BYTES, Field, Wire, signed
from conversion.formats.source import ByteSource

MAX_DEPTH = 24
"""Graphs within graphs. protobuf's own parser stops at 100 messages, which is 33 graphs."""

MAX_TENSORS = 500_000
MAX_NODES = 500_000
MAX_PORTS = 10_000
MAX_LISTED = 100_000
"""Fields of one node, attribute, input or type: an attribute may list as many whole numbers, one field each."""

SNIFF_BYTES = 16
MAX_IR_VERSION = 1000
"""For telling an ONNX file from other bytes. 2026 knows 13."""

OFFICIAL_DOMAINS = ("", "ai.onnx")


@dataclass(frozen=True, slots=True)
class Port:
    """An input or output: dtype and shape of a tensor, "" and None for what is none (a sequence, a map).

    A dimension is its size, the name that stands for it, or "" for one that nothing is said of.
    """

    name: str
    dtype: str = ""
    shape: tuple[int | str, ...] | None = None


@dataclass(slots=True)
class OnnxModel:
    """What an ONNX file says about itself."""

    ir_version: int = 0
    producer: str = ""
    opsets: dict[str, int] = field(default_factory=dict)
    inputs: list[Port] = field(default_factory=list)
    outputs: list[Port] = field(default_factory=list)
    operators: Counter[str] = field(default_factory=Counter)
    tensors: dict[str, OnnxTensor] = field(default_factory=dict)
    n_graphs: int = 0

    @property
    def locations(self) -> tuple[str, ...]:
        """The further files that hold weights, in order, each a relative path that stays in the folder."""
        return tuple(dict.fromkeys(tensor.location for tensor in self.tensors.values() if tensor.location))

    @property
    def domains(self) -> tuple[str, ...]:
        """The domains, other than ONNX's own, whose operators are used: `com.microsoft` for one."""
        found = {name.rpartition(":")[0] for name in self.operators}
        return tuple(sorted(found.difference(OFFICIAL_DOMAINS)))


def is_onnx(head: bytes) -> bool:
    """Whether a file that begins so can be ONNX: `ir_version` comes first in all that any exporter writes."""
    if len(head) < 4 or head[0] != 0x08:
        return False
    value, at = head[1], 2
    if value >= 0x80:
        value, at = value & 0x7F | head[2] << 7, 3
    # The next field is one of ModelProto's: producer, version, domain, model_version, doc_string, graph, opset.
    return 0 < value <= MAX_IR_VERSION and head[at] in (0x12, 0x1A, 0x22, 0x28, 0x32, 0x3A, 0x42)


def read_model(source: ByteSource) -> OnnxModel:
    """The model in an ONNX file; HeaderError `onnx-…`. Bounded: see the limits here and in wire.py."""
    if not is_onnx(source.read(0, min(SNIFF_BYTES, source.size_bytes))):
        raise HeaderError("onnx-magic", "the file does not begin as an ONNX model does, with its ir_version")
    return _Reader(Wire(source)).read(source.size_bytes)


class _Reader:
    def __init__(self, wire: Wire) -> None:
        self.wire, self.model = wire, OnnxModel()
        self.n_nodes = self.n_functions = 0

    def read(self, size_bytes: int) -> OnnxModel:
        model, wire, producer = self.model, self.wire, ["", ""]
        for found in wire.fields(0, size_bytes):
            match found.number:
                case 1:
                    model.ir_version = found.value
                case 2 | 3:
                    producer[found.number - 2] = wire.text(found, "the producer")
                case 7:
                    self._main_graph(found)
                case 8:
                    self._opset(found)
                case 25:
                    self._function(found)
        model.producer = " ".join(filter(None, producer))
        if not model.n_graphs or not model.opsets:
            missing = "opset_import" if model.n_graphs else "graph"
            raise HeaderError("onnx-incomplete", f"the model has no {missing}; the file may be cut")
        initialised = model.tensors.keys()
        # Before ir_version 4 every initialiser is also listed as an input that one need not give.
        model.inputs = [port for port in model.inputs if port.name not in initialised]
        return model

    def _main_graph(self, message: Field) -> None:
        if self.model.n_graphs:
            raise HeaderError("onnx-incomplete", "the model has two graphs")
        self._graph(message, "", 1)

    def _opset(self, message: Field) -> None:
        """OperatorSetIdProto: domain = 1, version = 2."""
        domain, version = "", 0
        for found in self._message(message, "opset_import"):
            if found.number == 1:
                domain = self.wire.text(found, "a domain")
            elif found.number == 2:
                version = signed(found.value)
        self.model.opsets[domain] = version
        if len(self.model.opsets) > 100:
            raise HeaderError("onnx-incomplete", "more than 100 operator sets are imported")

    def _function(self, message: Field) -> None:
        self.n_functions += 1
        for found in self.wire.fields(message.start, message.end):
            if found.number == 7:
                self._node(found, f"function {self.n_functions}/", 1)

    def _message(self, message: Field, what: str) -> list[Field]:
        """All fields of a message that has few of them."""
        self.wire.expect(message, BYTES, what)
        found = list(islice(self.wire.fields(message.start, message.end), MAX_LISTED + 1))
        if len(found) > MAX_LISTED:
            raise HeaderError("onnx-fields", f"{what} has more than {MAX_LISTED} fields, which is the limit")
        return found

    def _graph(self, message: Field, way: str, depth: int) -> None:
        """`way` leads to it, through the nodes that hold it; empty for the main graph."""
        if depth > MAX_DEPTH:
            raise HeaderError("onnx-depth", f"graphs within graphs, more than {MAX_DEPTH} deep")
        self.wire.expect(message, BYTES, "a graph")
        self.model.n_graphs += 1
        for found in self.wire.fields(message.start, message.end):
            match found.number:
                case 1:
                    self._node(found, way, depth)
                case 5:
                    self._add(read_tensor(self.wire, self.wire.expect(found, BYTES, "a tensor")), way)
                case 15:
                    self._sparse(found, way)
                case 11 | 12 if not way:
                    self._port(found, self.model.inputs if found.number == 11 else self.model.outputs)

    def _sparse(self, message: Field, way: str) -> None:
        """SparseTensorProto: values = 1, a tensor that bears the name."""
        for found in self._message(message, "a sparse tensor"):
            if found.number == 1:
                self._add(read_tensor(self.wire, self.wire.expect(found, BYTES, "a tensor")), way)

    def _node(self, message: Field, way: str, depth: int) -> None:
        self.n_nodes += 1
        if self.n_nodes > MAX_NODES:
            raise HeaderError("onnx-nodes", f"more than {MAX_NODES} nodes, which is the limit")
        texts, attributes = {2: "", 3: "", 4: "", 7: ""}, []
        for found in self._message(message, "a node"):
            if found.number in texts and not texts[found.number]:
                texts[found.number] = self.wire.text(found, "a node's name")
            elif found.number == 5:
                attributes.append(found)
        output, name, operator, domain = texts[2], texts[3] or f"node {self.n_nodes}", texts[4], texts[7]
        self.model.operators[f"{domain}:{operator}" if domain else operator] += 1
        for attribute in attributes:
            self._attribute(attribute, output if operator == "Constant" else "", f"{way}{name}", way, depth)

    def _attribute(self, message: Field, constant: str, node: str, way: str, depth: int) -> None:
        name, inner = "", []
        for found in self._message(message, "an attribute"):
            if found.number == 1:
                name = self.wire.text(found, "an attribute's name")
            elif found.number in (5, 6, 10, 11):
                inner.append(self.wire.expect(found, BYTES, "an attribute's value"))
        for index, found in enumerate(inner):
            which = f"{node}.{name}" + (f"[{index}]" if found.number > 6 else "")
            if found.number in (6, 11):
                self._graph(found, f"{which}/", depth + 1)
            elif constant:
                self._add(read_tensor(self.wire, found, constant), way)
            else:
                self._add(read_tensor(self.wire, found, which), "")

    def _add(self, tensor: OnnxTensor, way: str) -> None:
        name, tensors = f"{way}{tensor.name}", self.model.tensors
        if name in tensors:
            raise HeaderError("onnx-duplicate", "there are two of this name", f"tensor {quoted(name)}")
        if len(tensors) == MAX_TENSORS:
            raise HeaderError("onnx-tensor-count", f"more than {MAX_TENSORS} tensors, which is the limit")
        tensors[name] = tensor if not way else replace(tensor, name=name, is_inner=True)

    def _port(self, message: Field, ports: list[Port]) -> None:
        name, kind, shape = "", "", None
        for found in self._message(message, "an input or output"):
            if found.number == 1:
                name = self.wire.text(found, "the name of an input or output")
            elif found.number == 2:
                kind, shape = self._type(found)
        if len(ports) == MAX_PORTS:
            raise HeaderError("onnx-ports", f"more than {MAX_PORTS} inputs or outputs, which is the limit")
        ports.append(Port(name, kind, shape))

    def _type(self, message: Field) -> tuple[str, tuple[int | str, ...] | None]:
        kind, shape = "", None
        for tensor in (one for one in self._message(message, "a type") if one.number == 1):
            for found in self._message(tensor, "a tensor's type"):
                if found.number == 1:
                    kind = DTYPES.get(found.value, ("", 0))[0]
                elif found.number == 2:
                    shape = tuple(self._dimension(one) for one in self._message(found, "a shape"))
        return kind, shape

    def _dimension(self, message: Field) -> int | str:
        """dim_value = 1 or dim_param = 2."""
        for found in self._message(message, "a dimension"):
            if found.number == 1:
                return signed(found.value)
            if found.number == 2:
                return self.wire.text(found, "the name of a dimension")
        return ""
