"""Which differences between numeric and analytic are mistakes, and which are rounding or kinks.

Every entry is judged by itself. Two numbers that agree to the tolerance are right. Where they do not, the
rounding of both is measured (see `rounding`): a difference within it is rounding, if it is small beside the
entry; one beyond it is a mistake, or lies on a kink. Where rounding is as large as the entry, nothing
can be said, and that is what is said.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from ..checks import Array
from .evidence import CERTAIN, DIGITS, POINTS_NEARBY, Evidence
from .numeric import COMPLEX_STEP, along, as_gradient, entry, one_sided, scales, seen, unit
from .report import EPS, UNCHECKED, GradcheckReport, TensorCheck
from .subject import Subject

__all__ = ["Judge", "Measured", "by_direction"]

DIRECTIONS = 3
MOST_WRONG_KINKS = 32
# So many standard errors is what a number that ought to be zero may be.
ZERO = 4
KINK_STEPS = tuple(10.0**k for k in range(-10, -2))
TINY = float(np.finfo(np.float64).tiny)
# Of the network's largest gradient: only saturation leaves so little, and what it rounds off is called
# nothing (see `residual`) if it is smaller still.
FAINT = 1e-45
# Times the complex step, such a derivative is too small to be held.
VANISHED = TINY / COMPLEX_STEP


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


class Judge:
    """One tensor: which entries differ, and whether they may."""

    def __init__(
        self,
        measured: Measured,
        evidence: Evidence,
        t: int,
        sample: list[tuple[int, ...]],
        numeric: Array,
        kind: str,
        rng: np.random.Generator,
    ) -> None:
        self.measured, self.subject, self.t, self.evidence = measured, measured.subject, t, evidence
        self.sample, self.numeric, self.kind, self.rng = sample, numeric, kind, rng
        self.values, self.cotangent = measured.subject.values, measured.cotangent
        self.size, self.shape = self.values[t].size, self.values[t].shape
        self.tolerance = measured.report.tolerance
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
        self.analytic = np.array([gradient[index] for index in self.sample])
        # What an entry is made of: the numbers themselves, or the terms that cancelled.
        self.made_of = np.maximum(np.maximum(np.abs(self.analytic), np.abs(self.numeric)), TINY)
        self.errors = np.abs(self.analytic - self.numeric)
        self.errors[~np.isfinite(self.errors)] = np.inf
        self.kinks = np.zeros(len(self.errors), bool)
        status, worst = self._judge()
        if status == "pass" and len(self.sample) < self.size:
            status = self._all_entries(gradient)
            if status != "pass":
                self._note("the entries compared agree, but a random direction through all does not")
        relative = float(self.errors[worst] / self.made_of[worst])
        return TensorCheck(
            name=name,
            shape=self.shape,
            status=status,
            entries=len(self.sample),
            size=self.size,
            kinks=int(self.kinks.sum()),
            index=self.sample[worst],
            numeric=float(self.numeric[worst]),
            analytic=float(self.analytic[worst]),
            error=relative / EPS,
            relative=relative,
            note="; ".join(self.notes),
        )

    def _judge(self) -> tuple[str, int]:
        """(the status, the entry that shows it)."""
        found: dict[str, list[int]] = {"wrong on a kink": [], UNCHECKED: []}
        suspects = np.flatnonzero(~(self.errors <= self._allowed()) | self._unseen())
        if suspects.size:
            noise = self.evidence.analytic(self.t)
            self.noise = np.array([noise[index] for index in self.sample])
            self.made_of = np.maximum(self.made_of, self.noise / EPS)
            suspects = suspects[~self._is_rounding(suspects, CERTAIN * self.noise[suspects])]
        for k in suspects[np.argsort(-self.errors[suspects], kind="stable")]:
            verdict = self._verdict(int(k))
            if verdict == "FAIL":
                return self._fault(int(k))
            self.kinks[k] = verdict == "kink"
            if verdict in found:
                found[verdict].append(int(k))
            if len(found["wrong on a kink"]) > MOST_WRONG_KINKS:
                break
        if found["wrong on a kink"]:
            return self._fault(found["wrong on a kink"][0])
        if found[UNCHECKED]:
            return UNCHECKED, found[UNCHECKED][0]
        worst = int(np.where(self.kinks, -1.0, self.errors / self.made_of).argmax())
        return "kink" if self.kinks.any() else "pass", worst

    def _fault(self, k: int) -> tuple[str, int]:
        self.made_of[k] = max(abs(self.analytic[k]), abs(self.numeric[k]), TINY)
        return "FAIL", k

    def _allowed(self) -> Array:
        """The difference that needs no explanation."""
        size = np.maximum(np.abs(self.analytic), np.abs(self.numeric))
        return self.tolerance * size + max(VANISHED, FAINT * self.evidence.largest)

    def _unseen(self) -> Array:
        """Entries whose slope is 0 by differences, although the output moves with larger steps."""
        zero = (self.kind == "central") & (self.numeric == 0) & (self.analytic == 0)
        for k in np.flatnonzero(zero):
            zero[k] = seen(self.subject, self.values, self.t, unit(self.shape, self.sample[k]))
        return zero

    def _is_rounding(self, k: Any, bound: Any) -> Any:
        """Whether a difference is within the bound of rounding, and small beside its entry."""
        size = np.maximum(np.abs(self.analytic[k]), np.abs(self.numeric[k]))
        fits = (self.errors[k] <= bound) & (self.errors[k] <= DIGITS * size) & (size > 0)
        if np.any(fits & (self.errors[k] > self.tolerance * np.abs(self.numeric).max())):
            self._note("ill-conditioned: rounding on the way is amplified")
        return fits

    def _note(self, note: str) -> None:
        if note not in self.notes:
            self.notes.append(note)

    def _verdict(self, k: int) -> str:
        """The verdict on an entry that differs: pass, kink, wrong on a kink, not checked or FAIL."""
        index, noise = self.sample[k], float(self.noise[k])
        if not np.isfinite(self.analytic[k]):
            self._note(f"the gradient is {self.analytic[k]}")
            return "FAIL" if np.isfinite(self.numeric[k]) else UNCHECKED
        direction = unit(self.shape, index)
        self.numeric[k], doubt = self.evidence.numeric(self.t, direction, float(self.numeric[k]))
        error = abs(self.analytic[k] - self.numeric[k])
        self.errors[k] = error if np.isfinite(error) else np.inf
        if self.analytic[k] == self.numeric[k] == 0 and doubt <= self.tolerance * np.abs(self.numeric).max():
            return "pass"
        bound = CERTAIN * noise + doubt
        size = max(abs(self.analytic[k]), abs(self.numeric[k]), TINY)
        self.made_of[k] = max(size, bound / CERTAIN / EPS)
        settled = self.numeric[k] or doubt <= VANISHED
        if (settled and self.errors[k] <= self._allowed()[k]) or self._is_rounding(k, bound):
            return "pass"
        within = bool(self.errors[k] <= bound)
        zero = abs(self.analytic[k]) <= ZERO * noise and abs(self.numeric[k]) <= ZERO / CERTAIN * bound
        if within and zero:
            return "pass"
        try:
            on_kink = self._breaks(index)
        except (ValueError, FloatingPointError):  # a step out of the function's domain
            on_kink = False
        if on_kink:
            right = self._between_slopes(k) if self.subject.fixed else self._right_beside(index)
            return "kink" if right else "wrong on a kink"
        if within:
            self._note("cannot be decided: rounding is as large as the entry")
            return UNCHECKED
        return "FAIL"

    def _breaks(self, index: tuple[int, ...]) -> bool:
        direction = unit(self.shape, index)
        noise = CERTAIN * float(np.sqrt(np.square(self.cotangent * self.evidence.outputs).sum()))
        jumps: list[float] = []
        for step in KINK_STEPS:
            left, right, h = one_sided(self.subject, self.values, self.t, direction, self.cotangent, step)
            jump = abs(right - left)
            jumps.append(jump if jump > 1e-3 * max(abs(left), abs(right)) + noise / h else 0.0)
        # A smooth bend shrinks with the step and rounding grows, a kink does neither.
        for jump, *wider in zip(jumps, jumps[1:], jumps[2:], strict=False):
            if jump > 0.5 * max(wider):
                return True
        # Several kinks at once can hide from the slopes; the gradient itself jumps across them.
        a, b = (as_gradient(point.gradients[self.t], self.shape) for point in self.evidence.beside)
        if a is None or b is None:
            return False
        return bool(abs(a[index] - b[index]) > 1e-3 * max(abs(a[index]), abs(b[index])))

    def _between_slopes(self, k: int) -> bool:
        """A gradient of which nothing is known at other points lies between the slopes on both sides."""
        direction = unit(self.shape, self.sample[k])
        left, right, _ = one_sided(
            self.subject, self.values, self.t, direction, self.cotangent, KINK_STEPS[len(KINK_STEPS) // 2]
        )
        loose = DIGITS * max(abs(left), abs(right))
        return bool(min(left, right) - loose <= self.analytic[k] <= max(left, right) + loose)

    def _right_beside(self, index: tuple[int, ...]) -> bool:
        """The gradient agrees at points nearby, which lie on no kink."""
        try:
            agreed = sum(self._agrees(point, index) for point in self.evidence.nearby)
        except (ValueError, FloatingPointError):
            return True  # out of its domain: nothing to be said
        # A difference may straddle another kink.
        return agreed >= POINTS_NEARBY - (self.kind == "central")

    def _agrees(self, point: Evidence, index: tuple[int, ...]) -> bool:
        gradient = as_gradient(point.gradients[self.t], self.shape)
        if gradient is None:
            return False
        analytic = float(gradient[index])
        numeric = entry(self.subject, point.values, self.t, index, self.cotangent, self.kind)
        loose = max(1e-9 if self.kind == "complex" else 1e-4, self.tolerance)
        if abs(analytic - numeric) <= loose * max(abs(analytic), abs(numeric)):
            return True
        numeric, doubt = point.numeric(self.t, unit(self.shape, index), numeric)
        return abs(analytic - numeric) <= CERTAIN * float(point.analytic(self.t)[index]) + doubt

    def _all_entries(self, gradient: Array) -> str:
        """The verdict on those that were not compared: by a direction in which each counts about as much."""
        signs = self.rng.choice([-1.0, 1.0], self.shape)
        sizes = self.values[self.t] if self.kind == "central" else 1 / scales(gradient)
        return _along(self.evidence, self.t, signs * scales(sizes), gradient, self.tolerance)[0]


def by_direction(measured: Measured, evidence: Evidence, t: int, rng: np.random.Generator) -> TensorCheck:
    """<v, gradient> against the slope along v, for a few random v."""
    subject, value = measured.subject, measured.subject.values[t]
    name, given = subject.names[t], measured.run.gradients[t]
    gradient = as_gradient(given, value.shape)
    if gradient is None:
        note = f"gradient of shape {np.shape(given)}"
        return TensorCheck(name, value.shape, "FAIL", 0, value.size, error=-1.0, note=note)
    worst: tuple[float, ...] = (0.0, 0.0, 0.0)
    status = "pass"
    for k in range(DIRECTIONS):
        direction = rng.standard_normal(value.shape)
        # Some in which each entry moves by its size, or counts as much as any other.
        if evidence.kind == "central":
            direction = direction * scales(value)
        elif k:
            direction = direction / scales(gradient)
        verdict, found = _along(evidence, t, direction, gradient, measured.report.tolerance)
        status = max(status, verdict, key=("pass", UNCHECKED, "FAIL").index)
        worst = max(worst, found, key=lambda numbers: numbers[2])
    numeric, analytic, relative = worst
    note = f"{DIRECTIONS} random directions" + ("; no gradient (None)" if given is None else "")
    return TensorCheck(
        name=name,
        shape=value.shape,
        status=status,
        entries=value.size,
        size=value.size,
        numeric=numeric,
        analytic=analytic,
        error=relative / EPS,
        relative=relative,
        note=note,
    )


def _along(
    evidence: Evidence, t: int, direction: Array, gradient: Array, tolerance: float
) -> tuple[str, tuple[float, float, float]]:
    """(verdict, (slope along a direction, <direction, gradient>, their difference relative to the terms))."""
    terms = gradient * direction
    analytic = float(terms.sum())
    numeric = along(evidence.subject, evidence.values, t, direction, evidence.cotangent, evidence.kind)
    # The sum may cancel: its terms, not itself, set the scale.
    size = max(float(np.sqrt(np.square(terms).sum())), abs(numeric), TINY)
    bound = 0.0
    if not abs(numeric - analytic) <= tolerance * size:
        numeric, doubt = evidence.numeric(t, direction, numeric)
        bound = CERTAIN * float(np.sqrt(np.square(evidence.analytic(t) * direction).sum())) + doubt
    error = abs(numeric - analytic)
    error = error if np.isfinite(error) else np.inf
    found = numeric, analytic, error / max(size, bound / CERTAIN / EPS)
    right = error <= max(tolerance * size, min(bound, DIGITS * size))
    if right or max(size, error) <= ZERO / CERTAIN * bound:
        return "pass", found
    return UNCHECKED if error <= bound else "FAIL", found
