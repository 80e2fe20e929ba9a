"""Attributes that are checked whenever they are set, at construction and at any time after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar, TypeAlias

__all__ = ["Check", "CheckedAttributes"]

Check: TypeAlias = "Callable[[str, str, Any], Any]"


class CheckedAttributes:
    """A base class: what `_checks` names goes through its check when it is set.

    A check is a function (owner, name, value) -> value. So `dropout.p = 3` is refused where it is written,
    and not where it is used.
    """

    _checks: ClassVar[Mapping[str, Check]] = {}

    def __setattr__(self, name: str, value: Any) -> None:
        check = self._checks.get(name)
        super().__setattr__(name, value if check is None else check(type(self).__name__, name, value))
