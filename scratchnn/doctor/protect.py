"""Find the layer that writes into what it is given: run again, handing out copies."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np

from ..checks import Array
from ..gradcheck.subject import ModuleSubject

__all__ = ["protected_gradients"]


def protected_gradients(subject: ModuleSubject, cotangent: Array) -> tuple[list[Any], str] | None:
    """(gradients when every layer works on copies, who wrote); None if nobody did."""
    writers: list[str] = []

    def prepare(model: Any) -> None:
        for path, module in model.named_modules():
            label = f"{path} ({type(module).__name__})" if path else type(module).__name__
            for name in ("forward", "backward"):
                setattr(module, name, _Shield(getattr(module, name), f"{label}.{name}", writers))

    run = subject.backward(cotangent, subject.values, prepare)
    if not writers:
        return None
    # An outer module only passes on what an inner one wrote.
    return run.gradients, min(writers, key=lambda w: (w.count("Sequential"), writers.index(w)))


class _Shield:
    """Calls a method with copies of its arrays, and tells when it wrote into them."""

    def __init__(self, method: Any, label: str, writers: list[str]) -> None:
        self.method, self.label, self.writers = method, label, writers

    def __call__(self, *arrays: Any) -> Any:
        given = [copy.copy(a) for a in arrays]
        result = self.method(*given)
        if any(isinstance(a, np.ndarray) and not _same(a, g) for a, g in zip(arrays, given, strict=True)):
            self.writers.append(self.label)
        # What it returns may be the very array it was given; the next one gets its own.
        return result.copy() if isinstance(result, np.ndarray) else result


def _same(a: Any, b: Any) -> bool:
    return a.shape == b.shape and bool(np.array_equal(a, b, equal_nan=True))
