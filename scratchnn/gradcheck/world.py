"""Everything that a user's program can reach: its arrays are found and named, it is copied whole.

The program is an object or functions, the arguments that it is called with, and what it reads from outside.
A copy keeps what is shared: one array in two places is one array there, and a view is a view.
"""

from __future__ import annotations

import copy
import functools
import threading
import types
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..layers import Module, Parameter
from .memory import families, relatives
from .outer import LIBRARIES, MISSING, Slot, slots_of

__all__ = ["ARGUMENTS", "OUTSIDE", "SUBJECT", "Address", "Key", "Place", "World", "all_floats"]

# ("attribute", name) or ("item", index or key).
Key = tuple[str, Any]
Address = tuple[Key, ...]
SUBJECT, ARGUMENTS, OUTSIDE = range(3)  # the roots of a world
PRIVATE = frozenset({"_saved", "_output", "_hooks"})  # of a Module: what a forward left, and not copied
ATOMS = (
    type,
    types.BuiltinFunctionType,
    np.dtype,
    np.random.Generator,
    np.random.RandomState,
)
# What has no copy, and may be used by two: modules, locks.
SHARED = (types.ModuleType, type(threading.Lock()), type(threading.RLock()))


@dataclass
class Place:
    """An array in a program, and where it is.

    Attributes:
        kind: "array" of floats; "list": a list of Python floats, nested or not; "integers": an array of them;
            "number": a Python or NumPy float.
        thing: what was found there. address: the first way to it; edges: all, each a container and a key.
    """

    kind: str
    thing: Any
    address: Address
    edges: list[tuple[Address, Key]] = field(default_factory=list)

    @property
    def addresses(self) -> list[Address]:
        """All ways to it, the first one first."""
        return [(*container, key) for container, key in self.edges]


class Shelf(list[Any]):
    """The arguments, or what lies outside: never a list of numbers that is an array itself."""


class World:
    """A program, and what it reads.

    Attributes:
        subject: an object, a function or a pair of functions.
        arguments, argument_names: of its forward.
        slots: the places outside that it reads. contents: what is to lie in them while it runs.
    """

    def __init__(self, subject: Any, arguments: Sequence[Any], argument_names: Sequence[str]) -> None:
        self.subject, self.arguments, self.argument_names = subject, Shelf(arguments), list(argument_names)
        self.slots: list[Slot] = []
        self.contents: list[Any] = Shelf()
        self._find_slots()

    def _find_slots(self) -> None:
        known: set[tuple[int, str]] = set()
        pending = _Walk([self.subject, self.arguments]).things
        while pending:
            thing = pending.pop()
            for slot in slots_of(thing):
                if (id(slot.holder), slot.key) in known:
                    continue
                known.add((id(slot.holder), slot.key))
                walk = _Walk([slot.get()])
                pending.extend(walk.things)
                if walk.places or slot.written:
                    self.slots.append(slot)
                    self.contents.append(slot.get())

    # ---- the arrays --------------------------------------------------------------------------------

    @property
    def _roots(self) -> list[Any]:
        return [self.subject, self.arguments, self.contents]

    def places(self) -> list[Place]:
        """All arrays that can be reached, in the order in which they are found."""
        return _Walk(self._roots).places

    def things(self) -> list[Any]:
        """All objects and functions that can be reached."""
        return _Walk(self._roots).things

    def steps(self, address: Address) -> list[Any]:
        """The names and indices on the way: what `names.rank` reads."""
        return [step for _, step in self._written(address)]

    def name(self, address: Address) -> str:
        """`layers[0].W`, as the program would write it."""
        text = ""
        for kind, key in self._written(address):
            text += f"[{key!r}]" if kind == "item" else f".{key}" if text else str(key)
        return text

    def _written(self, address: Address) -> Address:
        """An argument, and what lies outside, begins with a name of its own."""
        (_, root), *rest = address
        if root == SUBJECT:
            return tuple(rest)
        names = self.argument_names if root == ARGUMENTS else [slot.name for slot in self.slots]
        return (("attribute", names[rest[0][1]]), *rest[1:])

    def get(self, address: Address) -> Any:
        """What is there; MISSING where there is nothing."""
        thing: Any = self._roots
        for key in address:
            thing = _get(thing, key)
            if thing is MISSING:
                return MISSING
        return thing

    def put(self, place: Place, value: Any) -> None:
        """Put another array there, in every place that holds it."""
        if place.kind == "list":
            value = value.tolist()
        elif place.kind == "number":
            value = value.item()
        elif isinstance(place.thing, np.matrix):
            value = np.asmatrix(value)
        for container, key in place.edges:
            self._put(container, key, value)

    def _put(self, container: Address, key: Key, value: Any) -> None:
        if not container:
            setattr(self, ("subject", "arguments", "contents")[key[1]], value)
            return
        parent = self.get(container)
        if isinstance(parent, tuple):
            items = list(parent)
            items[key[1]] = value
            made = type(parent)(*items) if hasattr(parent, "_fields") else type(parent)(items)
            self._put(container[:-1], container[-1], made)
        elif isinstance(parent, functools.partial):
            parts = {"args": parent.args, "keywords": parent.keywords, key[1]: value}
            parent.__setstate__(  # type: ignore[attr-defined]
                (parent.func, parts["args"], parts["keywords"], {})
            )
        elif key[0] == "item":
            parent[key[1]] = value
        elif key[1] in getattr(parent, "__dict__", {}):
            vars(parent)[key[1]] = value
        else:
            object.__setattr__(parent, key[1], value)

    # ---- copies ------------------------------------------------------------------------------------

    def in_float64(self) -> World:
        """A copy whose arrays of floats are float64."""
        return self._copied({}, convert=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> World:
        return self._copied(memo, convert=False)

    def _copied(self, memo: dict[int, Any], convert: bool) -> World:
        walk = _Walk(self._roots)
        arrays = [place.thing for place in walk.places if place.kind == "array"]
        memo.update((id(thing), thing) for thing in walk.shared)
        if convert:
            memo.update((id(a), a.astype(np.float64)) for a in arrays if a.dtype != np.float64)
        for family in families(arrays):
            memo.update(relatives(family, np.dtype(np.float64) if convert else family[0].dtype))
        twin = World.__new__(World)
        twin.slots, twin.argument_names = self.slots, self.argument_names
        try:
            twin.subject, twin.arguments, twin.contents = copy.deepcopy(
                (self.subject, self.arguments, self.contents), memo
            )
        except Exception as error:
            what = type(self.subject).__name__
            raise TypeError(f"gradcheck cannot copy {what}, and works on copies: {error}") from error
        return twin

    @contextmanager
    def running(self) -> Iterator[None]:
        """Within, what lies outside is this copy's; afterwards it is what it was, whatever happened."""
        before = [slot.get() for slot in self.slots]
        try:
            for slot, content in zip(self.slots, self.contents, strict=True):
                slot.set(content)
            yield
            self.contents[:] = [slot.get() for slot in self.slots]
        finally:
            for slot, content in zip(self.slots, before, strict=True):
                slot.set(content)


# ---- walking ---------------------------------------------------------------------------------------


class _Walk:
    """Every thing that can be reached, once.

    `places` are the arrays, `things` what may have slots, `shared` what has no copy.
    """

    def __init__(self, roots: Sequence[Any]) -> None:
        self.places: list[Place] = []
        self.things: list[Any] = []
        self.shared: list[Any] = []
        self._seen: dict[int, Place | None] = {}
        self._alive: list[Any] = []  # an id is one thing's only while the thing lives
        pending: list[tuple[Address, Key, Any]] = []
        pending.extend(reversed([((), ("item", i), root) for i, root in enumerate(roots)]))
        while pending:
            container, key, thing = pending.pop()
            address = (*container, key)
            pending.extend((address, k, child) for k, child in reversed(self._enter(container, key, thing)))

    def _enter(self, container: Address, key: Key, thing: Any) -> list[tuple[Key, Any]]:
        kind = _kind(thing)
        if isinstance(thing, SHARED):
            self.shared.append(thing)
            return []
        if kind == "number":
            self.places.append(Place(kind, thing, (*container, key), [(container, key)]))
            return []
        if thing is None or isinstance(thing, (str, bytes, bool, int, complex, np.generic, *ATOMS)):
            return []
        if id(thing) in self._seen:
            known = self._seen[id(thing)]
            if known is not None:
                known.edges.append((container, key))
            return []
        place = Place(kind, thing, (*container, key), [(container, key)]) if kind else None
        self._seen[id(thing)] = place
        self._alive.append(thing)
        if place is not None:
            self.places.append(place)
            return []
        if not isinstance(thing, (list, tuple, dict, np.ndarray)):
            self.things.append(thing)
        return _children(thing)


def _kind(thing: Any) -> str:
    if isinstance(thing, np.ndarray):
        return "array" if thing.dtype.kind == "f" else "integers" if thing.dtype.kind in "iu" else ""
    if isinstance(thing, (float, np.floating)):
        return "number"
    return "list" if type(thing) is list and all_floats(thing) else ""


def all_floats(numbers: list[Any], depth: int = 0) -> bool:
    """A list of Python floats, or of lists of equal lengths of them."""
    if not numbers or depth > 3:
        return False
    if isinstance(numbers[0], list):
        return (
            all(isinstance(row, list) and all_floats(row, depth + 1) for row in numbers)
            and len({len(row) for row in numbers}) == 1
        )
    return all(type(number) is float for number in numbers)


def _children(thing: Any) -> list[tuple[Key, Any]]:
    found: list[tuple[Key, Any]] = []
    if isinstance(thing, np.ndarray):
        if thing.dtype == object:
            found = [(("item", index), thing[index]) for index in np.ndindex(thing.shape)]
        return found
    if isinstance(thing, Mapping):
        found = [(("item", key), value) for key, value in thing.items()]
    elif isinstance(thing, (list, tuple, deque)):
        found = [(("item", index), value) for index, value in enumerate(thing)]
    elif isinstance(thing, types.MethodType):
        return [(("attribute", "__self__"), thing.__self__)]
    elif isinstance(thing, functools.partial):
        return [(("attribute", name), getattr(thing, name)) for name in ("func", "args", "keywords")]
    if isinstance(thing, types.FunctionType) or _library(type(thing)):
        return found
    names = dict.fromkeys([*getattr(thing, "__dict__", {}), *_slot_names(type(thing))])
    for name in names:
        if not (isinstance(thing, Module) and name in PRIVATE):
            value = _get(thing, ("attribute", name))
            if value is not MISSING:
                found.append((("attribute", name), value))
    return found


def _library(kind: type) -> bool:
    return not issubclass(kind, (Module, Parameter)) and kind.__module__.partition(".")[0] in LIBRARIES


def _slot_names(kind: type) -> Iterator[str]:
    for parent in kind.__mro__:
        slots = vars(parent).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            if name not in ("__dict__", "__weakref__"):
                private = name.startswith("__") and not name.endswith("__")
                yield f"_{parent.__name__.lstrip('_')}{name}" if private else name


def _get(thing: Any, key: Key) -> Any:
    try:
        if key[0] == "item":
            return thing[key[1]]
        held = getattr(thing, "__dict__", {})
        return held[key[1]] if key[1] in held else object.__getattribute__(thing, key[1])
    except (AttributeError, KeyError, IndexError, TypeError):
        return MISSING
