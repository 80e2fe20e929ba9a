"""A model's architecture as plain values, and a model from them, through a fixed list of layers.

    {"type": "Sequential", "children": {
        "0": {"type": "Linear", "in_features": 2, "out_features": 10, "bias": true, "dtype": "float32"},
        "1": {"type": "ReLU"},
        "2": {"same_as": "0"}}}

A module that stands in several places is written once and named by its path after that.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..layers import (
    MLP,
    Dropout,
    Identity,
    LeakyReLU,
    Linear,
    LogSoftmax,
    Module,
    ModuleList,
    Parameter,
    ReLU,
    Sequential,
    Sigmoid,
    Softmax,
    Tanh,
    Threshold,
)
from ..random import default_generator
from .errors import short

__all__ = ["ARGUMENTS", "CONTAINERS", "Node", "Spec", "build", "from_json", "read", "specs", "to_json"]

# Every layer that has a description: its constructor's arguments, kept as attributes, and their types.
ARGUMENTS: dict[type[Module], dict[str, type]] = {
    Linear: {"in_features": int, "out_features": int, "bias": bool, "dtype": str},
    ReLU: {},
    LeakyReLU: {"negative_slope": float},
    Sigmoid: {},
    Tanh: {},
    Softmax: {"dim": int},
    LogSoftmax: {"dim": int},
    Threshold: {"threshold": float, "value": float},
    Identity: {},
    Dropout: {"p": float},
}
CONTAINERS: tuple[type[Module], ...] = (Sequential, ModuleList, MLP)
KINDS = {kind.__name__: kind for kind in (*ARGUMENTS, *CONTAINERS)}
DTYPES = ("float32", "float64")
# JSON has no such numbers; Threshold(0, -inf) does.
NOT_FINITE = ("inf", "-inf", "nan")

# Sharing nests: 60 containers that each hold the one before twice would have 2**60 paths.
MAX_DEPTH = 100
MAX_PLACES = 200_000


@dataclass
class Node:
    """One place in a model.

    Attributes:
        path: as in state-dict names, "" for the model itself. kind: the class.
        arguments: for its constructor. children: by name, in order; containers only.
        training: the module's own flag. same_as: path of the earlier place where this module stands.
    """

    path: str
    kind: type[Module]
    arguments: dict[str, Any] = field(default_factory=dict)
    children: dict[str, Node] = field(default_factory=dict)
    training: bool = True
    same_as: str | None = None
    places: int = 1  # modules from here on down, and levels of them
    height: int = 1

    def __str__(self) -> str:
        return self.kind.__name__ + (f" at '{self.path}'" if self.path else "")


@dataclass(frozen=True)
class Spec:
    """What a state-dict entry must be; `source` is the path under which a shared one comes first."""

    shape: tuple[int, ...]
    dtype: str
    source: str


def join(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


# A model's description ----------------------------------------------------------------------------


def read(model: Any, owner: str, cure: str) -> Node:
    """The description of a model made of the library's own layers.

    Args:
        owner: who asks, for the errors. cure: what to do with a model that has no description.
    Raises:
        TypeError: not a Module, or a class of one's own. ValueError: a model that no constructor makes:
            shared parameters, attached modules, weights of another shape or dtype; nested too deep.
    """
    if not isinstance(model, Module):
        raise TypeError(f"{owner} got a {type(model).__name__}; it needs a scratchnn Module")
    node = _Reader(owner, cure).read(model, "", 0)
    wanted = specs(node)
    found = {path: (p.shape, p.dtype.name) for path, p in model._all_named_parameters()}
    for path in [*wanted, *found]:
        spec = wanted.get(path)
        if spec is None or found.get(path) != (spec.shape, spec.dtype):
            needed = "no such parameter" if spec is None else f"{spec.dtype} {spec.shape}"
            raise ValueError(
                f"{owner} cannot describe the model: {path} is {_figures(found.get(path))}, "
                f"where its layer's constructor makes {needed}. {cure}"
            )
    return node


def _figures(found: tuple[tuple[int, ...], str] | None) -> str:
    return "absent" if found is None else f"{found[1]} {found[0]}"


class _Reader:
    def __init__(self, owner: str, cure: str) -> None:
        self.owner, self.cure = owner, cure
        self.seen: dict[int, Node | None] = {}  # None while its children are being read
        self.tied: dict[int, str] = {}

    def read(self, module: Module, path: str, depth: int) -> Node:
        kind = type(module)
        if id(module) in self.seen:
            first = self.seen[id(module)]
            if first is None:
                raise ValueError(f"{self.owner} got a model that contains itself at '{path}'")
            return Node(path, kind, same_as=first.path, places=first.places, height=first.height)
        if kind not in KINDS.values():
            where = f" at '{path}'" if path else ""
            raise TypeError(
                f"{self.owner} has no description of {kind.__module__}.{kind.__name__}{where}; it knows "
                f"{', '.join(KINDS)}. {self.cure}"
            )
        self.seen[id(module)] = None
        node = Node(path, kind, training=bool(module.training))
        members = {k: v for k, v in vars(module).items() if isinstance(v, (Module, Parameter))}
        if kind in CONTAINERS:
            self._read_children(node, members, depth)
        else:
            node.arguments = self._arguments(node, module)
            self._check_members(node, members)
        self.seen[id(module)] = node
        return node

    def _read_children(self, node: Node, members: dict[str, Any], depth: int) -> None:
        if depth >= MAX_DEPTH:  # before the recursion ends the program; _measure counts what is shared
            raise ValueError(f"{self.owner} got modules nested deeper than {MAX_DEPTH}: flatten the model")
        for name, child in members.items():
            if isinstance(child, Parameter):
                raise ValueError(f"{self.owner}: {node} holds the parameter {name} of its own. {self.cure}")
            node.children[name] = self.read(child, join(node.path, name), depth + 1)
        if node.kind is ModuleList and list(members) != [str(i) for i in range(len(members))]:
            raise ValueError(f"{self.owner}: {node} has the names {list(members)}; they must count from 0")
        _measure(node)

    def _arguments(self, node: Node, module: Module) -> dict[str, Any]:
        if not isinstance(module, Linear):
            return {name: kind(getattr(module, name)) for name, kind in ARGUMENTS[node.kind].items()}
        dtype = module.weight.dtype.name
        if dtype not in DTYPES:
            raise ValueError(f"{self.owner}: {node} has {dtype} weights; use model.astype(np.float64)")
        bias = module.bias is not None
        return {
            "in_features": int(module.in_features),
            "out_features": int(module.out_features),
            "bias": bias,
            "dtype": dtype,
        }

    def _check_members(self, node: Node, members: dict[str, Any]) -> None:
        for name, value in members.items():
            if isinstance(value, Module):
                raise ValueError(f"{self.owner}: {node} holds the module {name} of its own. {self.cure}")
            path = join(node.path, name)
            first = self.tied.setdefault(id(value), path)
            if first != path:
                raise ValueError(
                    f"{self.owner}: {path} and {first} are one Parameter in two layers, which has no "
                    "description; use one layer in both places, or copy the parameter"
                )


def _measure(node: Node) -> None:
    """Count what is below, shared modules once for each place; the limits are for the whole model."""
    node.places = 1 + sum(child.places for child in node.children.values())
    node.height = 1 + max((child.height for child in node.children.values()), default=0)
    if node.places > MAX_PLACES or node.height > MAX_DEPTH:
        raise ValueError(
            f"{short(str(node))} has {node.places} modules in {node.height} levels; "
            f"a description holds {MAX_PLACES} in {MAX_DEPTH}: flatten the model"
        )


# The description as JSON --------------------------------------------------------------------------


def to_json(node: Node) -> dict[str, Any]:
    """The description as values that `json` writes."""
    if node.same_as is not None:
        return {"same_as": node.same_as}
    value: dict[str, Any] = {"type": node.kind.__name__}
    for name, argument in node.arguments.items():
        finite = not isinstance(argument, float) or math.isfinite(argument)
        value[name] = argument if finite else str(argument)
    if not node.training:
        value["training"] = False
    if node.kind in CONTAINERS:
        value["children"] = {name: to_json(child) for name, child in node.children.items()}
    return value


def from_json(value: Any) -> Node:
    """The description that `value` holds, every word of it checked; nothing is built or imported.

    Raises:
        ValueError: anything that `to_json` does not write, or arguments of other types.
    """
    return _from_json(value, "", {}, 0)


def _from_json(value: Any, path: str, seen: dict[str, Node], depth: int) -> Node:
    where = f"the module at '{short(path)}'" if path else "the model"
    if not isinstance(value, dict):
        raise ValueError(f"{where} is described by a {type(value).__name__}, not by an object")
    if depth > MAX_DEPTH:
        raise ValueError(f"modules are nested deeper than {MAX_DEPTH}")
    if set(value) == {"same_as"}:
        first = seen.get(value["same_as"]) if isinstance(value["same_as"], str) else None
        if first is None:
            raise ValueError(
                f"{where} is the same as {short(value['same_as'])}, which does not come before it"
            )
        return Node(path, first.kind, same_as=first.path, places=first.places, height=first.height)
    name = value.get("type")
    if not isinstance(name, str) or name not in KINDS:
        raise ValueError(f"{where} has the unknown type {short(name)}; known are {', '.join(KINDS)}")
    kind = KINDS[name]
    types = ARGUMENTS.get(kind, {"children": dict})
    if set(value) - {"training"} != {"type", *types}:
        raise ValueError(
            f"{where}, a {name}, has the entries {short(sorted(set(value) - {'type'}))}; "
            f"it needs {sorted(types) or 'none'}"
        )
    training = value.get("training", True)
    if not isinstance(training, bool):
        raise ValueError(f"{where} has training={short(training)}; it must be true or false")
    node = Node(path, kind, training=training)
    if kind in CONTAINERS:
        children = value["children"]
        if not isinstance(children, dict):
            raise ValueError(f"{where} has children that are no object")
        for child, described in children.items():
            node.children[child] = _from_json(described, join(path, child), seen, depth + 1)
        if kind is ModuleList and list(children) != [str(i) for i in range(len(children))]:
            raise ValueError(f"{where} has children that do not count from 0")
        _measure(node)
    else:
        node.arguments = {key: _argument(where, key, value[key], types[key]) for key in types}
    seen[path] = node
    return node


def _argument(where: str, name: str, value: Any, kind: type) -> Any:
    if kind is float and isinstance(value, str) and value in NOT_FINITE:
        return float(value)
    accepted = (int, float) if kind is float else (kind,)
    if type(value) not in accepted or (kind is str and value not in DTYPES):
        raise ValueError(f"{where} has {name}={short(value)}; it needs a {kind.__name__}")
    try:
        return kind(value)
    except OverflowError:
        raise ValueError(f"{where} has a {name} that no float holds") from None


# A model from its description -----------------------------------------------------------------------


def specs(node: Node) -> dict[str, Spec]:
    """{path: what the state-dict entry there must be}, for every place; nothing is built."""
    return {path: Spec(shape, dtype, source) for path, shape, dtype, source in _walk(node)}


def _walk(root: Node) -> Iterator[tuple[str, tuple[int, ...], str, str]]:
    places: dict[str, Node] = {}

    def entries(node: Node, path: str, source: str) -> Iterator[tuple[str, tuple[int, ...], str, str]]:
        places.setdefault(path, node)
        if node.same_as is not None:
            source = node.same_as
            node = places[source]
        if node.kind is Linear:
            d, m, dtype = (node.arguments[key] for key in ("in_features", "out_features", "dtype"))
            yield join(path, "weight"), (m, d), dtype, join(source, "weight")
            if node.arguments["bias"]:
                yield join(path, "bias"), (m,), dtype, join(source, "bias")
        for name, child in node.children.items():
            yield from entries(child, join(path, name), join(source, name))

    yield from entries(root, "", "")


def build(node: Node, seed: int | None = None) -> Module:
    """The model, through its layers' constructors, in the order of its paths.

    Args:
        seed: weights are those that `manual_seed(seed)` and the constructors give. None: of any seed.
    The default generator is afterwards where it was.

    Raises:
        TypeError, ValueError, KeyError: what the constructors do not take.
    """
    state = default_generator.get_state()
    try:
        if seed is not None:
            default_generator.manual_seed(seed)
        return _build(node, {})
    finally:
        default_generator.set_state(state)


def _build(node: Node, built: dict[str, Module]) -> Module:
    if node.same_as is not None:
        return built[node.same_as]
    if node.kind in CONTAINERS:
        module = _build_container(node, {name: _build(child, built) for name, child in node.children.items()})
    else:
        arguments = {**node.arguments}
        if "dtype" in arguments:
            arguments["dtype"] = np.dtype(arguments["dtype"])
        module = node.kind(**arguments)
    if not node.training:
        module.training = False
    built[node.path] = module
    return module


def _build_container(node: Node, children: dict[str, Module]) -> Module:
    if node.kind is ModuleList:
        return ModuleList(children.values())
    module = node.kind.__new__(node.kind)
    assert isinstance(module, Sequential)
    Sequential.__init__(module, children)  # an MLP is a Sequential once it is made
    return module
