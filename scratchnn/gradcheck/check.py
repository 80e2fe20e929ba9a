"""gradcheck: somebody's gradients against the derivative of their own forward."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.exceptions import ComplexWarning

from ..checks import Array, as_choice, as_flag, as_list, as_number, as_seed, positive_int
from ..layers import Parameter
from .evidence import Evidence
from .form import EXPECTED
from .judge import Judge, Measured, by_direction
from .make import make_subject
from .numeric import analytic_on_complex, differences, entry, output_noise, unit
from .report import UNCHECKED, GradcheckError, GradcheckReport, TensorCheck
from .subject import Subject, held_random

__all__ = ["Measured", "gradcheck", "make_subject", "measure", "quietly"]

METHODS = ("auto", "complex", "central", "directional")
# Users draw their data from default_rng(0) too; the upstream gradient must not be the data.
OWN_STREAM = int.from_bytes(b"gradcheck", "big")


def gradcheck(
    subject: Any,
    *inputs: Any,
    loss_fn: Any = None,
    target: Any = None,
    constants: Sequence[Any] = (),
    method: str = "auto",
    tolerance: float | None = None,
    max_entries: int = 500,
    raise_on_fail: bool = False,
    seed: int = 0,
) -> GradcheckReport:
    """Compare a hand-written backward pass with the numeric derivative of its forward.

    For every input and every array that is trained, entry by entry, under a random upstream gradient.
    Whatever the dtype, the check runs on a float64 copy; the object itself, its gradients, what it saved and
    the random generators stay as they are.

    The arrays are found, wherever the subject keeps them: in attributes, lists, dicts, layers within layers.
    Their gradients are those of their names (dW, W_grad, grads["W"], nabla_w, what backward returns as dW),
    else those that agree with what was measured. An array on which the output depends, and whose gradient is
    not found, is named, and the report is not true.

    Args:
        subject: a layer or network: a Module, or any object with forward(x) and backward(dy). Forward may
            return (y, cache) for backward(dy, cache), keep y in .output, or return several outputs for
            backward(dy0, dy1); backward may ask for inputs of forward by their names, and for a
            learning_rate. Or a function, or an object with a method loss, that returns (loss, grads). Or a
            loss object; a pair (op, op_vjp), op_vjp taking dy first, then op's arguments by their names and
            `y` for its output; a torch.autograd.Function, torch.nn.Module or function of tensors.
        inputs: what the forward takes. Arrays of floats are differentiated by, also inside dicts and lists;
            integers, floats and strings are constants. Of a loss object, prediction and target.
        loss_fn, target: with a model, check the loss of its output as well.
        constants: arrays that are not trained, by their names in the report or themselves: a mask, running
            statistics, the input of a first layer. The report lists them and asks for no gradient.
        method: "complex" (complex step, exact to rounding), "central" (differences), "directional"
            (random directions instead of entries: one evaluation covers a whole tensor), or "auto":
            complex step, else central differences with the reason in the report.
        tolerance: largest error of an entry, relative to the entry; 1e-13 for complex step, 1e-6 for
            differences. What the rounding of both numbers explains is no error.
        max_entries: compared in each tensor; a larger one is sampled, and covered by a random direction.
        raise_on_fail: raise GradcheckError instead of returning a report that is false.
        seed: of the random upstream gradient and samples.
    Returns:
        GradcheckReport: true if everything was checked and is right. Entries on a kink (relu at 0) are told,
            not judged.
    Raises:
        GradcheckError: with raise_on_fail, a gradient that is wrong or was not checked.
        TypeError, ValueError: a subject that cannot be checked, an unknown constant or method.
    Source: Squire and Trapp 1998; torch.autograd.gradcheck for the name.
    """
    constants, seed = checked_options("gradcheck", constants, method, seed)
    if tolerance is not None:
        tolerance = as_number("gradcheck", "tolerance", tolerance, least=0)
    max_entries = positive_int("gradcheck", "max_entries", max_entries)
    raise_on_fail = as_flag("gradcheck", "raise_on_fail", raise_on_fail)
    with quietly():
        made = make_subject(subject, inputs, loss_fn, target, constants)
        if made.broken is not None:
            call, error = made.broken
            kind = ValueError if isinstance(error, ValueError) else TypeError
            raise kind(
                f"{call} raised {type(error).__name__}: {error}. If that is not how it is called, {EXPECTED}"
            ) from error
        measured = measure(made, method, tolerance, max_entries, seed)
    if raise_on_fail and not measured.report:
        raise GradcheckError(measured.report)
    return measured.report


def checked_options(owner: str, constants: Any, method: str, seed: int) -> tuple[list[Any], int]:
    """The constants as a list, and the seed as NumPy's generators take it."""
    as_choice(owner, "method", method, METHODS)
    if isinstance(constants, (str, np.ndarray, Parameter)):
        constants = [constants]
    constants = as_list(owner, "constants", constants, "names or arrays")
    return constants, as_seed(owner, "seed", seed) % 2**64


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


def measure(subject: Subject, method: str, tolerance: float | None, max_entries: int, seed: int) -> Measured:
    """Run the whole check."""
    rng = np.random.default_rng((seed, OWN_STREAM))
    y = subject.output(subject.values)
    if y.dtype.itemsize < 8 or y.dtype.kind not in "fc":
        raise TypeError(
            f"{subject.title} gave a result of dtype {y.dtype} for float64 inputs; the check needs float64: "
            "take the cast out of the forward"
        )
    if not y.size:
        return Measured(GradcheckReport(subject.title, "complex", ""), subject, np.zeros(y.shape), y, None)
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
        where = _not_analytic(measured, rng)
        if where:
            reason = f"central differences, since it is not analytic (abs, conj, norm?), {where}"
            return _measure(subject, method, "central", reason, tolerance, max_entries, cotangent, y, rng)
    return measured


def _not_analytic(measured: Measured, rng: np.random.Generator) -> str:
    """Where a wrong entry is one that the complex step and differences do not agree on."""
    subject = measured.subject
    for t, row in enumerate(measured.report.tensors):
        if row.status != "FAIL" or row.index is None or not row.relative > 1e-4:
            continue
        direction = unit(row.shape, row.index)
        noise = output_noise(subject, subject.values, rng)
        central, doubt = differences(subject, subject.values, t, direction, measured.cotangent, noise)
        if abs(central - row.numeric) > 1e-3 * max(abs(central), abs(row.numeric)) + doubt:
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
    bound = subject.tolerances[kind] if tolerance is None else tolerance
    report = GradcheckReport(
        subject.title, "directional" if method == "directional" else kind, reason, [], bound
    )
    measured = Measured(report, subject, cotangent, y, run)
    left = [
        TensorCheck(name, shape, UNCHECKED, 0, int(np.prod(shape)), note=why)
        for name, shape, why in subject.unchecked
    ]
    report.constants.extend(subject.constants)
    if method == "directional":
        sizes = [np.abs(np.asarray(g)).max(initial=0.0) for g in run.gradients if g is not None]
        evidence = Evidence(subject, subject.values, cotangent, kind, float(max(sizes, default=0.0)), rng)
        report.tensors.extend(by_direction(measured, evidence, t, rng) for t in range(len(subject.values)))
        report.tensors.extend(left)
        return measured
    samples = [_sample(value.shape, max_entries, rng) for value in subject.values]
    numeric = [
        np.array([entry(subject, subject.values, t, i, cotangent, kind) for i in sample])
        for t, sample in enumerate(samples)
    ]
    largest = max((float(np.abs(g[np.isfinite(g)]).max(initial=0.0)) for g in numeric), default=0.0)
    evidence = Evidence(subject, subject.values, cotangent, kind, largest, rng)
    for t, sample in enumerate(samples):
        measured.numeric.append((sample, numeric[t]))
        judge = Judge(measured, evidence, t, sample, numeric[t], kind, rng)
        report.tensors.append(judge.row())
    report.tensors.extend(left)
    return measured


def _sample(shape: tuple[int, ...], limit: int, rng: np.random.Generator) -> list[tuple[int, ...]]:
    size = int(np.prod(shape))
    chosen = np.arange(size) if size <= limit else np.sort(rng.choice(size, limit, replace=False))
    return [tuple(int(k) for k in np.unravel_index(i, shape)) for i in chosen]
