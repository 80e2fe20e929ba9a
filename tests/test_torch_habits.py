"""What somebody who comes from PyTorch writes means the same here, or is refused in words."""

from __future__ import annotations

import copy
import pickle
from collections import namedtuple
from typing import Any

import numpy as np
import pytest
import torch
import torch.utils.data
from numpy.testing import assert_array_equal

import scratchnn as snn

# Parameters are arrays to NumPy ------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 2), (4,), (), (0, 2)])
def test_numpy_takes_a_parameter_for_its_values(shape: tuple[int, ...]) -> None:
    values = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    p = snn.Parameter(values)
    assert (np.size(p), np.ndim(p), np.shape(p)) == (values.size, values.ndim, values.shape)
    assert (p.size, p.numel(), p.ndim) == (values.size, values.size, values.ndim)
    assert np.asarray(p) is values or np.shares_memory(np.asarray(p), values)
    assert np.asarray(p, np.float64).dtype == np.float64
    assert not np.shares_memory(np.array(p), values)
    assert np.sum(p) == values.sum()
    assert_array_equal(np.abs(p), np.abs(values))
    assert_array_equal(
        np.concatenate([np.atleast_1d(p), np.atleast_1d(p)]), np.concatenate([np.atleast_1d(values)] * 2)
    )
    assert_array_equal(p == values, values == values)
    if shape:
        assert len(p) == len(torch.nn.Parameter(torch.from_numpy(values)))
        assert_array_equal(values.T @ p if values.ndim > 1 else values @ p, values.T @ values)


def test_a_parameter_has_no_truth_value() -> None:
    with pytest.raises(ValueError, match=r"parameter of shape \(1,\).*`is not None`"):
        bool(snn.Linear(2, 1).bias)


def test_layers_take_a_parameter_as_input() -> None:
    layer, p = snn.Linear(2, 3), snn.Parameter(np.ones((4, 2), np.float32))
    assert_array_equal(layer(p), layer(p.data))


# A parameter gives way to a parameter --------------------------------------------------------------


def layers_with_parameters() -> list[tuple[snn.Module, torch.nn.Module, str]]:
    return [
        (snn.Linear(2, 1), torch.nn.Linear(2, 1), "weight"),
        (snn.Linear(2, 1), torch.nn.Linear(2, 1), "bias"),
        (snn.Linear(2, 1, bias=False), torch.nn.Linear(2, 1, bias=False), "bias"),
    ]


@pytest.mark.parametrize("position", range(3))
@pytest.mark.parametrize("value", [np.ones((1, 2), np.float32), [1.0], 0, "x", snn.Linear(1, 1)])
def test_nothing_but_a_parameter_or_none_replaces_a_parameter(position: int, value: Any) -> None:
    layer, twin, name = layers_with_parameters()[position]
    before, text = getattr(layer, name), repr(layer)
    with pytest.raises(TypeError, match=rf"Linear got \w+ as its parameter {name}.*Parameter or None"):
        setattr(layer, name, value)
    assert getattr(layer, name) is before
    assert repr(layer) == text
    with pytest.raises(TypeError):
        setattr(twin, name, torch.ones(1, 2))


@pytest.mark.parametrize("position", [1, 2])
def test_a_bias_can_be_replaced_and_taken_away(position: int) -> None:
    layer, twin, name = layers_with_parameters()[position]
    for value in (np.ones((1, 2), np.float32), None, np.ones((1, 2), np.float32), None):
        setattr(layer, name, None if value is None else snn.Parameter(value))
        setattr(twin, name, None if value is None else torch.nn.Parameter(torch.from_numpy(value)))
        assert sorted(n for n, _ in layer.named_parameters()) == sorted(n for n, _ in twin.named_parameters())
        again = pickle.loads(pickle.dumps(copy.deepcopy(layer)))
        with pytest.raises(TypeError, match=f"parameter {name}"):
            setattr(again, name, np.ones(1))


def test_a_linear_layer_keeps_a_weight() -> None:
    """PyTorch takes None and fails in the forward; here it is refused where it is set."""
    layer = snn.Linear(2, 1)
    with pytest.raises(TypeError, match="Linear got weight of type NoneType; it needs a Parameter"):
        layer.weight = None  # type: ignore[assignment]
    layer.weight = snn.Parameter(np.ones((1, 2), np.float32))


def test_a_submodule_gives_way_to_a_module_or_none() -> None:
    model = snn.Sequential(snn.Linear(2, 2), snn.ReLU())
    first = model[0]
    with pytest.raises(TypeError, match=r"Sequential got function as its submodule 0"):
        setattr(model, "0", lambda x: x)
    assert model[0] is first
    setattr(model, "0", snn.Identity())
    assert isinstance(model[0], snn.Identity)


def test_other_attributes_are_free() -> None:
    class Own(snn.Module):
        def __init__(self) -> None:
            self.scale: Any = np.ones(2)

    own = Own()
    own.scale = np.zeros(3)
    own.scale = snn.Parameter(np.zeros(3))
    assert [name for name, _ in own.named_parameters()] == ["scale"]


def test_register_parameter() -> None:
    module = snn.Module()
    module.register_parameter("shift", None)
    with pytest.raises(TypeError, match="parameter shift"):
        module.shift = np.ones(1)
    module.register_parameter("shift", snn.Parameter([1.0]))
    assert [name for name, _ in module.named_parameters()] == ["shift"]
    with pytest.raises(TypeError, match="Module got ndarray as its parameter shift"):
        module.register_parameter("shift", np.ones(1))  # type: ignore[arg-type]


# load_state_dict says what it passed over ----------------------------------------------------------


@pytest.mark.parametrize("keys", [("weight", "bias"), ("weight",), ("bias", "scale"), ()])
def test_load_state_dict_returns_what_torchs_does(keys: tuple[str, ...]) -> None:
    values = {"weight": np.ones((1, 2), np.float32), "bias": np.ones(1, np.float32), "scale": np.ones(3)}
    state = {key: values[key] for key in keys}
    ours = snn.Linear(2, 1).load_state_dict(state, strict=False)
    theirs = torch.nn.Linear(2, 1).load_state_dict(
        {k: torch.as_tensor(v) for k, v in state.items()}, strict=False
    )
    assert tuple(ours) == tuple(theirs)
    assert (ours.missing_keys, ours.unexpected_keys) == (theirs.missing_keys, theirs.unexpected_keys)
    if not any(theirs):
        assert repr(ours) == repr(theirs)
    else:
        assert all(key in repr(ours) for key in (*ours.missing_keys, *ours.unexpected_keys))


# Datasets written for one row at a time ------------------------------------------------------------

ROWS = np.random.default_rng(0).standard_normal((11, 3)).astype(np.float32)
Pair = namedtuple("Pair", "x y")


class Scaled:
    """Divides a row by its largest entry: of a whole batch taken at once that is another number."""

    form: Any = staticmethod(lambda x, i: (x, i))

    def __len__(self) -> int:
        return len(ROWS)

    def __getitem__(self, i: int) -> Any:
        assert isinstance(i, int)
        return self.form(ROWS[i] / np.abs(ROWS[i]).max(), i)


class Listed(Scaled):
    def __getitems__(self, indices: list[int]) -> Any:
        assert isinstance(indices, list)
        return [(ROWS[i], -1) for i in indices]


class Augmented(snn.TensorDataset):
    def __getitem__(self, i: Any) -> tuple[Any, ...]:
        x, y = super().__getitem__(i)
        return x - x.mean(), y


def same(ours: Any, theirs: Any) -> None:
    if isinstance(theirs, dict):
        assert list(ours) == list(theirs)
        for key in theirs:
            same(ours[key], theirs[key])
    elif isinstance(theirs, (tuple, list)):
        assert len(ours) == len(theirs)
        for one, other in zip(ours, theirs, strict=True):
            same(one, other)
    elif isinstance(theirs, str):
        assert ours == theirs
    else:
        assert ours.dtype == theirs.numpy().dtype
        assert_array_equal(ours, theirs.numpy())


FORMS = {
    "pair": lambda x, i: (x, i),
    "float": lambda x, i: (x, 0.5 * i),
    "flag": lambda x, i: (x, i > 3),
    "NumPy's number": lambda x, i: (x, np.float32(i)),
    "array": lambda x, i: x,
    "dict": lambda x, i: {"x": x, "more": {"i": i}},
    "named": lambda x, i: Pair(x, i),
    "list": lambda x, i: [x, [i, 2 * i]],
    "text": lambda x, i: (x, f"row {i}"),
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("shuffle", [False, True])
def test_a_dataset_of_rows_gives_torchs_batches(
    form: str, shuffle: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scaled, "form", staticmethod(FORMS[form]))
    snn.manual_seed(3)
    torch.manual_seed(3)
    ours = list(snn.DataLoader(Scaled(), 4, shuffle))
    theirs = list(torch.utils.data.DataLoader(Scaled(), 4, shuffle))  # type: ignore[arg-type,var-annotated]
    same(ours, theirs)
    if form == "named":
        assert isinstance(ours[0], Pair)


def test_getitems_is_asked_where_there_is_one() -> None:
    (batch,) = snn.DataLoader(Listed(), 11)
    assert_array_equal(batch[0], ROWS)
    assert (batch[1] == -1).all()


def test_subsets_and_splits_of_a_dataset_of_rows() -> None:
    whole = Scaled()
    right = np.stack([whole[i][0] for i in range(11)])
    subset = snn.Subset(whole, [7, 2, 5])
    assert_array_equal(subset[0][0], right[7])
    assert_array_equal(subset[1:][0], right[[2, 5]])
    assert_array_equal(next(iter(snn.DataLoader(snn.Subset(subset, [2, 0]), 2)))[0], right[[5, 7]])
    parts = snn.random_split(whole, [8, 3])
    together = np.concatenate([next(iter(snn.DataLoader(part, 8)))[0] for part in parts])
    assert_array_equal(np.sort(together, axis=0), np.sort(right, axis=0))


@pytest.mark.parametrize("engine", ["numpy", "auto"])
@pytest.mark.parametrize("wrap", [lambda d: d, lambda d: snn.Subset(d, range(5, 11))])
def test_fit_asks_a_dataset_with_its_own_rows(engine: str, wrap: Any) -> None:
    """A subclass of TensorDataset that changes rows is not taken for the arrays that it holds."""
    y = ROWS[:, :1]
    runs = []
    centred = ROWS - ROWS.mean(1, keepdims=True)
    for dataset in (Augmented(ROWS, y), snn.TensorDataset(centred, y)):
        snn.manual_seed(0)
        model = snn.Linear(3, 1)
        loader = snn.DataLoader(wrap(dataset), 3, shuffle=True)
        snn.fit(model, snn.MSELoss(), snn.SGD(model.parameters(), lr=0.1), loader, 3, engine=engine)
        runs.append(model.weight.data)
    assert np.abs(runs[0] - runs[1]).max() < 1e-6


def test_a_loader_of_ones_own_is_gone_through_by_fit() -> None:
    class Doubled(snn.DataLoader):
        def __iter__(self) -> Any:
            return ((2 * x, y) for x, y in super().__iter__())

    seen: list[float] = []
    X = ROWS.astype(np.float64)  # to be converted, which is no reason to pass over __iter__
    model = snn.Linear(3, 1)
    model.register_forward_hook(lambda m, inputs, y: seen.append(float(np.abs(inputs[0]).max())))
    loader = Doubled(snn.TensorDataset(X, X[:, :1]), 11)
    snn.fit(model, snn.MSELoss(), snn.SGD(model.parameters(), lr=0.01), loader, 1)
    assert seen[-1] == np.float32(2 * np.abs(X).max())


@pytest.mark.parametrize(
    ("form", "error", "message"),
    [
        (lambda x, i: x[: 1 + i % 2], ValueError, r"Scaled gave rows of shapes \(1,\), \(2,\)"),
        (lambda x, i: (x,) * (1 + i % 2), ValueError, "Scaled gave rows of different lengths"),
        (lambda x, i: {i: x}, ValueError, "Scaled gave rows with different keys"),
        (lambda x, i: (x, None), TypeError, "Scaled gave a row with a NoneType"),
    ],
)
def test_rows_that_make_no_batch(
    form: Any, error: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Scaled, "form", staticmethod(form))
    with pytest.raises(error, match=message):
        list(snn.DataLoader(Scaled(), 4))


def test_too_few_rows_from_getitems() -> None:
    class Short(Listed):
        def __getitems__(self, indices: list[int]) -> Any:
            return super().__getitems__(indices)[1:]

    with pytest.raises(ValueError, match=r"Short.__getitems__ returned 3 rows for 4 indices"):
        list(snn.DataLoader(Short(), 4))


# Numbers ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dim", [0, -1])
@pytest.mark.parametrize(
    ("ours", "theirs"), [(snn.Softmax, torch.nn.Softmax), (snn.LogSoftmax, torch.nn.LogSoftmax)]
)
def test_a_number_is_one_class(ours: Any, theirs: Any, dim: int) -> None:
    x = np.array(3.0)
    layer = ours(dim=dim)
    y = layer(x)
    assert np.shape(y) == ()
    assert float(y) == float(theirs(dim)(torch.tensor(3.0)))
    assert float(layer.backward(np.array(2.0))) == 0.0
    for wrong in (1, -2):
        with pytest.raises(IndexError, match="dim must be between -1 and 0"):
            ours(dim=wrong)(x)


def test_norm_type_inf() -> None:
    ours, theirs = snn.Parameter(np.zeros(3)), torch.nn.Parameter(torch.zeros(3, dtype=torch.float64))
    ours.grad, theirs.grad = np.array([3.0, -4.0, 1.0]), torch.tensor([3.0, -4.0, 1.0], dtype=torch.float64)
    norm = snn.clip_grad_norm_([ours], 1.0, norm_type="inf")
    assert float(norm) == float(torch.nn.utils.clip_grad_norm_([theirs], 1.0, norm_type="inf")) == 4.0
    assert_array_equal(ours.grad, theirs.grad.numpy())
    for wrong in ("max", None, [2.0], True):
        with pytest.raises(TypeError, match="clip_grad_norm_ got norm_type="):
            snn.clip_grad_norm_([ours], 1.0, norm_type=wrong)  # type: ignore[arg-type]


# A last layer that the loss does not want -----------------------------------------------------------

LABELS = np.array([0, 1, 1, 0])
FLAGS = LABELS[:, None].astype(np.float32)


def ends(*layers: snn.Module, outputs: int = 2) -> snn.Sequential:
    return snn.Sequential(snn.Linear(2, outputs), *layers)


WARNED = {
    "softmax, cross-entropy": (
        ends(snn.Softmax(1)),
        snn.CrossEntropyLoss(),
        LABELS,
        "output of a Softmax layer",
    ),
    "sigmoid, cross-entropy": (
        ends(snn.Sigmoid()),
        snn.CrossEntropyLoss(),
        LABELS,
        "output of a Sigmoid layer",
    ),
    "one class": (ends(outputs=1), snn.CrossEntropyLoss(), 0 * LABELS, "predictions of one class"),
    "sigmoid, logits": (
        ends(snn.Sigmoid(), outputs=1),
        snn.BCEWithLogitsLoss(),
        FLAGS,
        "from 0.5 to 0.731 only",
    ),
    "softmax, logits": (
        ends(snn.Softmax(1)),
        snn.BCEWithLogitsLoss(),
        np.eye(2)[LABELS],
        "output of a Softmax",
    ),
    "scores, NLL": (ends(), snn.NLLLoss(), LABELS, "exponentials sum to .* End the model in LogSoftmax"),
    "softmax, NLL": (ends(snn.Softmax(1)), snn.NLLLoss(), LABELS, "exponentials sum to"),
}
QUIET = {
    "log-softmax, NLL": (ends(snn.LogSoftmax(1)), snn.NLLLoss(), LABELS),
    "log-softmax, cross-entropy": (ends(snn.LogSoftmax(1)), snn.CrossEntropyLoss(), LABELS),
    "sigmoid, BCE": (ends(snn.Sigmoid(), outputs=1), snn.BCELoss(), FLAGS),
    "scores, logits": (ends(outputs=1), snn.BCEWithLogitsLoss(), FLAGS),
    "scores, cross-entropy": (ends(), snn.CrossEntropyLoss(), LABELS),
    "sigmoid below": (ends(snn.Sigmoid(), snn.Linear(2, 2)), snn.CrossEntropyLoss(), LABELS),
    "softmax, MSE": (ends(snn.Softmax(1)), snn.MSELoss(), np.eye(2, dtype=np.float32)[LABELS]),
}


@pytest.mark.parametrize("engine", ["numpy", "auto"])
@pytest.mark.parametrize("name", WARNED)
def test_a_loss_says_what_the_layer_before_it_spoils(name: str, engine: str) -> None:
    model, loss_fn, y, message = copy.deepcopy(WARNED[name])
    optimizer = snn.SGD(model.parameters(), lr=0.1)
    with pytest.warns(UserWarning, match=rf"^{type(loss_fn).__name__} got .*{message}") as record:
        snn.fit(model, loss_fn, optimizer, (ROWS[:4, :2], y), 2, engine=engine)
    assert len(record) == 1


@pytest.mark.parametrize("engine", ["numpy", "auto"])
@pytest.mark.parametrize("name", QUIET)
def test_a_loss_after_the_right_layer_is_quiet(name: str, engine: str) -> None:
    model, loss_fn, y = copy.deepcopy(QUIET[name])
    snn.fit(model, loss_fn, snn.SGD(model.parameters(), lr=0.1), (ROWS[:4, :2], y), 2, engine=engine)


def test_log_probabilities_by_hand_are_taken_as_such() -> None:
    x = np.random.default_rng(0).standard_normal((5, 3))
    log_probs = x - np.log(np.exp(x).sum(1, keepdims=True))
    log_probs[2] = 0  # a padded row, which is ignored
    snn.NLLLoss(ignore_index=7)(log_probs, np.array([0, 1, 7, 2, 0]))


@pytest.mark.parametrize("name", WARNED)
def test_a_trace_finds_it_too(name: str, recwarn: Any) -> None:
    model, loss_fn, y, message = copy.deepcopy(WARNED[name])
    y = np.asarray(y, np.float32) if np.ndim(y) > 1 else y
    found = snn.trace(model, loss_fn, ROWS[:4, :2], y).findings
    assert len(recwarn) == 0
    with pytest.warns(UserWarning, match=message) as record:
        loss_fn(model(ROWS[:4, :2]), y)
    if name != "one class":
        assert found[0] == str(record[0].message)
    else:
        assert str(record[0].message) in found
