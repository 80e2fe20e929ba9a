"""A function behind checks of its arguments, each chosen by the argument's name and annotation.

For modules whose functions have many arguments of a few kinds: formulas, pictures. The function itself stays
as it is, and the package may call it without the checks.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

__all__ = ["Check", "checked"]

Function = TypeVar("Function", bound=Callable[..., Any])
Check: TypeAlias = Callable[[str, str, Any], object]


def checked(
    function: Function,
    check_for: Callable[[str, str], Check],
    together: Callable[[str, Mapping[str, Any]], None] | None = None,
) -> Function:
    """`function` with its arguments checked first; they reach it as they came.

    Args:
        function: annotated, in a module with `from __future__ import annotations`.
        check_for: (argument's name, its annotation without "| None") -> check(owner, name, value).
        together: (owner, arguments by name), what is asked of all of them at once, defaults among them.
    """
    owner, signature = function.__name__, inspect.signature(function)
    checks = {name: _optional(check_for, name, p.annotation) for name, p in signature.parameters.items()}
    defaults = {name: p.default for name, p in signature.parameters.items() if p.default is not p.empty}

    @functools.wraps(function)
    def with_checks(*arguments: Any, **named: Any) -> Any:
        given = {**defaults, **named, **dict(zip(checks, arguments, strict=False))}
        if given.keys() != checks.keys() or len(arguments) > len(checks) - len(named):
            try:
                signature.bind(*arguments, **named)
            except TypeError as error:
                raise TypeError(f"{owner} got other arguments than it takes: {error}") from None
        for name, value in given.items():
            checks[name](owner, name, value)
        if together is not None:
            together(owner, given)
        return function(*arguments, **named)

    return with_checks  # type: ignore[return-value]


def _optional(check_for: Callable[[str, str], Check], name: str, annotation: str) -> Check:
    parts = annotation.split(" | ")
    check = check_for(name, " | ".join(part for part in parts if part != "None"))
    if "None" not in parts:
        return check
    return lambda owner, name, value: None if value is None else check(owner, name, value)
