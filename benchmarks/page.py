"""docs/benchmarks.md from the JSON file: no figure in it is typed by hand."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from scratchnn.files.atomic import write_atomically

from .pictures import draw
from .report import goal_lines, limits, skipped, tables

__all__ = ["page", "write"]

TITLES = {
    "small": "Small networks",
    "large": "Large networks",
    "many": "Many networks at once",
    "startup": "Start-up",
    "scaling": "Scaling",
}
INTRODUCTION = """\
# Benchmarks

This page is written by `python -m benchmarks --page` from the figures of the last run, which is

```bash
pip install -e ".[bench]"
python -m benchmarks
```

One question alone: `python -m benchmarks small` (or `large`, `many`, `startup`, `scaling`). Peers that
are not installed are skipped.
"""
RULES = """\
## How it is measured

- Every peer trains the same network from the same weights on the same batches, in a process of its
  own, with one thread (two for many networks). Everybody records the loss of every step
  (scikit-learn: of every epoch).
- Before a peer is timed, its parameters are held against those of the PyTorch loop after the same
  steps, by the tolerances that the library's tests use (scikit-learn's Adam, which places epsilon
  elsewhere, against the same loop with that Adam). A peer that fails is not timed.
- The peers are called in turn (A B C A B C ...), the table shows medians, compilation is not in
  them. A run lasts a fraction of a second (many networks: some seconds), but never longer than the
  study itself, so that what a call costs once is spread as it is in use.
- scratchnn is timed as the call to `fit`. It draws its shuffled batches itself, and so do C and the
  DataLoader; the PyTorch loops, scikit-learn, JAX and "C, batches given" are handed the order of
  the rows.
- "JAX jit, epoch in one scan" is the program with samples along the first axis, as it is usually
  written, with donated buffers; "samples last" is the same with the axes exchanged, which XLA
  compiles to better code for networks this narrow. Goals are judged against the first.
- C is one kernel written for these shapes with explicit vectors (`benchmarks/peers/kernel.c`),
  compiled for the machine it runs on: the practical limit.
- The loop of "torch.compile" compiles forward, loss and backward, and steps with the fused
  optimizer.
"""
BEGIN, END = "<!-- benchmarks: begin -->", "<!-- benchmarks: end -->"


def page(document: dict[str, Any]) -> str:
    """The page's Markdown."""
    sections = document["sections"]
    everything = [r for section in sections.values() for r in section["results"]]
    parts = [INTRODUCTION]
    goals = goal_lines(everything)
    if goals is not None:
        parts += ["## Goals", goals.markdown()]
        missed = limits(everything)
        if missed:
            parts += ["What limits the ones that are missed:", "\n".join(f"- {line}" for line in missed)]
    for name, title in TITLES.items():
        if name not in sections:
            continue
        section = sections[name]
        parts.append(f"## {title}")
        for table in tables(name, section["results"]):
            parts += [f"{table.title}:", table.markdown()]
        picture = {"small": "networks", "scaling": "scaling"}.get(name)
        if picture:
            parts.append(
                f"![Microseconds a step against size, a line a peer](images/benchmarks-{picture}.png)"
            )
        if section["settings"]["clock"] == "cpu":
            parts.append("Processor time, not the wall clock's: other programs were running on the machine.")
        left_out = skipped(section["results"])
        if left_out:
            parts += ["Not in the table:", "\n".join(f"- {line}" for line in left_out)]
    parts += [RULES, "## The machine", _machine(sections)]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _machine(sections: dict[str, Any]) -> str:
    lines = []
    for name, section in sections.items():
        m = section["machine"]
        packages = ", ".join(f"{key} {value}" for key, value in m["packages"].items() if value)
        line = (
            f"{m['processor']}, {m['cores']} cores, {m['vectors']}, {m['memory_gib']} GiB, {m['system']}; "
            f"Python {m['python']}, {packages}; NumPy's BLAS is {m['numpy_blas']}; "
            f"{m['c_compiler'] or 'no C compiler'}. Load before the run: {m['load_average']}."
        )
        lines.append(f"- {TITLES[name]}, `{section['command']}`, {section['when']}: {line}")
    return "\n".join(lines)


def write(document: dict[str, Any], root: Path) -> list[Path]:
    """Write docs/benchmarks.md and its pictures under `root`, and the README's table where it is marked."""
    docs = root / "docs"
    (docs / "images").mkdir(parents=True, exist_ok=True)
    written = [docs / "benchmarks.md"]
    write_atomically(written[0], page(document).encode())
    written += draw(document["sections"], docs / "images", "benchmarks-")
    readme = root / "README.md"
    text = readme.read_text() if readme.exists() else ""
    sections = document["sections"]
    ratios = [tables(name, sections[name]["results"])[0] for name in ("small", "large") if name in sections]
    if BEGIN in text and END in text and ratios:
        before, rest = text.split(BEGIN, 1)
        table = "\n\n".join(table.markdown() for table in ratios)
        write_atomically(readme, f"{before}{BEGIN}\n{table}\n{END}{rest.split(END, 1)[1]}".encode())
        written.append(readme)
    return written
