"""What a user's program reads from outside itself: closures, globals, defaults, attributes of classes.

A deep copy leaves functions and classes as they are. What they hold is therefore in slots: as long as the
program runs a copy lies in the slot, and afterwards what was there before.
"""

from __future__ import annotations

import dis
import functools
import sys
import sysconfig
import types
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

__all__ = ["LIBRARIES", "MISSING", "Slot", "foreign", "slots_of"]

MISSING: Any = type("Missing", (), {"__repr__": lambda self: "missing"})()
LIBRARIES = frozenset(
    {"numpy", "scipy", "scratchnn", "torch", "numba", "pandas", "sklearn", "matplotlib", "pytest", "_pytest"}
)


class Slot:
    """A place outside.

    Attributes:
        name: of what it holds. holder, key: a cell, an entry of a dict, an attribute of a class or function.
        written: a function that reads it also binds it anew.
    """

    def __init__(self, name: str, holder: Any, key: str, written: bool = False) -> None:
        self.name, self.holder, self.key, self.written = name, holder, key, written

    def get(self) -> Any:
        """What is in it, or MISSING."""
        if isinstance(self.holder, dict):
            return self.holder.get(self.key, MISSING)
        try:
            return (
                vars(self.holder)[self.key]
                if isinstance(self.holder, type)
                else getattr(self.holder, self.key)
            )
        except (KeyError, ValueError):  # an empty cell raises ValueError
            return MISSING

    def set(self, value: Any) -> None:
        """Put `value` in; MISSING takes out what is in it."""
        if self.get() is value:
            return
        if isinstance(self.holder, dict):
            if value is MISSING:
                del self.holder[self.key]
            else:
                self.holder[self.key] = value
        elif value is MISSING:
            delattr(self.holder, self.key)
        else:
            setattr(self.holder, self.key, value)


@functools.cache
def foreign(module: str | None) -> bool:
    """Of a library or of Python, not the user's."""
    root = (module or "").partition(".")[0]
    if root in LIBRARIES or root in sys.builtin_module_names:
        return True
    if root not in sys.stdlib_module_names:
        return False
    # A file of the user's may be called test.py or code.py.
    file = getattr(sys.modules.get(root), "__file__", None)
    return file is not None and Path(file).is_relative_to(sysconfig.get_paths()["stdlib"])


def slots_of(thing: Any) -> Iterator[Slot]:
    """The slots that a function, a method or the class of an object reads; of nothing else there are any."""
    if isinstance(thing, types.MethodType):
        thing = thing.__func__
    if isinstance(thing, types.FunctionType):
        if not foreign(thing.__module__):
            yield from _of_function(thing)
    elif isinstance(thing, functools.partial):
        yield from slots_of(thing.func)
    else:
        for kind in type(thing).__mro__:
            if not foreign(kind.__module__):
                yield from _of_class(kind)


def _of_function(function: types.FunctionType) -> Iterator[Slot]:
    code = function.__code__
    stored = set(_names(code, ("STORE_GLOBAL", "STORE_DEREF")))
    for name, cell in zip(code.co_freevars, function.__closure__ or (), strict=True):
        yield Slot(name, cell, "cell_contents", name in stored)
    for name in dict.fromkeys(_names(code, ("LOAD_GLOBAL", "STORE_GLOBAL", "LOAD_NAME"))):
        yield Slot(name, function.__globals__, name, name in stored)
    for key in ("__defaults__", "__kwdefaults__"):
        if getattr(function, key):
            yield Slot(f"{function.__name__}'s defaults", function, key)


def _names(code: types.CodeType, opnames: Sequence[str]) -> Iterator[str]:
    """What the instructions of these kinds name, in a function and in those written inside it."""
    for instruction in dis.get_instructions(code):
        if instruction.opname in opnames:
            yield instruction.argval
    for constant in code.co_consts:
        if isinstance(constant, types.CodeType):
            yield from _names(constant, opnames)


def _of_class(kind: type) -> Iterator[Slot]:
    for name, value in list(vars(kind).items()):
        inner = _function_in(value)
        if inner is not None:
            yield from slots_of(inner)
        elif not name.startswith("__"):
            yield Slot(name, kind, name)


def _function_in(value: Any) -> Callable[..., Any] | None:
    if isinstance(value, (staticmethod, classmethod)):
        value = value.__func__
    if isinstance(value, property):
        value = value.fget
    return value if isinstance(value, types.FunctionType) else None
