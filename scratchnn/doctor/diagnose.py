"""diagnose: name the mistake in a wrong gradient."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ..checks import Array
from ..gradcheck.check import make_subject, measure, quietly
from ..gradcheck.judge import Measured
from ..gradcheck.report import GradcheckReport
from ..gradcheck.subject import ModuleSubject, ShapeError, Subject
from . import factors, patterns
from .catalogue import CATALOGUE, Candidate, Case, candidates
from .protect import protected_gradients
from .record import record

__all__ = ["Diagnosis", "Finding", "diagnose"]

MATCH = 1e-9  # of the tensor's largest gradient: two float64 programs for one formula
DIFFERENT = 1e-6  # a candidate must be this far from the truth to explain anything
SAMPLED_ENTRIES = 200  # of a tensor, to see whether anything is wrong
MOST_ENTRIES = 20_000  # of a tensor, to see what
WIDTH = 100  # of the printed lines


@dataclass(frozen=True)
class Finding:
    """A mistake and why it is believed.

    Attributes:
        name: a key of CATALOGUE. sentence: the diagnosis in words. evidence: numbers.
    """

    name: str
    sentence: str
    evidence: str


@dataclass(frozen=True)
class Diagnosis:
    """What `diagnose` says: true only where the gradient is right.

    Attributes:
        report: the gradient check; None where the backward could not run to its end.
        findings: the mistakes that fit all gradients, the likeliest first; empty where nothing fits.
        pattern: how the wrong gradients differ from the right ones, one line a tensor.
        notes: anything seen on the way.
    """

    report: GradcheckReport | None
    findings: list[Finding] = field(default_factory=list)
    pattern: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        """True when the gradient is right."""
        return self.report is not None and bool(self.report)

    def __bool__(self) -> bool:
        return self.passed

    @property
    def mistake(self) -> str | None:
        """The name of the likeliest mistake; None where the gradient is right or nothing fits."""
        return self.findings[0].name if self.findings else None

    def __str__(self) -> str:
        lines = [] if self.report is None else [str(self.report), ""]
        if self.passed:
            lines.append("Diagnosis: the gradient is right.")
        elif self.report is not None and self.report.verdict != "FAIL":
            lines.append(f"Diagnosis: {self.report.verdict}.")
        elif self.findings:
            first, *others = self.findings
            lines += [
                f"Diagnosis: {first.name}",
                _wrapped(first.sentence),
                _wrapped(f"Evidence: {first.evidence}."),
            ]
            if others:
                lines.append("  The same numbers would come from:")
                lines += [_wrapped(f"{other.name}: {other.sentence}", "    ") for other in others]
        else:
            lines.append("Diagnosis: no mistake of the catalogue fits.")
        lines += [f"  {line}" for line in ([] if self.findings else self.pattern)]
        lines += [f"  Note: {note}" for note in self.notes]
        return "\n".join(lines)


def _wrapped(text: str, indent: str = "  ") -> str:
    text = text[0].upper() + text[1:] if text.startswith(("each ", "every ")) else text
    return textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent)


def diagnose(
    subject: Any, *inputs: Any, loss_fn: Any = None, target: Any = None, method: str = "auto", seed: int = 0
) -> Diagnosis:
    """Check a backward pass as `gradcheck` does and, where it is wrong, name the mistake.

    Every mistake of the catalogue is tried on the function itself: the gradient that it would give is
    computed from the recorded forward and must agree with the one at hand in every entry of every tensor.

    Args:
        subject, inputs, loss_fn, target, method, seed: as for `gradcheck`. Use a batch of at least
            three rows, and as many outputs as the real thing: with N = 2 a lost 2 looks like a lost N.
    Returns:
        Diagnosis: `mistake` is a name from `scratchnn.doctor.CATALOGUE`, or None; it prints in sentences.
    Raises:
        TypeError, ValueError: as `gradcheck`; and what the subject's own forward raises.
    """
    with quietly():
        made = make_subject(subject, inputs, loss_fn, target)
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
    return Diagnosis(None, findings, [f"the backward stopped with {text}"])


def _broken_shape(error: ShapeError) -> Diagnosis:
    got, needs = error.got, error.needs
    rows = {needs[0]} if needs else set()
    if len(got) == 2 and set(got) == rows and got != needs:
        sentence = (
            f"the loss's backward returned shape {got} for a prediction of shape {needs}: "
            "(N, 1) met (N,) and was broadcast to (N, N). Reshape the target."
        )
        return Diagnosis(None, [Finding("broadcast", sentence, f"shape {got} instead of {needs}")])
    return Diagnosis(None, [], [str(error)])


def _truth(subject: Subject, measured: Measured) -> tuple[Case | None, list[Array]]:
    """(the recorded forward, the right gradients); without a record what was measured, 0 elsewhere."""
    taped = record(subject)
    if taped is not None and taped[1].value.shape == measured.cotangent.shape:
        case = Case(taped[0], taped[1], measured.cotangent, dict(_changed(subject, measured)))
        exact = case.gradients()
        rows = zip(measured.numeric, exact, measured.report.tensors, strict=False)
        if all(row.kinks or _agrees(*numeric, gradient) for numeric, gradient, row in rows):
            return case, exact
    truth = [np.zeros(value.shape) for value in subject.values]
    for (entries, numbers), gradient in zip(measured.numeric, truth, strict=False):
        for index, number in zip(entries, numbers, strict=True):
            gradient[index] = number
    return None, truth


def _agrees(entries: list[tuple[int, ...]], numeric: Array, exact: Array) -> bool:
    """The record is believed where it gives what was measured."""
    found = np.array([exact[index] for index in entries])
    scale = float(np.abs(numeric).max(initial=0.0))
    return bool(np.abs(numeric - found).max(initial=0.0) <= 1e-5 * scale + 1e-9)


def _examine(subject: Subject, measured: Measured, case: Case | None, truth: list[Array]) -> Diagnosis:
    given = [None if g is None else np.asarray(g) for g in measured.run.gradients]
    notes = []
    if case is None:
        notes.append("the forward could not be followed step by step; only overall patterns were tried")
    found = list(_search(subject, measured, case, truth, given))
    unique: dict[str, tuple[int, Finding]] = {}
    for rank, finding in sorted(found, key=lambda pair: pair[0]):
        unique.setdefault(finding.name, (rank, finding))
    lines = patterns.describe(subject.names, truth, given)
    return Diagnosis(measured.report, [f for _, f in unique.values()], lines, notes)


def _search(
    subject: Subject, measured: Measured, case: Case | None, truth: list[Array], given: list[Any]
) -> Iterator[tuple[int, Finding]]:
    wrong = [
        name
        for name, row in zip(subject.names, measured.report.tensors, strict=False)
        if row.status == "FAIL"
    ]
    for rank, name, sentence, evidence in factors.explain(subject, measured, case, truth, given):
        yield rank, Finding(name, sentence, evidence)
    if isinstance(subject, ModuleSubject):
        shielded = protected_gradients(subject, measured.cotangent)
        if shielded is not None and _matches(truth, shielded[0]):
            sentence = (
                f"{shielded[1]} writes into an array that it was given, which another layer still needs."
            )
            evidence = "with a copy of the array instead, every gradient is right"
            yield -1, Finding("modified-in-place", sentence, evidence)
    if case is None:
        return
    wildcards = {i for i, g in enumerate(given) if g is None} if case.parameters_after else set()
    for candidate in candidates(case):
        if len(candidate.factors) > 1 and factors.proportional(truth, candidate.gradients):
            continue  # a plain factor, which has a name of its own
        for factor in candidate.factors:
            gradients = [g * factor for g in candidate.gradients]
            if _explains(truth, gradients, given, wildcards):
                names = [name for i, name in enumerate(subject.names) if i not in wildcards]
                yield candidate.rank, _finding(candidate, factor, [n for n in wrong if n in names], names)


def _finding(candidate: Candidate, factor: float, wrong: list[str], names: list[str]) -> Finding:
    meaning = CATALOGUE[candidate.key]
    sentence = f"{meaning[0].upper()}{meaning[1:]}: {candidate.text}."
    evidence = (
        f"a backward pass with just this mistake gives the gradients at hand, in every entry of "
        f"{', '.join(names)}; wrong among them: {', '.join(wrong)}"
    )
    if factor != 1.0:
        evidence += f", up to a factor of {factor:g}"
    return Finding(candidate.key, sentence, evidence)


def _explains(truth: list[Array], gradients: list[Array], given: list[Any], wildcards: set[int]) -> bool:
    network = max((float(np.abs(t).max(initial=0.0)) for t in truth), default=0.0)
    differs = False
    for i, (right, wrong, found) in enumerate(zip(truth, gradients, given, strict=True)):
        if i in wildcards:
            continue
        actual = np.zeros(right.shape) if found is None else found
        if not _close(wrong, actual, network):
            return False
        scale = float(np.abs(right).max(initial=0.0))
        differs |= wrong.shape != right.shape or bool(
            np.abs(wrong - right).max(initial=0.0) > DIFFERENT * scale
        )
    return differs


def _close(a: Array, b: Array, network: float) -> bool:
    if a.shape != b.shape or b.dtype.kind not in "biuf":
        return False
    scale = max(float(np.abs(a).max(initial=0.0)), float(np.abs(b).max(initial=0.0)))
    worst = float(np.abs(a - b).max(initial=0.0))
    return worst <= MATCH * scale + 1e-12 * network


def _matches(truth: list[Array], gradients: list[Any]) -> bool:
    network = max((float(np.abs(t).max(initial=0.0)) for t in truth), default=0.0)
    return all(
        g is not None and _close(t, np.asarray(g), network) for t, g in zip(truth, gradients, strict=True)
    )


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
