"""gradcheck: somebody's gradients against the derivative of their own forward."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.exceptions import ComplexWarning

from ..checks import Array
from ..layers import Module
from ..losses import Loss
from .numeric import CENTRAL_STEP, along, analytic_on_complex, as_gradient, entry, moved, one_sided
from .pair import LossSubject, PairSubject
from .report import EPS, GradcheckError, GradcheckReport, TensorCheck
from .subject import ModuleSubject, Subject, held_random, short_repr

__all__ = ["Measured", "gradcheck", "make_subject", "measure", "quietly"]

METHODS = ("auto", "complex", "central", "directional")
TOLERANCES = {"complex": 1e-13, "central": 1e-6}
DIRECTIONS = 3
# Users draw their data from default_rng(0) too; the upstream gradient must not be the data.
OWN_STREAM = int.from_bytes(b"gradcheck", "big")
NOISE_FACTOR = 4
POINTS_NEARBY = 8
MOST_WRONG_KINKS = 32
# Units of rounding that the sums of a whole network may add up to (NUMERICS: 64 eps max|g|).
NETWORK_ROUNDING = 64


def gradcheck(
    subject: Any,
    *inputs: Any,
    loss_fn: Any = None,
    target: Any = None,
    method: str = "auto",
    tolerance: float | None = None,
    max_entries: int = 500,
    raise_on_fail: bool = False,
    seed: int = 0,
) -> GradcheckReport:
    """Compare a hand-written backward pass with the numeric derivative of its forward.

    For every input and every parameter, entry by entry, under a random upstream gradient. Whatever the
    dtype, the check runs on a float64 copy; the object itself, its gradients, what it saved and the
    random generators stay as they are.

    Args:
        subject: a layer or model (a Module, or anything with forward, backward and Parameters); a loss
            object; a pair (op, op_vjp), op_vjp taking dy first, then op's arguments by their names and
            `y` for its output; or a torch.autograd.Function, torch.nn.Module or function of tensors.
        inputs: what the forward takes. Of a pair, float arrays are differentiated by; integers, floats
            and strings are constants. Of a loss object, prediction and target.
        loss_fn, target: with a model, check the loss of its output as well.
        method: "complex" (complex step, exact to rounding), "central" (differences), "directional"
            (random directions instead of entries: one evaluation covers a whole tensor), or "auto":
            complex step, else central differences with the reason in the report.
        tolerance: largest error, relative to the tensor's largest gradient; 1e-13 for complex step,
            1e-6 for differences.
        max_entries: compared in each tensor; a larger one is sampled, and covered by a random direction.
        raise_on_fail: raise GradcheckError instead of returning a report that is false.
        seed: of the random upstream gradient and samples.
    Returns:
        GradcheckReport: true if all is right. Entries on a kink (relu at 0) are told, not judged.
    Raises:
        GradcheckError: with raise_on_fail, a wrong gradient.
        TypeError, ValueError: a subject that cannot be checked, or an unknown method.
    Source: Squire and Trapp 1998; torch.autograd.gradcheck for the name.
    """
    with quietly():
        made = make_subject(subject, inputs, loss_fn, target)
        measured = measure(made, method, tolerance, max_entries, seed)
    if raise_on_fail and not measured.report:
        raise GradcheckError(measured.report)
    return measured.report


class quietly:
    """Within: no floating-point warnings, complex parts never dropped in silence, generators held."""

    def __enter__(self) -> None:
        self._contexts: list[Any] = [np.errstate(all="ignore"), warnings.catch_warnings(), held_random()]
        for context in self._contexts:
            context.__enter__()
        warnings.simplefilter("ignore")
        warnings.simplefilter("error", ComplexWarning)

    def __exit__(self, *error: Any) -> None:
        for context in reversed(self._contexts):
            context.__exit__(*error)


def make_subject(subject: Any, inputs: Sequence[Any], loss_fn: Any, target: Any) -> Subject:
    """Whatever was given, as a Subject."""
    if "torch" in sys.modules:
        from . import torch_subject

        if torch_subject.is_torch(subject, inputs):
            return torch_subject.TorchSubject(subject, inputs, loss_fn, target)
    if isinstance(subject, tuple) and len(subject) == 2 and all(map(callable, subject)):
        if loss_fn is not None:
            raise TypeError("gradcheck of a pair (op, op_vjp) takes no loss_fn; check the loss by itself")
        return PairSubject(subject[0], subject[1], inputs)
    if isinstance(subject, type):
        raise TypeError(
            f"gradcheck got the class {subject.__name__}; pass an object: {subject.__name__}(...)"
        )
    if isinstance(subject, Loss):
        if len(inputs) != 2:
            raise TypeError(
                f"gradcheck of a loss needs its two inputs: gradcheck({subject!r}, prediction, target)"
            )
        return LossSubject(subject, *inputs)
    if isinstance(subject, Module):
        return ModuleSubject(subject, inputs, loss_fn, target)
    raise TypeError(
        f"gradcheck got {short_repr(subject)}; it needs a Module, a loss, a pair (op, op_vjp), "
        "or something of torch's (import torch first)"
    )


class Measured:
    """A report, and what it was made of.

    Attributes:
        report; subject; cotangent: the upstream gradient; y: the output.
        run: the user's backward. numeric: {tensor number: full numeric gradient}, where all was compared.
    """

    def __init__(
        self, report: GradcheckReport, subject: Subject, cotangent: Array, y: Array, run: Any
    ) -> None:
        self.report, self.subject, self.cotangent, self.y, self.run = report, subject, cotangent, y, run
        self.numeric: dict[int, Array] = {}


def measure(subject: Subject, method: str, tolerance: float | None, max_entries: int, seed: int) -> Measured:
    """Run the whole check."""
    if method not in METHODS:
        raise ValueError(f"gradcheck got method={method!r}; it must be one of {', '.join(METHODS)}")
    rng = np.random.default_rng((seed, OWN_STREAM))
    y = subject.output(subject.values)
    if y.dtype.kind not in "fc":
        raise TypeError(f"{subject.title} gave a result of dtype {y.dtype}; it needs float64")
    cotangent = subject.cotangent(y, rng)
    kind, reason = "complex", ""
    if method == "central":
        kind = "central"
    else:
        reason = subject.real_only or analytic_on_complex(subject, cotangent, rng)
        if reason and method == "complex":
            raise ValueError(
                f"{subject.title} cannot be checked by complex step: {reason}; use method='auto'"
            )
        kind = "central" if reason else "complex"
        reason = f"central differences, since {reason}" if reason else ""
    measured = _measure(subject, method, kind, reason, tolerance, max_entries, cotangent, y, rng)
    if kind == "complex" and method == "auto" and not measured.report:
        # abs in a small branch of a large network shows only where that branch is looked at.
        where = _not_analytic(measured)
        if where:
            reason = f"central differences, since it is not analytic (abs, conj, norm?), {where}"
            return _measure(subject, method, "central", reason, tolerance, max_entries, cotangent, y, rng)
    return measured


def _not_analytic(measured: Measured) -> str:
    """Where a wrong entry is one that the complex step and differences do not agree on."""
    subject = measured.subject
    for t, row in enumerate(measured.report.tensors):
        if row.status != "FAIL" or row.index is None or not row.relative > 1e-4:
            continue
        central = entry(subject, subject.values, t, row.index, measured.cotangent, "central")
        if abs(central - row.numeric) > 1e-3 * max(abs(central), abs(row.numeric)) + 1e-4 * row.scale:
            return f"as at {row.name}{list(row.index)}: complex {row.numeric:.3g}, differences {central:.3g}"
    return ""


def _measure(
    subject: Subject,
    method: str,
    kind: str,
    reason: str,
    tolerance: float | None,
    max_entries: int,
    cotangent: Array,
    y: Array,
    rng: np.random.Generator,
) -> Measured:
    run = subject.backward(cotangent, subject.values)
    bound = TOLERANCES[kind] if tolerance is None else tolerance
    report = GradcheckReport(
        subject.title, "directional" if method == "directional" else kind, reason, [], bound
    )
    measured = Measured(report, subject, cotangent, y, run)
    if method == "directional":
        report.tensors.extend(_by_direction(measured, t, kind, rng) for t in range(len(subject.values)))
        return measured
    samples = [_sample(value.shape, max_entries, rng) for value in subject.values]
    numeric = [
        np.array([entry(subject, subject.values, t, i, cotangent, kind) for i in sample])
        for t, sample in enumerate(samples)
    ]
    # Large output, small gradient: what cancelled on the way bounds what can be seen.
    network = max((float(np.abs(g).max(initial=0.0)) for g in numeric), default=0.0)
    floor = NETWORK_ROUNDING * EPS * max(network, float(np.abs(cotangent * y).sum()))
    floor *= 1.0 if kind == "complex" else 1 / CENTRAL_STEP
    for t, sample in enumerate(samples):
        if len(sample) == subject.values[t].size:
            measured.numeric[t] = numeric[t].reshape(subject.values[t].shape)
        judge = _Judge(measured, t, sample, numeric[t], kind, floor, rng)
        report.tensors.append(judge.row())
    return measured


def _sample(shape: tuple[int, ...], limit: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    size = int(np.prod(shape))
    chosen = np.arange(size) if size <= limit else np.sort(rng.choice(size, limit, replace=False))
    return [tuple(int(k) for k in np.unravel_index(i, shape)) for i in chosen]


class _Judge:
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
        for step in (h, h / 16):
            left, right = one_sided(self.subject, self.values, self.t, index, self.cotangent, step)
            size = max(abs(left), abs(right))
            jumps.append(abs(right - left) if abs(right - left) > 1e-3 * size + noise / step else 0.0)
        # A smooth bend shrinks with the step, a kink does not; near one, differences see it at h only.
        if jumps[0] and (self.kind == "central" or jumps[1] > 0.5 * jumps[0]):
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


def _by_direction(measured: Measured, t: int, kind: str, rng: np.random.Generator) -> TensorCheck:
    """<v, gradient> against the slope along v, for a few random v."""
    subject, shape = measured.subject, measured.subject.values[t].shape
    name, size = subject.names[t], measured.subject.values[t].size
    given = measured.run.gradients[t]
    gradient = as_gradient(given, shape)
    if gradient is None:
        note = f"gradient of shape {np.shape(given)}"
        return TensorCheck(name, shape, "FAIL", 0, size, error=-1.0, note=note)
    worst: tuple[float, float, float, float] = (-1.0, 0.0, 0.0, 1.0)
    floor = NETWORK_ROUNDING * EPS * float(np.abs(measured.cotangent * measured.y).sum())
    floor *= 1.0 if kind == "complex" else 1 / CENTRAL_STEP
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
