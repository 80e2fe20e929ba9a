"""Pictures of a function of one number, grids of curves, models side by side."""

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

import reference
import scratchnn as snn
from scratchnn import plots

X = np.linspace(-2, 2, 41, dtype=np.float32)[:, None]
Y = X * X


@pytest.fixture
def model():
    """Units that switch at -1 (on to the right), 0.5 (on to the left) and 7 (outside the picture)."""
    model = snn.Sequential(snn.Linear(1, 3), snn.Sigmoid(), snn.Linear(3, 1))
    model[0].weight.data[:] = [[2], [-4], [1]]
    model[0].bias.data[:] = [2, 2, -7]
    model[2].weight.data[:] = [[1, 10, 100]]
    model[2].bias.data[:] = 0.5
    return model


DRAWINGS = {
    "curve_fit": lambda model, ax: plots.curve_fit(model, X, Y, ax=ax, title="title"),
    "thresholds": lambda model, ax: plots.thresholds(model, X, Y, ax=ax, title="title"),
    "staircase": lambda model, ax: plots.staircase(model, X, Y, ax=ax, title="title"),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_picture_has_labels_and_a_legend_and_is_written(name, model, tmp_path):
    ax = DRAWINGS[name](model, None)
    assert isinstance(ax, Axes)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_title(loc="left")) == (
        "input $x$",
        "output $y$",
        "title",
    )
    assert ax.get_legend() is not None
    pixels = imread(plots.save(ax.figure, tmp_path / "picture.png"))
    assert len(np.unique(pixels[::3, ::3].reshape(-1, 4), axis=0)) > 20
    own = Figure().subplots()
    assert DRAWINGS[name](model, own) is own


def test_curve_fit_draws_the_data_and_the_models_answers(model):
    ax = plots.curve_fit(model, X, Y)
    data, curve = ax.lines
    np.testing.assert_allclose(data.get_xydata(), np.column_stack([X, Y]))
    x = curve.get_xdata().astype(np.float32)
    assert (x[0], x[-1]) == (-2, 2)
    np.testing.assert_allclose(curve.get_ydata(), model(x[:, None])[:, 0])
    flat = plots.curve_fit(lambda x: x[:, 0] ** 2, X[:, 0], Y[:, 0])
    np.testing.assert_allclose(flat.lines[1].get_ydata(), flat.lines[1].get_xdata() ** 2)


def test_threshold_places(model):
    np.testing.assert_allclose(plots.threshold_places(model), [[-1, 1], [0.5, -1], [7, 1]])
    model[0].weight.data[0] = 0
    place, direction = plots.threshold_places(model)[0]
    assert np.isnan(place)
    assert direction == 0


def test_thresholds_draws_the_lines_and_which_way_each_switches(model):
    ax = plots.thresholds(model, X, Y)
    upright = [line for line in ax.lines if len(set(line.get_xdata())) == 1]
    assert [line.get_xdata()[0] for line in upright] == [-1, 0.5]
    assert {line.get_linestyle() for line in upright} == {"-", "--"}
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None) is not None]
    assert [np.sign(arrow.xy[0] - arrow.get_position()[0]) for arrow in arrows] == [1, -1]
    assert "1 of 3 units switch outside" in " ".join(text.get_text() for text in ax.texts)
    alone = plots.thresholds(model)
    assert len(alone.lines) == 3


def test_staircase_is_the_model_with_units_of_0_or_1(model):
    steps = plots.binary_prediction(model, np.array([[-3.0], [0.0], [3.0], [9.0]]))
    np.testing.assert_allclose(steps[:, 0], [0.5 + 10, 0.5 + 1 + 10, 0.5 + 1, 0.5 + 1 + 100])
    ax = plots.staircase(model, X, Y)
    assert set(np.round(ax.lines[2].get_ydata(), 3)) == {10.5, 11.5, 1.5}


def test_a_torch_module_is_drawn_through_from_torch(model):
    ours = reference.from_torch(reference.twin(model))
    np.testing.assert_allclose(plots.threshold_places(ours), plots.threshold_places(model))
    np.testing.assert_allclose(
        plots.staircase(ours, X, Y).lines[2].get_ydata(), plots.staircase(model, X, Y).lines[2].get_ydata()
    )


def test_curve_fits_stands_several_below_each_other(model):
    figure = plots.curve_fits({"first": (model, X, Y), "second": (np.sin, X, np.sin(X))})
    first, second = figure.axes
    assert (first.get_title(loc="left"), second.get_title(loc="left")) == ("first", "second")
    assert first.get_legend() is None
    assert second.get_legend() is not None
    with pytest.raises(ValueError, match="no fits"):
        plots.curve_fits({})


def test_curve_grid_puts_each_pair_in_its_place():
    runs = {
        (lr, size): (([1, 2], [lr, lr]), ([1, 2], [size, size])) for lr in (0.1, 1.0) for size in (16, 32, 64)
    }
    runs[1.0, 64] = None
    figure = plots.curve_grid(runs, rows="lr", columns="batch", title="title")
    panels = np.array(figure.axes).reshape(2, 3)
    assert [panel.get_title() for panel in panels[0]] == ["batch 16", "batch 32", "batch 64"]
    assert [panel.get_ylabel() for panel in panels[:, 0]] == ["lr 0.1", "lr 1"]
    thin, thick = panels[1, 1].lines
    assert set(thin.get_ydata()) == {1.0}
    assert set(thick.get_ydata()) == {32}
    assert [text.get_text() for text in panels[1, 2].texts] == ["diverged"]
    with pytest.raises(ValueError, match="no runs"):
        plots.curve_grid({}, rows="", columns="")


def test_probabilities_stand_side_by_side_with_one_scale():
    def half(x):
        return np.clip(x[:, :1], 0, 1)

    figure = plots.probabilities({"one": half, "two": lambda x: 1 - half(x)}, extent=(-1, 2, -1, 1))
    assert [ax.get_title(loc="left") for ax in figure.axes] == ["one", "two", ""]
    with pytest.raises(ValueError, match="no models"):
        plots.probabilities({})


def test_what_does_not_suit_is_refused(model):
    two = snn.Sequential(snn.Linear(2, 3), snn.Sigmoid(), snn.Linear(3, 1))
    with pytest.raises(ValueError, match=r"thresholds got .*Linear"):
        plots.thresholds(two)
    with pytest.raises(TypeError, match="needs a Module"):
        plots.thresholds(np.sin)
    with pytest.raises(TypeError, match=r"needs Sequential\(Linear"):
        plots.staircase(snn.Sequential(snn.Linear(1, 3), snn.Tanh(), snn.Linear(3, 1)), X, Y)
    with pytest.raises(ValueError, match=r"curve_fit got x of shape \(41, 1\) and y of shape \(40, 1\)"):
        plots.curve_fit(model, X, Y[:-1])
    with pytest.raises(ValueError, match="needs"):
        plots.curve_fit(lambda x: np.ones(3), X, Y)


def test_nothing_is_changed(model):
    before = {key: value.copy() for key, value in model.state_dict().items()}
    for draw in DRAWINGS.values():
        draw(model, None)
    assert model.training
    for key, value in model.state_dict().items():
        np.testing.assert_array_equal(value, before[key])
