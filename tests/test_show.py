"""What a notebook shows, and the pieces it is made of: markup, numbers, tables, heat maps, colours."""

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

import reference
import scratchnn as snn
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


# Cells --------------------------------------------------------------------------------------------


class Own(snn.Module):
    def __init__(self) -> None:
        self.a, self.b = snn.Linear(2, 2), snn.Linear(2, 40)

    def forward(self, x):
        return self.b(x + self.a(x))

    def backward(self, dy):
        dy = self.b.backward(dy)
        return dy + self.a.backward(dy)


def run() -> tuple[snn.Module, snn.History]:
    snn.manual_seed(0)
    model = snn.Sequential(snn.Linear(2, 3), snn.Tanh(), snn.Linear(3, 1))
    x = RNG.normal(size=(20, 2)).astype(np.float32)
    data = snn.DataLoader(snn.TensorDataset(x, x[:, :1]), batch_size=5)
    optimizer = snn.SGD(model.parameters(), lr=0.1)
    history = snn.fit(
        model,
        snn.MSELoss(),
        optimizer,
        data,
        epochs=4,
        engine="numpy",
        validation=(x, x[:, :1]),
        progress=False,
    )
    return model, history


def trace() -> snn.Trace:
    x = RNG.normal(size=(4, 2)).astype(np.float32)
    return snn.trace(run()[0], snn.MSELoss(), x, x[:, :1])


def comparison() -> object:
    x = RNG.normal(size=(8, 2)).astype(np.float32)
    data = snn.DataLoader(snn.TensorDataset(x, x[:, :1]), batch_size=4)
    recordings = []
    for lr in (0.1, 0.2):
        recordings.append(snn.Recording())
        snn.manual_seed(0)
        one = snn.Sequential(snn.Linear(2, 1))
        optimizer = snn.SGD(one.parameters(), lr=lr)
        snn.fit(
            one, snn.MSELoss(), optimizer, data, 2, engine="numpy", callbacks=[recordings[-1]], progress=False
        )
    return snn.compare_runs(*recordings)


SHOWN = {
    "Sequential": lambda: run()[0],
    "own network": Own,
    "one layer": lambda: snn.Linear(3, 2),
    "no parameters": snn.ReLU,
    "blocks": lambda: snn.MLP(64, [100, 7], 3),
    "empty": snn.Sequential,
    "History": lambda: run()[1],
    "an empty History": snn.History,
    "a diverged History": lambda: snn.History(train_loss=[1.0, float("nan")], val_loss=[float("inf")] * 2),
    "gradcheck": lambda: snn.gradcheck(run()[0], RNG.normal(size=(5, 2))),
    "ParityReport": lambda: reference.compare(
        run()[0], snn.MSELoss(), np.ones((3, 2), "f"), np.ones((3, 1), "f")
    ),
    "Trace": trace,
    "Sheet": lambda: trace().explain("0.weight", (1, 1)),
    "exercise": lambda: trace().explain("0.weight", (1, 1), blanks=2),
    "Comparison": comparison,
}


@pytest.mark.parametrize("name", SHOWN)
def test_a_cell_of_a_notebook_is_readable_by_everybody(name):
    text = SHOWN[name]()._repr_html_()
    assert problems(text) == []
    root = read(text)
    assert not root.all("script")
    assert not [element for element in root.all() if "id" in element.attributes]  # of several cells in a page
    (outer,) = root.children
    assert outer.has_class("scratchnn")


def test_a_model_shows_its_parameters_and_where_known_its_order():
    model = run()[0]
    root = read(model._repr_html_())
    rows = [[cell.text for cell in row.all("th", "td")] for row in root.all("tbody")[0].all("tr")]
    assert [row[:3] for row in rows] == [
        [name, " × ".join(map(str, p.shape)), str(p.data.size)] for name, p in model.named_parameters()
    ]
    assert root.all("circle")
    assert "0 Linear(2, 3)" in root.all("svg")[0].text
    assert not read(Own()._repr_html_()).all("svg")  # only its forward knows
    assert repr(model) in root.all("pre")[0].text


def test_a_history_shows_its_losses():
    history = run()[1]
    root = read(history._repr_html_())
    rows = {row.all("th")[0].text: [c.text for c in row.all("td")] for row in root.all("tbody")[0].all("tr")}
    for name, values in (("train_loss", history.train_loss), ("val_loss", history.val_loss)):
        assert rows[name] == [number(v) for v in (values[0], values[-1], min(values), max(values))]
    curves = [path for path in root.all("path") if path.has_class("curve")]
    assert [path.attributes["d"].count("L") for path in curves] == [3, 3]
    assert len({path.attributes["stroke-dasharray"] for path in curves}) == 2


def test_a_history_that_diverged_draws_what_is_finite():
    history = snn.History(train_loss=[4.0, 2.0, float("nan"), 1.0, float("inf")])
    (curve,) = [path for path in read(history._repr_html_()).all("path") if path.has_class("curve")]
    assert len(re.findall(r"[ML]\d+\.\d \d+\.\d", curve.attributes["d"])) == 3
    assert not re.search("nan|inf", curve.attributes["d"])


def test_reports_show_their_verdicts():
    class Wrong(snn.Linear):
        def backward(self, dy):
            return 2 * super().backward(dy)

    failed = read(snn.gradcheck(Wrong(2, 2), np.ones((2, 2)))._repr_html_())
    assert "FAIL: 2 of 3 tensors right" in failed.text
    assert [cell.text for cell in failed.all("td") if cell.has_class("bad")] == ["FAIL"]
    good = read(SHOWN["gradcheck"]()._repr_html_())
    assert "PASS: 5 of 5" in good.text
    report = SHOWN["ParityReport"]()
    root = read(report._repr_html_())
    assert [row.all("th")[0].text for row in root.all("tbody")[0].all("tr")] == [
        row.name for row in report.rows
    ]
    assert root.text.count("PASS:") == 1


def test_two_runs_that_part_show_why():
    found = SHOWN["Comparison"]()
    root = read(found._repr_html_())
    assert "Two runs part: settings" in root.text
    assert [row.all("td")[0].text for row in root.all("tbody")[0].all("tr")] == [
        text for _, text in found.lines()
    ]


def test_a_sheet_in_a_notebook_has_no_answers_in_the_open():
    sheet = trace().explain("0.weight", (1, 1), blanks=2)
    root = read(sheet._repr_html_())
    (folded,) = root.all("details")
    assert "open" not in folded.attributes
    assert [row.all("td")[-1].text for row in folded.all("tbody")[0].all("tr")] == [
        number(answer.value) for answer in sheet.answers
    ]


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
