"""Pictures of recorded runs: what is drawn is what was recorded."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from PIL import Image

import scratchnn as snn
from scratchnn import plots
from scratchnn.plots.recorded import _spread

rng = np.random.default_rng(0)
X = rng.normal(size=(60, 2)).astype(np.float32)
Y = (X[:, :1] > 0).astype(np.float32)
EPOCHS = 30


def recorded(
    hidden: int = 4, inputs: int = 2, last: Any = snn.Sigmoid, loss: Any = snn.BCELoss
) -> snn.Recording:
    snn.manual_seed(0)
    model = snn.Sequential(snn.Linear(inputs, hidden), snn.Tanh(), snn.Linear(hidden, 1), last())
    recording = snn.Recording()
    optimizer = snn.Adam(model.parameters(), lr=0.1)
    data = (X[:, :inputs], Y)
    snn.fit(model, loss(), optimizer, data, EPOCHS, callbacks=[recording], engine="numpy", progress=False)
    return recording


def test_parameters_over_time() -> None:
    recording = recorded()
    ax = plots.parameters_over_time(recording, title="All")
    assert len(ax.get_lines()) == 8 + 4 + 4 + 1 + 1  # and the line at zero
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "0.weight",
        "0.bias",
        "2.weight",
        "2.bias",
    ]
    np.testing.assert_array_equal(ax.get_lines()[1].get_xdata(), np.arange(EPOCHS + 1))
    np.testing.assert_array_equal(
        ax.get_lines()[1].get_ydata(), [recording.parameters(k)["0.weight"][0, 1] for k in range(EPOCHS + 1)]
    )
    left, right = plots.new_figure().subplots(1, 2)
    assert plots.parameters_over_time(recording, ["2.bias"], ax=left) is left
    assert len(left.get_lines()) == 2
    assert not right.has_data()


def test_a_large_parameter_is_drawn_as_its_range() -> None:
    recording = recorded(hidden=40)
    ax = plots.parameters_over_time(recording, ["0.weight"])
    (median, _) = ax.get_lines()
    expected = [np.median(recording.parameters(k)["0.weight"]) for k in range(EPOCHS + 1)]
    np.testing.assert_array_equal(median.get_ydata(), expected)
    (band,) = ax.collections
    assert band.get_paths()[0].vertices[:, 1].max() == recording.over_time("0.weight")[1].max()


def test_gradients_over_time() -> None:
    recording = recorded()
    ax = plots.gradients_over_time(recording, ["2.weight"])
    (line,) = ax.get_lines()
    np.testing.assert_array_equal(line.get_xdata(), np.arange(1, EPOCHS + 1))
    sizes = [np.sqrt(np.mean(recording.gradients(k)["2.weight"] ** 2)) for k in range(1, EPOCHS + 1)]
    np.testing.assert_allclose(line.get_ydata(), sizes, rtol=1e-6)
    assert ax.get_yscale() == "log"


@pytest.mark.parametrize(
    ("last", "loss"), [(snn.Sigmoid, snn.BCELoss), (snn.Identity, snn.BCEWithLogitsLoss)]
)
def test_boundary_strip(last: Any, loss: Any) -> None:
    recording = recorded(last=last, loss=loss)
    figure = plots.boundary_strip(recording, X, Y, [0, 10, 30], names=("left", "right"))
    titles = [ax.get_title(loc="left") for ax in figure.axes]
    assert titles[:3] == ["step 0", "step 10", "step 30"]
    chosen = plots.boundary_strip(recording, X, Y)
    steps = [int(ax.get_title(loc="left").split()[1]) for ax in chosen.axes[:5]]
    assert steps[0] == 0
    assert steps[-1] == EPOCHS
    assert steps == sorted(set(steps))
    with pytest.raises(IndexError, match="no step 31; nearest are 30"):
        plots.boundary_strip(recording, X, Y, [0, 31])
    with pytest.raises(ValueError, match="steps=\\[\\]"):
        plots.boundary_strip(recording, X, Y, [])


@pytest.mark.parametrize("inputs", [1, 2])
def test_animate(inputs: int, tmp_path: Any) -> None:
    recording = recorded(inputs=inputs, last=snn.Identity, loss=snn.MSELoss)
    path = plots.animate(recording, tmp_path / "training.gif", X[:, :inputs], Y, frames=4)
    assert list(tmp_path.iterdir()) == [path]
    with Image.open(path) as gif:
        assert gif.n_frames == 4
        seen = set()
        for frame in range(4):
            gif.seek(frame)
            seen.add(gif.convert("RGB").tobytes())
        assert len(seen) == 4


def test_steps_are_spread_from_first_to_last_closer_at_the_start() -> None:
    assert _spread(np.arange(3), 5) == [0, 1, 2]
    for count in (2, 5, 40):
        chosen = _spread(np.arange(0, 10_001, 10), count)
        assert chosen[0] == 0
        assert chosen[-1] == 10_000
        assert len(chosen) == count
        assert chosen == sorted(chosen)
    gaps = np.diff(_spread(np.arange(10_001), 10))
    assert (np.diff(gaps) > 0).all()


def test_bad_input(tmp_path: Any) -> None:
    recording, empty = recorded(), snn.Recording()
    for draw in (
        plots.parameters_over_time,
        plots.gradients_over_time,
        lambda r: plots.boundary_strip(r, X, Y),
        lambda r: plots.animate(r, tmp_path / "a.gif", X, Y),
    ):
        with pytest.raises(ValueError, match="Recording is empty"):
            draw(empty)
    with pytest.raises(KeyError, match=r"it has 0\.weight, 0\.bias, 2\.weight, 2\.bias"):
        plots.gradients_over_time(recording, ["1.weight"])
    with pytest.raises(ValueError, match="got 8 parameters; it draws 1 to 7"):
        plots.parameters_over_time(recording, ["0.weight"] * 8)
    with pytest.raises(TypeError, match=r"needs a list of texts: \['0\.weight'\]"):
        plots.parameters_over_time(recording, "0.weight")
    with pytest.raises(ValueError, match="frames=0"):
        plots.animate(recording, tmp_path / "a.gif", X, Y, frames=0)
    with pytest.raises(ValueError, match="1 or 2 inputs"):
        plots.animate(recording, tmp_path / "a.gif", np.zeros((3, 4)), Y)
    with pytest.raises(FileNotFoundError, match="make it first"):
        plots.animate(recording, tmp_path / "no" / "a.gif", X, Y, frames=1)
    with pytest.raises(IsADirectoryError, match="Is a folder"):
        plots.animate(recording, tmp_path, X, Y, frames=1)
    assert list(tmp_path.iterdir()) == []
