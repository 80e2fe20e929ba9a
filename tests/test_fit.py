"""fit: the loop, what it records, what it refuses."""

from __future__ import annotations

import copy
import os
import pty
import subprocess
import sys

import numpy as np
import pytest
import torch
from numpy.testing import assert_allclose, assert_array_equal

import scratchnn as snn
from scratchnn.train import evaluate


def data(rows: int = 100, dtype: type = np.float32) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(0)
    X = generator.standard_normal((rows, 2)).astype(dtype)
    y = (X[:, :1] * X[:, 1:] > 0).astype(dtype)
    return X, y


def network(dtype: type = np.float32) -> snn.Sequential:
    snn.manual_seed(0)
    return snn.MLP(2, 8, 1, "tanh", "sigmoid", dtype=dtype)


def loader(X: np.ndarray, y: np.ndarray, batch_size: int = 16, **options) -> snn.DataLoader:
    return snn.DataLoader(snn.TensorDataset(X, y), batch_size=batch_size, shuffle=True, **options)


def by_hand(model, loss_fn, optimizer, batches, epochs) -> list[float]:
    losses = []
    for _ in range(epochs):
        for x, target in batches:
            optimizer.zero_grad()
            losses.append(float(loss_fn(model(x), target)))
            model.backward(loss_fn.backward())
            optimizer.step()
    return losses


def test_fit_is_the_loop_by_hand() -> None:
    X, y = data()
    one, other = network(), network()
    history = snn.fit(one, snn.BCELoss(), snn.SGD(one.parameters(), lr=0.5), loader(X, y), 3, engine="numpy")
    after = snn.rand(3)
    snn.manual_seed(0)
    network()
    losses = by_hand(other, snn.BCELoss(), snn.SGD(other.parameters(), lr=0.5), loader(X, y), 3)
    assert_array_equal(history.step_losses, np.float32(losses))
    for a, b in zip(one.parameters(), other.parameters(), strict=True):
        assert_array_equal(a.data, b.data)
    assert_array_equal(after, snn.rand(3))  # the generator was used alike
    assert history.steps == 21
    assert history.epochs == 3
    assert history.engine == "numpy"
    assert history.seconds > 0


def test_train_loss_is_the_mean_over_samples() -> None:
    X, y = data(100)
    model = network()
    history = snn.fit(
        model, snn.BCELoss(), snn.SGD(model.parameters(), lr=0.5), loader(X, y, 16), 2, engine="numpy"
    )
    steps = history.step_losses.reshape(2, 7)
    sizes = [16] * 6 + [4]
    assert_allclose(history.train_loss, np.average(steps, axis=1, weights=sizes), rtol=1e-6)
    summed = snn.fit(
        model,
        snn.BCELoss(reduction="sum"),
        snn.SGD(model.parameters(), lr=0.01),
        loader(X, y, 16),
        1,
        engine="numpy",
    )
    assert_allclose(summed.train_loss, [summed.step_losses.sum()], rtol=1e-6)


def test_a_pair_is_one_full_batch() -> None:
    X, y = data()
    model = network()
    history = snn.fit(model, snn.BCELoss(), snn.SGD(model.parameters(), lr=0.5), (X, y), 4, engine="numpy")
    assert history.steps == 4
    model = network()
    again = snn.fit(
        model, snn.BCELoss(), snn.SGD(model.parameters(), lr=0.5), [(X, y), (X, y)], 2, engine="numpy"
    )
    assert_array_equal(again.step_losses, history.step_losses)


def test_what_is_converted_at_the_door_gives_the_same_run() -> None:
    X, y = data()
    wanted = None
    for form in (
        (X, y),
        (X.astype(np.float64), y.astype(np.float64)),
        (X.tolist(), y.tolist()),
        (np.asfortranarray(X), y.astype(int)),
        (np.repeat(X, 2, axis=0)[::2], y.astype(bool)),
    ):
        model = network()
        batches = loader(np.asarray(form[0]), np.asarray(form[1]))
        history = snn.fit(
            model, snn.BCELoss(), snn.SGD(model.parameters(), lr=0.5), batches, 2, engine="numpy"
        )
        wanted = history.step_losses if wanted is None else wanted
        assert_allclose(history.step_losses, wanted, rtol=1e-5)
    frozen = [a.copy() for a in (X, y)]
    for a in frozen:
        a.flags.writeable = False
    model = network()
    history = snn.fit(
        model, snn.BCELoss(), snn.SGD(model.parameters(), lr=0.5), loader(*frozen), 2, engine="numpy"
    )
    assert_array_equal(history.step_losses, wanted)
    assert_array_equal(frozen[0], X)


def test_fit_trains_as_pytorch_does() -> None:
    X, y = data(200, np.float64)
    model = network(np.float64)
    history = snn.fit(
        model, snn.BCELoss(), snn.Adam(model.parameters(), lr=0.05), loader(X, y), 20, engine="numpy"
    )
    torch.manual_seed(0)
    options = {"dtype": torch.float64}
    twin = torch.nn.Sequential(
        torch.nn.Linear(2, 8, **options),
        torch.nn.Tanh(),
        torch.nn.Linear(8, 1, **options),
        torch.nn.Sigmoid(),
    )
    optimizer, loss_fn = torch.optim.Adam(twin.parameters(), lr=0.05), torch.nn.BCELoss()
    dataset = torch.utils.data.TensorDataset(torch.from_numpy(X), torch.from_numpy(y))
    losses = []
    batches = torch.utils.data.DataLoader(dataset, batch_size=16, shuffle=True)
    for _ in range(20):
        for x, target in batches:
            optimizer.zero_grad()
            loss = loss_fn(twin(x), target)
            loss.backward()
            optimizer.step()
            losses.append(loss.item())
    assert_allclose(history.step_losses, losses, rtol=0, atol=1e-12)
    for ours, theirs in zip(model.parameters(), twin.parameters(), strict=True):
        assert_allclose(ours.data, theirs.detach().numpy(), rtol=0, atol=1e-12)


def test_validation_and_metrics_each_epoch() -> None:
    X, y = data()

    def error(prediction: np.ndarray, target: np.ndarray) -> float:
        return float(np.abs(prediction - target).mean())

    model = snn.Sequential(network(), snn.Dropout(0.0))
    history = snn.fit(
        model,
        snn.BCELoss(),
        snn.Adam(model.parameters(), lr=0.05),
        loader(X, y),
        5,
        validation=(X[:40], y[:40]),
        metrics=["accuracy", error],
        engine="numpy",
    )
    assert sorted(history.metrics) == ["accuracy", "error", "val_accuracy", "val_error"]
    assert all(len(values) == 5 for values in (history.val_loss, *history.metrics.values()))
    model.eval()
    prediction = model(X[:40])
    assert_allclose(history.val_loss[-1], snn.BCELoss()(prediction, y[:40]), rtol=1e-6)
    assert history.metrics["val_accuracy"][-1] == np.mean((prediction > 0.5) == (y[:40] > 0.5))
    assert_allclose(history.metrics["val_error"][-1], error(prediction, y[:40]), rtol=1e-6)


@pytest.mark.parametrize(
    ("loss_fn", "prediction", "target", "accuracy"),
    [
        (snn.BCELoss(), [[0.6], [0.4], [0.7]], [[1.0], [1.0], [1.0]], 2 / 3),
        (snn.BCEWithLogitsLoss(), [[0.4], [-0.6], [0.7]], [[1.0], [0.0], [0.0]], 2 / 3),
        (snn.CrossEntropyLoss(), [[1.0, 2.0], [3.0, 1.0]], [1, 1], 1 / 2),
        (snn.CrossEntropyLoss(), [[1.0, 2.0], [3.0, 1.0]], [[0.2, 0.8], [1.0, 0.0]], 1.0),
        (snn.CrossEntropyLoss(ignore_index=0), [[1.0, 2.0], [3.0, 1.0], [0.0, 9.0]], [1, 0, 1], 1.0),
        (snn.NLLLoss(), [[-1.0, -0.3], [-0.2, -4.0]], [0, 0], 1 / 2),
    ],
)
def test_accuracy_suits_the_loss(loss_fn, prediction, target, accuracy) -> None:
    from scratchnn.train.door import named_metrics

    metric = named_metrics(["accuracy"], loss_fn)["accuracy"]
    target = np.asarray(target)
    target = target if target.dtype.kind == "i" else target.astype(np.float32)
    assert metric(np.float32(prediction), target) == pytest.approx(accuracy)


def test_evaluation_drops_nothing_and_draws_nothing() -> None:
    X, y = data()
    model = snn.Sequential(snn.Linear(2, 1), snn.Sigmoid(), snn.Dropout(0.5))
    before = snn.default_generator.get_state()
    loss, _ = evaluate(model, snn.BCELoss(), [(X[:60], y[:60]), (X[60:], y[60:])], {})
    assert_array_equal(before, snn.default_generator.get_state())
    assert model.training
    model.eval()
    assert loss == pytest.approx(float(snn.BCELoss()(model(X), y)), rel=1e-6)


def test_callbacks_see_each_epoch_and_can_stop() -> None:
    X, y = data()
    model = network().eval()
    seen = []

    def watch(state: snn.FitState) -> None:
        seen.append((state.epoch, state.epochs, len(state.history.train_loss), state.model.training))
        state.stop = state.epoch == 3

    history = snn.fit(
        model,
        snn.BCELoss(),
        snn.SGD(model.parameters(), lr=0.5),
        (X, y),
        10,
        callbacks=[watch],
        engine="numpy",
    )
    assert seen == [(1, 10, 1, True), (2, 10, 2, True), (3, 10, 3, True)]
    assert history.epochs == 3
    assert not model.training, "the mode is put back"


@pytest.mark.parametrize("make", [snn.SGD, snn.Adam])
def test_divergence_says_where_and_keeps_the_last_good_parameters(make) -> None:
    """The copy taken by a callback of an identical, shorter run is what must be left."""
    X, y = data()
    X = X * 100

    def model_and_fit(epochs: int):
        snn.manual_seed(3)
        model = snn.Sequential(snn.Linear(2, 4), snn.ReLU(), snn.Linear(4, 1))
        optimizer = make(model.parameters(), lr=1e3 if make is snn.SGD else 1e18)
        batches = snn.DataLoader(snn.TensorDataset(X, y), batch_size=25)
        losses: list[float] = []
        states: list[list[np.ndarray]] = []
        loss_fn = snn.MSELoss()
        with np.errstate(all="ignore"):
            for _ in range(epochs):
                for x, target in batches:
                    optimizer.zero_grad()
                    states.append([p.data.copy() for p in model.parameters()])
                    losses.append(float(loss_fn(model(x), target)))
                    model.backward(loss_fn.backward())
                    optimizer.step()
        return losses, states

    losses, states = model_and_fit(10)
    bad = int(np.argmax(~np.isfinite(losses)))
    assert 0 < bad < 40
    snn.manual_seed(3)
    model = snn.Sequential(snn.Linear(2, 4), snn.ReLU(), snn.Linear(4, 1))
    optimizer = make(model.parameters(), lr=1e3 if make is snn.SGD else 1e18)
    batches = snn.DataLoader(snn.TensorDataset(X, y), batch_size=25)
    with pytest.raises(
        snn.DivergenceError, match=r"the loss became (inf|nan) at epoch \d+, step \d+.*smaller lr"
    ) as error:
        snn.fit(model, snn.MSELoss(), optimizer, batches, 10, engine="numpy")
    assert (error.value.epoch, error.value.step) == (bad // 4 + 1, bad % 4 + 1)
    for kept, good in zip(model.parameters(), states[bad - 1], strict=True):
        assert_array_equal(kept.data, good)
    assert isinstance(error.value, FloatingPointError)
    assert error.value.history.steps == bad + 1


def test_parameters_that_are_no_numbers_after_the_last_step_are_caught_at_it() -> None:
    model = snn.Sequential(snn.Linear(1, 1))
    before = copy.deepcopy(model.state_dict())
    optimizer = snn.SGD(model.parameters(), lr=3e38)
    with pytest.raises(snn.DivergenceError, match=r"0\.weight became inf at epoch 1, step 1"):
        snn.fit(model, snn.MSELoss(), optimizer, ([[1e5]], [[0.0]]), 1, engine="numpy")
    for path, value in model.state_dict().items():
        assert_array_equal(value, before[path])


# Bad input ----------------------------------------------------------------------------------------

X0, Y0 = data(10)


def with_nan() -> np.ndarray:
    X = X0.copy()
    X[7, 1] = np.nan
    return X


@pytest.mark.parametrize(
    ("change", "error", "match"),
    [
        ({"data": (with_nan(), Y0)}, ValueError, r"nan in the inputs of data at index \(7, 1\)"),
        ({"validation": (with_nan(), Y0)}, ValueError, r"nan in the inputs of validation"),
        (
            {"data": (X0, with_nan()), "loss_fn": snn.MSELoss()},
            ValueError,
            r"nan in the targets of data at index",
        ),
        ({"callbacks": [3]}, TypeError, "that takes? a FitState"),
        ({"callbacks": print}, TypeError, "that takes? a FitState"),
        ({"data": (X0, Y0[:5])}, ValueError, "10 inputs but 5 targets"),
        ({"data": (X0, Y0[:, 0])}, ValueError, r"\(N?,?.*\).*reshape"),
        ({"data": (X0[:, :1], Y0)}, ValueError, r"the last axis must be 2"),
        ({"data": (X0[:0], Y0[:0])}, ValueError, "without rows"),
        ({"data": (X0, Y0 + 1)}, ValueError, r"\[0, 1\]|between 0 and 1"),
        ({"data": (X0.astype(str), Y0)}, TypeError, "needs numbers"),
        ({"data": X0}, TypeError, "it needs a DataLoader, a pair"),
        ({"data": iter([(X0, Y0)])}, TypeError, "it needs a DataLoader, a pair"),
        ({"data": [(X0, Y0, Y0)]}, TypeError, r"pairs \(x, target\)"),
        ({"data": snn.DataLoader(snn.TensorDataset(X0))}, ValueError, "it needs two"),
        ({"data": []}, ValueError, "without a single batch"),
        ({"epochs": 1.5}, TypeError, "needs an int"),
        ({"epochs": -1}, ValueError, "at least 0"),
        ({"engine": "jax"}, ValueError, "'auto', 'numba', 'numpy'"),
        ({"metrics": ["f1"]}, ValueError, "'accuracy' or a function"),
        ({"metrics": "accuracy"}, TypeError, "needs a list"),
        ({"loss_fn": snn.BCELoss(reduction="none")}, ValueError, "no single number"),
        ({"loss_fn": "bce"}, TypeError, "needs a loss object"),
        ({"model": "mlp"}, TypeError, "needs a scratchnn Module"),
        ({"model": snn.ReLU()}, ValueError, "nothing to train"),
        ({"optimizer": "sgd"}, TypeError, "needs one such as SGD"),
        ({"optimizer": snn.SGD(snn.Linear(1, 1).parameters(), lr=1)}, ValueError, "other parameters"),
    ],
)
def test_bad_input_changes_nothing(change, error, match) -> None:
    model = network()
    optimizer = snn.Adam(model.parameters(), lr=0.1)
    arguments = {
        "model": model,
        "loss_fn": snn.BCELoss(),
        "optimizer": optimizer,
        "data": (X0, Y0),
        "epochs": 1,
        "engine": "numpy",
    } | change
    before = copy.deepcopy(model.state_dict())
    stream = snn.default_generator.get_state()
    with pytest.raises(error, match=match):
        snn.fit(**arguments)
    for path, value in model.state_dict().items():
        assert_array_equal(value, before[path])
    assert not optimizer.state
    assert_array_equal(stream, snn.default_generator.get_state())


def test_class_index_out_of_range_late_in_the_data_changes_nothing() -> None:
    model = snn.Sequential(snn.Linear(2, 3))
    before = copy.deepcopy(model.state_dict())
    y = np.zeros(200, int)
    y[199] = 3
    X = np.zeros((200, 2), np.float32)
    batches = snn.DataLoader(snn.TensorDataset(X, y), batch_size=10)
    with pytest.raises(IndexError, match="3"):
        snn.fit(
            model, snn.CrossEntropyLoss(), snn.SGD(model.parameters(), lr=0.1), batches, 1, engine="numpy"
        )
    for path, value in model.state_dict().items():
        assert_array_equal(value, before[path])


def test_no_epochs_trains_nothing() -> None:
    model = network()
    history = snn.fit(model, snn.BCELoss(), snn.SGD(model.parameters(), lr=0.1), (X0, Y0), 0, engine="numpy")
    assert history.epochs == history.steps == 0
    assert repr(history).startswith("History(0 epochs")


# The bar ------------------------------------------------------------------------------------------

PROGRAM = """
import numpy as np, scratchnn as snn
m = snn.MLP(2, 3, 1)
X, y = np.ones((4, 2)), np.ones((4, 1))
snn.fit(m, snn.MSELoss(), snn.SGD(m.parameters(), lr=0.01), (X, y), 3, engine="numpy")
"""


def test_the_bar_shows_on_a_terminal_only() -> None:
    piped = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    assert piped.stdout == piped.stderr == b""
    leader, follower = pty.openpty()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100"}
    environment.pop("NO_COLOR", None)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stderr=follower, stdout=follower, env=environment
    )
    assert process.wait() == 0
    os.close(follower)
    shown = os.read(leader, 65536).decode()
    os.close(leader)
    assert "training" in shown
    assert "3/3" in shown


# Softmax into cross-entropy -----------------------------------------------------------------------


@pytest.mark.parametrize("engine", ["numpy", "auto"])
def test_softmax_into_cross_entropy_trains_and_warns_once(engine: str) -> None:
    X, y = data()
    labels = y[:, 0].astype(int)
    model = snn.MLP(2, 4, 2, output_activation="softmax")
    loss_fn, optimizer = snn.CrossEntropyLoss(), snn.SGD(model.parameters(), lr=1.0)
    with pytest.warns(
        UserWarning, match=r"probabilities of 2 classes it cannot fall below 0\.3133"
    ) as record:
        runs = [snn.fit(model, loss_fn, optimizer, (X, labels), 3, engine=engine) for _ in range(2)]
    assert len(record) == 1
    assert min(runs[1].step_losses) > 0.3133


def test_softmax_into_cross_entropy_warns_in_a_loop_by_hand() -> None:
    model, loss_fn = snn.Sequential(snn.Linear(2, 3), snn.Softmax(1)), snn.CrossEntropyLoss()
    with pytest.warns(UserWarning, match="Leave the Softmax out"):
        loss_fn(model(np.zeros((2, 2), np.float32)), [0, 1])
    loss_fn(model(np.zeros((2, 2), np.float32)), [0, 1])
    # Probabilities that no Softmax layer made are somebody's own business.
    snn.CrossEntropyLoss()(np.float32([[0.5, 0.5]]), [0])


def test_a_subset_trains_as_its_rows_do() -> None:
    X, y = data(60)
    part, _ = snn.random_split(snn.TensorDataset(X, y), [40, 20])
    rows = np.asarray(part.indices)
    runs = []
    for dataset in (part, snn.TensorDataset(X[rows], y[rows])):
        model = network()
        batches = snn.DataLoader(dataset, batch_size=16, shuffle=True)
        runs.append(snn.fit(model, snn.BCELoss(), snn.SGD(model.parameters(), lr=0.5), batches, 3))
    assert_array_equal(runs[0].step_losses, runs[1].step_losses)
