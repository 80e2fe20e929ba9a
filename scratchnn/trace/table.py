"""A trace as data: rows for a spreadsheet, plain dictionaries for JSON."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from .trace import Trace

__all__ = ["as_csv", "as_dict"]

COLUMNS = ("step", "direction", "path", "module", "op", "role", "name", "index", "value")


def as_csv(trace: Trace) -> str:
    """One line for each number of each step, under a line of headings.

    An index is written as "3,1", from 0; a number alone has none. Floats are written so that they read
    back as they were.
    """
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(COLUMNS)
    table.writerows(_rows(trace))
    return text.getvalue()


def _rows(trace: Trace) -> Iterator[tuple[Any, ...]]:
    for step in trace.steps:
        start = (step.index, step.direction, step.path, step.module, step.op)
        for role, values in (("input", step.inputs), ("output", step.outputs)):
            for name, value in values.items():
                if value is None:
                    continue
                for index, entry in np.ndenumerate(np.asarray(value)):
                    yield (*start, role, name, ",".join(map(str, index)), str(entry))


def as_dict(trace: Trace) -> dict[str, Any]:
    """Everything but the copies of model and loss, which are given by their repr."""
    return {
        "model": repr(trace.model),
        "loss_fn": repr(trace.loss_fn),
        "loss": trace.loss,
        "dtype": str(trace.prediction.dtype),
        "x": trace.x.tolist(),
        "target": trace.target.tolist(),
        "prediction": trace.prediction.tolist(),
        "parameters": _plain(trace.parameters),
        "gradients": _plain(trace.gradients),
        "updates": _plain(trace.updates),
        "steps": [
            {
                "index": step.index,
                "path": step.path,
                "direction": step.direction,
                "module": step.module,
                "op": step.op,
                "formulas": list(step.formulas),
                "inputs": _plain(step.inputs),
                "outputs": _plain(step.outputs),
                "saved": _plain(step.saved),
                "parameters": dict(step.parameters),
            }
            for step in trace.steps
        ],
        "layers": [asdict(layer) for layer in trace.layers],
        "findings": list(trace.findings),
    }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {name: _plain_value(value) for name, value in values.items()}


def _plain_value(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return value.tolist()
    # What a module of the user's own was given may be anything.
    return value if value is None or isinstance(value, (bool, int, float, str)) else repr(value)
