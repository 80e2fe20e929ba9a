"""The page of a step: it stands alone, everybody can read it, and its numbers are the trace's."""

from __future__ import annotations

import math
import re
from itertools import combinations

import numpy as np
import pytest
from html_outline import Element, problems, read

import scratchnn as snn
from scratchnn.show import page
from scratchnn.show.lines import label_places
from scratchnn.show.numbers import number

RNG = np.random.default_rng(0)
NASTY = """a<b>&"'</script>é中\\$_%#^~{}"""


class Twice(snn.Module):
    """A module of somebody's own, around one of ours."""

    def __init__(self) -> None:
        self.inner = snn.Linear(3, 3)

    def forward(self, x):
        return x + self.inner(x)

    def backward(self, dy):
        return dy + self.inner.backward(dy)


def small(samples: int = 4) -> snn.Trace:
    snn.manual_seed(3)
    model = snn.Sequential(snn.Linear(2, 3), snn.ReLU(), snn.Linear(3, 1), snn.Sigmoid())
    x = RNG.normal(size=(samples, 2)).astype(np.float32)
    return snn.trace(model, snn.BCELoss(), x, (x[:, :1] > 0).astype(np.float32))


def classes(*layers: snn.Module, inputs: int, samples: int = 6) -> snn.Trace:
    x = RNG.normal(size=(samples, inputs)).astype(np.float32)
    return snn.trace(snn.Sequential(*layers), snn.CrossEntropyLoss(), x, np.arange(samples) % 3)


def named(name: str) -> snn.Trace:
    model = snn.Sequential({name: snn.Linear(2, 3), "act": snn.Tanh(), "drop": snn.Dropout(0.5)})
    x = RNG.normal(size=(5, 2)).astype(np.float32)
    return snn.trace(model, snn.MSELoss(), x, np.zeros((5, 3), np.float32))


def with_optimizer() -> snn.Trace:
    model = snn.MLP(2, [10], 1)
    x = RNG.normal(size=(64, 2)).astype(np.float32)
    optimizer = snn.Adam(model.parameters(), lr=0.01)
    return snn.trace(model, snn.BCEWithLogitsLoss(), x, (x[:, :1] > 0).astype("f"), optimizer=optimizer)


def one_sample() -> snn.Trace:
    return snn.trace(
        snn.Linear(3, 2, bias=False), snn.MSELoss(reduction="none"), np.ones((1, 3)), np.ones((1, 2))
    )


TRACES = {
    "2-3-1": small,
    "2-10-1, an optimizer": with_optimizer,
    "blocks": lambda: classes(snn.Linear(70, 40), snn.ReLU(), snn.Linear(40, 3), inputs=70),
    "own module": lambda: classes(snn.Linear(4, 3), Twice(), snn.Linear(3, 3), inputs=4),
    "nasty name": lambda: named(NASTY),
    "one sample": one_sample,
    "no batch": lambda: snn.trace(snn.Linear(3, 2), snn.MSELoss(), np.ones(3), np.ones(2)),
    "three axes": lambda: snn.trace(snn.Linear(3, 2), snn.MSELoss(), np.ones((2, 4, 3)), np.ones((2, 4, 2))),
}


@pytest.mark.parametrize("name", TRACES)
def test_a_page_stands_alone_and_everybody_can_read_it(name):
    text = page(TRACES[name]())
    assert problems(text) == []
    assert text.startswith("<!DOCTYPE html>")
    root = read(text)
    assert [html.attributes["lang"] for html in root.all("html")] == ["en"]
    assert len(root.all("h1")) == len(root.all("main")) == len(root.all("title")[:1]) == 1


def test_the_checks_above_see_what_they_are_there_for():
    bad = {
        '<img src="data:image/png;base64,x">': "no alt",
        '<img alt="a" src="http://elsewhere/a.png">': "refers to",
        '<img alt="a" src="a.png">': "not in the page",
        "<script></script>": "stands alone",
        '<p onclick="a()"></p>': "script",
        '<svg role="img" aria-label="a"></svg>': "no title",
        "<svg><title>a</title></svg>": "label",
        "<table><tr><th>a</th></tr></table>": "scope",
        "<table><tr><td>a</td></tr><tr></tr></table>": "rows of",
        '<p id="a"></p><p id="a"></p>': "twice",
        '<a href="#b">b</a>': "not there",
        "<table><tr><td>a</td></tr></table>": "no caption",
        "<h2>a</h2><h4>b</h4>": "jumps",
        "<h2></h2>": "empty heading",
        '<div tabindex="0"></div>': "no name",
        "<style>p { background: url(a.png) }</style>": "fetches",
    }
    for text, words in bad.items():
        assert any(words in problem for problem in problems(text)), text
    with pytest.raises(AssertionError):
        read("<p><b></p></b>")


def test_a_name_stays_a_name():
    text = page(named(NASTY))
    root = read(text)
    assert "</script>é" not in text
    titles = [heading.text for heading in root.all("h3")]
    assert f"{NASTY} Linear(2, 3)" in titles
    assert all(element.name != "script" for element in root.all())


@pytest.mark.parametrize("bad", ["\x00", "\x1b[31m", "\ud800"])
def test_what_no_file_may_hold_is_replaced(bad):
    text = page(named(f"a{bad}b"))
    assert text.encode("utf-8")
    assert bad[0] not in text
    assert problems(text) == []


# What is on it ------------------------------------------------------------------------------------


def section(root: Element, title: str) -> Element:
    """The section under a heading."""
    for heading in root.all("h2", "h3"):
        if heading.text == title and heading.parent is not None:
            return heading.parent
    raise AssertionError(f"no {title!r} among {[h.text for h in root.all('h2', 'h3')]}")


def tables(element: Element) -> dict[str, list[list[str]]]:
    """Name of each array, and the texts of its entries."""
    found = {}
    for table in element.all("table"):
        if not table.has_class("numbers"):
            continue
        (caption,) = table.all("caption")
        rows = [[cell.text for cell in row.all("td")] for row in table.all("tbody")[0].all("tr")]
        found[caption.text] = rows
    return found


def value(text: str) -> float:
    """A number as the page writes it."""
    text = text.replace("−", "-").replace("∞", "inf")
    mantissa, times, power = text.partition("×10")
    return float(mantissa) * 10.0 ** int(
        power.translate(str.maketrans("⁻⁰¹²³⁴⁵⁶⁷⁸⁹", "-0123456789")) if times else 0
    )


def test_every_step_is_there_in_order_with_its_formulas_and_every_number():
    trace = small()
    root = read(page(trace))
    for direction, title in (("forward", "Forward"), ("backward", "Backward")):
        part = section(root, title)
        steps = [step for step in trace.steps if step.direction == direction]
        wanted = [s.module if s.path == "loss" else f"{s.path} {s.module}" for s in steps]
        assert [heading.text for heading in part.all("h3")] == wanted
        for step, heading in zip(steps, part.all("h3"), strict=True):
            inside = heading.parent
            assert len(inside.all("math")) == len(step.formulas)
            assert f"functional.{step.op}" in inside.text
            printed = tables(inside)
            for name, array in step.outputs.items():
                if array.ndim == 0:
                    assert number(array[()]) in inside.text
                    continue
                shown = np.array([[value(text) for text in row] for row in printed[name]])
                assert np.allclose(shown, array.reshape(shown.shape), atol=6e-4 * np.abs(array).max())


def test_an_array_is_printed_once_and_then_linked():
    root = read(page(small()))
    second = section(section(root, "Forward"), "1 ReLU()")
    assert list(tables(second)) == ["y"]
    (link,) = second.all("a")
    assert link.text == "y of 0 (Linear)"
    target = next(e for e in root.all() if e.attributes.get("id") == link.attributes["href"][1:])
    assert target.text == "0 Linear(2, 3)"


def test_of_two_equal_arrays_the_last_one_is_named():
    model = snn.Sequential(snn.Identity(), snn.Linear(2, 1))
    trace = snn.trace(model, snn.MSELoss(), np.ones((2, 2)), np.ones((2, 1)))
    text = section(section(read(page(trace)), "Forward"), "1 Linear(2, 1)").text
    assert "x is y of 0 (Identity)." in text


def test_a_missing_bias_is_said_and_left_out_of_the_formula():
    part = section(section(read(page(one_sample())), "Forward"), "Linear(3, 2)")
    assert "There is no bias." in part.text
    assert "bias" not in part.all("math")[0].text
    assert "bias" in section(section(read(page(small())), "Forward"), "0 Linear(2, 3)").all("math")[0].text


def test_large_arrays_are_folded_and_the_largest_say_how_to_see_more():
    root = read(page(classes(snn.Linear(70, 40), snn.ReLU(), snn.Linear(40, 3), inputs=70)))
    part = section(section(root, "Forward"), "0 Linear(70, 40)")
    folded = [details for details in part.all("details") if "0.weight" in details.text]
    assert len(folded) == 1
    assert "open" not in folded[0].attributes
    assert 'trace["0"].forward.inputs["weight"]' in folded[0].text
    assert len(folded[0].all("tr")) == 1 + 6 + 1 + 6
    assert next(img.attributes["alt"] for img in part.all("img")).startswith("Heat map of weight: 40 rows")
    assert not section(section(read(page(small())), "Forward"), "0 Linear(2, 3)").all("details", "img")


def test_the_health_of_the_layers_and_findings():
    snn.manual_seed(0)
    model = snn.Sequential(snn.Linear(2, 4), snn.ReLU(), snn.Linear(4, 1))
    model[0].bias.data[:3] = -100
    x = RNG.normal(size=(16, 2)).astype(np.float32)
    trace = snn.trace(model, snn.MSELoss(), x, x[:, :1])
    part = section(read(page(trace)), "Where learning is lost")
    assert [item.text for item in part.all("li")] == [f"Look: {finding}" for finding in trace.findings]
    assert trace.findings
    rows = [[cell.text for cell in row.all("th", "td")] for row in part.all("table")[0].all("tr")]
    assert rows[0] == ["layer", "norm of y", "norm of dL/dy", "dead units"]
    assert rows[2][0::3] == ["1 (ReLU)", "3 of 4"]
    well = section(read(page(with_optimizer())), "Where learning is lost")
    assert "update / norm" in well.all("table")[1].text
    assert "Nothing stands out" in well.text


def test_an_exercise_gives_nothing_away():
    """Diagram and passes show every number of the step, so they stay away."""
    trace = small()
    exercise = trace.explain("0.weight", (2, 1), blanks=3)
    text = page(trace, [exercise], title="An exercise")
    assert problems(text) == []
    root = read(text)
    assert [heading.text for heading in root.all("h2")] == ["Derivations", "Answers"]
    assert not root.all("svg")
    assert "An exercise: Sequential" in root.text
    assert "One step of backprop: An exercise" in text
    assert "The network" in page(trace, [trace.explain("0.weight", (2, 1))])


def test_derivations_and_the_answers_on_a_page_of_their_own():
    trace = small()
    sheets = [
        trace.explain("0.weight", (2, 1)),
        trace.explain("2.bias", (0,), blanks=2),
        trace.explain("loss"),
    ]
    text = page(trace, sheets)
    assert problems(text) == []
    root = read(text)
    part = section(root, "Derivations")
    assert [heading.text for heading in part.all("h3")] == [sheet.title for sheet in sheets]
    assert len([s for s in part.all("section") if s.has_class("line")]) == sum(len(s.lines) for s in sheets)
    for check in sheets[0].checks:
        assert check.name in part.text
    answers = section(root, "Answers")
    assert answers.has_class("newpage")
    assert [heading.text for heading in answers.all("h3")] == [sheets[1].title]
    rows = [[cell.text for cell in row.all("th", "td")] for row in answers.all("tbody")[0].all("tr")]
    assert rows == [[f"({a.label})", a.name, number(a.value)] for a in sheets[1].answers]
    blanks = [e for e in part.all("span") if e.has_class("blank")]
    assert {blank.text for blank in blanks} >= {f"blank ({a.label})" for a in sheets[1].answers}
    for answer in sheets[1].answers:  # and nowhere else
        line = next(line for line in sheets[1].lines if line.blank == answer.label)
        shown = next(
            s for s in part.all("section") if s.attributes.get("id") == f"sheet-2-line-{line.number}"
        )
        assert number(answer.value) not in [b.text for b in shown.all("b")]
    assert "Answers" not in [heading.text for heading in read(page(trace, sheets[:1])).all("h2")]


def test_every_writing_of_a_line_is_there():
    trace = small()
    sheet = trace.explain("0.weight", (2, 1))
    root = read(page(trace, [sheet]))
    first = next(e for e in root.all("section") if e.attributes.get("id") == "sheet-1-line-1")
    assert [term.text for term in first.all("dt")] == ["in symbols", "in numbers", "value"]
    symbols, numbers, result = first.all("dd")
    assert symbols.all("math")
    assert numbers.all("math")
    assert value(result.text) == pytest.approx(sheet.lines[0].value, rel=1e-3)
    rows = first.all("tbody")[0].all("tr")
    assert len(rows) == len(sheet.lines[0].factors)
    assert [row.all("td")[1].text.split(", line ")[0] for row in rows] == [
        factor.origin for factor in sheet.lines[0].factors
    ]


# The diagram --------------------------------------------------------------------------------------


def drawings(text: str) -> list[Element]:
    return [svg for svg in read(text).all("svg") if svg.has_class("network")]


def test_a_small_network_has_every_number_in_one_drawing():
    trace = small()
    (svg,) = drawings(page(trace, sample=2))
    assert len(svg.all("circle")) == 2 + 3 + 1
    weights = [e for e in svg.all("path") if e.has_class("w")]
    assert len(weights) == 2 * 3 + 3
    titles = {title.text for title in svg.all("title")}
    weight, dweight = trace.parameters["0.weight"], trace.gradients["0.weight"]
    for (to, source), entry in np.ndenumerate(weight):
        gradient = number(dweight[to, source])
        assert f"0.weight[{to}, {source}] = {number(entry)}, gradient {gradient}" in titles
    y = trace["1"].forward.outputs["y"][2]
    dy = trace["1"].backward.inputs["dy"][2]
    for unit in range(3):
        start = f"h[{unit}] = {number(y[unit])}, before the activation"
        assert any(t.startswith(start) and f"gradient {number(dy[unit])}" in t for t in titles), unit
    for entry, path in zip(weight.ravel(), weights, strict=False):
        assert path.has_class("n" if entry < 0 else "p")


def test_numbers_on_lines_do_not_lie_on_each_other():
    starts, ends = [100.0, 200.0, 300.0], [80.0, 160.0, 240.0, 320.0]
    taken: list[tuple[float, float]] = []
    places = label_places((50.0, 250.0), starts, ends, (50.0, 29.0), taken)
    assert places is not None
    assert set(places) == {(to, source) for to in range(4) for source in range(3)}
    for (to, source), (x, y) in places.items():  # each on its line
        assert y == pytest.approx(starts[source] + (x - 50) / 200 * (ends[to] - starts[source]))
    boxes = list(places.values())
    assert taken == boxes
    assert not [(a, b) for a, b in combinations(boxes, 2) if abs(a[0] - b[0]) < 50 and abs(a[1] - b[1]) < 29]
    assert label_places((50.0, 250.0), starts, ends, (190.0, 90.0), []) is None


def test_a_network_too_dense_for_numbers_on_its_lines_gets_two_drawings():
    model = snn.MLP(7, [3], 1)
    trace = snn.trace(model, snn.MSELoss(), np.ones((2, 7), "f"), np.ones((2, 1), "f"))
    forward, backward = drawings(page(trace))
    assert "forward: values and weights" in forward.text
    assert "backward: dL/d of each" in backward.text


def test_the_mean_over_the_batch_without_a_sample():
    trace = small()
    y = trace["1"].forward.outputs["y"].astype(np.float64).mean(axis=0)
    text = drawings(page(trace))[0].text
    assert all(f"h[{unit}] = {number(y[unit])}" in text for unit in range(3))
    assert "mean over 4 samples" in text
    assert f"mean target {number(float(trace.target.mean()), 3)}" in text
    (svg,) = drawings(page(trace, sample=1))
    assert [e.text for e in svg.all("text") if "target" in e.text] == [
        f"target {number(trace.target[1, 0], 3)}"
    ]


def test_up_to_32_units_are_drawn_and_more_are_a_block_with_a_heat_map():
    for hidden, pictures in ((32, 0), (33, 1)):
        model = snn.MLP(2, [hidden], 3)
        trace = snn.trace(model, snn.CrossEntropyLoss(), np.ones((4, 2), "f"), np.arange(4) % 3)
        forward, backward = drawings(page(trace))
        for svg in (forward, backward):
            lines = [e for e in svg.all("path") if e.has_class("w")]
            assert len(lines) == (0 if pictures else 2 * hidden + 3 * hidden)
            assert len(svg.all("image")) == (3 if pictures else 0)  # the block, and the weights beside it
        assert "33 values" in forward.text or hidden == 32


def test_a_network_of_ones_own_claims_no_weights_where_it_does_not_know_them():
    trace = classes(snn.Linear(4, 3), Twice(), snn.Linear(3, 3), inputs=4)
    svg = drawings(page(trace))[0]
    assert svg.text.count("the model's own forward") == 1
    assert len([e for e in svg.all("path") if e.has_class("w")]) == 3 * 4 + 3 * 3 + 3 * 3
    (first,) = [title.text for title in svg.all("title") if title.text.startswith("x[0] = ")]
    assert "gradient" not in first  # for all the drawing knows, Twice has used x, too


def test_the_inputs_of_a_chain_have_their_gradients():
    trace = small()
    dx = trace["0"].backward.outputs["dx"][2]
    text = drawings(page(trace, sample=2))[0].text
    for unit in range(2):
        assert f"x[{unit}] = {number(trace.x[2, unit])}, gradient {number(dx[unit])}" in text


def test_numbers_that_are_not_finite_are_shown():
    """NaN and infinities of both signs, as a run that diverged leaves them, without a warning."""
    model = snn.Sequential(snn.Linear(2, 3), snn.ReLU(), snn.Linear(3, 1))
    x = np.array([[math.inf, 0], [-math.inf, 0], [math.nan, 0]], np.float32)
    text = page(snn.trace(model, snn.MSELoss(), x, np.zeros((3, 1), np.float32)))
    for shown in ("∞", "−∞", "NaN"):
        assert f">{shown}<" in text


def test_bad_input_is_named():
    trace = small()
    with pytest.raises(IndexError, match=r"sample=4 is not in the batch; it has 4: 0 to 3"):
        page(trace, sample=4)
    for wrong in ("a", 1.5, True):
        with pytest.raises(TypeError, match=f"sample={wrong!r} is no whole number"):
            page(trace, sample=wrong)
    with pytest.raises(TypeError, match="got 3 as a sheet"):
        page(trace, [3])
    with pytest.raises(TypeError, match=r"it needs a list of them: sheets=\[sheet\]"):
        page(trace, trace.explain("loss"))
    assert drawings(page(trace, sample=-1))[0].text == drawings(page(trace, sample=3))[0].text


# The file -----------------------------------------------------------------------------------------


def test_save_writes_the_page_whole_and_nothing_else(tmp_path):
    trace = small()
    sheet = trace.explain("0.weight", (0, 0))
    path = trace.save(tmp_path / "step.html", sheets=[sheet], sample=1)
    assert [file.name for file in tmp_path.iterdir()] == ["step.html"]
    assert path.read_text(encoding="utf-8") == page(trace, [sheet], sample=1)
    path.chmod(0o640)
    trace.save(path)
    assert path.read_text(encoding="utf-8") == page(trace)
    assert path.stat().st_mode & 0o777 == 0o640
    with pytest.raises(OSError, match="nowhere"):
        trace.save(tmp_path / "nowhere" / "step.html")
    with pytest.raises(IndexError):
        trace.save(tmp_path / "other.html", sample=99)
    with pytest.raises(IsADirectoryError, match="Is a folder"):
        trace.save(tmp_path)
    assert [file.name for file in tmp_path.parent.iterdir() if file.suffix == ".html"] == []
    assert [file.name for file in tmp_path.iterdir()] == ["step.html"]


def test_a_large_network_makes_a_page_of_a_few_hundred_kilobytes():
    trace = classes(snn.Linear(784, 128), snn.ReLU(), snn.Linear(128, 10), inputs=784, samples=32)
    assert len(page(trace)) < 600_000


def test_both_schemes_are_there_and_paper_has_its_own_rules():
    style = read(page(small())).all("style")[0].text
    assert "prefers-color-scheme: dark" in style
    assert "@media print" in style
    assert ":focus-visible" in style
    used = set(re.findall(r"var\(--([\w-]+)", style)) - {"depth"}
    defined = set(re.findall(r"--([\w-]+):", style))
    assert used <= defined
