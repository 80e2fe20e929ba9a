"""What a notebook shows of models, traces, sheets, histories and reports."""

from __future__ import annotations

import re

import numpy as np
import pytest
from html_outline import problems, read

import reference
import scratchnn as snn
from scratchnn.show.numbers import number

RNG = np.random.default_rng(0)


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
