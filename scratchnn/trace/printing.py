"""A trace in the terminal: aligned, no wider than it, coloured where it has colours."""

from __future__ import annotations

import io
import os
import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from ..checks import Array
from .calls import scope_of
from .health import LayerHealth
from .steps import Step

if TYPE_CHECKING:
    from .trace import Trace

__all__ = ["as_printed", "coloured", "number", "width_of_terminal"]

# A line is made of pieces, each with a style of rich: ("dx", "magenta").
Line: TypeAlias = "list[tuple[str, str]]"

HEADING, PATH, FORMULA, NAME, GRADIENT, WRONG, QUIET = (
    "bold", "bold cyan", "green", "", "magenta", "bold red", "dim",
)  # fmt: skip
PLACE = "  "  # before a step
INSIDE = "      "  # before what belongs to a step
DOTS, GAP = "...", "  "
MOST_ROWS = 6  # shown of an array; of a longer one, the first ROWS_SHOWN and the last
ROWS_SHOWN = 3
LEAST_WIDTH = 20
LEAST_ROOM = 28  # for numbers beside their name


def width_of_terminal() -> int:
    """Columns of the terminal; 80 where there is none, unless COLUMNS says otherwise."""
    return max(LEAST_WIDTH, shutil.get_terminal_size((80, 24)).columns)


def has_colours() -> bool:
    """True where standard output is a terminal that shows colours and nobody asked for none."""
    terminal = getattr(sys.stdout, "isatty", lambda: False)()
    return bool(terminal) and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"


def as_printed(trace: Trace) -> str:
    """The whole step as text, for `print`."""
    width = width_of_terminal()
    lines = [_cropped(line, width) for line in _lines(trace, width)]
    if has_colours():
        return coloured(lines, width)
    return "\n".join("".join(text for text, _ in line).rstrip() for line in lines)


def coloured(lines: Iterable[Line], width: int) -> str:
    """The lines with the terminal's codes for their styles."""
    from rich.console import Console
    from rich.text import Text

    console = Console(
        file=io.StringIO(),
        force_terminal=True,
        color_system="standard",
        width=width,
        soft_wrap=True,
        force_jupyter=False,
    )
    for line in lines:
        console.print(Text.assemble(*line), highlight=False)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue().rstrip("\n")


def _lines(trace: Trace, width: int) -> Iterator[Line]:
    yield from _wrapped(trace.summary[0].upper() + trace.summary[1:], "", width, HEADING)
    shortened = False
    for direction in ("forward", "backward"):
        yield []
        yield [(direction.capitalize(), HEADING)]
        steps = [step for step in trace.steps if step.direction == direction]
        for i, step in enumerate(steps):
            block = list(_step(step, steps[:i], width))
            shortened |= any(DOTS in text for line in block for text, _ in line)
            yield from block
    yield []
    yield [("Layers", HEADING)]
    yield from _table(_layer_rows(trace.layers), width)
    rows = list(_parameter_rows(trace.layers))
    if len(rows) > 1:
        yield []
        yield [("Parameters", HEADING)]
        yield from _table(rows, width)
    for finding in trace.findings:
        yield []
        yield from _wrapped(f"! {finding}", "", width, WRONG)
    if shortened:
        yield []
        path = trace.steps[0].path
        hint = (
            f'Arrays are shortened: trace["{path}"].forward.outputs["y"] has every number, '
            'trace.save("step.html") writes them all on a page.'
        )
        yield from _wrapped(hint, "", width, QUIET)


# One step ----------------------------------------------------------------------------------------------


def _step(step: Step, before: Sequence[Step], width: int) -> Iterator[Line]:
    arrow = " <- " if step.direction == "backward" else " -> "
    flow = _flow(step, arrow)
    yield [
        (PLACE, ""),
        (step.path or "(whole)", PATH),
        (f"  {step.module}", ""),
        (f"  {flow}" if flow else "", QUIET),
    ]
    for formula in _formulas(step):
        yield from _wrapped(formula, INSIDE, width, FORMULA)
    if not step.op:
        yield from _wrapped(f"computed by {step.kind}.{step.direction}", INSIDE, width, QUIET)
    shown = _inputs(step, before) | step.outputs
    arrays = {name: value for name, value in shown.items() if value is not None}
    shapes = {name: str(np.shape(value)) if np.ndim(value) else "" for name, value in arrays.items()}
    longest_name = max((len(name) for name in arrays), default=0)
    longest_shape = max((len(shape) for shape in shapes.values()), default=0)
    for name, value in arrays.items():
        style = GRADIENT if name.startswith("d") and step.direction == "backward" else NAME
        yield from _value(name.ljust(longest_name), shapes[name].ljust(longest_shape), value, style, width)
    if step.direction == "forward" and step.saved:
        yield [(f"{INSIDE}saved for the backward: {', '.join(step.saved)}", QUIET)]


def _formulas(step: Step) -> list[str]:
    """The step's formulas in the signs of mathematics, without what is None; as code in a plain terminal."""
    equations = scope_of(step.op, step.inputs).equations[: len(step.formulas)] if step.op else []
    texts = [equation.text() for equation in equations]
    try:
        "".join(texts).encode(getattr(sys.stdout, "encoding", None) or "utf-8")
    except UnicodeEncodeError:
        return list(step.formulas)
    return texts


def _flow(step: Step, arrow: str) -> str:
    """(64, 2) -> (64, 10): what comes in and what goes on; backward from right to left."""
    first = next((v for v in step.inputs.values() if isinstance(v, np.ndarray)), None)
    last = next(iter(step.outputs.values()), None)
    if first is None or last is None:
        return ""
    pair = (first.shape, last.shape) if step.direction == "forward" else (last.shape, first.shape)
    return arrow.join(str(shape) for shape in pair)


def _inputs(step: Step, before: Sequence[Step]) -> dict[str, Any]:
    """What went in, of the backward only from above; by name where it is the output of a step before."""
    upstream = ("dy", "dloss")
    shown = {k: v for k, v in step.inputs.items() if step.direction == "forward" or k in upstream}
    return {k: v if k in step.parameters else _source(v, before) or v for k, v in shown.items()}


def _source(value: Any, before: Sequence[Step]) -> str:
    """ "y of 0 (Linear)" for an array that is the output of one of these steps, the last of them first."""
    if not isinstance(value, np.ndarray) or value.ndim == 0:
        return ""
    for step in reversed(before):
        for name, output in step.outputs.items():
            if output.shape == value.shape and np.array_equal(
                output, value, equal_nan=value.dtype.kind == "f"
            ):
                return f"{name} of {step.label}"
    return ""


# Values ------------------------------------------------------------------------------------------------


def number(value: Any) -> str:
    """A number in four figures; -0 as 0."""
    if isinstance(value, (int, np.integer)):
        return str(value)
    return f"{float(value) + 0.0:.4g}"


def _value(name: str, shape: str, value: Any, style: str, width: int) -> Iterator[Line]:
    start = [(f"{INSIDE}{name}  ", style), (f"{shape}  " if shape else "", QUIET)]
    indent = sum(len(text) for text, _ in start)
    below = width - indent < LEAST_ROOM  # the numbers get lines of their own
    if below:
        yield start
        indent = len(INSIDE) + 2
    if isinstance(value, np.ndarray):
        rows = _rows_as_text(value, width - indent)
    else:
        rows = [number(value) if isinstance(value, (int, float, np.generic)) else str(value)]
    for i, row in enumerate(rows):
        yield [*(start if i == 0 and not below else [(" " * indent, "")]), (row, "")]


def _rows_as_text(array: Array, width: int) -> list[str]:
    """The array's rows, decimal points aligned; of a large one the first and last, and the range of all."""
    if array.size == 0:
        return ["no numbers"]
    table = array.reshape(-1, array.shape[-1] if array.ndim else 1)
    count, columns = table.shape
    shown = list(range(count)) if count <= MOST_ROWS else [*range(ROWS_SHOWN), count - 1]
    # More columns than the width has room for need not be written out.
    most = max(2, width // 2)
    picked = list(range(columns)) if columns <= most else [*range(most - 1), columns - 1]
    cells = _aligned([[number(v) for v in table[row, picked]] for row in shown])
    size = len(cells[0][0])
    fits = (width + len(GAP)) // (size + len(GAP))
    if columns > fits:
        first = max(1, (width - len(DOTS)) // (size + len(GAP)) - 1)  # beside the dots and the last
        cells = [[*row[:first], DOTS, row[-1]] for row in cells]
    texts = [GAP.join(row).rstrip() for row in cells]
    if len(shown) < count:
        texts.insert(ROWS_SHOWN, f"{DOTS} {count - len(shown):,} more rows")
    if len(shown) < count or columns > fits:
        with np.errstate(all="ignore"):
            texts.append(f"from {number(array.min())} to {number(array.max())}")
    return texts


def _aligned(cells: list[list[str]]) -> list[list[str]]:
    """Every number in a field of the same size, with its decimal point in the same place."""
    flat = [cell for row in cells for cell in row]
    before = max(len(_whole(cell)) for cell in flat)
    after = max(len(cell) - len(_whole(cell)) for cell in flat)
    return [
        [" " * (before - len(_whole(c))) + c + " " * (after - len(c) + len(_whole(c))) for c in row]
        for row in cells
    ]


def _whole(cell: str) -> str:
    """What stands before the decimal point: -1 of -1.5e-05."""
    return cell.partition(".")[0].partition("e")[0]


# Tables ------------------------------------------------------------------------------------------------


def _layer_rows(layers: Iterable[LayerHealth]) -> Iterator[list[str]]:
    layers = list(layers)
    headings = ["layer", "norm of y", "norm of dL/dy"]
    dead = any(layer.dead is not None for layer in layers)
    flat = any(layer.saturated is not None for layer in layers)
    yield [*headings, *(["dead units"] if dead else []), *(["saturated"] if flat else [])]
    for layer in layers:
        row = [
            layer.label,
            number(layer.activation),
            "-" if layer.gradient is None else number(layer.gradient),
        ]
        if dead:
            row.append("" if layer.dead is None else f"{layer.dead} of {layer.units}")
        if flat:
            row.append("" if layer.saturated is None else f"{100 * layer.saturated:.0f} %")
        yield row


def _parameter_rows(layers: Iterable[LayerHealth]) -> Iterator[list[str]]:
    found = {p.name: p for layer in layers for p in layer.parameters}
    moved = any(p.update is not None for p in found.values())
    yield ["parameter", "norm", "of its gradient", *(["of its update", "update / norm"] if moved else [])]
    for p in found.values():
        row = [p.name, number(p.norm), _or_dash(p.gradient)]
        if moved:
            row += [_or_dash(p.update), _or_dash(p.ratio)]
        yield row


def _or_dash(value: float | None) -> str:
    return "-" if value is None else number(value)


def _table(rows: Iterable[list[str]], width: int) -> Iterator[Line]:
    """Columns; where they do not fit, a block for each row."""
    headings, *body = list(rows)
    sizes = [max(len(row[i]) for row in (headings, *body)) for i in range(len(headings))]
    if len(PLACE) + sum(sizes) + 2 * (len(sizes) - 1) <= width:
        for k, row in enumerate((headings, *body)):
            cells = [row[0].ljust(sizes[0]), *(c.rjust(s) for c, s in zip(row[1:], sizes[1:], strict=True))]
            yield [(PLACE, ""), (cells[0], QUIET if k == 0 else PATH)] + [
                (f"  {cell}", QUIET if k == 0 else "") for cell in cells[1:]
            ]
        return
    for row in body:
        yield [(PLACE + row[0], PATH)]
        pairs = zip(headings[1:], row[1:], strict=True)
        text = ", ".join(f"{heading} {cell}" for heading, cell in pairs if cell)
        yield from _wrapped(text, INSIDE, width, "")


def _wrapped(text: str, indent: str, width: int, style: str) -> Iterator[Line]:
    for i, part in enumerate(textwrap.wrap(text, max(10, width - len(indent) - 2))):
        yield [(indent + ("  " if i else ""), ""), (part, style)]


def _cropped(line: Line, width: int) -> Line:
    """The line, cut where the terminal ends."""
    room, kept = width, []
    for text, style in line:
        if len(text) > room:
            kept.append((text[: max(0, room - 3)] + "..."[: min(3, room)], style))
            break
        kept.append((text, style))
        room -= len(text)
    return kept
