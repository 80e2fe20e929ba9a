"""HTML and SVG as nested calls. Text is escaped unless it is `Markup`, so a name like <b> stays a name."""

from __future__ import annotations

from collections.abc import Iterable
from html import escape
from typing import Any

__all__ = ["Markup", "join", "scrolling", "tag"]

VOID = frozenset({"br", "col", "hr", "img", "link", "meta"})
# Python's names for attributes that are no Python names.
RENAMED = {"class_": "class", "for_": "for", "viewbox": "viewBox"}


class Markup(str):
    """Text that is markup already and goes in as it is."""

    __slots__ = ()


def tag(name: str, /, *content: Any, **attributes: Any) -> Markup:
    """An element: `tag("th", "weight", scope="row")` is `<th scope="row">weight</th>`.

    Args:
        content: text, which is escaped; Markup, which is not; lists of both; None, which is nothing.
        attributes: `class_` is class, `aria_label` is aria-label; True is an attribute without a value,
            None and False none at all.
    """
    opening = [name]
    for key, value in attributes.items():
        key = RENAMED.get(key, key.replace("_", "-"))
        if value is True:
            opening.append(key)
        elif value is not None and value is not False:
            opening.append(f'{key}="{clean(str(value))}"')
    if name in VOID:
        return Markup(f"<{' '.join(opening)}>")
    return Markup(f"<{' '.join(opening)}>{join(content)}</{name}>")


def join(content: Iterable[Any], between: str = "") -> Markup:
    """One Markup from many pieces, text escaped."""
    pieces = []
    for piece in content:
        if piece is None:
            continue
        if isinstance(piece, Markup):
            pieces.append(str(piece))
        elif isinstance(piece, (list, tuple)) or (isinstance(piece, Iterable) and not isinstance(piece, str)):
            pieces.append(str(join(piece)))
        else:
            pieces.append(clean(str(piece)))
    return Markup(clean(between).join(pieces))


def scrolling(label: str, *content: Any, wide: bool, class_: str = "scroll") -> Markup:
    """A box that scrolls by itself where it is too wide, so that the page need not.

    Args:
        label: what a screen reader calls it. wide: whether it may have to scroll on a small screen; only
            then can it be reached by keyboard, so that there is not a stop at every number.
    """
    if not wide:
        return tag("div", *content, class_=class_)
    return tag("div", *content, class_=class_, role="group", aria_label=label, tabindex=0)


def clean(text: str) -> str:
    """Escaped, and without what no HTML file may hold: control characters and halves of surrogate pairs."""
    if not text.isprintable():
        text = "".join(
            c if c in "\n\t" or not (ord(c) < 32 or 127 <= ord(c) < 160 or 0xD800 <= ord(c) < 0xE000) else "�"
            for c in text
        )
    return escape(text)
