"""The studies' pages and notebooks, written by running the studies: no number in them is typed by hand.

    python -m scratchnn.studies.pages moons        # docs/studies/moons.md, its pictures, its notebook
    python -m scratchnn.studies.pages all          # every study, and the gallery docs/studies/README.md

A page is the record of a run with `play=True`: what the lesson said and showed, in that order.
"""

from __future__ import annotations

import inspect
import io
import os
import platform
import sys
from collections.abc import Iterable, Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np

import scratchnn as snn
from scratchnn.files.atomic import write_atomically

from . import NAMES, StudyResult, load

__all__ = ["gallery", "notebook", "page", "write", "write_gallery"]

FOLDER = Path("docs/studies")
MOST_BYTES = 150_000  # a picture
RESOLUTIONS = (100, 80, 60, 45)  # dots per inch, the first that stays below
COLORS = 192
SHOWN = {  # the picture of each study in the gallery; the first one without an entry
    "moons": "side-by-side",
    "circles": "probability",
    "drawing": "others",
    "rings": "regions",
    "sine": "thresholds",
}


def write(name: str, folder: Path = FOLDER, **settings: Any) -> StudyResult:
    """Run a study and write its page, pictures and notebook into `folder`.

    Args:
        settings: for the study's `run`; by default everything is tried (`play=True`).
    Raises:
        StudyError: for a name or settings that no study has.
    """
    study = load(name)
    settings = {"quiet": True, "play": True, **settings}
    # This one first: it may find the engine not yet compiled, and the page tells times.
    as_the_notebook = study.run(**{**settings, "play": False, "reference": False})
    result: StudyResult = study.run(**settings)
    pictures = folder / name
    pictures.mkdir(parents=True, exist_ok=True)
    for old in pictures.glob("*.png"):
        old.unlink()
    for title, figure in result.figures.items():
        small_png(figure, pictures / f"{title}.png")
    write_atomically(folder / f"{name}.md", page(study, result).encode())
    write_atomically(folder / f"{name}.ipynb", notebook(study, as_the_notebook).encode())
    return result


def small_png(figure: Any, path: Path) -> None:
    """Write a figure as a PNG of few colours, below 150 kB."""
    from PIL import Image

    for dots in RESOLUTIONS:
        drawn, small = io.BytesIO(), io.BytesIO()
        figure.savefig(drawn, dpi=dots, format="png", facecolor="white")
        with Image.open(drawn) as image:
            image.convert("RGB").quantize(COLORS, dither=Image.Dither.NONE).save(small, "PNG", optimize=True)
        if len(small.getvalue()) < MOST_BYTES:
            break
    write_atomically(path, small.getvalue())


# ---------------------------------------------------------------- the page


def page(study: Any, result: StudyResult) -> str:
    """The page of one run, in Markdown."""
    name = result.study
    parts = [*_told(study, result)]
    parts += ["## The code", f"```bash\nscratchnn study {name} --play\n```"]
    parts += [
        f"The whole study is [one file](../../scratchnn/studies/{name}.py); [this notebook]({name}.ipynb) "
        "runs it. Its data and its network:"
    ]
    for part in ("data", "network"):
        if hasattr(study, part):
            parts.append(f"```python\n{inspect.getsource(getattr(study, part)).strip()}\n```")
    parts.append(f"*{_made_by(result)}*")
    return "\n\n".join(parts) + "\n"


def _told(study: Any, result: StudyResult) -> Iterator[str]:
    """The record of the run, one piece of Markdown after the other."""
    text = inspect.cleandoc(study.__doc__).split("\n\n")[1:]
    for kind, entries in groupby(result.record, key=lambda entry: entry[0]):
        group = [entry[1:] for entry in entries]
        match kind:
            case "title":
                yield f"# {group[0][0]}"
                yield from text
            case "question":
                yield from (f"## {_safe(question)}" for (question,) in group)
            case "answer":
                yield from (_safe(" ".join(answer.split())) for (answer,) in group)
            case "say":
                yield from _said(text for (text,) in group)
            case "fact":
                yield _table(("", ""), group)
            case "table":
                yield from (_table(headings, rows) for headings, rows in group)
            case "picture":
                for title, caption in group:
                    yield f"![{caption or title}]({result.study}/{title}.png)"
                    if caption:
                        yield f"*{caption}*"
            case "judge":
                yield "## Beside PyTorch"
                yield from (_safe(said) for (said,) in group)
                yield _parity(result)


def _said(texts: Iterable[str]) -> Iterator[str]:
    for text in texts:
        if "\n" in text.strip():
            yield f"```text\n{text.rstrip()}\n```"
        elif text.strip():
            yield _safe(text.strip())


def _safe(text: str) -> str:
    """Text that Markdown leaves as it is."""
    for mark in "*_<|":
        text = text.replace(mark, f"\\{mark}")
    return text


def _table(headings: Iterable[str], rows: Iterable[Iterable[Any]]) -> str:
    headings = [_safe(str(heading)) for heading in headings]
    lines = [headings, ["---", *["---:"] * (len(headings) - 1)]] if any(headings) else [headings, ["---"] * 2]
    lines += [[_safe(str(cell)) for cell in row] for row in rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _parity(result: StudyResult) -> str:
    assert result.parity is not None
    rows = []
    for row in result.parity.rows:
        name = row.name if row.step is None else f"{row.name}, step {row.step:,}"
        difference = "identical" if row.identical else f"{row.difference:.1e}"
        eps = f"{row.in_eps:.1f}" if row.name == "parameters" else ""
        allowed = "none" if row.tolerance == 0 else f"{row.tolerance:.1e}"
        rows.append((name, difference, eps, allowed, "pass" if row.passed else "FAIL"))
    return _table(("", "difference", "in eps*max|p|", "allowed", "verdict"), rows)


def _made_by(result: StudyResult) -> str:
    versions = f"scratchnn {snn.__version__}, Python {platform.python_version()}, NumPy {np.__version__}"
    if result.parity is not None:
        import torch

        versions += f", PyTorch {torch.__version__.partition('+')[0]}"
    return (
        f"Written by `python -m scratchnn.studies.pages {result.study}` ({versions}; {platform.machine()}, "
        f"{os.cpu_count()} cores). Times are of that machine; pictures and numbers of that run."
    )


# ---------------------------------------------------------------- the notebook


def notebook(study: Any, result: StudyResult) -> str:
    """A notebook that runs the study and shows its pictures, as JSON.

    Args:
        result: of a run with `play=False`, as the notebook runs it.
    """
    import nbformat
    from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

    name = result.study
    title, *text = inspect.cleandoc(study.__doc__).split("\n\n")
    cells = [
        new_markdown_cell("\n\n".join([f"# {title}", *text])),
        new_code_cell(f"%matplotlib inline\nimport inspect\n\nfrom scratchnn.studies import {name}"),
        new_markdown_cell("The data and the network, as the study has them."),
    ]
    for part in ("data", "network"):
        if hasattr(study, part):
            cells.append(new_code_cell(f"print(inspect.getsource({name}.{part}))"))
    cells += [
        new_markdown_cell(
            "The run. `reference=True` (the default) trains by PyTorch as well, where it is installed; "
            "`play=True` tries everything that the tutorial asks to try."
        ),
        new_code_cell(f"result = {name}.run(reference=False)"),
    ]
    for kind, *rest in result.record:
        if kind == "question":
            cells.append(new_markdown_cell(f"## {_safe(rest[0])}"))
        elif kind == "picture":
            if rest[1]:
                cells.append(new_markdown_cell(rest[1]))
            cells.append(new_code_cell(f'result.figures["{rest[0]}"]'))
    cells += [
        new_markdown_cell("Now yours: change a setting and look again."),
        new_code_cell(
            f"again = {name}.run(seed=1, reference=False, quiet=True)\n"
            'result.numbers["train_loss"], again.numbers["train_loss"]'
        ),
    ]
    for index, cell in enumerate(cells):
        cell["id"] = f"cell-{index}"  # the same file from the same run
    book = new_notebook(cells=cells)
    book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
    nbformat.validate(book)
    return str(nbformat.writes(book)) + "\n"


# ---------------------------------------------------------------- the gallery


def gallery(folder: Path = FOLDER, prefix: str = "") -> str:
    """A table of pictures, one a study that has a page in `folder`; links begin with `prefix`."""
    lines = []
    for name in NAMES:
        pictures = sorted((folder / name).glob("*.png"))
        if not pictures:
            continue
        shown = folder / name / f"{SHOWN.get(name, '')}.png"
        picture = shown if shown in pictures else pictures[0]
        title = inspect.cleandoc(load(name).__doc__).splitlines()[0].partition(": ")[2]
        link = f"{prefix}{name}.md"
        lines.append(
            f"| [![{name}]({prefix}{name}/{picture.name})]({link}) | **[{name}]({link})**: {title} |"
        )
    return "\n".join(["| | |", "|---|---|", *lines]) + "\n"


def write_gallery(folder: Path = FOLDER) -> None:
    head = "# The worked studies\n\nEach page is written by running the study it tells of.\n\n"
    write_atomically(folder / "README.md", (head + gallery(folder)).encode())


def main(arguments: list[str]) -> None:
    names = NAMES if arguments == ["all"] else arguments
    if not names:
        sys.exit(f"usage: python -m scratchnn.studies.pages {{{','.join(NAMES)},all}}")
    for name in names:
        result = write(name)
        print(f"{name}: {FOLDER / name}.md, {len(result.figures)} pictures", flush=True)
    write_gallery()


if __name__ == "__main__":
    main(sys.argv[1:])
