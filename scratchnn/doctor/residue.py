"""How a gradient at hand differs from the one it is compared with: by nothing, a factor, or its shape."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..checks import Array

__all__ = ["RIGHT", "Residue", "Tensor", "common_factor", "tensors"]

MATCH = 1e-9  # of a tensor's largest gradient: two float64 programs for one formula
NETWORK = 1e-12  # of the network's largest: what cancelled leaves its rounding behind
BETTER = 1e-2  # what is left of a difference where it is explained
STRONG = 3  # entries that must agree on a factor which has no meaning of its own


@dataclass(frozen=True)
class Residue:
    """The gradient at hand is `factor` times the one compared with, transposed or reshaped.

    Attributes:
        kind: "same", "transposed", "turned" (transposed, then reshaped), "reshaped", "weight" (not so many
            times the gradient, but so many times the tensor itself more), or "scaled" (what came from above).
        strong: enough entries agree that a factor is no accident.
    """

    kind: str = "same"
    factor: float = 1.0
    strong: bool = True

    @property
    def right(self) -> bool:
        return self.kind == "same" and self.factor == 1.0


RIGHT = Residue()


@dataclass(frozen=True)
class Tensor:
    """One tensor: its name, its value, the right gradient, the one at hand.

    Attributes:
        found: at hand, zeros where there is none. failing: the check found it wrong.
        free: nothing is known of it (a backward that stepped and kept no gradient).
    """

    name: str
    value: Array
    truth: Array
    found: Array
    failing: bool
    network: float
    free: bool = False

    def residue(self, candidate: Array, stretched: bool = False) -> Residue | None:
        """What is left where the gradient should be `candidate`; None where that explains nothing.

        `stretched`: the one at hand may still have to be summed along axes of length 1.
        """
        if self.free:
            return RIGHT
        if self.found.dtype.kind not in "biuf":
            return None
        if candidate.shape == self.found.shape:
            factor = self._factor(candidate, self.found)
            if factor is not None:
                return self._residue("same", factor, candidate)
        long = _stretched_axes(candidate, self.found) if stretched else ()
        if long:
            factor = self._factor(candidate, self.found.sum(axis=long, keepdims=True))
            return None if factor is None else self._residue("same", factor, candidate)
        for kind, other in _shaped(candidate, self.found.shape):
            factor = self._factor(other, self.found)
            if factor is not None:
                return self._residue(kind, factor, candidate)
        if candidate.shape == self.found.shape == self.value.shape and np.isfinite(self.found).all():
            term = common_factor(
                self.value, self.found - candidate, BETTER * _largest(self.found - self.truth)
            )
            if term is not None and int(np.count_nonzero(self.value)) >= STRONG:
                return Residue("weight", term)
        return None

    @staticmethod
    def _residue(kind: str, factor: float, candidate: Array) -> Residue:
        return Residue(kind, factor, factor == 1.0 or int(np.count_nonzero(candidate)) >= STRONG)

    def _factor(self, candidate: Array, found: Array) -> float | None:
        """1.0 where the two agree, another number where they agree up to that, else None."""
        scale = max(_largest(candidate), _largest(found))
        allowed = MATCH * scale + NETWORK * self.network
        if self.failing and self.truth.shape == found.shape:
            allowed = min(allowed, BETTER * _largest(self.truth - found))
        if not np.isfinite(found).all():
            return None
        if _largest(candidate - found) <= allowed:
            return 1.0
        return common_factor(candidate, found)


def tensors(
    names: Sequence[str],
    values: Sequence[Array],
    truth: Sequence[Array],
    given: Sequence[Any],
    failing: Sequence[bool],
    free: set[int],
) -> list[Tensor]:
    """The tensors of a subject, side by side with what the backward gave."""
    network = max((_largest(t) for t in truth), default=0.0)
    found = [np.zeros(t.shape) if g is None else np.asarray(g) for t, g in zip(truth, given, strict=True)]
    return [
        Tensor(name, v, t, f, fails, network, i in free)
        for i, (name, v, t, f, fails) in enumerate(zip(names, values, truth, found, failing, strict=True))
    ]


def _largest(a: Array) -> float:
    return float(np.abs(a).max(initial=0.0))


def common_factor(right: Array, wrong: Array, most: float = np.inf) -> float | None:
    """c where wrong = c * right in every entry, but for rounding and at most `most`; else None."""
    if right.shape != wrong.shape or not right.size:
        return None
    k = int(np.abs(right).argmax())
    c = float(wrong.flat[k]) / (float(right.flat[k]) or np.nan)
    if not np.isfinite(c):
        return None
    off = _largest(wrong - c * right)
    largest = max(_largest(wrong), _largest(right) * min(1.0, abs(c)))
    if off > min(MATCH * largest, most):
        return None
    # An epsilon that is missing somewhere gives almost one factor, 1.00000001, and yet none.
    return c if off <= BETTER * _largest(wrong - right) or not wrong.any() else None


def _stretched_axes(candidate: Array, found: Array) -> tuple[int, ...]:
    """Axes of length 1 that are longer at hand, where nothing else differs."""
    if candidate.ndim != found.ndim:
        return ()
    long = tuple(k for k, n in enumerate(candidate.shape) if n == 1 and found.shape[k] > 1)
    same = all(n == m or k in long for k, (n, m) in enumerate(zip(candidate.shape, found.shape, strict=True)))
    return long if same else ()


def _shaped(candidate: Array, shape: tuple[int, ...]) -> list[tuple[str, Array]]:
    """The candidate in other shapes of as many numbers."""
    if candidate.size != int(np.prod(shape)) or candidate.size < 2:
        return []
    found = []
    if candidate.ndim == 2:
        if candidate.T.shape == shape:
            found.append(("transposed", candidate.T))
        if candidate.shape == shape and 1 not in shape:
            found.append(("turned", candidate.T.reshape(shape)))
    if candidate.shape != shape:
        found.append(("reshaped", candidate.reshape(shape)))
    return found
