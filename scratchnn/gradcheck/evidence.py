"""What a point tells: gradients there, numeric derivatives there, and how much rounding there is in both."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import Any

import numpy as np

from ..checks import Array
from .numeric import (
    as_gradient,
    differences,
    moved,
    output_noise,
    real_step,
    relative_direction,
    scales,
    slope_noise,
)
from .report import EPS
from .rounding import Source, scatter
from .subject import Subject

__all__ = ["CERTAIN", "DIGITS", "POINTS_NEARBY", "Evidence"]

# A difference of this many standard errors of rounding is a mistake.
CERTAIN = 64
# Two numbers that differ by less than this part of them are no mistake of 5 %.
DIGITS = 0.01
POINTS_NEARBY = 8
NEARBY = 1e-3
BESIDE = 1e-7


class Evidence:
    """One point of a subject.

    Attributes:
        subject; values: of its tensors; cotangent: the upstream gradient. kind: "complex" or "central".
        largest: of all gradients. Where the rounding of somebody's backward cannot be made visible (it is
            compiled, or goes through np.asarray), a unit of this is taken for it.
    """

    def __init__(
        self,
        subject: Subject,
        values: Sequence[Array],
        cotangent: Array,
        kind: str,
        largest: float,
        rng: np.random.Generator,
    ) -> None:
        self.subject, self.values, self.cotangent = subject, values, cotangent
        self.kind, self.largest, self.rng = kind, largest, rng
        self._trusted: dict[int, bool] = {}

    @cached_property
    def gradients(self) -> list[Any]:
        """The user's, one for each tensor."""
        return self.subject.backward(self.cotangent, self.values).gradients

    @cached_property
    def outputs(self) -> Array:
        """The rounding of each output: a standard error."""
        return output_noise(self.subject, self.values, self.rng)

    @cached_property
    def _scatter(self) -> list[Array | None]:
        def run(source: Source) -> list[Any]:
            values = [source.wrap(value) for value in self.values]
            return self.subject.backward(source.wrap(self.cotangent), values).gradients

        try:
            return scatter(run, self.rng)
        except Exception:  # somebody's code need not take arrays of another class
            return [None] * len(self.values)

    def analytic(self, t: int) -> Array:
        """The rounding of each entry of the user's gradient of tensor `t`: a standard error."""
        noise, shape = self._scatter[t], self.values[t].shape
        gradient = as_gradient(self.gradients[t], shape)
        hidden = noise is not None and not noise.any() and gradient is not None and gradient.any()
        if noise is None or noise.shape != shape or hidden:
            kind = np.asarray(self.gradients[t]).dtype
            eps = float(np.finfo(kind).eps) if kind.kind == "f" else EPS
            return np.full(shape, eps * self.largest)
        return np.where(np.isnan(noise), np.inf, noise)

    def numeric(self, t: int, direction: Array, measured: float) -> tuple[float, float]:
        """(the slope of tensor `t` along a direction, how far off it may be); `measured` is a first one."""
        if self.kind == "complex" and np.isfinite(measured):
            noise = slope_noise(self.subject, self.values, t, direction, self.cotangent, self.rng)
            return measured, CERTAIN * (EPS * self.largest if np.isnan(noise) else noise)
        slope, doubt = differences(self.subject, self.values, t, direction, self.cotangent, self.outputs)
        if doubt > DIGITS * abs(slope) and self._continued(t):
            # Differences see nothing of what is much smaller than the output.
            step = real_step(self.subject, self.values, t, direction, self.cotangent)
            noise = slope_noise(self.subject, self.values, t, direction, self.cotangent, self.rng)
            if abs(step - slope) <= doubt and np.isfinite(noise):
                return step, CERTAIN * noise
        return slope, doubt

    def _continued(self, t: int) -> bool:
        """The complex step with abs and the like continued gives the slope of tensor `t` as a whole."""
        if t not in self._trusted:
            direction = relative_direction(self.values[t], self.rng)
            slope, doubt = differences(self.subject, self.values, t, direction, self.cotangent, self.outputs)
            step = real_step(self.subject, self.values, t, direction, self.cotangent)
            self._trusted[t] = abs(step - slope) <= doubt + DIGITS * abs(slope)
        return self._trusted[t]

    @cached_property
    def nearby(self) -> list[Evidence]:
        """Points close by, which lie on no kink."""
        return [self._at(moved(self.values, self.rng, NEARBY)) for _ in range(POINTS_NEARBY)]

    @cached_property
    def beside(self) -> tuple[Evidence, Evidence]:
        """Two points just next to this one, on opposite sides."""
        shift = [BESIDE * scales(v) * self.rng.uniform(0.5, 1, v.shape) for v in self.values]
        down, up = (
            self._at([v + sign * s for v, s in zip(self.values, shift, strict=True)]) for sign in (-1, 1)
        )
        return down, up

    def _at(self, values: list[Array]) -> Evidence:
        return Evidence(self.subject, values, self.cotangent, self.kind, self.largest, self.rng)
