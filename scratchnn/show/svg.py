"""Small pieces of SVG, and where things stand in a drawing."""

from __future__ import annotations

from dataclasses import dataclass

from ..checks import Array
from .heat import as_grid, heat_uri
from .markup import Markup, tag

__all__ = ["Place", "cut", "drawing", "image", "letter", "rectangle", "text"]

NAMESPACE = "http://www.w3.org/2000/svg"


@dataclass
class Place:
    """Where a column of units stands: x of its middle, y of each unit, half its width, its height."""

    x: float
    ys: list[float]
    half: float
    tall: float


def drawing(title: str, wide: float, tall: float, content: object, *, class_: str, about: str = "") -> Markup:
    """An <svg> that says what it is, for those who do not see it."""
    return tag(
        "svg",
        tag("title", title),
        tag("desc", about) if about else None,
        content,
        xmlns=NAMESPACE,
        viewbox=f"0 0 {wide:.0f} {tall:.0f}",
        width=f"{wide:.0f}",
        height=f"{tall:.0f}",
        role="img",
        aria_label=title,
        class_=class_,
    )


def text(x: float, y: float, content: object, class_: str) -> Markup:
    """Text about x; y is its baseline."""
    return tag("text", content, x=f"{x:.1f}", y=f"{y:.1f}", class_=class_)


def rectangle(x: float, y: float, wide: float, tall: float, class_: str, corner: float = 3) -> Markup:
    """A rectangle about its middle (x, y)."""
    return tag(
        "rect",
        x=f"{x - wide / 2:.1f}",
        y=f"{y - tall / 2:.1f}",
        width=f"{wide:.1f}",
        height=f"{tall:.1f}",
        rx=f"{corner:g}",
        class_=class_,
    )


def letter(name: str, index: int | None, x: float, y: float, class_: str = "letter") -> Markup:
    """A letter with its number below the line, as textbooks set it."""
    below = name[1:] if index is None else f"{name[1:]},{index}" if name[1:] else str(index)
    small = tag("tspan", below, dy=4, class_="index") if below else None
    return text(x, y, [name[0], small], class_)


def image(values: Array, x: float, y: float, wide: float, tall: float) -> Markup:
    """A heat map about its middle (x, y)."""
    return tag(
        "image",
        href=heat_uri(as_grid(values)),
        x=f"{x - wide / 2:.1f}",
        y=f"{y - tall / 2:.1f}",
        width=f"{wide:.1f}",
        height=f"{tall:.1f}",
        preserveAspectRatio="none",
        class_="heat",
    )


def cut(words: str, most: int = 24) -> str:
    """At most so many letters."""
    return words if len(words) <= most else words[: most - 1] + "…"
