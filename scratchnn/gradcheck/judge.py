"""Which differences between numeric and analytic are mistakes, and which are rounding or kinks."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from ..checks import Array
from .numeric import CENTRAL_STEP, along, as_gradient, entry, moved, one_sided
from .report import EPS, GradcheckReport, TensorCheck
from .subject import Subject

__all__ = ["Judge", "Measured", "by_direction", "rounding_floor"]

DIRECTIONS = 3
NOISE_FACTOR = 4
POINTS_NEARBY = 8
MOST_WRONG_KINKS = 32
# Units of rounding that the sums of a whole network may add up to.
NETWORK_ROUNDING = 64
VANISHED = 1e-10


class Measured:
    """A report, and what it was made of.

    Attributes:
        report; subject; cotangent: the upstream gradient; y: the output.
        run: the user's backward. numeric: for each tensor the entries compared and their derivatives;
            empty for a directional check.
    """

    def __init__(
        self, report: GradcheckReport, subject: Subject, cotangent: Array, y: Array, run: Any
    ) -> None:
        self.report, self.subject, self.cotangent, self.y, self.run = report, subject, cotangent, y, run
        self.numeric: list[tuple[list[tuple[int, ...]], Array]] = []


def rounding_floor(measured: Measured, kind: str, network: float) -> float:
    """The difference that rounding alone makes in a network whose largest gradient is `network`."""
    output = float(np.abs(measured.cotangent * measured.y).sum())
    if kind == "central":
        return NETWORK_ROUNDING * EPS * output / CENTRAL_STEP
    # A gradient that vanished beside the output is what was left when larger numbers cancelled.
    vanished = network <= VANISHED * output
    return NETWORK_ROUNDING * EPS * (output if vanished else network)


class Judge:
    """One tensor: which entries differ, and whether they may."""

    def __init__(
        self,
        measured: Measured,
        t: int,
        sample: list[tuple[int, ...]],
        numeric: Array,
        kind: str,
        floor: float,
        rng: np.random.Generator,
    ) -> None:
        self.measured, self.subject, self.t = measured, measured.subject, t
        self.sample, self.numeric, self.kind, self.rng = sample, numeric, kind, rng
        self.values, self.cotangent = measured.subject.values, measured.cotangent
        self.size, self.shape = self.values[t].size, self.values[t].shape
        self.scale = max(float(np.abs(numeric).max(initial=0.0)), np.finfo(np.float64).tiny)
        self.allowed = max(measured.report.tolerance * self.scale, floor)
        self.notes: list[str] = []

    def row(self) -> TensorCheck:
        name = self.subject.names[self.t]
        given = self.measured.run.gradients[self.t]
        gradient = as_gradient(given, self.shape)
        if gradient is None:
            found = np.asarray(given)
            what = f"dtype {found.dtype}" if found.shape == self.shape else f"shape {found.shape}"
            return TensorCheck(name, self.shape, "FAIL", 0, self.size, error=-1.0, note=f"gradient of {what}")
        if given is None:
            self.notes.append("no gradient (None)")
        if not self.sample:
            return TensorCheck(name, self.shape, "pass", 0, 0, note="empty")
        analytic = np.array([gradient[index] for index in self.sample])
        errors = np.abs(analytic - self.numeric)
        errors[np.isnan(errors)] = np.inf
        errors[np.isnan(analytic) & np.isnan(self.numeric)] = 0.0
        kinks, wrong = self._judge(errors)
        worst = int(np.where(kinks, -1.0, errors).argmax()) if wrong is None else wrong
        status = "FAIL" if wrong is not None else "kink" if kinks.any() else "pass"
        if wrong is None and len(self.sample) < self.size and not self._direction_right(gradient):
            status = "FAIL"
            self.notes.append("the entries compared agree, but a random direction through all does not")
        return TensorCheck(
            name=name,
            shape=self.shape,
            status=status,
            entries=len(self.sample),
            size=self.size,
            kinks=int(kinks.sum()),
            index=self.sample[worst],
            numeric=float(self.numeric[worst]),
            analytic=float(analytic[worst]),
            error=float(errors[worst] / (EPS * self.scale)),
            relative=float(errors[worst] / self.scale),
            note="; ".join(self.notes),
        )

    def _judge(self, errors: Array) -> tuple[Array, int | None]:
        """(which entries lie on kinks, the entry that is wrong if there is one)."""
        kinks = np.zeros(len(errors), bool)
        wrong_on_kinks: list[int] = []
        for k in np.argsort(-errors):
            if errors[k] <= self.allowed or len(wrong_on_kinks) > MOST_WRONG_KINKS:
                break
            try:
                on_kink = self._breaks(self.sample[k])
            except (ValueError, FloatingPointError):  # a step out of the function's domain
                on_kink = False
            if on_kink and self._right_beside(self.sample[k]):
                kinks[k] = True
            elif on_kink:
                wrong_on_kinks.append(int(k))
            elif not self._is_rounding(self.sample[k], float(errors[k])):
                return kinks, int(k)
        return kinks, wrong_on_kinks[0] if wrong_on_kinks else None

    def _breaks(self, index: tuple[int, ...]) -> bool:
        h = CENTRAL_STEP * max(1.0, abs(float(self.values[self.t][index])))
        noise = 16 * EPS * float(np.abs(self.cotangent * self.measured.y).sum())
        jumps = []
        for step in (h, h / 4, h / 16):
            left, right = one_sided(self.subject, self.values, self.t, index, self.cotangent, step)
            size = max(abs(left), abs(right))
            jumps.append(abs(right - left) if abs(right - left) > 1e-3 * size + noise / step else 0.0)
        # A smooth bend shrinks with the step and rounding grows, a kink does neither; near one, differences
        # see it at h only.
        if jumps[0] and (self.kind == "central" or min(jumps) > 0.5 * max(jumps)):
            return True
        # Several kinks at once can hide from the slopes; the gradient itself jumps across them.
        shift = [1e-7 * np.maximum(np.abs(v), 1.0) * self.rng.uniform(0.5, 1, v.shape) for v in self.values]
        sides = [[v + sign * s for v, s in zip(self.values, shift, strict=True)] for sign in (-1, 1)]
        a, b = (as_gradient(self._analytic(side), self.shape) for side in sides)
        return a is not None and b is not None and abs(a[index] - b[index]) > 1e-3 * self.scale

    def _right_beside(self, index: tuple[int, ...]) -> bool:
        """The gradient agrees at points nearby, which lie on no kink."""
        agreed = 0
        for _ in range(POINTS_NEARBY):
            nearby = moved(self.values, self.rng, 1e-3)
            try:
                numeric = entry(self.subject, nearby, self.t, index, self.cotangent, self.kind)
                gradient = as_gradient(self._analytic(nearby), self.shape)
            except (ValueError, FloatingPointError):
                return True  # out of its domain: nothing to be said
            loose = max(1e-9 if self.kind == "complex" else 1e-4, self.measured.report.tolerance)
            allowed = loose * self.scale + self.allowed
            agreed += gradient is not None and abs(float(gradient[index]) - numeric) <= allowed
        # A difference may straddle another kink.
        return agreed >= POINTS_NEARBY - (self.kind == "central")

    def _analytic(self, values: Sequence[Array]) -> Any:
        return self.subject.backward(self.cotangent, values).gradients[self.t]

    def _is_rounding(self, index: tuple[int, ...], error: float) -> bool:
        """The difference is noise: from point to point nearby it changes as much as it is large.

        Near p = 1, for instance, 1 - p has lost digits that the loss divides by. A mistake is no noise:
        it differs at the points nearby by the same amount, or by none.
        """
        differences = []
        for _ in range(POINTS_NEARBY):
            nearby = moved(self.values, self.rng, 1e-3)
            try:
                gradient = as_gradient(self._analytic(nearby), self.shape)
                numeric = entry(self.subject, nearby, self.t, index, self.cotangent, self.kind)
            except (ValueError, FloatingPointError):
                return False
            if gradient is None:
                return False
            differences.append(float(gradient[index]) - numeric)
        if not error <= NOISE_FACTOR * float(np.ptp(differences)):
            return False
        note = "ill-conditioned: rounding on the way is amplified"
        if note not in self.notes:
            self.notes.append(note)
        return True

    def _direction_right(self, gradient: Array) -> bool:
        direction = self.rng.choice([-1.0, 1.0], self.shape)
        numeric = along(self.subject, self.values, self.t, direction, self.cotangent, self.kind)
        error = abs(numeric - float((gradient * direction).sum()))
        return error <= self.allowed * np.sqrt(self.size) * 8


def by_direction(measured: Measured, t: int, kind: str, rng: np.random.Generator) -> TensorCheck:
    """<v, gradient> against the slope along v, for a few random v."""
    subject, shape = measured.subject, measured.subject.values[t].shape
    name, size = subject.names[t], measured.subject.values[t].size
    given = measured.run.gradients[t]
    gradient = as_gradient(given, shape)
    if gradient is None:
        note = f"gradient of shape {np.shape(given)}"
        return TensorCheck(name, shape, "FAIL", 0, size, error=-1.0, note=note)
    worst: tuple[float, float, float, float] = (-1.0, 0.0, 0.0, 1.0)
    sizes = [np.abs(np.asarray(g)).max(initial=0.0) for g in measured.run.gradients if g is not None]
    floor = rounding_floor(measured, kind, float(max(sizes, default=0.0)))
    failed = False
    for _ in range(DIRECTIONS):
        direction = rng.standard_normal(shape)
        numeric = along(subject, subject.values, t, direction, measured.cotangent, kind)
        analytic = float((gradient * direction).sum())
        # The sum may cancel: its terms, not itself, set the scale.
        scale = max(
            float(np.sqrt(np.square(gradient * direction).sum())), abs(numeric), np.finfo(np.float64).tiny
        )
        error = abs(numeric - analytic)
        error = np.inf if np.isnan(error) else error
        failed |= not error <= max(measured.report.tolerance * scale, floor)
        if error / scale > worst[0]:
            worst = (error / scale, numeric, analytic, scale)
    relative, numeric, analytic, _ = worst
    note = f"{DIRECTIONS} random directions" + ("; no gradient (None)" if given is None else "")
    status = "FAIL" if failed else "pass"
    return TensorCheck(
        name, shape, status, size, size, 0, None, numeric, analytic, relative / EPS, relative, note
    )
