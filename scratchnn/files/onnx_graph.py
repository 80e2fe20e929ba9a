"""export_onnx: the model as an ONNX graph, one node a layer (three where ONNX has no such layer)."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from .. import __version__
from ..checks import Array, as_path
from ..layers import (
    Dropout,
    Identity,
    LeakyReLU,
    Linear,
    LogSoftmax,
    Module,
    ModuleList,
    ReLU,
    Sigmoid,
    Softmax,
    Tanh,
    Threshold,
)
from .architecture import CONTAINERS, Node, join, read
from .atomic import write_atomically
from .errors import needs

__all__ = ["export_onnx"]

OPSET = 27  # of onnx 1.22; the newest that onnxruntime 1.32 runs
IR_VERSION = 13  # of the same onnx release
MAX_BYTES = 2**31 - 2**20  # protobuf stops at 2 GiB

SAME_NAME: dict[type[Module], str] = {ReLU: "Relu", Sigmoid: "Sigmoid", Tanh: "Tanh", Identity: "Identity"}
ALONG_AXIS: dict[type[Module], str] = {Softmax: "Softmax", LogSoftmax: "LogSoftmax"}

CURE = "Build the model of these, or export it with torch.onnx from a PyTorch module of your own."


def export_onnx(model: Module, path: str | os.PathLike[str]) -> None:
    """Write the model, in evaluation, as an ONNX file: input "x" (N, D), output "y" (N, M), N free.

    Opset 27. Inputs and weights are of the model's dtype. Dropout passes everything, as in evaluation,
    whatever mode the model is in. Nodes and weights have the names of the state dict.
    `onnx.checker` has passed the graph when the file is written, whole, as by `save`.

    Args:
        model: built of the library's own layers, nested in any way.
        path: of the file, by custom "….onnx"; a file that is there is replaced.
    Raises:
        TypeError: a Module of your own class. ValueError: what no chain of layers on (N, D) is: a
            ModuleList, a forward hook, several dtypes, widths that do not meet, an axis beyond two,
            over 2 GiB of weights. All by name.
        ImportError: the extra `export` is not installed. OSError: from the disk.
    Source: https://onnx.ai/onnx/operators.
    """
    file = as_path("export_onnx", "path", path)
    node = read(model, "export_onnx", CURE)
    for place, module in model.named_modules():
        if module._hooks:
            where = f" at '{place}'" if place else ""
            raise ValueError(
                f"export_onnx got {type(module).__name__}{where} with a forward hook, which ONNX cannot "
                "express; remove it by what register_forward_hook returned"
            )
    state = model.state_dict()
    if sum(value.nbytes for value in state.values()) > MAX_BYTES:
        raise ValueError(f"export_onnx got over {MAX_BYTES} bytes of weights, more than an ONNX file holds")
    dtypes = sorted({value.dtype for value in state.values()}) or [np.dtype(np.float32)]
    if len(dtypes) > 1:
        names = " and ".join(map(str, dtypes))
        raise ValueError(f"export_onnx got weights of {names}; use model.astype(np.float32)")
    write_atomically(file, _Graph(state, dtypes[0]).serialize(node))


class _Graph:
    """The graph while it grows: `value` names the newest array, `width` is its last axis, None if free."""

    def __init__(self, state: dict[str, Array], dtype: np.dtype[Any]) -> None:
        self.onnx = needs("export_onnx", "onnx")
        self.helper = needs("export_onnx", "onnx.helper")
        self.state, self.dtype = state, dtype
        self.element = self.helper.np_dtype_to_tensor_dtype(dtype)
        self.nodes: list[Any] = []
        self.initializers: dict[str, Any] = {}
        self.places: dict[str, Node] = {}
        self.value = "x"
        self.width: int | None = None

    def serialize(self, node: Node) -> bytes:
        first = self.width = _first_width(node)
        self.layer(node, "", "")
        if not self.nodes:
            self.node("Identity", "model", [self.value])
        self.nodes[-1].output[0] = "y"
        make = self.helper.make_tensor_value_info
        graph = self.helper.make_graph(
            self.nodes,
            "scratchnn",
            [make("x", self.element, ["N", first or "D"])],
            [make("y", self.element, ["N", self.width or "D"])],
            initializer=list(self.initializers.values()),
        )
        model = self.helper.make_model(
            graph,
            producer_name="scratchnn",
            producer_version=__version__,
            ir_version=IR_VERSION,
            opset_imports=[self.helper.make_opsetid("", OPSET)],
        )
        self.onnx.checker.check_model(model, full_check=True)
        return bytes(model.SerializeToString())

    def layer(self, node: Node, path: str, source: str) -> None:
        """Append the layer at `path`, whose weights are those at `source`."""
        self.places.setdefault(path, node)
        if node.same_as is not None:
            source = node.same_as
            node = self.places[source]
        label = path or "model"
        if node.kind is ModuleList:
            raise ValueError(f"export_onnx got {node}, which has no forward; export its modules one by one")
        if node.kind in CONTAINERS:
            for name, child in node.children.items():
                self.layer(child, join(path, name), join(source, name))
        elif node.kind is Linear:
            self.linear(node, label, source)
        elif node.kind in SAME_NAME:
            self.node(SAME_NAME[node.kind], label, [self.value])
        elif node.kind in ALONG_AXIS:
            axis = node.arguments["dim"]
            if not -2 <= axis < 2:
                raise ValueError(f"export_onnx got {node} along axis {axis}; its x is (N, D): -2 to 1")
            self.node(ALONG_AXIS[node.kind], label, [self.value], axis=axis)
        elif node.kind is Dropout:
            # ONNX wants a ratio below 1; in evaluation nobody reads it.
            p = min(node.arguments["p"], float(np.nextafter(np.float32(1), np.float32(0))))
            self.node("Dropout", label, [self.value, self.constant(f"{label}.p", p)])
        elif node.kind is LeakyReLU:
            self.leaky_relu(label, node.arguments["negative_slope"])
        elif node.kind is Threshold:
            limit = self.constant(f"{label}.threshold", node.arguments["threshold"])
            value = self.constant(f"{label}.value", node.arguments["value"])
            x = self.value
            low = self.node("LessOrEqual", f"{label}.low", [x, limit])
            self.node("Where", label, [low, value, x])
        else:
            raise ValueError(f"export_onnx has no ONNX operator for {node}")

    def linear(self, node: Node, label: str, source: str) -> None:
        wanted = node.arguments["in_features"]
        if self.width != wanted:
            raise ValueError(f"export_onnx got {node} of {wanted} features where {self.width} come in")
        names = [join(source, "weight"), *([join(source, "bias")] if node.arguments["bias"] else [])]
        for name in names:
            self.initializer(name, self.state[name])
        self.node("Gemm", label, [self.value, *names], transB=1)
        self.width = node.arguments["out_features"]

    def leaky_relu(self, label: str, slope: float) -> None:
        if self.dtype == np.float32:
            self.node("LeakyRelu", label, [self.value], alpha=slope)
            return
        # LeakyRelu's slope is a float32 attribute whatever x is, and onnxruntime has no double kernel.
        x = self.value
        right = self.node("Greater", f"{label}.right", [x, self.constant(f"{label}.zero", 0.0)])
        scaled = self.node("Mul", f"{label}.scaled", [x, self.constant(f"{label}.negative_slope", slope)])
        self.node("Where", label, [right, x, scaled])

    def constant(self, name: str, value: float) -> str:
        return self.initializer(name, np.asarray(value, self.dtype))

    def initializer(self, name: str, value: Array) -> str:
        if name not in self.initializers:
            from_array = needs("export_onnx", "onnx.numpy_helper").from_array
            self.initializers[name] = from_array(np.array(value, order="C"), name)
        return name

    def node(self, operator: str, label: str, inputs: list[str], **attributes: Any) -> str:
        """Append one operator; its output is the newest value, and returned."""
        self.value = f"h{len(self.nodes)}"
        self.nodes.append(self.helper.make_node(operator, inputs, [self.value], name=label, **attributes))
        return self.value


def _first_width(node: Node) -> int | None:
    """D of the first Linear: every other layer keeps its input's shape."""
    if node.kind is Linear and node.same_as is None:
        return int(node.arguments["in_features"])
    for child in node.children.values():
        if (width := _first_width(child)) is not None:
            return width
    return None
