"""A page read back: its elements with their attributes and text, and what a page must not have."""

from __future__ import annotations

from dataclasses import dataclass, field
from html.parser import HTMLParser

VOID = {"br", "col", "hr", "img", "link", "meta"}
XMLNS = {"http://www.w3.org/2000/svg", "http://www.w3.org/1998/Math/MathML"}


@dataclass(eq=False)
class Element:
    """One element: its name, attributes, children, the text directly inside."""

    name: str
    attributes: dict[str, str | None]
    parent: Element | None
    children: list[Element] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    pieces: list[Element | str] = field(default_factory=list)

    def all(self, *names: str) -> list[Element]:
        """Every element of these names below this one, in order; of any name without names."""
        found = []
        for child in self.children:
            if not names or child.name in names:
                found.append(child)
            found += child.all(*names)
        return found

    @property
    def text(self) -> str:
        """All text below."""
        return "".join(piece if isinstance(piece, str) else piece.text for piece in self.pieces)

    def has_class(self, name: str) -> bool:
        return name in (self.attributes.get("class") or "").split()


class Reader(HTMLParser):
    """Builds the tree; every element must be closed where it was opened."""

    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self.root = Element("", {}, None)
        self.here = self.root
        self.problems: list[str] = []

    def handle_starttag(self, tag, attrs):
        names = [name for name, _ in attrs]
        if len(names) != len(set(names)):
            self.problems.append(f"<{tag}> has an attribute twice: {names}")
        element = Element(tag, dict(attrs), self.here)
        self.here.children.append(element)
        self.here.pieces.append(element)
        if tag not in VOID:
            self.here = element

    def handle_startendtag(self, tag, attrs):
        self.handle_starttag(tag, attrs)
        if tag not in VOID:
            self.handle_endtag(tag)

    def handle_endtag(self, tag):
        if tag != self.here.name:
            self.problems.append(f"</{tag}> closes <{self.here.name}>")
            return
        assert self.here.parent is not None
        self.here = self.here.parent

    def handle_data(self, data):
        self.here.texts.append(data)
        self.here.pieces.append(data)


def read(html: str) -> Element:
    """The tree of a page or a fragment; an AssertionError names what is badly nested."""
    reader = Reader()
    reader.feed(html)
    reader.close()
    assert not reader.problems, reader.problems[:5]
    assert reader.here is reader.root, f"<{reader.here.name}> is never closed"
    return reader.root


def problems(html: str) -> list[str]:
    """What keeps a page from being read: by a machine without network, by keyboard, by a screen reader."""
    root = read(html)
    found = []
    for element in root.all():
        found += [f"{element.name}: {text}" for text in _of_element(element)]
    ids = [element.attributes["id"] for element in root.all() if "id" in element.attributes]
    found += [f"id {name!r} twice" for name in sorted(set(ids)) if ids.count(name) > 1]
    links = [element.attributes.get("href") or "" for element in root.all("a")]
    found += [f"link to {href!r}, which is not there" for href in links if href[1:] not in ids]
    level = 0
    for heading in root.all("h1", "h2", "h3", "h4", "h5", "h6"):
        here = int(heading.name[1])
        if level and here > level + 1:
            found.append(f"heading {heading.text!r} jumps from h{level} to h{here}")
        if not heading.text.strip():
            found.append("an empty heading")
        level = here
    for style in root.all("style"):
        if "url(" in style.text or "@import" in style.text:
            found.append("a style sheet that fetches something")
    return found


def _of_element(element: Element) -> list[str]:
    found = []
    attributes = element.attributes
    for name, value in attributes.items():
        if name == "xmlns" and value in XMLNS:
            continue
        if value and ("http:" in value or "https:" in value or value.startswith("//")):
            found.append(f"{name} refers to {value!r}")
        if name.startswith("on"):
            found.append(f"has the script {name}")
        if name in ("src", "href") and value and not value.startswith(("#", "data:image/png;base64,")):
            found.append(f"{name} is {value[:40]!r}, which is not in the page")
    if element.name in ("script", "iframe", "link", "object", "embed"):
        found.append("is not for a page that stands alone")
    if element.name == "svg":
        titles = [child for child in element.children if child.name == "title"]
        if len(titles) != 1 or not titles[0].text.strip() or element.children[0] is not titles[0]:
            found.append("has no title at its beginning")
        if attributes.get("role") != "img" or not attributes.get("aria-label"):
            found.append("is not called an image with a label")
    if element.name == "img" and not attributes.get("alt"):
        found.append("has no alt")
    if element.name == "th" and attributes.get("scope") not in ("col", "row"):
        found.append(f"{element.text!r} has no scope")
    if element.name == "table":
        if not [caption for caption in element.all("caption") if caption.text.strip()]:
            found.append("has no caption")
        cells = [len(row.all("td", "th")) for row in element.all("tr")]
        if len(set(cells)) != 1:
            found.append(f"has rows of {sorted(set(cells))} cells")
    if "tabindex" in attributes and not (attributes.get("aria-label") and attributes.get("role")):
        found.append("can be reached by keyboard but has no name")
    return found
