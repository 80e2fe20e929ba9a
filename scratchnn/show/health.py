"""Where learning is lost: the findings as sentences, the figures as tables."""

from __future__ import annotations

from typing import Any

from .markup import Markup, tag
from .numbers import number
from .tables import data_table

__all__ = ["findings_list", "health_tables"]


def findings_list(trace: Any) -> Markup:
    """What is wrong, a sentence each; or that nothing is."""
    if not trace.findings:
        return tag("p", "Nothing stands out: gradients reach every layer.", class_="good-news")
    items = [tag("li", tag("span", "Look: ", class_="bad"), finding) for finding in trace.findings]
    return tag("div", tag("ul", items, class_="findings"), role="note", aria_label="Findings")


def health_tables(trace: Any) -> list[Markup]:
    """Norms of activations and gradients a layer; norms, gradients and updates a parameter."""
    if not trace.layers:
        return []
    layers = list(trace.layers)
    columns: list[tuple[str, Any]] = [
        ("norm of y", lambda layer: number(layer.activation)),
        ("norm of dL/dy", lambda layer: _optional(layer.gradient)),
    ]
    if any(layer.dead is not None for layer in layers):
        columns.append(("dead units", _dead))
    if any(layer.saturated is not None for layer in layers):
        columns.append(("saturated", _saturated))
    rows = [(layer.label, *[text(layer) for _, text in columns]) for layer in layers]
    tables = [data_table(("layer", *[name for name, _ in columns]), rows, label="Health of the layers")]
    parameters = {p.name: p for layer in layers for p in layer.parameters}.values()
    if not parameters:
        return tables
    heads = ["parameter", "norm", "norm of its gradient"]
    moved = any(p.update is not None for p in parameters)
    if moved:
        heads += ["norm of the update", "update / norm"]
    lines = [
        (p.name, number(p.norm), _optional(p.gradient))
        + ((_optional(p.update), _optional(p.ratio)) if moved else ())
        for p in parameters
    ]
    return [*tables, data_table(heads, lines, label="Health of the parameters")]


def _optional(value: float | None) -> str:
    return "–" if value is None else number(value)


def _dead(layer: Any) -> Any:
    if layer.dead is None:
        return ""
    return (f"{layer.dead} of {layer.units}", "bad" if layer.dead else None)


def _saturated(layer: Any) -> str:
    return "" if layer.saturated is None else f"{100 * layer.saturated:.0f} %"
