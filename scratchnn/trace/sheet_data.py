"""A derivation sheet as plain data."""

from __future__ import annotations

from dataclasses import fields, is_dataclass
from typing import Any

from ..notation import Expression
from .sheet import Sheet

__all__ = ["as_dict"]


def as_dict(sheet: Sheet) -> dict[str, Any]:
    """Dictionaries, lists, texts and numbers; a formula as {"text": ..., "latex": ...}."""
    found = _plain(sheet)
    assert isinstance(found, dict)
    return found


def _plain(value: Any) -> Any:
    if isinstance(value, Expression):
        return {"text": value.text(), "latex": value.latex()}
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, (tuple, list)):
        return [_plain(part) for part in value]
    return value
