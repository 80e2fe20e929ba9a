"""diagnose: name the mistake in a wrong gradient."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..checks import Array
from ..gradcheck.check import checked_options, make_subject, measure, quietly
from ..gradcheck.judge import Measured
from ..gradcheck.subject import ModuleSubject, ShapeError, Subject
from . import patterns
from .case import Case
from .diagnosis import Diagnosis, Finding
from .explanation import Explanation, best
from .factors import Meanings
from .layout import sizes_of
from .protect import protected_gradients
from .record import record
from .residue import RIGHT, tensors
from .search import explain

__all__ = ["diagnose"]

SAMPLED_ENTRIES = 200  # of a tensor, to see whether anything is wrong
MOST_ENTRIES = 20_000  # of a tensor, to see what


def diagnose(
    subject: Any,
    *inputs: Any,
    loss_fn: Any = None,
    target: Any = None,
    constants: Sequence[Any] = (),
    method: str = "auto",
    seed: int = 0,
) -> Diagnosis:
    """Check a backward pass as `gradcheck` does and, where it is wrong, name the mistake.

    Every mistake of the catalogue is tried on the function itself: the gradient that it would give is
    computed from the recorded forward and must agree with the one at hand in every entry of every tensor.

    Args:
        subject, inputs, loss_fn, target, constants, method, seed: as for `gradcheck`. Use a batch of at
            least three rows, and as many outputs as the real thing: with N = 2 a lost 2 looks like a lost N.
    Returns:
        Diagnosis: `mistake` is a name from `scratchnn.doctor.CATALOGUE`, or None; it prints in sentences.
    Raises:
        TypeError, ValueError: as `gradcheck`; and what the subject's own forward raises.
    """
    constants, seed = checked_options("diagnose", constants, method, seed)
    with quietly():
        made = make_subject(subject, inputs, loss_fn, target, constants)
        made.backward = _Watched(made.backward)  # type: ignore[method-assign, assignment]
        try:
            measured = measure(made, method, None, SAMPLED_ENTRIES, seed)
            if measured.report.verdict != "FAIL":
                return Diagnosis(measured.report)
            case, truth = _truth(made, measured)
            if case is None and any(v.size > SAMPLED_ENTRIES for v in made.values):
                measured = measure(made, method, None, MOST_ENTRIES, seed)
                case, truth = _truth(made, measured)
        except ShapeError as error:
            return _broken_shape(error)
        except _BackwardError as error:
            return _stopped(error)
        return _examine(made, measured, case, truth)


class _BackwardError(Exception):
    """The user's backward raised; the cause says what."""


class _Watched:
    """A backward whose errors are told from those of the forward."""

    def __init__(self, backward: Any) -> None:
        self.method = backward

    def __call__(self, *arguments: Any) -> Any:
        try:
            return self.method(*arguments)
        except ShapeError:
            raise
        except Exception as error:
            raise _BackwardError from error


def _stopped(error: _BackwardError) -> Diagnosis:
    cause = error.__cause__
    text = f"{type(cause).__name__}: {cause}"
    findings = []
    # NumPy's two ways of saying that the inner lengths of a product differ.
    if isinstance(cause, ValueError) and ("not aligned" in str(cause) or "matmul" in str(cause)):
        sentence = "A product in the backward does not fit: a transpose is missing, or there is one too many."
        findings.append(Finding("transpose", sentence, text))
    return Diagnosis(None, findings, pattern=[f"the backward stopped with {text}"])


def _broken_shape(error: ShapeError) -> Diagnosis:
    got, needs = error.got, error.needs
    rows = {needs[0]} if needs else set()
    if len(got) == 2 and set(got) == rows and got != needs:
        sentence = (
            f"the loss's backward returned shape {got} for a prediction of shape {needs}: "
            "(N, 1) met (N,) and was broadcast to (N, N). Reshape the target."
        )
        return Diagnosis(None, [Finding("broadcast", sentence, f"shape {got} instead of {needs}")])
    return Diagnosis(None, pattern=[str(error)])


def _truth(subject: Subject, measured: Measured) -> tuple[Case | None, list[Array]]:
    """(the recorded forward, the right gradients); without a record what was measured, 0 elsewhere."""
    taped = record(subject)
    if taped is not None and taped[1].value.shape == measured.cotangent.shape:
        inputs = frozenset(range(len(subject.inputs)) if isinstance(subject, ModuleSubject) else ())
        case = Case(taped[0], taped[1], measured.cotangent, dict(_changed(subject, measured)), inputs)
        exact = case.gradients()
        network = max((float(np.abs(found).max(initial=0.0)) for _, found in measured.numeric), default=0.0)
        rows = zip(measured.numeric, exact, measured.report.tensors, strict=False)
        if all(row.kinks or _agrees(*numeric, gradient, network) for numeric, gradient, row in rows):
            return case, exact
    truth = [np.zeros(value.shape) for value in subject.values]
    for (entries, numbers), gradient in zip(measured.numeric, truth, strict=False):
        for index, number in zip(entries, numbers, strict=True):
            gradient[index] = number
    return None, truth


def _agrees(entries: list[tuple[int, ...]], numeric: Array, exact: Array, network: float) -> bool:
    """The record is believed where it gives what was measured."""
    found = np.array([exact[index] for index in entries])
    scale = float(np.abs(numeric).max(initial=0.0))
    return bool(np.abs(numeric - found).max(initial=0.0) <= 1e-5 * scale + 1e-8 * network)


def _examine(subject: Subject, measured: Measured, case: Case | None, truth: list[Array]) -> Diagnosis:
    notes = []
    if case is None:
        notes.append("the forward could not be followed step by step; only overall patterns were tried")
    given = measured.run.gradients
    # The report's first rows are the subject's tensors; what was not checked comes after them.
    failing = [row.status == "FAIL" for row, _ in zip(measured.report.tensors, subject.names, strict=False)]
    free = {i for i, g in enumerate(given) if g is None} if case and case.parameters_after else set()
    dloss = float(measured.cotangent) if measured.cotangent.ndim == 0 else None
    meanings = Meanings(case, sizes_of(subject, measured, case), "MSE" in subject.title, dloss)
    inputs = case.inputs if case is not None else frozenset()
    # Weight decay is a matter of weights.
    values = [np.zeros(0) if i in inputs else v for i, v in enumerate(subject.values)]
    compared = tensors(subject.names, values, truth, given, failing, free)
    found = explain(case, compared, meanings)
    if (written := _written_into(subject, measured)) is not None:
        finding, copies = written
        shielded = tensors(subject.names, values, truth, copies, failing, free)
        besides = [
            Explanation((finding, *e.findings), e.missing, e.with_one_more())
            for e in explain(case, shielded, meanings)
        ]
        if all(t.residue(t.truth) == RIGHT for t in shielded):
            besides = [Explanation((finding,), (), (0, 1, -1))]
        found = best([*besides, *found])
    lines = patterns.describe(subject.names, truth, given)
    if not found:
        return Diagnosis(measured.report, pattern=lines, notes=notes)
    first, *others = found
    return Diagnosis(
        measured.report,
        list(first.findings),
        [list(e.findings) for e in others],
        list(first.missing),
        lines,
        notes,
    )


def _written_into(subject: Subject, measured: Measured) -> tuple[Finding, list[Any]] | None:
    """Who writes into an array that it was given, and the gradients where everybody gets a copy."""
    if not isinstance(subject, ModuleSubject):
        return None
    shielded = protected_gradients(subject, measured.cotangent)
    if shielded is None:
        return None
    gradients, writer = shielded
    sentence = f"{writer} writes into an array that it was given, which another layer still needs."
    evidence = "with a copy of the array instead, the gradients are others"
    return Finding("modified-in-place", sentence, evidence), gradients


def _changed(subject: Subject, measured: Measured) -> Iterator[tuple[int, Array]]:
    """Parameters that are not after the backward what they were before it."""
    if not isinstance(subject, ModuleSubject) or measured.run.model is None:
        return
    after = [p.data for p in measured.run.model.parameters()]
    first = len(subject.inputs)
    for i, value in enumerate(after):
        before = subject.values[first + i]
        if value.shape == before.shape and not np.array_equal(value, before):
            yield first + i, np.asarray(value)
