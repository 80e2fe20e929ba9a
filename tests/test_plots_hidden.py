"""Pictures of a hidden layer and of many runs: what is drawn is what the network has."""

import numpy as np
import pytest
import torch
from matplotlib.axes import Axes
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from mpl_toolkits.mplot3d.art3d import Poly3DCollection

import reference
import scratchnn as snn
from scratchnn import plots
from scratchnn.plots.hidden import hidden_answers
from scratchnn.plots.look import BLUE, VERMILION

RNG = np.random.default_rng(1)
X = RNG.normal(size=(50, 2)).astype(np.float32)
Y = (X[:, 0] > 0).astype(int)
SQUARE = (-1, 1, -1, 1)


def network(hidden=3, activation=snn.Sigmoid, dtype=np.float32):
    return snn.Sequential(
        snn.Linear(2, hidden, dtype=dtype), activation(), snn.Linear(hidden, 1, dtype=dtype), snn.Sigmoid()
    )


def with_lines(*lines):
    """A network whose hidden units have these (w1, w2, b)."""
    model = network(len(lines))
    model[0].weight.data[:] = [line[:2] for line in lines]
    model[0].bias.data[:] = [line[2] for line in lines]
    return model


class Own(snn.Module):
    """A user's own network, whose parts are no Sequential."""

    def __init__(self):
        self.output = snn.Linear(3, 1)
        self.inner = snn.Sequential(snn.Linear(2, 3), snn.Tanh())
        self.squash = snn.Sigmoid()

    def forward(self, x):
        return self.squash(self.output(self.inner(x)))


PICTURES = {
    "decision_lines": lambda model: plots.decision_lines(model, X, Y),
    "hidden_regions": lambda model: plots.hidden_regions(model, X, Y),
    "hidden_responses": lambda model: plots.hidden_responses(model, X),
    "hidden_activations": lambda model: plots.hidden_activations(model, X, Y),
    "hidden_triples": lambda model: plots.hidden_triples(model, X, Y),
    "network_diagram": lambda model: plots.network_diagram(model),
    "predicted_against_actual": lambda model: plots.predicted_against_actual(model, X, Y),
}


@pytest.mark.parametrize("name", PICTURES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_pictures_can_be_drawn_and_leave_the_model_as_it_was(name, dtype):
    model = network(dtype=dtype)
    model[1].eval()
    before = {key: value.copy() for key, value in model.state_dict().items()}
    stream = snn.default_generator.get_state().copy()
    drawn = PICTURES[name](model)
    assert isinstance(drawn, Axes | Figure)
    drawn.figure.draw_without_rendering()
    assert model.training
    assert not model[1].training
    assert not any(part._hooks for part in model.modules())
    assert all(np.array_equal(before[key], value) for key, value in model.state_dict().items())
    np.testing.assert_array_equal(snn.default_generator.get_state(), stream)


@pytest.mark.parametrize("name", PICTURES)
def test_a_torch_module_is_drawn_through_from_torch(name):
    module = torch.nn.Sequential(
        torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1), torch.nn.Sigmoid()
    )
    PICTURES[name](reference.from_torch(module)).figure.draw_without_rendering()


@pytest.mark.parametrize("name", [name for name in PICTURES if name != "predicted_against_actual"])
def test_a_model_that_does_not_suit_is_refused(name):
    with pytest.raises(TypeError, match=f"{name} got a function; it looks inside, so it needs a Module"):
        PICTURES[name](lambda x: x)
    with pytest.raises(ValueError, match=f"{name} got a Sigmoid without a scratchnn Linear"):
        PICTURES[name](snn.Sigmoid())
    with pytest.raises(ValueError, match=r"reference\.from_torch"):
        PICTURES[name](torch.nn.Linear(2, 1))
    if name in ("decision_lines", "hidden_regions", "hidden_responses"):
        with pytest.raises(ValueError, match=rf"{name} got .*needs 2 inputs, Linear\(2, 4\)"):
            PICTURES[name](snn.Sequential(snn.Linear(3, 4), snn.Sigmoid()))


def test_decision_lines_lie_where_the_units_switch_and_point_to_where_they_are_on():
    model = network(5, dtype=np.float64)
    model[0].bias.data[0] = 8.9 * np.linalg.norm(model[0].weight.data[0])  # close to the edge
    ax = plots.decision_lines(model, extent=(-9, 9, -9, 9))
    weight, bias = model[0].weight.data, model[0].bias.data
    for unit, line in enumerate(ax.lines):
        ends = np.stack(line.get_data(), axis=1)
        np.testing.assert_allclose(ends @ weight[unit] + bias[unit], 0, atol=1e-9)
        assert np.all(np.max(np.abs(ends), axis=1) == pytest.approx(9))
    arrows = [text for text in ax.texts if getattr(text, "arrow_patch", None) is not None]
    assert len(ax.lines) == len(arrows) == 5
    for unit, arrow in enumerate(arrows):
        assert np.max(np.abs(arrow.xy)) < 9  # in the picture
        assert np.asarray(arrow.xy) @ weight[unit] + bias[unit] > 0


def test_decision_lines_name_those_outside_the_picture():
    ax = plots.decision_lines(with_lines((1, 0, 0), (1, 1, 9), (0, 0, 1), (0, 1, -0.5)), extent=SQUARE)
    assert len(ax.lines) == 2
    assert ax.texts[-1].get_text() == "outside the picture: line 2, 3"


def test_decision_lines_without_a_bias_go_through_the_origin():
    model = snn.Sequential(snn.Linear(2, 1, bias=False), snn.Sigmoid())
    ends = np.stack(plots.decision_lines(model, extent=SQUARE).lines[0].get_data(), axis=1)
    np.testing.assert_allclose(ends[0], -ends[1], atol=1e-9)


def test_regions_have_the_codes_of_the_units_that_are_on_there():
    model = with_lines((1, 0, 0), (0, -1, 0), (1, 0, -0.7))
    ax = plots.hidden_regions(model, extent=SQUARE)
    codes = {text.get_text(): np.array(text.get_position()) for text in ax.texts}
    assert set(codes) == {"000", "010", "100", "110", "101", "111"}
    for code, place in codes.items():
        on = model[0].weight.data @ place + model[0].bias.data > 0
        assert code == "".join(str(int(each)) for each in on)


def test_regions_are_coloured_by_the_mean_of_the_output():
    model = with_lines((1, 0, 0.001))
    ax = plots.hidden_regions(model, extent=SQUARE)
    colours = np.asarray(ax.collections[0].get_array())
    grid = np.stack(np.meshgrid(*2 * [np.linspace(-1, 1, 241)]), axis=-1).reshape(-1, 2).astype(np.float32)
    right = grid[:, 0] > -0.001
    np.testing.assert_allclose(
        np.unique(colours), sorted([model(grid[right]).mean(), model(grid[~right]).mean()])
    )


def test_regions_of_a_tiny_size_get_no_code():
    ax = plots.hidden_regions(with_lines((1, 0, 0), (1, 0, 0.01)), extent=SQUARE)
    assert {text.get_text() for text in ax.texts} == {"00", "11"}


def test_regions_refuse_what_has_no_code_or_no_probability():
    with pytest.raises(ValueError, match="9 hidden units"):
        plots.hidden_regions(network(9), extent=SQUARE)
    with pytest.raises(ValueError, match="needs one probability"):
        plots.hidden_regions(snn.Sequential(snn.Linear(2, 2)), extent=SQUARE)
    loud = with_lines((1, 0, 0))[:3]
    loud[2].bias.data[:] = 5
    with pytest.raises(ValueError, match="needs one probability"):
        plots.hidden_regions(loud, extent=SQUARE)


def test_hidden_answers_are_those_of_the_activation_after_the_first_linear():
    model = network(4, snn.Tanh)
    np.testing.assert_array_equal(hidden_answers(model, X, "test"), model[:2](X))
    bare = snn.Sequential(snn.Linear(2, 4), snn.Linear(4, 1))
    np.testing.assert_array_equal(hidden_answers(bare, X, "test"), bare[0](X))
    own = Own()
    with pytest.raises(ValueError, match="2 inputs"):  # the first Linear it holds is not the first it calls
        plots.hidden_responses(own, X)
    own.output, own.inner = own.inner, own.output
    np.testing.assert_array_equal(hidden_answers(snn.MLP(2, [3, 5], 1, "relu"), X, "test").shape, (50, 3))


def test_hidden_responses_show_every_unit_and_output():
    model = network(4)
    figure = plots.hidden_responses(model, extent=SQUARE)
    maps = [ax for ax in figure.axes if ax.get_title(loc="left")]
    names = [ax.get_title(loc="left") for ax in maps]
    assert names == [*(f"hidden unit {unit}" for unit in (1, 2, 3, 4)), "output"]
    corner = np.array([[-1, -1]], dtype=np.float32)
    expected = [*model[:2](corner)[0], model(corner)[0, 0]]
    found = [np.asarray(ax.collections[0].get_array())[0, 0] for ax in maps]
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert all(ax.collections[0].get_clim() == (0, 1) for ax in maps)


def test_hidden_responses_beyond_0_and_1_have_scales_of_their_own():
    model = network(3, snn.ReLU)
    model[0].weight.data *= 50
    figure = plots.hidden_responses(model, extent=SQUARE)
    *hidden, output = [ax.collections[0].get_clim() for ax in figure.axes if ax.get_title(loc="left")]
    assert len(set(hidden)) == 1
    assert hidden[0][1] > 10
    assert output[1] <= 1
    with pytest.raises(ValueError, match="64 hidden units and 1 output"):
        plots.hidden_responses(network(64), extent=SQUARE)


def test_hidden_activations_are_at_the_answers_of_the_units():
    model = network(4)
    ax = plots.hidden_activations(model, X, Y, units=(3, 0, 2), names=("left", "right"))
    answers = model[:2](X)[:, [3, 0, 2]]
    for label in (0, 1):
        found = np.stack(ax.collections[label]._offsets3d, axis=1)
        np.testing.assert_allclose(found, answers[label == Y], rtol=1e-6)
    assert (ax.get_xlabel(), ax.get_ylabel(), ax.get_zlabel()) == ("unit 4", "unit 1", "unit 3")
    assert not any(isinstance(each, Poly3DCollection) for each in ax.collections)


@pytest.mark.parametrize("units", [(0, 1, 2), (2, 0, 1)])
def test_the_plane_of_the_output_unit_is_drawn_where_it_gives_zero(units):
    model = network(3, dtype=np.float64)
    model[2].weight.data[:] = [[1.0, 2.0, -1.0]]
    model[2].bias.data[:] = -0.7
    ax = plots.hidden_activations(model, 9 * X, Y, units=units)
    (sheet,) = [each for each in ax.collections if isinstance(each, Poly3DCollection)]
    corners = sheet._faces.reshape(-1, 3)
    assert len(corners) >= 3
    assert corners.min() >= -1e-12
    assert corners.max() <= 1 + 1e-12
    np.testing.assert_allclose(corners @ np.array([1.0, 2.0, -1.0])[list(units)], 0.7, atol=1e-12)


def test_hidden_activations_refuse_what_does_not_suit():
    with pytest.raises(ValueError, match="2 hidden units"):
        plots.hidden_activations(network(2), X, Y)
    with pytest.raises(ValueError, match=r"units=\(0, 1, 9\)"):
        plots.hidden_activations(network(4), X, Y, units=(0, 1, 9))
    with pytest.raises(ValueError, match="50 points and 3 labels"):
        plots.hidden_activations(network(4), X, Y[:3])
    with pytest.raises(TypeError, match="projection='3d'"):
        plots.hidden_activations(network(4), X, Y, ax=Figure().subplots())


def test_triples_of_five_units_are_ten():
    figure = plots.hidden_triples(network(5), X, Y)
    found = {(ax.get_xlabel(), ax.get_ylabel(), ax.get_zlabel()) for ax in figure.axes}
    assert len(figure.axes) == len(found) == 10
    for hidden in (2, 7):
        with pytest.raises(ValueError, match=f"{hidden} hidden units"):
            plots.hidden_triples(network(hidden), X, Y)


def test_the_diagram_has_an_edge_a_weight_in_its_colour_and_thickness():
    model = network(2)
    model[0].weight.data[:] = [[1, -2], [3, -4]]
    model[0].bias.data[:] = [-1, 2]
    model[2].weight.data[:] = [[0.5, -0.25]]
    model[2].bias.data[:] = 1
    ax = plots.network_diagram(model)
    edges = [line for line in ax.lines if len(line.get_xdata()) == 2]
    found = [(to_hex(line.get_color()).upper(), line.get_linewidth()) for line in edges]
    weights = [1, -2, 3, -4, -1, 2, 0.5, -0.25, 1]
    thickest = [4] * 6 + [1] * 3  # the largest weight of each layer
    expected = [
        (VERMILION if w > 0 else BLUE, pytest.approx(7 * abs(w) / most))
        for w, most in zip(weights, thickest, strict=True)
    ]
    assert found == expected
    names = [text.get_text() for text in ax.texts if text.get_text().startswith("$")]
    assert names == ["$x_{1}$", "$x_{2}$", "$h_{1}$", "$h_{2}$", "$y_{1}$"]
    assert sum(text.get_text() == "1" for text in ax.texts) == 2


def test_the_diagram_refuses_wide_layers_and_what_is_no_chain():
    with pytest.raises(ValueError, match="2, 17, 1 units"):
        plots.network_diagram(network(17))
    with pytest.raises(ValueError, match="chain"):
        plots.network_diagram(snn.Sequential(snn.Linear(2, 3), snn.Linear(4, 1)))
    plots.network_diagram(snn.MLP(2, [3, 4], 2)).figure.draw_without_rendering()


def test_predicted_against_actual_counts_the_wrong_ones():
    figure = plots.predicted_against_actual(lambda x: x[:, 0] > 0.5, X, Y)
    wrong = int(np.sum((X[:, 0] > 0.5) != Y))
    assert figure.axes[2].get_title(loc="left").endswith(f": {wrong}")
    assert len(figure.axes[2].collections[1].get_offsets()) == wrong
    scores = plots.predicted_against_actual(lambda x: np.stack([-x[:, 0], x[:, 0]], 1), X, Y)
    assert scores.axes[2].get_title(loc="left").endswith(": 0")
    with pytest.raises(ValueError, match="50 points and 3 labels"):
        plots.predicted_against_actual(network(), X, Y[:3])
    with pytest.raises(ValueError, match="needs \\(N, 2\\)"):
        plots.predicted_against_actual(network(), X[:, :1], Y)


def test_region_has_its_first_row_on_top():
    inside = np.zeros((4, 4), bool)
    inside[0] = True
    ax = plots.region(inside, X, Y)
    assert ax.images[0].origin == "upper"
    np.testing.assert_array_equal(ax.images[0].get_array(), inside)
    assert ax.get_ylim() == (0, 1)
    with pytest.raises(ValueError, match="rows, columns"):
        plots.region(inside[0])


def test_history_draws_training_beside_validation():
    model = network()
    target = Y[:, None].astype(np.float32)
    history = snn.fit(
        model,
        snn.BCELoss(),
        snn.SGD(model.parameters(), lr=0.1),
        (X, target),
        5,
        validation=(X, target),
        metrics=["accuracy"],
        engine="numpy",
        progress=False,
    )
    figure = plots.history(history)
    loss, accuracy = figure.axes
    np.testing.assert_array_equal(loss.lines[0].get_ydata(), history.train_loss)
    np.testing.assert_array_equal(loss.lines[1].get_ydata(), history.val_loss)
    np.testing.assert_array_equal(accuracy.lines[1].get_ydata(), history.metrics["val_accuracy"])
    assert loss.get_yscale() == "log"
    assert accuracy.get_yscale() == "linear"
    with pytest.raises(ValueError, match="without epochs"):
        plots.history(snn.History())


def test_curves():
    ax = plots.curves({"a": [3.0, 2.0], "b": [1.0, 0.5, 0.2]})
    assert [line.get_label() for line in ax.lines] == ["a", "b"]
    assert list(ax.lines[1].get_xdata()) == [1, 2, 3]
    assert plots.curves({"a": [1.0, 0.0]}).get_yscale() == "linear"
    with pytest.raises(ValueError, match="without numbers"):
        plots.curves({"a": []})
    with pytest.raises(ValueError, match="at most 7"):
        plots.curves({name: [1.0] for name in range(8)})


def test_distribution_draws_every_run_and_the_medians():
    ax = plots.distribution({1: [9.0, 1.0, 2.0], 5: [0.5]}, known={5: 0.7}, known_name="theirs")
    dots, one, medians, known = ax.lines
    assert sorted(dots.get_ydata()) == [1, 2, 9]
    assert np.all(np.abs(dots.get_xdata()) < 0.5)
    assert len(set(dots.get_xdata())) == 3
    assert list(one.get_ydata()) == [0.5]
    assert list(medians.get_ydata()) == [2, 0.5]
    assert (list(known.get_xdata()), list(known.get_ydata())) == ([1], [0.7])
    assert [text.get_text() for text in ax.get_xticklabels()] == ["1", "5"]
    with pytest.raises(ValueError, match="without runs"):
        plots.distribution({1: []})
    with pytest.raises(ValueError, match=r"\[2\]"):
        plots.distribution({1: [1.0]}, known={2: 1.0})
    with pytest.raises(ValueError, match="logarithmic"):
        plots.distribution({1: [0.0]}, log=True)


def test_table_of_means():
    ax = plots.table_of_means([[0.1, 0.2, 0.3], [0.4, 0.5, 1.0]], "ab", (1, 2, 3), percent=True)
    texts = [text.get_text() for text in ax.texts]
    assert texts == ["10.0 %", "20.0 %", "30.0 %", "40.0 %", "50.0 %", "100.0 %"]
    with pytest.raises(ValueError, match="it needs \\(2, 2\\)"):
        plots.table_of_means([[1.0]], "ab", "cd")


def test_panels():
    figure, axes = plots.panels(3)
    assert len(axes) == 3
    assert len(figure.axes) == 4
    assert not figure.axes[3].axison
