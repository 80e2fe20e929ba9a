"""Gradients that are the right ones times a number, or the right ones in another shape."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from ..checks import Array
from ..gradcheck.judge import Measured
from ..gradcheck.subject import Subject
from .catalogue import CATALOGUE, Case

__all__ = ["common_factor", "explain", "proportional"]

CLOSE = 1e-9


def common_factor(right: Array, wrong: Array) -> float | None:
    """c where wrong = c * right in every entry, else None."""
    if right.shape != wrong.shape or wrong.dtype.kind not in "biuf" or not right.size:
        return None
    scale = float((right * right).sum())
    if scale == 0 or not np.isfinite(wrong).all():
        return None
    c = float((wrong * right).sum()) / scale
    worst = float(np.abs(wrong - c * right).max())
    largest = max(float(np.abs(wrong).max()), float(np.abs(right).max()) * min(1.0, abs(c)))
    return c if worst <= CLOSE * largest or (c == 0 and not wrong.any()) else None


def proportional(right: list[Array], wrong: list[Array]) -> bool:
    """The two are the same up to one number for each tensor."""
    return all(not r.any() or common_factor(r, w) is not None for r, w in zip(right, wrong, strict=True))


def explain(
    subject: Subject, measured: Measured, case: Case | None, truth: list[Array], given: list[Any]
) -> Iterator[tuple[int, str, str, str]]:
    """(rank, name, sentence, evidence) for what factors and shapes alone explain."""
    yield from _shapes(subject.names, truth, given)
    factors: dict[str, float] = {}
    for name, right, found in zip(subject.names, truth, given, strict=True):
        wrong = np.zeros(right.shape) if found is None else found
        if wrong.shape == right.shape and not right.any() and not wrong.any():
            continue
        c = common_factor(right, wrong)
        if c is None:
            return
        if abs(c - 1) > CLOSE:
            factors[name] = c
    values = np.array(list(factors.values()))
    if not factors or np.ptp(values) > CLOSE * np.abs(values).max():
        return
    c = float(values.mean())
    names = _names(list(factors), everything=len(factors) == len(subject.names))
    yield from _meanings(subject, measured, case, c, names)


def _names(names: list[str], everything: bool) -> str:
    written = [f"d{n}" if n.isidentifier() else f"d({n})" for n in names]
    if len(written) == 1:
        return written[0]
    return "every gradient" if everything else f"each of {', '.join(written)}"


def _meanings(
    subject: Subject, measured: Measured, case: Case | None, c: float, names: str
) -> Iterator[tuple[int, str, str, str]]:
    evidence = f"{names} is the right gradient times {c:.6g} in every entry"
    if c == 0:
        yield 0, "no-gradient", f"{names} is zero: the backward never computes it, or loses it.", evidence
        return
    if _near(c, -1):
        yield 0, "sign-flipped", f"{names} has its sign flipped in every entry.", evidence
        return
    sizes = _sizes(subject, measured)
    squared = _squared_error(subject, case)
    sign = "" if c > 0 else " Its sign is flipped as well."
    known = False
    for size, what in sizes.items():
        if _near(abs(c), size):
            known = True
            sentence = (
                f"{names} is the right gradient times {c:.6g}: {what}. The forward takes a mean, whose "
                f"division is missing from the backward.{sign}"
            )
            yield (2 if squared and size == 2 else 1), "sum-for-mean", sentence, evidence
        if _near(abs(c), 1 / size):
            known = True
            if _divides(case, subject):
                sentence = (
                    f"{names} is the right gradient divided by {size}: {what}. The division of the mean was "
                    f"made twice: once in the loss, once more after it.{sign}"
                )
                yield (2 if squared and size == 2 else 1), "divided-twice", sentence, evidence
            else:
                sentence = (
                    f"{names} is the right gradient divided by {size}: {what}. The forward takes a sum, the "
                    f"backward is that of a mean.{sign}"
                )
                yield 1, "mean-for-sum", sentence, evidence
    if _near(abs(c), 0.5):
        known = True
        where = "the squared error's derivative" if squared else "a square's derivative"
        sentence = f"{names} is half of the right gradient: the 2 of {where} is missing.{sign}"
        yield (1 if squared else 2), "factor-2-dropped", sentence, evidence
    if _near(abs(c), 2):
        known = True
        sentence = (
            f"{names} is twice the right gradient: a 2 (of a squared error?) was multiplied in twice.{sign}"
        )
        yield (1 if squared else 2), "factor-2-doubled", sentence, evidence
    if measured.cotangent.ndim == 0 and _near(c * float(measured.cotangent), 1):
        known = True
        sentence = f"{CATALOGUE['upstream-ignored'].capitalize()}: {names} is the one for dloss = 1."
        yield 0, "upstream-ignored", sentence, evidence
    if not known:
        sentence = (
            f"{names} is the right gradient times {c:.6g}, which is no size of the data ({_list(sizes)})."
        )
        yield 5, "constant-factor", sentence, evidence


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= CLOSE * max(abs(a), abs(b))


def _sizes(subject: Subject, measured: Measured) -> dict[int, str]:
    """Numbers that means divide by: {number: what it is}."""
    shapes = [measured.y.shape, subject.values[0].shape]
    if (gradient := getattr(measured.run, "loss_gradient", None)) is not None:
        shapes.insert(0, np.shape(gradient))
    found: dict[int, list[str]] = {}
    for shape in shapes:
        if not shape:
            continue
        n, size = int(shape[0]), int(np.prod(shape))
        for number, what in (
            (n, "the batch size"),
            (size, "the number of elements"),
            (size // max(n, 1), "the row's length"),
        ):
            if number > 1 and what not in found.setdefault(number, []):
                found[number].append(what)
    return {number: " or ".join(whats) for number, whats in found.items()}


def _list(sizes: dict[int, str]) -> str:
    return ", ".join(f"{what} is {number}" for number, what in sizes.items())


def _squared_error(subject: Subject, case: Case | None) -> bool:
    """A difference that is squared stands in the forward."""
    if case is None:
        return "MSE" in subject.title
    for node in case.tape.nodes[: case.output.index + 1]:
        same = node.op == "multiply" and len(node.args) == 2 and node.args[0] is node.args[1]
        power = node.op == "power" and np.all(np.asarray(node.args[1]) == 2) if len(node.args) == 2 else False
        if node.op == "square" or same or power:
            return True
        if node.op == "multiply" and len(node.args) == 2:
            a, b = (x.value if hasattr(x, "value") else x for x in node.args)
            if np.shape(a) == np.shape(b) and np.array_equal(a, b):
                return True
    return False


def _divides(case: Case | None, subject: Subject) -> bool:
    """The forward has a mean, or a division by a constant."""
    if case is None:
        return True
    for node in case.tape.nodes[: case.output.index + 1]:
        if node.op == "mean":
            return True
        if node.op in ("divide", "multiply"):
            for arg in node.args:
                if (
                    not hasattr(arg, "value")
                    and np.ndim(arg) == 0
                    and float(arg) not in (0.0, 1.0, -1.0, 2.0)
                ):
                    return True
    return False


def _shapes(names: list[str], truth: list[Array], given: list[Any]) -> Iterator[tuple[int, str, str, str]]:
    """Transposed, reshaped: right numbers in a wrong place."""
    faults: list[tuple[str, str, str]] = []
    for name, right, found in zip(names, truth, given, strict=True):
        wrong = np.zeros(right.shape) if found is None else found
        if wrong.dtype.kind not in "biuf":
            return
        if wrong.shape == right.shape and _same(right, wrong):
            continue
        title = _names([name], everything=False)
        if right.ndim == 2 and wrong.shape == right.T.shape and _same(right.T, wrong):
            text = f"{title} is the transpose of the right gradient: one .T too few, or one too many."
            faults.append(("transpose", text, f"{title}.T is right in every entry"))
        elif right.ndim == 2 and wrong.shape == right.shape and _same(right.T.reshape(right.shape), wrong):
            text = f"{title} is the transpose of the right gradient, reshaped; use .T where it is reshaped."
            faults.append(("transpose", text, "its numbers in order are those of the transpose"))
        elif wrong.size == right.size and wrong.shape != right.shape and _same(right.ravel(), wrong.ravel()):
            text = f"{title} has the right numbers in shape {wrong.shape} instead of {right.shape}."
            faults.append(("wrong-shape", text, "the numbers in order are the right ones"))
        else:
            return
    if faults:
        kind = faults[0][0]
        yield (
            0,
            kind,
            " ".join(text for _, text, _ in faults),
            "; ".join(dict.fromkeys(e for _, _, e in faults)),
        )


def _same(a: Array, b: Array) -> bool:
    scale = float(np.abs(a).max(initial=0.0))
    return a.shape == b.shape and float(np.abs(a - b).max(initial=0.0)) <= CLOSE * scale
