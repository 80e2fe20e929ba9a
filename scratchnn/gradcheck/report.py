"""What a gradient check found, as numbers and as a table."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

__all__ = ["EPS", "NO_GRADIENT", "UNCHECKED", "GradcheckError", "GradcheckReport", "TensorCheck"]

HEADINGS: tuple[str, ...] = (
    "tensor",
    "shape",
    "compared",
    "worst at",
    "numeric",
    "analytic",
    "error/eps",
    "",
)
UNCHECKED = "not checked"
NO_GRADIENT = "no gradient found"  # the note of a row that is not checked for that reason
EPS = float(np.finfo(np.float64).eps)


class GradcheckError(RuntimeError):
    """A gradient is wrong, or was not checked; raised with `raise_on_fail=True`.

    Attributes:
        report: the GradcheckReport.
    """

    def __init__(self, report: GradcheckReport) -> None:
        super().__init__(str(report))
        self.report = report


@dataclass(frozen=True)
class TensorCheck:
    """One tensor's gradient, numeric against analytic.

    Attributes:
        name: the input's or parameter's name: "x", "0.weight".
        shape: of the tensor.
        status: "pass", "FAIL", "kink" (all that differs lies on a kink, where no derivative exists), or
            "not checked" (no gradient was found, or what was found cannot be decided; the note says which).
        entries: how many entries were compared. size: how many there are.
        kinks: entries that lie on a kink and were not judged.
        index: of the worst entry; None for a directional check.
        numeric, analytic: the two values there.
        error: |numeric - analytic| there, in units of rounding: eps times the larger of the two, or, of one
            that passes, times the terms that cancelled in it.
        relative: the same without eps.
        note: a word about anything unusual.
    """

    name: str
    shape: tuple[int, ...]
    status: str
    entries: int
    size: int
    kinks: int = 0
    index: tuple[int, ...] | None = None
    numeric: float = 0.0
    analytic: float = 0.0
    error: float = 0.0
    relative: float = 0.0
    note: str = ""


@dataclass(frozen=True)
class GradcheckReport:
    """The result of `gradcheck`: true when every tensor is right, and printed as a table.

    Attributes:
        subject: what was checked, in one line.
        method: "complex", "central" or "directional".
        reason: why this method, where it was not simply asked for; else "".
        tensors: one TensorCheck for each input and parameter.
        tolerance: the largest error that passes, relative to the entry, unless rounding explains more.
        constants: names of arrays whose gradient is not asked for: those that the caller says are not
            trained, targets, and data of a function that returns (loss, grads).
    """

    subject: str
    method: str
    reason: str
    tensors: list[TensorCheck] = field(default_factory=list)
    tolerance: float = 0.0
    constants: list[str] = field(default_factory=list)

    @property
    def verdict(self) -> str:
        """ "PASS", "FAIL", "not checked" or "nothing to check"; only the first is true."""
        found = {row.status for row in self.tensors}
        for status in ("FAIL", UNCHECKED):
            if status in found:
                return status
        return "PASS" if any(row.entries for row in self.tensors) else "nothing to check"

    @property
    def passed(self) -> bool:
        """True when everything was checked and is right."""
        return self.verdict == "PASS"

    @property
    def kinks(self) -> int:
        """How many entries lie on kinks and were not judged."""
        return sum(row.kinks for row in self.tensors)

    def __bool__(self) -> bool:
        return self.passed

    def __getitem__(self, name: str) -> TensorCheck:
        for row in self.tensors:
            if row.name == name:
                return row
        raise KeyError(f"no tensor {name!r}; there are {', '.join(row.name for row in self.tensors)}")

    def _repr_html_(self) -> str:
        from ..show import gradcheck_html

        return gradcheck_html(self)

    def __str__(self) -> str:
        lines = [f"gradcheck of {self.subject}: {self.verdict.upper()}, {self.count()}"]
        method = {"complex": "complex step", "central": "central differences"}.get(self.method, self.method)
        lines.append(f"by {method} in float64, tolerance {self.tolerance:g} of each entry")
        if self.reason:
            lines.append(f"  ({self.reason})")
        lines.append("")
        rows = [HEADINGS, *(_cells(row) for row in self.tensors)]
        widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
        lines += ["  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)).rstrip() for row in rows]
        if self.kinks:
            lines += ["", "A kink has no derivative: entries on one are counted, not judged."]
        lines += ["", *self.remarks()] if self.remarks() else []
        return "\n".join(lines)

    def count(self) -> str:
        """How many tensors are right, and how many were not checked."""
        good = sum(row.status in ("pass", "kink") for row in self.tensors)
        unchecked = sum(row.status == UNCHECKED for row in self.tensors)
        words = f"{good} of {len(self.tensors)} tensors right"
        return words + (f", {unchecked} not checked" if unchecked else "")

    def remarks(self) -> list[str]:
        """Sentences on what was not checked and what is constant."""
        unchecked = [row for row in self.tensors if row.status == UNCHECKED]
        missing = [row.name for row in unchecked if row.note.startswith(NO_GRADIENT)]
        lines = []
        if unchecked:
            names = ", ".join(row.name for row in unchecked)
            lines.append(f"Not checked: {names}. The verdict says nothing about these gradients.")
        if missing:
            lines.append(
                f"The output depends on {', '.join(missing)}, and no gradient was found. Leave that of W in "
                f"dW or grads['W'], or return it; if it is not trained, say constants={missing!r}."
            )
        if self.verdict == "nothing to check":
            lines.append(
                "Nothing to check: the output has no entries, or there is no array to differentiate by."
            )
        if self.constants:
            lines.append(f"Taken as constants: {', '.join(self.constants)}.")
        return lines


def _cells(row: TensorCheck) -> tuple[str, ...]:
    compared = str(row.entries) if row.entries == row.size else f"{row.entries} of {row.size}"
    where = "" if row.index is None else str(row.index if len(row.index) != 1 else f"({row.index[0]})")
    numbers = (
        ("", "", "")
        if row.error < 0 or not row.entries
        else (
            f"{row.numeric:+.9e}",
            f"{row.analytic:+.9e}",
            f"{row.error:.1f}" if row.error < 1e4 else f"{row.error:.1e}",
        )
    )
    notes = [row.status]
    if row.kinks:
        notes.append(f"{row.kinks} on a kink")
    if row.note:
        notes.append(row.note)
    return (row.name, str(row.shape), compared, where, *numbers, "; ".join(notes))
