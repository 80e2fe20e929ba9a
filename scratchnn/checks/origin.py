"""Where an array came from: known by identity, so that a loss need not guess by its values."""

from __future__ import annotations

import weakref
from typing import Any

from ..functional.vocabulary import Array

__all__ = ["came_from_softmax", "note_softmax"]

# The newest output of a Softmax layer.
_softmax_output: weakref.ref[Array] | None = None


def note_softmax(y: Array) -> None:
    """Remember that `y` holds the probabilities a Softmax layer gave."""
    global _softmax_output
    _softmax_output = weakref.ref(y)


def came_from_softmax(y: Any) -> bool:
    """True if `y` is the array that `note_softmax` was last given."""
    return _softmax_output is not None and _softmax_output() is y
