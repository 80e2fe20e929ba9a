"""Cost against size, log-log, one line a peer."""

from __future__ import annotations

import io
import itertools
from pathlib import Path
from typing import Any

from scratchnn.files.atomic import write_atomically
from scratchnn.plots.look import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    SKY,
    VERMILION,
    label_axes,
    new_figure,
)

from .peers import PEERS
from .report import AXES
from .workloads import LARGE, SMALL

__all__ = ["draw"]

# colour, marker, line
LOOKS = {
    "numba": (BLACK, "o", "-"),
    "c": (ORANGE, "*", "-"),
    "jax": (GREEN, "s", "-"),
    "jax_last": (GREEN, "v", "--"),
    "numpy": (BLUE, "D", "-"),
    "sklearn": (SKY, "P", "-"),
    "torch": (VERMILION, "^", "-"),
    "torch_fused": (PURPLE, "X", "-"),
    "torch_compile": (VERMILION, "<", "--"),
    "torch_loader": (VERMILION, ">", ":"),
}
OURS = "numba"

Row = dict[str, Any]


def draw(sections: dict[str, Any], folder: Path, prefix: str = "") -> list[Path]:
    """scaling.png and networks.png, as far as there are figures for them; `prefix` comes before the names."""
    drawn = []
    if "scaling" in sections and (figure := _scaling(sections["scaling"]["results"])):
        drawn.append(_save(figure, folder / f"{prefix}scaling.png"))
    both = [r for name in ("small", "large") if name in sections for r in sections[name]["results"]]
    if figure := _networks(both):
        drawn.append(_save(figure, folder / f"{prefix}networks.png"))
    return drawn


def _save(figure: Any, path: Path) -> Path:
    file = io.BytesIO()
    figure.savefig(file, dpi=120, format="png")
    write_atomically(path, file.getvalue())
    return path


def _scaling(results: list[Row]) -> Any:
    timed = [r for r in results if r["status"] == "timed"]
    axes = [axis for axis in AXES if any(axis in r["size"] for r in timed)]
    if not axes:
        return None
    rows = -(-len(axes) // 2)
    figure = new_figure(11, 4.2 * rows + 0.9)
    panels = figure.subplots(rows, 2, squeeze=False).ravel()
    for ax, axis in itertools.zip_longest(panels, axes):
        if axis is None:
            ax.remove()
            continue
        points = [(r["peer"], r["size"][axis], r["microseconds"]) for r in timed if axis in r["size"]]
        _lines(ax, points, f"a step against {axis}", AXES[axis])
    _legend(figure, panels[: len(axes)])
    return figure


def _networks(results: list[Row]) -> Any:
    sizes = {w.name: multiply_adds(w) for w in (*SMALL, *LARGE)}
    points = [(r["peer"], sizes[r["workload"]], r["microseconds"]) for r in results if r["status"] == "timed"]
    if not points:
        return None
    figure = new_figure(11, 6.5)
    ax = figure.subplots()
    _lines(ax, points, "The studies and two large networks", "multiply-adds in a step")
    low, high = ax.get_ylim()
    ax.set_ylim(low, 30 * high)  # room for the names
    for workload in (*SMALL, *LARGE):
        if any(size == sizes[workload.name] for _, size, _ in points):
            ax.text(
                sizes[workload.name], 25 * high, workload.name, rotation=90, va="top", ha="right", fontsize=9
            )
    _legend(figure, [ax])
    return figure


def multiply_adds(workload: Any) -> int:
    """Of the matrix products of one step: forward, and twice that backward, less the first layer's dx."""
    pairs = list(itertools.pairwise(workload.widths))
    products = 3 * sum(d * m for d, m in pairs) - pairs[0][0] * pairs[0][1]
    return int(products * (workload.batch or workload.rows))


def _lines(ax: Any, points: list[tuple[str, int, float]], title: str, xlabel: str) -> None:
    for key in dict.fromkeys(peer for peer, _, _ in points):
        if key not in LOOKS:
            continue
        color, marker, style = LOOKS[key]
        line = sorted((size, cost) for peer, size, cost in points if peer == key)
        ax.plot(
            *zip(*line, strict=True),
            color=color,
            marker=marker,
            linestyle=style,
            linewidth=2.6 if key == OURS else 1.4,
            zorder=3 if key == OURS else 2,
            label=PEERS[key][0],
        )
    ax.set_xscale("log")
    ax.set_yscale("log")
    ax.grid(color=GREY, linewidth=0.6)
    label_axes(ax, xlabel, "microseconds a step", title)


def _legend(figure: Any, panels: Any) -> None:
    named = {}
    for ax in panels:
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True):
            named.setdefault(label, handle)
    figure.legend(
        named.values(), named.keys(), loc="outside lower center", ncols=4, frameon=False, fontsize=10
    )
