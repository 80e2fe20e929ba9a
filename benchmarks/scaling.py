"""Scaling: how does the cost of a step grow with the batch, the width, the depth and the number of rows?"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from .measure import Result, Settings, Team, say
from .workloads import CIRCLES, Workload, task

PEERS = ("numba", "c", "jax", "jax_last", "numpy", "sklearn", "torch", "torch_fused")
BATCHES = (8, 64, 512, 4096)
WIDTHS = (4, 16, 64, 256, 1024)  # of both hidden layers
DEPTHS = (1, 2, 4, 8, 16)  # hidden layers of DEEP units
ROWS = (1_000, 6_000, 40_000, 250_000)
DEEP = 16
STEPS = 64  # in an epoch, except where the rows vary
LR = 0.01


def points(quick: bool) -> Iterator[tuple[str, int, Workload]]:
    """(axis, value, workload): the circles network, with one thing changed."""
    base = replace(CIRCLES, check_epochs=1, lr=LR)
    for batch in BATCHES[:2] if quick else BATCHES:
        yield "batch", batch, replace(base, name="circles", batch=batch, rows=batch * STEPS)
    for width in WIDTHS[:2] if quick else WIDTHS:
        yield (
            "width",
            width,
            replace(base, name="two hidden layers", widths=(2, width, width, 1), rows=64 * STEPS),
        )
    for depth in DEPTHS[:2] if quick else DEPTHS:
        yield "depth", depth, replace(base, name="deep", widths=(2, *[DEEP] * depth, 1), rows=64 * STEPS)
    for rows in ROWS[:2] if quick else ROWS:
        yield "rows", rows, replace(base, name="circles", rows=rows)


def measure(settings: Settings) -> list[Result]:
    results = []
    with Team(PEERS, settings) as team:
        for axis, value, workload in points(settings.quick):
            say(f"{axis} {value}: {workload.title}")
            results += team.measure("scaling", task(workload), size={axis: value})
    return results


if __name__ == "__main__":
    import sys

    from .__main__ import main

    sys.exit(main(["scaling", *sys.argv[1:]]))
