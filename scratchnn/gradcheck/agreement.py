"""Does an array agree with the measured derivative? A few random directions tell whose gradient it is."""

from __future__ import annotations

import numpy as np

from ..checks import Array
from .adopt import Value, total
from .match import Parts
from .numeric import along, analytic_on_complex, as_gradient
from .subject import ModuleSubject

__all__ = ["Agreement"]

CLOSE = 1e-4  # relative: enough to tell gradients apart; the judge is stricter
NOISE = 1e-8  # of differences, beside the output
DIRECTIONS = 3


class Agreement:
    """The slopes of sum(dy * y), measured once for each value that is asked for.

    Args:
        subject: with all the values, in their order.
    """

    def __init__(
        self, subject: ModuleSubject, values: list[Value], dy: Array, rng: np.random.Generator
    ) -> None:
        self.subject, self.values, self.dy, self.rng = subject, values, dy, rng
        self.method = ""
        self._slopes: dict[int, list[tuple[Array, float]]] = {}
        self._noise = 0.0

    def __call__(self, value: Value, parts: Parts) -> bool:
        """Whether these gradients add up to the derivative for `value`."""
        gradient = as_gradient(total(parts, value.array.shape), value.array.shape)
        if gradient is None or not np.isfinite(gradient).all():
            return False
        for direction, slope in self._measured(value):
            terms = gradient * direction
            scale = max(float(np.sqrt(np.square(terms).sum())), abs(slope))
            if not abs(float(terms.sum()) - slope) <= CLOSE * scale + self._noise:
                return False
        return True

    def _measured(self, value: Value) -> list[tuple[Array, float]]:
        if not self.method:
            self.method = "central" if analytic_on_complex(self.subject, self.dy, self.rng) else "complex"
            if self.method == "central":
                output = self.subject.output(self.subject.values)
                self._noise = NOISE * float(np.abs(self.dy * output).sum())
        if id(value) not in self._slopes:
            t, arrays = self.values.index(value), self.subject.values
            self._slopes[id(value)] = [
                (direction, along(self.subject, arrays, t, direction, self.dy, self.method))
                for direction in self.rng.standard_normal((DIRECTIONS, *value.array.shape))
            ]
        return self._slopes[id(value)]
