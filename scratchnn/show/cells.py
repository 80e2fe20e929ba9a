"""What a notebook shows: one box with its own small stylesheet."""

from __future__ import annotations

import functools
from importlib.resources import files
from typing import Any

from .account import Origins, axes_of, step_name
from .columns import network_of_model, network_of_trace
from .curves import curves
from .diagram import diagram
from .health import findings_list, health_tables
from .markup import Markup, tag
from .numbers import number, shape_text, spread
from .sheets import answers_body, sheet_body
from .steps import step_body
from .tables import array_block, data_table

__all__ = [
    "comparison_html",
    "gradcheck_html",
    "history_html",
    "model_html",
    "parity_html",
    "sheet_html",
    "stylesheet",
    "trace_html",
]


@functools.cache
def stylesheet(*names: str) -> str:
    """The texts of style.css, page.css."""
    return "\n".join((files(__package__) / name).read_text(encoding="utf-8") for name in names)


def cell(name: str, *content: Any) -> str:
    """A box with a name on top."""
    style = tag("style", Markup(stylesheet("style.css")))
    return str(tag("div", style, tag("p", name, class_="name"), *content, class_="scratchnn cell"))


def model_html(model: Any) -> str:
    """The diagram, where the order of the layers is known, and the parameters; without any, the repr."""
    named = list(model.named_parameters())
    kind = type(model).__name__
    if not named:
        return cell(kind, tag("p", tag("code", repr(model))))
    network = network_of_model(model)
    total = sum(parameter.data.size for _, parameter in named)
    return cell(
        f"{kind}, {total:,} parameter{'s' if total != 1 else ''}",
        None if network is None else diagram(network),
        _parameters(named, kind),
        tag("details", tag("summary", "Modules"), tag("pre", repr(model))),
    )


def _parameters(named: list[tuple[str, Any]], kind: str) -> Markup:
    with_gradient = any(parameter.grad is not None for _, parameter in named)
    heads = ["parameter", "shape", "entries", ("values", "left"), *(["gradient"] if with_gradient else [])]
    rows = []
    for name, parameter in named:
        row: list[Any] = [name, shape_text(parameter.shape), f"{parameter.data.size:,}"]
        row.append((spread(parameter.data), "left"))
        if with_gradient:
            row.append("none" if parameter.grad is None else spread(parameter.grad))
        rows.append(row)
    return data_table(heads, rows, label=f"Parameters of {kind}")


def trace_html(trace: Any) -> str:
    """The diagram, the findings, and every step, folded."""
    origins = Origins()
    origins.add(trace.x, "the input", "")
    steps: list[Markup] = []
    for direction in ("forward", "backward"):
        arrow = "→" if direction == "forward" else "←"
        for step in trace.steps:
            if step.direction == direction:
                head = tag("summary", arrow, " ", tag("b", step_name(step)), " ", tag("small", direction))
                steps.append(tag("details", head, step_body(step, origins, linked=False)))
    x = array_block("x", trace.x, title="the input x", axes=axes_of(None, "x", trace.x), key="trace.x")
    return cell(
        f"One step of backprop, loss {number(trace.loss)}",
        diagram(network_of_trace(trace)),
        findings_list(trace),
        tag("details", tag("summary", "Norms"), *health_tables(trace)),
        tag("details", tag("summary", "→ ", tag("b", "x")), tag("div", x, class_="arrays")),
        steps,
    )


def sheet_html(sheet: Any) -> str:
    """The derivation; an exercise's answers folded under it."""
    answers = None
    if sheet.answers:
        answers = tag("details", tag("summary", "Answers"), answers_body(sheet))
    return cell(sheet.title, sheet_body(sheet), answers)


def history_html(history: Any) -> str:
    """The losses as curves and the last figures as a table."""
    series = {"train_loss": history.train_loss, "val_loss": history.val_loss, **history.metrics}
    series = {name: list(values) for name, values in series.items() if values}
    facts = [f"{history.steps:,} steps on the {history.engine} engine in {number(history.seconds, 3)} s."]
    if history.reason:
        facts.append(f" ({history.reason})")
    losses = {name: values for name, values in series.items() if name.endswith("loss")}
    rows = []
    for name, values in series.items():
        rows.append((name, number(values[0]), number(values[-1]), number(min(values)), number(max(values))))
    heads = ("each epoch", "first", "last", "lowest", "highest")
    epochs = f"{history.epochs:,} epoch{'s' if history.epochs != 1 else ''}"
    return cell(
        f"History of {epochs}",
        tag("p", facts),
        curves(losses, "epoch", "loss") if history.epochs > 1 else None,
        data_table(heads, rows, label="Figures of the run") if rows else None,
    )


def gradcheck_html(report: Any) -> str:
    """The verdict and a row for each tensor."""
    method = {"complex": "complex step", "central": "central differences"}.get(report.method, report.method)
    words = [
        tag("span", f"{report.verdict.upper()}:", class_="good" if report.passed else "bad"),
        f" {report.count()}, by {method} in float64; tolerance ",
        f"{number(report.tolerance)} of each entry.",
        f" ({report.reason})" if report.reason else "",
    ]
    rows: list[Any] = []
    for row in report.tensors:
        compared = str(row.entries) if row.entries == row.size else f"{row.entries} of {row.size}"
        where = "" if row.index is None else ", ".join(map(str, row.index))
        judged = row.error >= 0 and row.entries > 0
        figures = (
            (number(row.numeric, 9), number(row.analytic, 9), number(row.error, 2)) if judged else ("–",) * 3
        )
        kinks = f"{row.kinks} on a kink" if row.kinks else ""
        note = "; ".join(part for part in (kinks, row.note) if part)
        status = (row.status, "good" if row.status in ("pass", "kink") else "bad")
        rows.append((row.name, shape_text(row.shape), compared, where, *figures, status, (note, "left")))
    heads = (
        "tensor",
        "shape",
        "compared",
        "worst at",
        "numeric",
        "analytic",
        "error / eps",
        "verdict",
        ("note", "left"),
    )
    kinks = tag("p", "A kink has no derivative: entries on one are counted, not judged.", class_="hint")
    return cell(
        f"gradcheck of {report.subject}",
        tag("p", words),
        data_table(heads, rows, label="Tensors"),
        kinks if report.kinks else None,
        *(tag("p", line) for line in report.remarks()),
    )


def parity_html(report: Any) -> str:
    """The verdict and a row for each quantity, ours beside PyTorch's."""
    rows: list[Any] = []
    for row in report.rows:
        name = row.name if row.step is None else f"{row.name}, step {row.step}"
        allowed = "identical" if row.tolerance == 0.0 else number(row.tolerance, 2)
        word = "identical" if row.passed and row.identical and row.tolerance == 0.0 else "passed"
        notes = [row.note] if row.note else []
        if row.chaotic:
            notes.insert(0, f"chaotic: PyTorch's own spread is {number(row.spread, 2)}")
        if not row.passed:
            word = "FAILED"
            if row.index:
                notes.insert(0, f"at [{', '.join(map(str, row.index))}]")
        verdict = (word, "good" if row.passed else "bad")
        figures = (number(row.difference, 2), number(row.in_eps, 3), allowed)
        rows.append((name, *figures, verdict, ("; ".join(notes), "left")))
    heads = ("quantity", "largest difference", "in eps × scale", "allowed", "verdict", ("note", "left"))
    seconds = ", ".join(f"{who} {number(value, 3)} s" for who, value in report.seconds.items())
    return cell(
        f"{report.title}: beside PyTorch",
        tag(
            "p",
            _verdict(report.passed),
            f" {len(report.rows) - len(report.failures)} of {len(report.rows)} rows within what is allowed; "
            f"{report.dtype}, PyTorch on {report.device}.",
            " Some were judged by PyTorch's own spread." if report.chaotic else None,
        ),
        data_table(heads, rows, label="Quantities"),
        tag("p", report.parted) if report.parted else None,
        tag("p", f"Time: {seconds}.", class_="hint") if seconds else None,
    )


def comparison_html(comparison: Any) -> str:
    """Where two runs part, by how much, and why."""
    rows = [(name or "and", (text, "left")) for name, text in comparison.lines()]
    name = "Two runs: identical" if comparison.identical else f"Two runs part: {comparison.cause}"
    return cell(name, data_table(("about", ("what was found", "left")), rows, label="Comparison of two runs"))


def _verdict(passed: bool) -> Markup:
    return tag("span", "PASS:" if passed else "FAIL:", class_="good" if passed else "bad")
