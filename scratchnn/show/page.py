"""A whole step as one page that needs nothing but itself: no network, no script."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..checks import as_list, as_path, as_text, shown
from .account import Origins, axes_of, step_id, step_name
from .cells import stylesheet
from .columns import network_of_trace
from .diagram import diagram
from .health import findings_list, health_tables
from .markup import Markup, tag
from .numbers import number
from .sheets import answers_body, sheet_body
from .steps import step_body
from .tables import array_block

__all__ = ["page", "save_trace"]


def save_trace(
    trace: Any,
    path: str | os.PathLike[str],
    sheets: Sequence[Any] = (),
    *,
    sample: int | None = None,
    title: str = "",
) -> Path:
    """Write `page(trace, sheets, sample, title)` to `path`, whole or not at all; returns the path.

    Raises:
        OSError: if the file cannot be written. What `page` raises.
    """
    from ..files.atomic import write_atomically

    file = as_path("Trace.save", "path", path)
    write_atomically(file, page(trace, sheets, sample=sample, title=title).encode())
    return Path(file)


def page(trace: Any, sheets: Sequence[Any] = (), *, sample: int | None = None, title: str = "") -> str:
    """The page as text.

    Args:
        trace: made by `snn.trace`. sheets: derivations, made by `trace.explain`. With an exercise among
            them, diagram and passes stay away: they would show what is to be found.
        sample: whose numbers the diagram's units show; None for the mean over the batch.
        title: what the step is of, in a few words.
    Raises:
        TypeError: something that is no sheet. IndexError: a sample that the batch has not.
    """
    if hasattr(sheets, "lines"):
        raise TypeError("a page got one sheet as sheets; it needs a list of them: sheets=[sheet]")
    title = as_text("a page", "title", title)
    sheets = as_list("a page", "sheets", sheets, "those that trace.explain(...) makes")
    for sheet in sheets:
        if not hasattr(sheet, "lines"):
            raise TypeError(f"a page got {shown(sheet)} as a sheet of sheets; trace.explain(...) makes them")
    network = network_of_trace(trace, sample)
    sizes = "-".join(str(column.size) for column in network.columns)
    exercise = any(sheet.answers for sheet in sheets)
    sections = _derivations(sheets)
    if not exercise:
        sections = [
            ("network", "The network", [diagram(network)], []),
            ("learning", "Where learning is lost", [findings_list(trace), *health_tables(trace)], []),
            *_passes(trace),
            *sections,
        ]
    place, named, _, _ = sections[0]
    header = _header(trace, exercise, title)
    body = tag(
        "div",
        tag("a", f"Skip to: {named}", class_="skip", href=f"#{place}"),
        tag("div", header, _contents(sections), _main(sections), _footer(), class_="column"),
        class_="scratchnn page",
    )
    head = [
        tag("meta", charset="utf-8"),
        tag("meta", name="viewport", content="width=device-width, initial-scale=1"),
        tag("meta", name="color-scheme", content="light dark"),
        tag("meta", name="generator", content="scratchnn"),
        tag("title", f"One step of backprop: {title or sizes}"),
        tag("style", Markup(stylesheet("style.css", "page.css"))),
    ]
    return f"<!DOCTYPE html>\n{tag('html', tag('head', head), tag('body', body), lang='en')}\n"


Section = tuple[str, str, list[Any], list[tuple[str, Any, Any]]]  # id, title, content, subsections


def _main(sections: Sequence[Section]) -> Markup:
    made = []
    for place, title, content, below in sections:
        inside = [tag("h2", title, id=place), *content]
        inside += [tag("section", tag("h3", name, id=at), text) for at, name, text in below]
        made.append(tag("section", inside, class_="newpage" if place == "answers" else None))
    return tag("main", made)


def _contents(sections: Sequence[Section]) -> Markup:
    entries = []
    for place, title, _, below in sections:
        inner = (
            tag("ol", [tag("li", tag("a", name, href=f"#{at}")) for at, name, _ in below]) if below else None
        )
        entries.append(tag("li", tag("a", title, href=f"#{place}"), inner))
    return tag("nav", tag("ol", entries), aria_label="Contents")


def _header(trace: Any, exercise: bool, title: str) -> Markup:
    count = sum(array.size for array in trace.parameters.values())
    samples = len(trace.x) if trace.x.ndim > 1 else 1
    loss = type(trace.loss_fn).__name__
    words = [
        f"{_count(samples, 'sample')} went through a network of {_count(count, 'parameter')}. "
        f"The loss, {loss}, is ",
        tag("strong", number(trace.loss)),
    ]
    if exercise:
        words.append(
            ". Some numbers of that step are left out below, a letter in the place of each: find them. The "
            "answers come last, on a page of their own."
        )
    else:
        words += [
            ". Below is every number of that step: what went ",
            tag("span", "forward", class_="forth"),
            ", what came ",
            tag("span", "back", class_="back"),
            ", and by which formula.",
        ]
    words.append(" A gradient, dL/d of something, is written with a d before it: dx, dweight.")
    kicker = f"{type(trace.model).__name__}, {trace.prediction.dtype}"
    return tag(
        "header",
        tag("p", f"{title}: {kicker}" if title else kicker, class_="kicker"),
        tag("h1", "One step of backprop"),
        tag("p", words, class_="lede"),
    )


def _footer() -> Markup:
    from .. import __version__

    return tag("footer", tag("p", f"Made by scratchnn {__version__}. Indices count from 0."))


def _count(number_of: int, thing: str) -> str:
    return f"{number_of:,} {thing}{'' if number_of == 1 else 's'}"


def _passes(trace: Any) -> list[Section]:
    origins = Origins()
    origins.add(trace.x, "the input", "forward")
    sections: list[Section] = []
    lead = {
        "forward": "From the input to the loss, in the order in which it ran.",
        "backward": "From the loss back to the input. Each step takes dy, the gradient for what it gave, and "
        "makes dx, the gradient for what it got, and those of its parameters.",
    }
    for direction, title in (("forward", "Forward"), ("backward", "Backward")):
        content: list[Any] = [tag("p", lead[direction])]
        if direction == "forward":
            content.append(
                tag(
                    "div",
                    array_block(
                        "x", trace.x, title="the input x", axes=axes_of(None, "x", trace.x), key="trace.x"
                    ),
                    class_="arrays",
                )
            )
        below = []
        for step in trace.steps:
            if step.direction == direction:
                below.append((step_id(step), step_name(step), step_body(step, origins)))
        sections.append((direction, title, content, below))
    return sections


def _derivations(sheets: Sequence[Any]) -> list[Section]:
    if not sheets:
        return []
    below = [
        (f"sheet-{at}", sheet.title, sheet_body(sheet, prefix=f"sheet-{at}"))
        for at, sheet in enumerate(sheets, 1)
    ]
    lead = tag("p", "Why a number is what it is: the chain rule from the loss to it, with everything put in.")
    sections: list[Section] = [("derivations", "Derivations", [lead], below)]
    exercises = [(at, sheet) for at, sheet in enumerate(sheets, 1) if sheet.answers]
    if exercises:
        answers = [(f"answers-{at}", sheet.title, answers_body(sheet)) for at, sheet in exercises]
        sections.append(("answers", "Answers", [], answers))
    return sections
