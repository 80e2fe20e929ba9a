"""Numbers in the words of a study: JSON, the parity table, seconds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from rich.box import SIMPLE_HEAD
from rich.table import Table

if TYPE_CHECKING:
    from reference import ParityReport

__all__ = ["batch_words", "jsonable", "parity_numbers", "parity_table", "ratio", "seconds"]


def jsonable(value: Any) -> Any:
    """`value` in JSON's own types: arrays as lists, NaN and infinities as null."""
    if isinstance(value, Mapping):
        return {str(key): jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [jsonable(item) for item in value]
    if isinstance(value, (np.ndarray, np.generic)):
        return jsonable(value.tolist())
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def parity_table(report: ParityReport) -> Table:
    table = Table(box=SIMPLE_HEAD, padding=(0, 2, 0, 0), pad_edge=False)
    table.add_column("  ", no_wrap=True)
    for heading in ("difference", "in eps*max|p|", "allowed", ""):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in report.rows:
        name = f"  {row.name}" + ("" if row.step is None else f", step {row.step:,}")
        difference = "identical" if row.identical else f"{row.difference:.1e}"
        eps = f"{row.in_eps:.1f}" if row.name == "parameters" else ""
        allowed = "none" if row.tolerance == 0 else f"{row.tolerance:.1e}"
        table.add_row(name, difference, eps, allowed, "pass" if row.passed else "FAIL")
    return table


def parity_numbers(report: ParityReport) -> dict[str, Any]:
    """The report as `--json` prints it."""
    weights, batches = report.row("initial weights"), report.row("batches")
    parameters = report.row("parameters")
    return {
        "passed": report.passed,
        "device": report.device,
        "initial_weights_identical": weights.identical,
        "batches_identical": batches.identical,
        "largest_parameter_difference": parameters.difference,
        "in_eps": parameters.in_eps,
        "allowed": parameters.tolerance,
        "chaotic": report.chaotic,
        "rows": [row.as_dict() for row in report.rows],
    }


def ratio(ratio: float) -> str:
    return f"{ratio:.3g} times as long" if ratio < 100 else f"{ratio:,.0f} times as long"


def seconds(seconds: float) -> str:
    return f"{seconds:.3g} s" if seconds >= 1 else f"{1e3 * seconds:.3g} ms"


def batch_words(batch_size: int | None) -> str:
    return "all points in every step" if batch_size is None else f"in batches of {batch_size}"
