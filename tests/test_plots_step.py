"""The figure of a step: units, weights and gradients are the trace's; bad input is refused."""

from itertools import pairwise

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.image import imread

import scratchnn as snn
from scratchnn import plots
from scratchnn.plots.look import BLUE, VERMILION
from scratchnn.plots.step import BACK

RNG = np.random.default_rng(0)


def traced(*sizes, samples=4, name="fc"):
    snn.manual_seed(1)
    parts = {}
    for at, (inputs, outputs) in enumerate(pairwise(sizes)):
        parts[f"{name}{at}"] = snn.Linear(inputs, outputs)
        parts[f"act{at}"] = snn.Tanh()
    x = RNG.normal(size=(samples, sizes[0])).astype(np.float32)
    target = np.zeros((samples, sizes[-1]), np.float32)
    return snn.trace(snn.Sequential(parts), snn.MSELoss(), x, target)


def lines(ax):
    """The weights' lines: those with two ends, drawn in one of the two colours."""
    return [line for line in ax.lines if line.get_color() in (BLUE, VERMILION)]


def texts(ax, color=None):
    return [t.get_text() for t in ax.texts if color is None or t.get_color() == color]


def test_units_and_lines_are_those_of_the_trace():
    trace = traced(2, 3, 1)
    ax = plots.trace_diagram(trace, sample=2)
    assert isinstance(ax, Axes)
    assert len(ax.patches) == 6
    weights = np.concatenate([trace.parameters[f"fc{at}.weight"].ravel() for at in (0, 1)])
    assert [line.get_color() for line in lines(ax)] == [VERMILION if w >= 0 else BLUE for w in weights]
    assert [line.get_linestyle() == "--" for line in lines(ax)] == [w < 0 for w in weights]
    first = [line.get_linewidth() for line in lines(ax)[:6]]
    sizes = np.abs(trace.parameters["fc0.weight"].ravel())
    assert np.allclose(first, np.maximum(0.5, 5 * sizes / sizes.max()))
    black, purple = texts(ax, "black") + texts(ax, "#000000"), texts(ax, BACK)
    for weight in weights:
        assert f"{weight:.2g}" in black
    for gradient in trace.gradients["fc0.weight"].ravel():
        assert f"{gradient:.2g}" in purple
    for value in trace["act0"].forward.outputs["y"][2]:
        assert f"{value:.2g}" in black
    for gradient in trace["act0"].backward.inputs["dy"][2]:
        assert f"{gradient:.1g}" in purple


def test_without_a_sample_the_mean_over_the_batch():
    trace = traced(2, 3, 1)
    ax = plots.trace_diagram(trace)
    for value in trace["act0"].forward.outputs["y"].mean(axis=0):
        assert f"{value:.2g}" in texts(ax)
    assert "mean over 4 samples" in ax.get_title(loc="left")
    assert plots.trace_diagram(trace, title="mine").get_title(loc="left") == "mine"


@pytest.mark.parametrize(("hidden", "units", "blocks"), [(32, 37, 0), (33, 5, 1)])
def test_more_than_32_units_are_a_block_with_a_heat_map(hidden, units, blocks):
    trace = traced(3, hidden, 2)
    ax = plots.trace_diagram(trace)
    assert len(ax.patches) == units + 2 * blocks  # and a band on either side
    assert len(ax.images) == blocks
    assert len(lines(ax)) == (0 if blocks else 5 * hidden)
    for image in ax.images:
        values = trace["act0"].forward.outputs["y"].astype(float).mean(axis=0)
        assert np.allclose(np.asarray(image.get_array()).ravel()[:hidden], values)


def test_it_draws_on_given_axes_and_is_written(tmp_path):
    ax = plots.new_figure().subplots()
    assert plots.trace_diagram(traced(2, 3, 1), ax=ax) is ax
    pixels = imread(plots.save(ax.figure, tmp_path / "step.png"))
    assert len(np.unique(pixels[::5, ::5].reshape(-1, 4), axis=0)) > 20


def test_a_dollar_in_a_name_is_a_dollar(tmp_path):
    ax = plots.trace_diagram(traced(2, 40, 1, name="a$_$b"))
    plots.save(ax.figure, tmp_path / "step.png")
    assert any("a$_$b0" in text for text in texts(ax))


def test_bad_input_is_named():
    with pytest.raises(TypeError, match=r"got trace=Linear.*; it needs a trace"):
        plots.trace_diagram(snn.Linear(2, 1))
    with pytest.raises(IndexError, match="sample=9 is not in the batch; it has 4"):
        plots.trace_diagram(traced(2, 1), sample=9)
