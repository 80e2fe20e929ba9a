"""Programs that are recorded, for the tests of recordings."""

from __future__ import annotations

from typing import Any

import numpy as np

import scratchnn as snn

rng = np.random.default_rng(0)
X = rng.standard_normal((130, 3)).astype(np.float32)
Y = (X[:, :1] * X[:, 1:2] > 0).astype(np.float32)
STEPS = 5  # an epoch, the last of two rows


def adam(parameters: Any) -> snn.Optimizer:
    return snn.Adam(parameters, lr=0.02, amsgrad=True)


def sgd(parameters: Any) -> snn.Optimizer:
    return snn.SGD(parameters, lr=0.1, momentum=0.9)


def plain(parameters: Any) -> snn.Optimizer:
    return snn.SGD(parameters, lr=0.1)


def warm_up_and_steps(optimizer: Any) -> Any:
    warm_up = snn.LinearLR(optimizer, 0.1, total_iters=9)
    warm_up.every = "batch"
    return [warm_up, snn.StepLR(optimizer, 2)]


def one_cycle(optimizer: Any) -> Any:
    return snn.OneCycleLR(optimizer, max_lr=0.1, total_steps=5 * STEPS)


def plateau(optimizer: Any) -> Any:
    return snn.ReduceLROnPlateau(optimizer, patience=0, factor=0.5, threshold=0.5)


# What may come between a run and its replay, one after another.
KINDS: dict[str, dict[str, Any]] = {
    "shuffled": {},
    "a loader's own generator": {"own": 5},
    "the default generator as a loader's own": {"own": "default", "dropout": 0},
    "dropout": {"dropout": 0.3},
    "dropout and a loader's own generator": {"dropout": 0.3, "own": 5},
    "schedules": {"scheduler": warm_up_and_steps, "optimizer": adam},
    "one cycle": {"scheduler": one_cycle, "optimizer": adam},
    "plateau": {"scheduler": plateau, "validation": True},
    "plateau of the training's loss": {"scheduler": plateau},
    "clipping": {"clip_grad_norm": 0.1, "clip_grad_value": 0.05},
    "validation that draws": {"validation": True, "dropout": 0.3, "metrics": ["accuracy"]},
    "in order": {"shuffle": False},
    "no short batch": {"drop_last": True, "own": 5},
    "a full batch": {"batch_size": None, "optimizer": adam},
    "double precision": {"dtype": np.float64, "optimizer": adam},
    "momentum": {"optimizer": sgd},
}


def program(
    engine: str,
    recording: Any = None,
    epochs: int = 5,
    seed: int = 3,
    *,
    optimizer: Any = plain,
    dropout: float = 0.0,
    own: Any = None,
    shuffle: bool = True,
    drop_last: bool = False,
    batch_size: int | None = 32,
    scheduler: Any = None,
    validation: bool = False,
    dtype: Any = np.float32,
    data: Any = (X, Y),
    callbacks: Any = (),
    loss_fn: Any = None,
    **options: Any,
) -> tuple[Any, Any, snn.History]:
    """Model, optimizer and history of a run that is always the same."""
    snn.manual_seed(seed)
    model = snn.Sequential(
        snn.Linear(3, 8, dtype=dtype), snn.Tanh(), snn.Dropout(dropout), snn.Linear(8, 1, dtype=dtype)
    )
    made = optimizer(model.parameters())
    generator = snn.Generator().manual_seed(own) if isinstance(own, int) else None
    x, y = (array.astype(dtype) for array in data)
    loader: Any = (x, y)
    if batch_size is not None:
        loader = snn.DataLoader(
            snn.TensorDataset(x, y),
            batch_size=batch_size,
            shuffle=shuffle,
            drop_last=drop_last,
            generator=snn.default_generator if own == "default" else generator,
        )
    held_out = snn.DataLoader(snn.TensorDataset(x[:20], y[:20]), batch_size=7, shuffle=True)
    history = snn.fit(
        model,
        loss_fn or snn.BCEWithLogitsLoss(),
        made,
        loader,
        epochs,
        engine=engine,
        callbacks=[*callbacks, *([] if recording is None else [recording])],
        progress=False,
        scheduler=None if scheduler is None else scheduler(made),
        validation=held_out if validation else None,
        **options,
    )
    return model, made, history


def same_steps(a: snn.Recording, b: snn.Recording, first: int) -> None:
    """Every number that both keep from a step on is the same, bit for bit."""
    steps = a.steps[a.steps >= first]
    np.testing.assert_array_equal(steps, b.steps)
    for step in map(int, steps):
        assert_equal(a.parameters(step), b.parameters(step))
        assert_equal(a.gradients(step), b.gradients(step))
        ours, theirs = a.moments(step), b.moments(step)
        assert ours.keys() == theirs.keys()
        for name in ours:
            assert_equal(ours[name], theirs[name])
    assert a.losses[first:].tobytes() == b.losses[first:].tobytes()


def assert_equal(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    assert ours.keys() == theirs.keys()
    for name, value in ours.items():
        assert value.dtype == theirs[name].dtype, name
        assert value.tobytes() == theirs[name].tobytes(), name


def held(model: Any, optimizer: Any) -> tuple[dict[str, Any], dict[str, Any], dict[str, dict[str, Any]]]:
    """Parameters, gradients and state as the objects hold them."""
    named = list(model.named_parameters())
    state = {
        name: {k: np.asarray(v) for k, v in optimizer.state[p].items()}
        for name, p in named
        if optimizer.state.get(p)
    }
    gradients = {name: p.grad for name, p in named if p.grad is not None}
    return {name: p.data for name, p in named}, gradients, state
