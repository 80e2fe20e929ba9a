"""compare_training: whole runs beside PyTorch's, and where wrong ones part from it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch

import reference
import scratchnn as snn
from reference import witness
from reference.tolerances import bitwise_platform
from reference.training import exact_arithmetic

torch.set_num_threads(1)

DTYPES = (np.float32, np.float64)


def circles(n: int, dtype: type) -> tuple[np.ndarray, np.ndarray]:
    """Two noisy circles, one inside the other: (n, 2) points, (n, 1) labels."""
    rng = np.random.default_rng(26)
    angle, label = rng.uniform(0, 2 * np.pi, n), rng.integers(0, 2, n)
    radius = np.where(label == 1, 0.8, 1.0) + 0.05 * rng.standard_normal(n)
    points = radius[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return points.astype(dtype), label[:, None].astype(dtype)


def initialise(model, init) -> None:
    init.kaiming_uniform_(model[0].weight, nonlinearity="relu")


def circles_network(dtype: type, seed: int = 0) -> snn.Sequential:
    snn.manual_seed(seed)
    model = snn.Sequential(
        snn.Linear(2, 10, dtype=dtype), snn.ReLU(), snn.Linear(10, 1, dtype=dtype), snn.Sigmoid()
    )
    initialise(model, snn.init)
    return model


def circles_run(dtype: type, epochs: int = 3, n: int = 200, optimizer=None, **options):
    model = circles_network(dtype)
    optimizer = optimizer or (lambda parameters: snn.SGD(parameters, lr=0.1))
    loader = snn.DataLoader(snn.TensorDataset(*circles(n, dtype)), batch_size=64, shuffle=True)
    return reference.compare_training(
        model, snn.BCELoss(), optimizer(model.parameters()), loader, epochs, engine="numpy", **options
    )


def assert_agrees(report) -> None:
    """Within the table, without recourse to PyTorch's own spread."""
    assert report, str(report)
    assert not report.chaotic, str(report)


# Runs that agree ----------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_circles_with_weights_and_batches_that_each_draws_itself(dtype: type, seed: int) -> None:
    model = circles_network(dtype, seed)
    loader = snn.DataLoader(snn.TensorDataset(*circles(1000, dtype)), batch_size=64, shuffle=True)
    report = reference.compare_training(
        model,
        snn.BCELoss(),
        snn.SGD(model.parameters(), lr=0.1),
        loader,
        65,
        torch_model=reference.seeded_twin(model, seed, initialise),
        engine="numpy",
    )
    assert_agrees(report)
    assert report.history.steps == report.run.step_losses.size == 1040
    for name in ("initial weights", "batches", "random state"):
        assert report.row(name).identical
    assert "drawn by PyTorch" in report.row("initial weights").note
    assert report.row("parameters").step == 1040
    assert {row.step for row in report.rows if row.name == "parameters"} == {16, 32, 80, 160, 320, 800, 1040}
    assert set(report.seconds) == {"scratchnn", "pytorch", "compile"}
    # Rounding went its own way: this is no comparison of a run with itself.
    assert report.row("parameters").difference > 0


@pytest.mark.parametrize("dtype", DTYPES)
def test_rings_full_batch_adam(dtype: type) -> None:
    rng = np.random.default_rng(3)
    x = rng.uniform(-1, 1, (300, 2)).astype(dtype)
    y = (np.hypot(x[:, :1], x[:, 1:]) < 0.6).astype(dtype)
    model = snn.Sequential(
        snn.Linear(2, 3, dtype=dtype), snn.Tanh(), snn.Linear(3, 1, dtype=dtype), snn.Sigmoid()
    )
    optimizer = snn.Adam(model.parameters(), lr=0.01)
    report = reference.compare_training(model, snn.BCELoss(), optimizer, (x, y), 1200, engine="numpy")
    assert_agrees(report)
    assert report.history.steps == 1200
    assert report.row("batches").note == "ready-made"


OPTIMIZERS = {
    "SGD with nesterov": lambda p: snn.SGD(p, lr=0.05, momentum=0.9, nesterov=True, weight_decay=0.01),
    "SGD with dampening": lambda p: snn.SGD(p, lr=0.05, momentum=0.8, dampening=0.3),
    "Adam": lambda p: snn.Adam(p, lr=0.01, weight_decay=0.01),
    "Adam with amsgrad": lambda p: snn.Adam(p, lr=0.01, amsgrad=True),
    "AdamW": lambda p: snn.AdamW(p, lr=0.01),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", OPTIMIZERS)
def test_every_optimizer(name: str, dtype: type) -> None:
    report = circles_run(dtype, 30, optimizer=OPTIMIZERS[name])
    assert_agrees(report)


@pytest.mark.parametrize("dtype", DTYPES)
def test_classes_dropout_and_parameter_groups(dtype: type) -> None:
    """Dropout's masks come from the generator that also deals the batches."""
    rng = np.random.default_rng(5)
    x, y = rng.standard_normal((90, 4)).astype(dtype), rng.integers(0, 3, 90)
    snn.manual_seed(4)
    model = snn.Sequential(
        snn.Linear(4, 16, dtype=dtype),
        snn.LeakyReLU(),
        snn.Dropout(0.3),
        snn.Linear(16, 3, dtype=dtype),
    )
    groups = [
        {"params": list(model[0].parameters()), "lr": 0.02},
        {"params": list(model[3].parameters()), "weight_decay": 0.1},
    ]
    loader = snn.DataLoader(snn.TensorDataset(x, y), batch_size=16, shuffle=True)
    loss_fn = snn.CrossEntropyLoss(weight=np.array([1.0, 2.0, 0.5], dtype), label_smoothing=0.1)
    report = reference.compare_training(
        model,
        loss_fn,
        snn.SGD(groups, lr=0.05, momentum=0.9),
        loader,
        20,
        torch_model=reference.seeded_twin(model, 4),
        engine="numpy",
    )
    assert_agrees(report)
    assert report.row("batches").note == "120 drawn by each"


@pytest.mark.parametrize(
    "arguments",
    [
        {"batch_size": 7, "shuffle": True},
        {"batch_size": 7, "shuffle": True, "drop_last": True},
        {"batch_size": 10, "shuffle": True},
        {"batch_size": 7},
        {"batch_size": 100, "shuffle": True},
        {"batch_size": 7, "shuffle": True, "generator": True},
        {"batch_size": 10, "shuffle": True, "generator": True},
        {"batch_size": 7, "shuffle": False, "generator": True},
        {"batch_size": 7, "shuffle": True, "generator": "default"},
    ],
    ids=str,
)
@pytest.mark.parametrize("seed", [0, 1, 123456789012])
def test_batches_are_the_same_however_the_loader_is_made(arguments, seed: int) -> None:
    snn.manual_seed(seed)
    generator = arguments.get("generator")
    if generator is not None:
        own = snn.default_generator if generator == "default" else snn.Generator().manual_seed(seed)
        arguments = arguments | {"generator": own}
    model = snn.Linear(2, 1)
    loader = snn.DataLoader(snn.TensorDataset(*circles(30, np.float32)), **arguments)
    report = reference.compare_training(
        model, snn.MSELoss(), snn.SGD(model.parameters(), lr=0.1), loader, 3, engine="numpy"
    )
    assert_agrees(report)
    steps = 3 * len(loader)
    assert len(report.run.batches) == steps
    sizes = [len(batch) for batch in report.run.batches]
    assert sizes == 3 * [min(loader.batch_size, 30)] * (steps // 3) or not loader.drop_last
    if not loader.drop_last:
        for epoch in range(3):
            rows = np.concatenate(report.run.batches[epoch * len(loader) : (epoch + 1) * len(loader)])
            assert sorted(rows) == list(range(30))


def test_subsets_lists_of_batches_and_validation_data() -> None:
    x, y = circles(40, np.float32)
    data = snn.TensorDataset(x, y)
    train, held_out = snn.random_split(data, [30, 10])
    model = snn.Linear(2, 1)
    optimizer = snn.Adam(model.parameters())
    # Iterating over a validation DataLoader draws from the default generator, in torch and here.
    report = reference.compare_training(
        model,
        snn.MSELoss(),
        optimizer,
        snn.DataLoader(train, batch_size=8, shuffle=True),
        4,
        validation=snn.DataLoader(held_out, batch_size=5, shuffle=True),
        engine="numpy",
    )
    assert_agrees(report)
    assert len(report.history.val_loss) == 4
    batches = [(x[:20], y[:20]), (x[20:], y[20:]), (x[:1], y[:1])]
    report = reference.compare_training(model, snn.MSELoss(), optimizer, batches, 3, engine="numpy")
    assert_agrees(report)
    assert report.history.steps == 9


def test_our_callbacks_may_stop_the_run_early() -> None:
    def stop(state: snn.FitState) -> None:
        state.stop = state.epoch == 3

    report = circles_run(np.float64, 10, callbacks=[stop])
    assert_agrees(report)
    assert report.history.epochs == 3
    assert report.row("parameters").step == 12


def test_float64_lists_train_a_float32_model() -> None:
    x, y = circles(20, np.float64)
    model = snn.Linear(2, 1)
    optimizer = snn.SGD(model.parameters(), lr=0.1)
    report = reference.compare_training(
        model, snn.MSELoss(), optimizer, (x.tolist(), y.tolist()), 5, engine="numpy"
    )
    assert_agrees(report)
    assert report.dtype == "float32"


def test_fit_by_pytorch_leaves_ours_alone() -> None:
    model = circles_network(np.float32)
    optimizer = snn.SGD(model.parameters(), lr=0.1, momentum=0.9)
    before = witness.parameters_of(model)
    state, torch_state = snn.default_generator.get_state(), torch.get_rng_state()
    loader = snn.DataLoader(snn.TensorDataset(*circles(100, np.float32)), batch_size=16, shuffle=True)
    run = reference.fit(model, snn.BCELoss(), optimizer, loader, 2, checkpoints=[1])
    assert set(run.parameters) == {0, 7, 14}
    assert run.step_losses.shape == (14,)
    assert run.step_losses.dtype == np.float32
    assert run.seconds > 0
    assert witness.worst_of(witness.parameters_of(model), before)[1] == 0
    assert not optimizer.state
    np.testing.assert_array_equal(snn.default_generator.get_state(), state)
    assert torch.equal(torch.get_rng_state(), torch_state)
    # What PyTorch did is what ours would do.
    snn.fit(model, snn.BCELoss(), optimizer, loader, 2, engine="numpy")
    assert witness.worst_of(witness.parameters_of(model), run.parameters[14])[1] < 1e-6


def test_products_are_in_full_precision_whatever_was_set_outside() -> None:
    torch.set_float32_matmul_precision("medium")  # bfloat16, where the processor has it
    try:
        x = np.random.default_rng(0).standard_normal((64, 64)).astype(np.float32)
        assert reference.compare(snn.Linear(64, 64), snn.MSELoss(), x, x)
        with exact_arithmetic(torch.device("cpu")):
            assert torch.get_float32_matmul_precision() == "highest"
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision("highest")


# Runs that part -----------------------------------------------------------------------------------


class StumblingSGD(snn.SGD):
    """Moves one weight a little too far at one step."""

    def __init__(self, params, lr: float, at: int, by: float) -> None:
        super().__init__(params, lr)
        self.count, self.at, self.by = 0, at, by

    def step(self, closure=None):
        super().step(closure)
        self.count += 1
        if self.count == self.at:
            self.param_groups[0]["params"][2].data[0, 4] += self.by


@pytest.mark.parametrize("at", [1, 7, 30])
@pytest.mark.parametrize(("dtype", "by"), [(np.float64, 1e-11), (np.float32, 1e-3)])
def test_a_wrong_update_is_found_at_its_step(at: int, dtype: type, by: float) -> None:
    report = circles_run(dtype, 10, optimizer=lambda p: StumblingSGD(p, 0.1, at, by))
    assert not report
    epoch, batch = divmod(at - 1, 4)
    assert (
        f"part at step {at} (epoch {epoch + 1}, batch {batch + 1}), most in 2.weight[0, 4]" in report.parted
    )
    assert "look at the optimizer" in report.parted
    assert report.parted in str(report)
    assert json.loads(json.dumps(report.as_dict(), allow_nan=False))["passed"] is False


def test_a_wrong_gradient_is_told_from_a_wrong_update() -> None:
    class Tired(snn.Linear):
        """Its bias gradient goes wrong at the 10th backward."""

        count = 0

        def backward(self, dy):
            dx = super().backward(dy)
            self.count += 1
            if self.count >= 10:
                self.bias.grad = 1.01 * self.bias.grad
            return dx

    model = snn.Sequential(snn.Linear(2, 4, dtype=np.float64), snn.Tanh(), Tired(4, 1, dtype=np.float64))
    loader = snn.DataLoader(snn.TensorDataset(*circles(64, np.float64)), batch_size=16, shuffle=True)
    report = reference.compare_training(
        model, snn.MSELoss(), snn.SGD(model.parameters(), lr=0.1), loader, 5, engine="numpy"
    )
    assert not report
    assert "part at step 10 (epoch 3, batch 2), most in 2.bias[0]" in report.parted
    assert "gradients of that step already differ, most in 2.bias" in report.parted


def test_a_wrong_update_is_found_between_dropout_masks() -> None:
    """The moved run that measures the spread has the masks of the run it is compared with."""
    model = snn.Sequential(
        snn.Linear(2, 8, dtype=np.float64), snn.Dropout(0.4), snn.Linear(8, 1, dtype=np.float64)
    )
    loader = snn.DataLoader(snn.TensorDataset(*circles(64, np.float64)), batch_size=16, shuffle=True)
    optimizer = StumblingSGD(model.parameters(), 0.1, at=6, by=1e-11)
    report = reference.compare_training(model, snn.MSELoss(), optimizer, loader, 5, engine="numpy")
    assert not report
    assert "part at step 6 (epoch 2, batch 2), most in 2.weight[0, 4]" in report.parted


@pytest.mark.skipif(not bitwise_platform(), reason="one ulp is within what PyTorch draws without AVX2")
def test_other_initial_weights_are_named() -> None:
    model = circles_network(np.float32)
    theirs = reference.twin(model)
    with torch.no_grad():
        theirs[2].bias.copy_(torch.nextafter(theirs[2].bias, torch.tensor(9.0)))  # one ulp
    loader = snn.DataLoader(snn.TensorDataset(*circles(64, np.float32)), batch_size=16, shuffle=True)
    optimizer = snn.SGD(model.parameters(), lr=0.1)
    report = reference.compare_training(
        model, snn.BCELoss(), optimizer, loader, 1, torch_model=theirs, engine="numpy"
    )
    assert not report
    assert [row.name for row in report.failures] == ["initial weights"]
    assert report.parted == "The runs part before the first step: drawn by PyTorch; 2.bias differs."


def test_other_batches_are_found_at_their_step() -> None:
    class Swapped(snn.DataLoader):
        """Exchanges two rows of the third batch."""

        def order(self, *args, **kwargs):
            order = super().order(*args, **kwargs)
            order[[32, 33]] = order[[33, 32]]
            return order

        def __iter__(self):
            order = self.order()
            for start in range(0, len(order), self.batch_size):
                yield self.dataset[order[start : start + self.batch_size]]

    model = circles_network(np.float32)
    loader = Swapped(snn.TensorDataset(*circles(64, np.float32)), batch_size=16, shuffle=True)
    optimizer = snn.SGD(model.parameters(), lr=0.1)
    report = reference.compare_training(model, snn.BCELoss(), optimizer, loader, 1, engine="numpy")
    assert not report.row("batches").passed
    assert report.parted == "The runs part at their batches: step 3 has other rows."


def test_draws_that_pytorch_does_not_make_are_noticed() -> None:
    report = circles_run(np.float32, 1, callbacks=[lambda state: snn.rand(1)])
    assert [row.name for row in report.failures] == ["random state"]
    assert "random numbers drawn in them do not" in report.parted


def test_what_only_the_engine_does_wrong_is_laid_at_its_door() -> None:
    def meddle(state: snn.FitState) -> None:
        if state.epoch == 2:
            state.model[0].bias.data[1] += 1e-3

    report = circles_run(np.float32, 4, callbacks=[meddle])
    assert not report
    assert "step by step in NumPy agrees with PyTorch" in report.parted
    assert report.row("parameters").note == "0.bias"
