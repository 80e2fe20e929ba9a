"""The rings study: the tutorial's data and losses, what two units cannot do, and the judge's verdict."""

import itertools
import json

import numpy as np
import pytest
import torch
from processes import interrupted

import scratchnn as snn
from scratchnn import cli
from scratchnn.studies import StudyError, rings

PICTURES = [
    "loss",
    "lines",
    "regions",
    "activations",
    "triples",
    "relu-lines",
    "relu-regions",
    "relu-activations",
]


@pytest.fixture(scope="module")
def short(tmp_path_factory):
    """Thirty epochs, compared with PyTorch."""
    return rings.run(epochs=30, out=tmp_path_factory.mktemp("rings"), quiet=True)


@pytest.fixture(scope="module")
def whole():
    return rings.run(reference=False, quiet=True)


def test_the_data_are_those_of_the_tutorial():
    state = np.random.get_state()
    try:
        np.random.seed(100)
        places = []
        for inner in (0, 3):
            r = np.random.rand(1000) + inner
            theta = 2 * np.pi * np.random.rand(1000)
            places.append(np.stack([r * np.cos(theta), r * np.sin(theta)], axis=1))
        before = np.random.get_state()[1].copy()
        x, y = rings.data(np.float64)
        np.testing.assert_array_equal(np.random.get_state()[1], before)  # the global stream is not touched
    finally:
        np.random.set_state(state)
    np.testing.assert_array_equal(x, np.concatenate(places))
    np.testing.assert_array_equal(y, np.repeat([[0], [1]], 1000, axis=0))
    assert [array.dtype for array in rings.data(np.float32)] == [np.float32, np.float32]


def test_the_run_is_this_program_in_torch(short):
    """Written in torch alone: full batches, Adam, the same losses and weights after thirty steps."""
    x, y = (torch.from_numpy(array) for array in rings.data(np.float32))
    torch.manual_seed(0)
    model = torch.nn.Sequential(
        torch.nn.Linear(2, 3), torch.nn.Sigmoid(), torch.nn.Linear(3, 1), torch.nn.Sigmoid()
    )
    loss_fn, optimizer = torch.nn.BCELoss(), torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(30):
        optimizer.zero_grad()
        loss = loss_fn(model(x), y)
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    np.testing.assert_allclose(short.history.step_losses, losses, rtol=0, atol=1e-6)
    for key, value in model.state_dict().items():
        np.testing.assert_allclose(short.model.state_dict()[key], value.numpy(), rtol=0, atol=1e-6)
    assert short.parity.passed
    assert short.numbers["parity"]["initial_weights_identical"] is True


def test_the_result_holds_everything(short):
    assert list(short.figures) == PICTURES
    assert [picture.stem for picture in short.pictures] == PICTURES
    assert not short.model.training
    numbers = short.numbers
    assert numbers["steps"] == numbers["epochs"] == 30
    assert json.loads(json.dumps(numbers, allow_nan=False)) == numbers
    results = numbers["results"]
    assert set(results["losses"]) == set(results["relu_losses"]) == {"1", "2", "3", "5"}
    assert results["losses"]["3"] == numbers["train_loss"] == short.history.train_loss[-1]
    assert list(results["loss_at"]["2"]) == [str(at) for at in range(3, 31, 3)]
    assert results["tutorial_losses"] == {"1": 0.525, "2": 0.236, "3": 0.043, "5": 0.006}
    assert len(short.figures["triples"].axes) == 10


@pytest.mark.parametrize(
    ("width", "activation", "kind"), [(2, snn.Sigmoid, "losses"), (5, snn.ReLU, "relu_losses")]
)
def test_each_width_is_trained_as_it_would_be_alone(short, width, activation, kind):
    x, y = rings.data(np.float32)
    snn.manual_seed(0)
    model = rings.network(width, activation)
    optimizer = snn.Adam(model.parameters(), lr=1e-3)
    history = snn.fit(model, snn.BCELoss(), optimizer, (x, y), 30, progress=False)
    assert short.numbers["results"][kind][str(width)] == history.train_loss[-1]


def test_the_losses_are_neighbours_of_the_tutorials(whole):
    """Its weights were not seeded; one line and two lines leave what they leave, from any weights."""
    losses = whole.numbers["results"]["losses"]
    assert losses["1"] == pytest.approx(0.525, abs=0.02)
    assert losses["2"] == pytest.approx(0.236, abs=0.03)
    assert losses["3"] < 0.1
    assert losses["5"] < 0.02
    assert whole.numbers["train_accuracy"] == whole.numbers["test_accuracy"] == 1


def test_three_units_close_the_ring_and_two_do_not(whole):
    results = whole.numbers["results"]
    for kind in ("wrong", "relu_wrong"):
        assert results[kind]["1"] > 400
        assert results[kind]["2"] > 50
        assert results[kind]["3"] == results[kind]["5"] == 0
    assert results["relu_first_width_solved"] == 3


def test_with_two_units_every_code_has_points_of_the_ring_or_none_of_the_disc():
    """The reason given in the lesson, by trial: the smallest sum over all codes is met on the ring too."""
    generator = np.random.default_rng(0)
    angle = np.linspace(0, 2 * np.pi, 2000, endpoint=False)
    ring = 1e6 * np.stack([np.cos(angle), np.sin(angle)], axis=1)  # so far out that sigmoids are 0 or 1
    for _ in range(200):
        weight, bias = generator.normal(size=(2, 2)), generator.normal(size=2)
        codes = {tuple(code) for code in (ring @ weight.T + bias > 0).astype(int)}
        assert codes == set(itertools.product((0, 1), repeat=2))


def test_playing_tries_every_width(capsys):
    result = rings.run(epochs=20, play=True, seeds=2, reference=False)
    assert list(result.figures) == [*PICTURES, "widths-sigmoid", "widths-relu"]
    play = result.numbers["results"]["play"]
    for kind in ("sigmoid", "relu"):
        assert list(play[kind]) == [str(width) for width in range(1, 11)]
        for each in play[kind].values():
            assert each["low"] <= each["median"] <= each["high"]
    alone = result.numbers["results"]["losses"]["3"]  # from seed 0, the first of the two
    assert play["sigmoid"]["3"]["runs"][0] == alone
    assert "2 seeds each" in capsys.readouterr().out


def test_what_is_printed(capsys):
    result = rings.run(epochs=10_000, reference=False)
    out, err = capsys.readouterr()
    assert err == ""
    losses = result.numbers["results"]["losses"]
    row = next(line for line in out.splitlines() if line.startswith(" 10,000"))
    assert row.split()[1:] == [f"{losses[width]:.4f}" for width in "1235"]
    for words in (
        "the tutorial's",
        "0.525",
        "0.236",
        "0.043",
        "0.006",
        f"{losses['2']:.3f}",
        "test accuracy",
    ):
        assert words in out
    assert max(map(len, out.splitlines())) <= 80


def test_settings_reach_the_run():
    result = rings.run(epochs=1, hidden=4, batch_size=500, dtype="float64", lr=0.1, seed=7, quiet=True)
    assert result.history.steps == 4
    assert result.model[0].weight.shape == (4, 2)
    assert result.model[0].weight.dtype == np.float64
    assert set(result.numbers["results"]["losses"]) == {"1", "2", "3", "4", "5"}
    assert result.parity.passed
    assert result.numbers["parity"]["batches_identical"] is True


def test_a_width_whose_codes_cannot_be_drawn():
    result = rings.run(epochs=1, hidden=9, reference=False, quiet=True)
    assert [len(result.figures[name].axes) for name in ("lines", "regions")] == [6, 4]  # six with a spare


@pytest.mark.parametrize("setting", [{"seeds": 0}, {"epochs": 0}, {"batch_size": 0}, {"hidden": 1.5}])
def test_a_setting_that_cannot_work_is_refused(setting):
    (name,) = setting
    with pytest.raises(StudyError, match=f"rings got {name}="):
        rings.run(**setting, quiet=True)


def test_ctrl_c_while_many_networks_train(short, tmp_path):  # `short`: kernels are compiled
    arguments = ["study", "rings", "--play", "--no-reference", "--out", str(tmp_path)]
    code, err, seconds = interrupted(arguments, tmp_path / "relu-activations.png", later=0.5)
    assert seconds < 1
    assert code == 130
    assert err == f"scratchnn: stopped; the pictures made so far stay in {tmp_path}\n"
    assert sorted(picture.stem for picture in tmp_path.iterdir()) == sorted(PICTURES)


@pytest.mark.parametrize("name", ["rings", "drawing"])
def test_the_command_line_hands_its_options_on(name, tmp_path, capsys):
    given = ["--epochs", "2", "--lr", "0.5", "--batch-size", "1000", "--hidden", "2", "--seed", "3"]
    given += ["--no-reference", "--out", str(tmp_path), "--json"]
    with pytest.raises(SystemExit) as stop:
        cli.main(["study", name, *given, *(["--drawing", "letter"] if name == "drawing" else [])])
    out, err = capsys.readouterr()
    numbers = json.loads(out)
    assert (stop.value.code, err) == (0, "")
    assert (numbers["study"], numbers["epochs"], numbers["seed"], numbers["parity"]) == (name, 2, 3, None)
    assert {"lr": 0.5, "batch_size": 1000, "hidden": 2}.items() <= numbers["results"].items()
    assert len(numbers["pictures"]) == len(list(tmp_path.iterdir())) > 4
    if name == "drawing":
        assert "letter" in numbers["results"]["subject"]
