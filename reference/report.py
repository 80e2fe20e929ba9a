"""What a comparison with PyTorch found: rows of figures, and a verdict."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from scratchnn.checks import Array

__all__ = ["ParityReport", "Row", "largest_difference"]


def largest_difference(ours: Array, theirs: Array) -> tuple[float, tuple[int, ...]]:
    """Largest |ours - theirs| and its index; equal infinities and two NaNs count as equal.

    A NaN on one side only gives NaN, which no tolerance accepts. Shapes must agree (ValueError).
    """
    if ours.shape != theirs.shape:
        raise ValueError(f"cannot compare shapes {ours.shape} and {theirs.shape}")
    if ours.size == 0:
        return 0.0, ()
    # A difference of two float32 numbers is exact in float64 or rounds far below float32's eps.
    a, b = ours.astype(np.float64), theirs.astype(np.float64)
    same = (a == b) | (np.isnan(a) & np.isnan(b))
    with np.errstate(invalid="ignore"):
        difference = np.where(same, 0.0, np.abs(a - b))
    worst = int(np.argmax(difference))  # argmax stops at the first NaN, if there is one
    index = tuple(int(i) for i in np.unravel_index(worst, difference.shape))
    return float(difference.flat[worst]), index


@dataclass(frozen=True)
class Row:
    """One line of a report: one quantity, ours beside PyTorch's.

    `difference` is the largest absolute one, found at `index`; `scale` is the magnitude that one eps is
    taken of; `tolerance` is the largest difference allowed, 0 where the two must be identical.
    """

    name: str
    difference: float
    scale: float
    tolerance: float
    eps: float
    index: tuple[int, ...] = ()
    step: int | None = None
    spread: float | None = None
    note: str = ""

    @property
    def passed(self) -> bool:
        """Within the tolerance; a NaN never is."""
        return self.difference <= self.tolerance

    @property
    def identical(self) -> bool:
        """No difference in any bit that arithmetic can see."""
        return self.difference == 0.0

    @property
    def in_eps(self) -> float:
        """The difference in units of `eps * scale`; 0 where there is none."""
        return 0.0 if self.identical else self.difference / (self.eps * self.scale or self.eps)

    @property
    def chaotic(self) -> bool:
        """The table was exceeded, and PyTorch's own spread was taken as the measure."""
        return self.spread is not None

    def as_dict(self) -> dict[str, Any]:
        """The row as JSON-ready values; NaN and infinities become strings."""
        return {
            "name": self.name,
            "step": self.step,
            "difference": _json_number(self.difference),
            "in_eps": _json_number(self.in_eps),
            "tolerance": _json_number(self.tolerance),
            "index": list(self.index),
            "identical": self.identical,
            "chaotic": self.chaotic,
            "spread": None if self.spread is None else _json_number(self.spread),
            "passed": self.passed,
            "note": self.note,
        }


@dataclass
class ParityReport:
    """ours against PyTorch, row by row. True in a condition when every row passed.

    Attributes:
        title: what was compared.
        dtype, device: of the comparison; the device is PyTorch's.
        rows: one `Row` a quantity.
        parted: where and at which step two runs part; "" when they do not.
        seconds: wall-clock seconds of each side of a training run, compile time apart.
        history: our `History` of a training run, else None.
        run: PyTorch's `TorchRun` of a training run, else None.
    """

    title: str
    dtype: str
    device: str
    rows: list[Row]
    parted: str = ""
    seconds: dict[str, float] = field(default_factory=dict)
    history: Any = field(default=None, repr=False)
    run: Any = field(default=None, repr=False)

    @property
    def passed(self) -> bool:
        """Every row is within its tolerance."""
        return all(row.passed for row in self.rows)

    @property
    def chaotic(self) -> bool:
        """Some row was judged against PyTorch's own spread."""
        return any(row.chaotic for row in self.rows)

    @property
    def failures(self) -> list[Row]:
        """The rows that did not pass."""
        return [row for row in self.rows if not row.passed]

    def row(self, name: str) -> Row:
        """The last row called `name`. Raises KeyError with the names there are."""
        for row in reversed(self.rows):
            if row.name == name:
                return row
        raise KeyError(f"no row {name!r}; there are {', '.join(dict.fromkeys(r.name for r in self.rows))}")

    def __bool__(self) -> bool:
        return self.passed

    def as_dict(self) -> dict[str, Any]:
        """The report as JSON-ready values (`history` and `run` left out)."""
        return {
            "title": self.title,
            "dtype": self.dtype,
            "device": self.device,
            "passed": self.passed,
            "chaotic": self.chaotic,
            "parted": self.parted,
            "seconds": dict(self.seconds),
            "rows": [row.as_dict() for row in self.rows],
        }

    def _repr_html_(self) -> str:
        from scratchnn.show import parity_html

        return parity_html(self)

    def __str__(self) -> str:
        head = ("", "largest difference", "in eps * scale", "allowed", "verdict")
        lines = [_cells(row) for row in self.rows]
        widths = [max(len(line[i]) for line in [head, *lines]) for i in range(len(head))]
        text = [f"{self.title} ({self.dtype}, PyTorch on {self.device})", ""]
        for line in [head, *lines]:
            first, *rest = (
                cell.ljust(w) if i in (0, 4) else cell.rjust(w)
                for i, (cell, w) in enumerate(zip(line, widths, strict=True))
            )
            text.append("  ".join([first, *rest]).rstrip())
        text.append("")
        if self.seconds:
            text.append("seconds: " + ", ".join(f"{who} {value:.3g}" for who, value in self.seconds.items()))
        if self.parted:
            text.append(self.parted)
        text.append(self.verdict)
        return "\n".join(text)

    @property
    def verdict(self) -> str:
        """Passed or not, in one line, with the rows that failed."""
        if not self.passed:
            names = ", ".join(dict.fromkeys(_label(row) for row in self.failures))
            return f"FAILED: {names}"
        if self.chaotic:
            return "passed (chaotic: judged against PyTorch's own spread)"
        return "passed"


def _label(row: Row) -> str:
    return row.name if row.step is None else f"{row.name}, step {row.step}"


def _cells(row: Row) -> tuple[str, str, str, str, str]:
    verdict = "passed" if row.passed else "FAILED"
    if row.tolerance == 0.0 and row.identical:
        verdict = "identical"
    if row.chaotic:
        verdict += f", chaotic (PyTorch's own spread {row.spread:.2g})"
    if not row.passed and row.index:
        verdict += f" at {row.index}"
    if row.note:
        verdict += f"; {row.note}"
    allowed = "identical" if row.tolerance == 0.0 else f"{row.tolerance:.2g}"
    return _label(row), f"{row.difference:.2g}", f"{row.in_eps:.3g}", allowed, verdict


def _json_number(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
