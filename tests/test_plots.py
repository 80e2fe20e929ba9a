"""Pictures: what is drawn is what was given, nothing else changes, and bad input is refused."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.image import imread

import scratchnn as snn
from scratchnn import plots
from scratchnn.plots.look import CLASS_COLORS, CLASS_MARKERS
from scratchnn.plots.training import _running_mean

RNG = np.random.default_rng(0)
X = RNG.normal(size=(60, 2)).astype(np.float32)
Y = (X[:, :1] > 0).astype(np.float32)


def half_plane(x):
    """The probability is the first coordinate, cut off at 0 and 1."""
    return np.clip(x[:, :1], 0, 1)


DRAWINGS = {
    "points": lambda ax: plots.points(X, Y, ax=ax),
    "probability": lambda ax: plots.probability(half_plane, X, Y, ax=ax),
    "decision_regions": lambda ax: plots.decision_regions(half_plane, X, Y, ax=ax),
    "loss_curve": lambda ax: plots.loss_curve([3.0, 2.0, 1.0], ax=ax),
    "confusion_matrix": lambda ax: plots.confusion_matrix(Y, Y, ax=ax),
}


@pytest.mark.parametrize("name", DRAWINGS)
def test_every_picture_has_labelled_axes_and_content_and_is_written_as_png(name, tmp_path):
    ax = DRAWINGS[name](None)
    assert isinstance(ax, Axes)
    assert ax.get_xlabel()
    assert ax.get_ylabel()
    path = plots.save(ax.figure, tmp_path / "picture.png")
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]
    pixels = imread(path)
    assert pixels.shape[0] > 500
    assert pixels.shape[1] > 500
    assert len(np.unique(pixels[::5, ::5].reshape(-1, 4), axis=0)) > 20


@pytest.mark.parametrize("name", DRAWINGS)
def test_ax_is_drawn_on_and_returned(name):
    left, right = Figure().subplots(1, 2)
    assert DRAWINGS[name](left) is left
    assert left.has_data()
    assert not right.has_data()


def test_train_and_test_share_their_scale():
    figure = plots.train_and_test(X, Y, 3 * X[:10], Y[:10])
    left, right = figure.axes
    assert left.get_xlim() == right.get_xlim()
    assert "60" in left.get_title(loc="left")
    assert "10" in right.get_title(loc="left")


def test_points_draws_every_point_in_the_colour_of_its_class():
    ax = plots.points(X, Y, names=("left", "right"))
    first, second = ax.collections
    np.testing.assert_allclose(first.get_offsets(), X[Y[:, 0] == 0])
    np.testing.assert_allclose(second.get_offsets(), X[Y[:, 0] == 1])
    assert [text.get_text() for text in ax.get_legend().get_texts()] == ["left", "right"]
    assert len({*CLASS_COLORS}) == len({*CLASS_MARKERS}) == 8


def test_probability_draws_the_line_of_one_half_where_the_model_has_it():
    ax = plots.probability(half_plane, extent=(-1, 2, -1, 1))
    (line,) = [c for c in ax.collections if len(c.get_paths()) == 1]
    np.testing.assert_allclose(line.get_paths()[0].vertices[:, 0], 0.5, atol=1e-9)


def test_probability_takes_one_column_two_columns_or_none():
    def both(x):
        return np.hstack([1 - half_plane(x), half_plane(x)])

    def pixels(model):
        canvas = plots.probability(model, extent=(-1, 2, -1, 1)).figure.canvas
        canvas.draw()
        return np.asarray(canvas.buffer_rgba())

    expected = pixels(half_plane)
    np.testing.assert_array_equal(pixels(lambda x: half_plane(x)[:, 0]), expected)
    np.testing.assert_array_equal(pixels(both), expected)


def test_decision_regions_colour_the_class_that_wins():
    ax = plots.decision_regions(
        lambda x: np.stack([-x[:, 0], x[:, 0], 0 * x[:, 0] - 5], 1), extent=(-1, 1, -1, 1)
    )
    regions = np.asarray(ax.collections[0].get_array())
    assert np.all(regions[:, 0] == 0)
    assert np.all(regions[:, -1] == 1)


def test_confusion_matrix_counts():
    ax = plots.confusion_matrix([0, 0, 0, 1, 1], [0, 0, 1, 1, 1])
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["2\n66.7 %", "1\n33.3 %", "0\n0.0 %", "2\n100.0 %"]


def test_loss_curve_of_a_history_and_its_running_mean():
    model = snn.Sequential(snn.Linear(2, 3), snn.Sigmoid(), snn.Linear(3, 1), snn.Sigmoid())
    loader = snn.DataLoader(snn.TensorDataset(X, Y), batch_size=20)
    history = snn.fit(
        model, snn.BCELoss(), snn.SGD(model.parameters(), lr=0.1), loader, 4, engine="numpy", progress=False
    )
    ax = plots.loss_curve(history)
    steps, mean = ax.lines
    np.testing.assert_allclose(steps.get_ydata(), history.step_losses)
    assert steps.get_xdata()[-1] == 4
    np.testing.assert_allclose(mean.get_ydata()[1], history.step_losses[:3].mean())


def test_running_mean_against_the_plain_sum():
    values = RNG.normal(size=50)
    for window in (1, 2, 5, 8):
        expected = [
            values[max(0, i - window // 2) : i + window - window // 2].mean() for i in range(len(values))
        ]
        np.testing.assert_allclose(_running_mean(values, window), expected, rtol=1e-12)


def test_loss_curve_is_logarithmic_where_losses_span_decades():
    assert plots.loss_curve([1.0, 0.5]).get_yscale() == "linear"
    assert plots.loss_curve([1.0, 0.01]).get_yscale() == "log"
    assert plots.loss_curve([1.0, 0.01], log=False).get_yscale() == "linear"
    assert plots.loss_curve([1.0, 0.0]).get_yscale() == "linear"


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_module_is_asked_in_its_dtype_and_evaluation_mode_and_left_as_it_was(dtype):
    model = snn.Sequential(snn.Dropout(0.5), snn.Linear(2, 1, dtype=dtype), snn.Sigmoid())
    model[1].eval()
    before = snn.default_generator.get_state().copy()
    plots.probability(model, X, Y)
    assert model.training
    assert model[0].training
    assert not model[1].training
    np.testing.assert_array_equal(snn.default_generator.get_state(), before)


def test_arguments_are_not_changed():
    x, y = X.copy(), Y.copy()
    x.flags.writeable = y.flags.writeable = False
    plots.train_and_test(x, y, x, y)
    plots.probability(half_plane, x, y)
    np.testing.assert_array_equal(x, X)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda: plots.points(X[:, :1], Y), r"points got x of shape \(60, 1\)"),
        (lambda: plots.points(X, Y[:5]), "60 points and 5 labels"),
        (lambda: plots.points(X, Y + 0.5), "whole numbers from 0 to 7"),
        (lambda: plots.points(X, 9 * Y), "whole numbers from 0 to 7"),
        (lambda: plots.points(X, np.where(Y > 0, np.nan, 1)), "whole numbers from 0 to 7"),
        (lambda: plots.points(X * np.nan, Y), "not finite"),
        (lambda: plots.points(X, X), r"y of shape \(60, 2\)"),
        (lambda: plots.probability(half_plane), "neither points nor extent"),
        (lambda: plots.probability(half_plane, extent=(1, 0, 0, 1)), "left < right"),
        (lambda: plots.probability(lambda x: 5 * x[:, :1], X, Y), "no probabilities"),
        (lambda: plots.probability(lambda x: np.ones((len(x), 3)), X, Y), "3 outputs"),
        (lambda: plots.probability(lambda x: x[:5], X, Y), r"needs \(N, 2\) -> \(N, C\)"),
        (lambda: plots.probability(lambda x: x[:, 0] * np.nan, X, Y), "not all finite"),
        (lambda: plots.probability(snn.Linear(3, 1), X, Y), "the last axis must be 3"),
        (lambda: plots.decision_regions(lambda x: np.ones((len(x), 9)), X, Y), "9 classes"),
        (lambda: plots.loss_curve([]), "needs one a step"),
        (lambda: plots.loss_curve([[1.0]]), "needs one a step"),
        (lambda: plots.confusion_matrix([], []), "0 targets"),
        (lambda: plots.confusion_matrix([0, 1], [0]), "2 targets and 1 predictions"),
    ],
)
def test_bad_input_is_refused(draw, message):
    with pytest.raises(ValueError, match=message):
        draw()


def test_save_leaves_nothing_behind_when_it_fails(tmp_path):
    figure = plots.points(X, Y).figure
    with pytest.raises(OSError, match="nowhere"):
        plots.save(figure, tmp_path / "nowhere" / "picture.png")

    def broken(*args, **kwargs):
        raise KeyboardInterrupt

    path = plots.save(figure, tmp_path / "picture.png")
    path.chmod(0o640)
    assert plots.save(figure, path) == path
    assert path.stat().st_mode & 0o777 == 0o640  # a file that was there keeps its own
    old = (tmp_path / "picture.png").read_bytes()
    figure.savefig = broken
    with pytest.raises(KeyboardInterrupt):
        plots.save(figure, tmp_path / "picture.png")
    assert [file.name for file in tmp_path.iterdir()] == ["picture.png"]
    assert (tmp_path / "picture.png").read_bytes() == old


def test_matplotlib_is_loaded_by_the_first_picture_and_pyplot_never():
    program = """
import sys, scratchnn as snn
assert "matplotlib" not in sys.modules
ax = snn.plots.points([[0, 0], [1, 1]], [0, 1])
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", program], check=True)
