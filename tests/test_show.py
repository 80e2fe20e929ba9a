"""What pages and notebook cells are made of: markup, numbers, tables, heat maps, formulas, colours."""

from __future__ import annotations

import base64
import io
import re
import subprocess
import sys

import numpy as np
import pytest
from html_outline import Element, problems, read
from PIL import Image

from scratchnn.notation import Add, Blank, Multiply, Number, parse
from scratchnn.show.cells import stylesheet
from scratchnn.show.formulas import math, math_lines
from scratchnn.show.heat import as_grid, heat_image, heat_uri, lies
from scratchnn.show.markup import Markup, join, tag
from scratchnn.show.numbers import cells, number, short, spread
from scratchnn.show.tables import array_block, data_table

RNG = np.random.default_rng(0)

# Markup -------------------------------------------------------------------------------------------


def test_text_and_attributes_are_escaped_and_markup_is_not():
    assert tag("p", "<b>&\"'", title='"<') == '<p title="&quot;&lt;">&lt;b&gt;&amp;&quot;&#x27;</p>'
    assert tag("p", tag("b", "a"), ["<", None, Markup("<br>")], 3) == "<p><b>a</b>&lt;<br>3</p>"
    assert join(["a", tag("i", "b")], " < ") == "a &lt; <i>b</i>"


def test_attributes_by_their_names():
    made = tag("svg", aria_label="a", class_="c", viewbox="0 0 1 1", hidden=True, id=None, open=False)
    assert made == '<svg aria-label="a" class="c" viewBox="0 0 1 1" hidden></svg>'
    assert tag("br") == "<br>"


# Numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.69314, "0.6931"),
        (-12.5, "−12.50"),
        (0.0, "0"),
        (-0.0, "0"),
        (1.0, "1"),
        (3.14e-5, "3.140×10⁻⁵"),
        (-2e7, "−2.000×10⁷"),
        (9.99999, "10.00"),
        (0.99996, "1.000"),
        (np.float32(0.1), "0.1000"),
        (float("nan"), "NaN"),
        (-np.inf, "−∞"),
        (np.int64(-3), "−3"),
        (12345, "12345"),
        (True, "True"),
    ],
)
def test_numbers_for_readers(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.4321, "0.43"),
        (-0.04, "−0.040"),
        (12.345, "12.3"),
        (-4.4e-4, "−4×10⁻⁴"),
        (0.0, "0"),
        (np.nan, "NaN"),
    ],
)
def test_short_numbers_for_diagrams(value, text):
    assert short(value) == text


def test_the_numbers_of_a_table_end_at_the_same_place():
    texts = cells(np.array([[1.5, -0.25], [0.001, 0.0]], np.float32))
    assert texts == [["1.500", "−0.250"], ["0.001", "0"]]
    assert cells(np.array([[1.0, 1e-9]])) == [["1.000", "1.0×10⁻⁹"]]  # not a zero
    assert cells(np.array([[1.0, 0.0, -2.0]])) == [["1", "0", "−2"]]
    assert cells(np.array([[np.nan, np.inf, 0.5]])) == [["NaN", "∞", "0.5000"]]
    assert cells(np.array([[1e-7, 2e-7]])) == [["1.000×10⁻⁷", "2.000×10⁻⁷"]]
    assert cells(np.array([[1, 20]])) == [["1", "20"]]


def test_an_array_in_a_few_words():
    assert spread(np.array([1.5, -2.0, 0.0])) == "from −2 to 1.50, 1 of 3 zero"
    assert spread(np.array([np.nan, 1.0])) == "with NaN or infinity in it"
    assert spread(np.empty((0, 3))) == "empty"


# Heat maps ----------------------------------------------------------------------------------------


def pixels(uri: str) -> np.ndarray:
    """RGBA of a picture in the page, decoded by somebody else's decoder."""
    data = base64.b64decode(uri.removeprefix("data:image/png;base64,"))
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGBA")).astype(int)


def test_sign_is_colour_and_size_is_strength():
    rgba = pixels(heat_uri(np.array([[1.0, -1.0, 0.0], [0.5, -0.001, np.nan]])))
    assert rgba.shape == (2, 3, 4)
    assert tuple(rgba[0, 0]) == (0xD5, 0x5E, 0x00, 255)
    assert tuple(rgba[0, 1]) == (0x1F, 0x7A, 0xB8, 255)
    assert rgba[0, 2, 3] == 0
    assert abs(rgba[1, 0, 3] - 128) <= 2
    assert 0 < rgba[1, 1, 3] < 5  # faint, and not a zero
    assert tuple(rgba[1, 2]) == (0xCC, 0x79, 0xA7, 255)


def test_a_large_array_keeps_its_extremes():
    array = np.zeros((1000, 300))
    array[777, 111], array[3, 299] = -5.0, 5.0
    rgba = pixels(heat_uri(array))
    assert rgba.shape == (128, 128, 4)
    assert np.argwhere(rgba[..., 3] == 255).tolist() == [[0, 127], [777 * 128 // 1000, 111 * 128 // 300]]


def test_pictures_are_seen_as_pictures():
    assert as_grid(np.arange(784.0)).shape == (28, 28)
    grid = as_grid(np.arange(1, 8.0))
    assert grid.shape == (3, 3)
    assert grid.ravel().tolist() == [1, 2, 3, 4, 5, 6, 7, 0, 0]
    assert as_grid(np.zeros((2, 3, 4))).shape == (6, 4)


def test_many_samples_run_from_left_to_right():
    batch = np.zeros((50, 2))
    assert lies(batch)
    assert not lies(batch.T)
    (image,) = read(heat_image("y", batch)).all("img")
    words = image.attributes["alt"]
    assert (image.attributes["width"], image.attributes["height"]) == ("420", "17")
    (image,) = read(heat_image("y", np.zeros((5000, 2)))).all("img")
    assert (image.attributes["width"], image.attributes["height"]) == ("420", "10")  # not a hair
    (image,) = read(heat_image("y", np.zeros((3, 4)))).all("img")
    assert (image.attributes["width"], image.attributes["height"]) == ("36", "27")
    assert words.startswith("Heat map of y: 50 rows, 2 columns, the rows from left to right")


# Tables -------------------------------------------------------------------------------------------


def test_an_array_as_a_table_has_headings_for_rows_and_columns():
    root = read(array_block("weight", np.array([[1.5, -2.0], [0.0, 1.0]]), axes="md"))
    assert "2 units × 2 inputs" in root.text
    rows = [
        [(c.name, c.text, c.attributes.get("scope")) for c in row.all("th", "td")] for row in root.all("tr")
    ]
    assert rows[0] == [("td", "m\\d", None), ("th", "0", "col"), ("th", "1", "col")]
    assert rows[1] == [("th", "0", "row"), ("td", "1.500", None), ("td", "−2.000", None)]
    kinds = [cell.attributes.get("class") for cell in root.all("tbody")[0].all("td")]
    assert kinds == ["p3", "n4", None, "p2"]


def test_rows_of_an_array_of_three_axes_have_both_indices():
    root = read(array_block("y", np.arange(12.0).reshape(2, 2, 3)))
    assert [th.text for th in root.all("th") if th.attributes["scope"] == "row"] == [
        "0, 0",
        "0, 1",
        "1, 0",
        "1, 1",
    ]


@pytest.mark.parametrize("array", [np.empty((0, 3)), np.array(2.5), np.array([1, 2]), np.ones((40, 50))])
def test_arrays_of_every_size_are_readable(array):
    assert problems(array_block("a", array)) == []


def test_what_may_scroll_can_be_reached_by_keyboard_and_nothing_else_stops_there():
    for columns, stops in ((4, 0), (5, 1)):
        root = read(array_block("a", np.ones((2, columns))))
        assert len([element for element in root.all() if "tabindex" in element.attributes]) == stops
    for heads, stops in (("abc", 0), ("abcd", 1)):
        root = read(data_table(heads, [tuple(heads)], label="t"))
        assert len([element for element in root.all() if "tabindex" in element.attributes]) == stops


def test_a_column_without_remarks_is_left_out():
    rows = [("a", 1, ""), ("b", 2, "")]
    assert len(read(data_table(("x", "y", "note"), rows, label="t")).all("th")) == 2 + 2
    assert len(read(data_table(("x", "y", "note"), [*rows, ("c", 3, "!")], label="t")).all("th")) == 3 + 3


# Formulas -----------------------------------------------------------------------------------------


def elements(text: str, name: str) -> list[Element]:
    return read(text).all(name)


def test_a_formula_is_set_as_a_book_sets_it():
    (sum_,) = elements(math(parse("y[n] = Sum(x[n, d], d)")), "munder")
    assert sum_.text == "∑d"
    flat = elements(math(parse("y = exp(-x)")), "mo")
    assert [(mo.text, mo.attributes.get("stretchy"), mo.attributes.get("form")) for mo in flat] == [
        ("=", None, None),
        ("(", "false", "prefix"),
        ("−", None, "prefix"),
        (")", "false", "postfix"),
    ]
    tall = elements(math(parse("y = exp(x / a)")), "mo")
    assert [mo.attributes.get("stretchy") for mo in tall if mo.text in "()"] == ["true", "true"]
    (minus,) = [mo for mo in elements(math(parse("y = a - b")), "mo") if mo.text == "−"]
    assert "form" not in minus.attributes


def test_a_formula_in_the_line_and_on_its_own():
    assert elements(math(parse("y = x")), "math")[0].attributes["display"] == "inline"
    assert elements(math(parse("y = x"), block=True), "math")[0].attributes["display"] == "block"


def test_a_blank_is_a_line_to_write_on():
    (blank,) = [row for row in elements(math(Blank("a")), "mrow") if row.has_class("blank")]
    assert blank.text == "a"
    assert not elements(math(Blank("a")), "munder")


def test_a_long_sum_goes_on_in_the_next_line():
    terms = tuple(Multiply((Number(k + 0.5), Number(0.25))) for k in range(20))
    lines = math_lines(Add(terms))
    assert len(lines) > 2
    assert "".join(read(line).text for line in lines).count("0.25") == 20
    starts = [elements(line, "mo")[0] for line in lines[1:]]
    assert {(start.text, start.attributes["form"]) for start in starts} == {("+", "infix")}
    assert len(math_lines(Add(terms[:2]))) == 1


# Colours ------------------------------------------------------------------------------------------


def palettes() -> list[dict[str, str]]:
    """The colours of light, dark, and a notebook's light and dark."""
    blocks = re.findall(r"\{([^{}]*--paper: #[^{}]*)\}", stylesheet("style.css"))
    return [dict(re.findall(r"--([\w-]+): (#\w{6})", block)) for block in blocks]


def contrast(a: str, b: str) -> float:
    """As the Web Content Accessibility Guidelines 2.2 define it."""

    def luminance(colour: str) -> float:
        channels = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
        linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in channels]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    low, high = sorted([luminance(a), luminance(b)])
    return (high + 0.05) / (low + 0.05)


def test_light_and_dark_have_enough_contrast():
    light, dark, *notebooks = palettes()
    assert notebooks == [light, dark]
    for palette in (light, dark):
        for name in ("ink", "soft", "link", "forth", "back", "good", "bad"):
            assert contrast(palette[name], palette["paper"]) >= 4.5, name
        for name in ("pos", "neg"):
            assert contrast(palette[name], palette["paper"]) >= 3, name
        assert contrast(palette["ink"], palette["raised"]) >= 7


# Imports ------------------------------------------------------------------------------------------


def test_nothing_is_loaded_before_it_is_needed():
    program = """
import sys
import scratchnn as snn
assert "scratchnn.show" not in sys.modules
snn.Linear(2, 1)._repr_html_()
heavy = {"matplotlib", "PIL", "torch", "numba", "rich", "sympy", "latex2mathml"}
assert not heavy & set(sys.modules), heavy & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", program], check=True)
