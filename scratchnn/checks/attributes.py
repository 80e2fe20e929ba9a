"""Attributes that are checked whenever they are set, at construction and at any time after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias

from .things import shown

__all__ = ["Check", "CheckedAttributes"]

PACKAGE = __name__.split(".")[0]
Check: TypeAlias = "Callable[[str, str, Any], Any]"


def _made_by_us(kind: type) -> bool:
    return getattr(kind.__init__, "__module__", PACKAGE).split(".")[0] == PACKAGE  # type: ignore[misc]


class CheckedAttributes:
    """A base class: what `_checks` names goes through its check when it is set.

    A check is a function (owner, name, value) -> value. So `dropout.p = 3` is refused where it is written,
    and not where it is used.
    """

    # Names that mean something in PyTorch and nothing here, and what to do instead. Refused where the object
    # was made by a constructor of ours: a custom class may mean something else by them.
    _not_here: ClassVar[Mapping[str, str]] = {}
    _checks: ClassVar[Mapping[str, Check]] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        if name in self._not_here and _made_by_us(type(self)):
            raise AttributeError(
                f"{type(self).__name__} got {name}={shown(value)} as an attribute, which changes nothing: "
                f"{self._not_here[name]}"
            )
        check = self._checks.get(name)
        super().__setattr__(name, value if check is None else check(type(self).__name__, name, value))
