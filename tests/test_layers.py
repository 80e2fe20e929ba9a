"""Layers against their torch namesakes, and what they say to bad input."""

from __future__ import annotations

import copy
import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.testing import assert_allclose, assert_array_equal
from test_random import torch_draws_masks_from_the_generator

import scratchnn as snn

DTYPES = (np.float32, np.float64)
EPS = {np.float32: 1.2e-7, np.float64: 2.2e-16}
# Below the smallest normal number no relative accuracy exists.
TINY = {np.float32: 1.2e-38, np.float64: 2.3e-308}

ELEMENTWISE = {
    "ReLU": (snn.ReLU, torch.nn.ReLU),
    "LeakyReLU": (lambda: snn.LeakyReLU(0.3), lambda: torch.nn.LeakyReLU(0.3)),
    "Sigmoid": (snn.Sigmoid, torch.nn.Sigmoid),
    "Tanh": (snn.Tanh, torch.nn.Tanh),
    "Identity": (snn.Identity, torch.nn.Identity),
    "Threshold": (lambda: snn.Threshold(0.5, -2.0), lambda: torch.nn.Threshold(0.5, -2.0)),
    "Softmax": (lambda: snn.Softmax(-1), lambda: torch.nn.Softmax(-1)),
    "LogSoftmax": (lambda: snn.LogSoftmax(0), lambda: torch.nn.LogSoftmax(0)),
}
# What torch adds up in another order, or by another exp.
ROUNDED = {"Sigmoid", "Tanh", "Softmax", "LogSoftmax"}

shapes = st.lists(st.integers(1, 5), min_size=1, max_size=4).map(tuple)
seeds = st.integers(0, 2**32 - 1)


def draw(seed: int, shape: tuple[int, ...], dtype: type, scale: float = 1.0) -> np.ndarray:
    return (scale * np.random.default_rng(seed).standard_normal(shape)).astype(dtype)


@pytest.mark.parametrize("name", ELEMENTWISE)
@pytest.mark.parametrize("dtype", DTYPES)
@given(shape=shapes, seed=seeds, scale=st.sampled_from([1e-3, 1.0, 30.0, 1e3]))
def test_activation_equals_torch(
    name: str, dtype: type, shape: tuple[int, ...], seed: int, scale: float
) -> None:
    ours, theirs = (make() for make in ELEMENTWISE[name])
    x, dy = draw(seed, shape, dtype, scale), draw(seed + 1, shape, dtype)
    x.flat[0] = 0.5  # the threshold's kink; and zero, relu's
    x.flat[-1] = 0.0
    tx = torch.from_numpy(x.copy()).requires_grad_()
    ty = theirs(tx)
    ty.backward(torch.from_numpy(dy))
    y = ours(x)
    dx = ours.backward(dy)
    assert y.dtype == dx.dtype == dtype
    assert y.shape == dx.shape == shape
    if name not in ROUNDED:
        assert_array_equal(y, ty.detach().numpy())
        assert_array_equal(dx, tx.grad.numpy())
        return
    eps = EPS[dtype]
    atol = 8 * eps * max(1.0, float(np.abs(x).max())) if name == "LogSoftmax" else TINY[dtype]
    assert_allclose(y, ty.detach().numpy(), rtol=8 * eps, atol=atol)
    assert_allclose(dx, tx.grad.numpy(), rtol=0, atol=64 * eps * float(np.abs(dy).max()) * len(x))


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("bias", [True, False])
@given(lead=st.lists(st.integers(1, 4), max_size=3), d=st.integers(1, 9), m=st.integers(1, 9), seed=seeds)
def test_linear_equals_torch(dtype: type, bias: bool, lead: list[int], d: int, m: int, seed: int) -> None:
    snn.manual_seed(seed)
    torch.manual_seed(seed)
    ours = snn.Linear(d, m, bias, dtype=dtype)
    theirs = torch.nn.Linear(d, m, bias, dtype=torch.float32 if dtype == np.float32 else torch.float64)
    for (path, parameter), (tpath, tparameter) in zip(
        ours.named_parameters(), theirs.named_parameters(), strict=True
    ):
        assert path == tpath
        assert_array_equal(parameter.data, tparameter.detach().numpy())
    x, dy = draw(seed, (*lead, d), dtype), draw(seed + 1, (*lead, m), dtype)
    tx = torch.from_numpy(x.copy()).requires_grad_()
    ty = theirs(tx)
    ty.backward(torch.from_numpy(dy))
    y = ours(x)
    dx = ours.backward(dy)
    eps = EPS[dtype]
    offset = np.abs(ours.bias.data) if bias else 0.0
    bound = (d + 4) * eps * (np.abs(x) @ np.abs(ours.weight.data).T + offset)
    assert np.all(np.abs(y - ty.detach().numpy()) <= bound)
    rows, drows = x.reshape(-1, d), dy.reshape(-1, m)
    n = len(rows)
    assert np.all(np.abs(dx - tx.grad.numpy()) <= (m + 4) * eps * (np.abs(dy) @ np.abs(ours.weight.data)))
    assert np.all(
        np.abs(ours.weight.grad - theirs.weight.grad.numpy())
        <= (n + 4) * eps * (np.abs(drows).T @ np.abs(rows))
    )
    if bias:
        assert np.all(np.abs(ours.bias.grad - theirs.bias.grad.numpy()) <= 16 * eps * np.abs(drows).sum(0))


def test_gradients_accumulate_and_are_none_before_and_after() -> None:
    layer = snn.Linear(3, 2)
    x, dy = draw(0, (5, 3), np.float32), draw(1, (5, 2), np.float32)
    assert layer.weight.grad is None
    layer(x)
    layer.backward(dy)
    once = layer.weight.grad.copy()
    layer.backward(dy)
    assert_array_equal(layer.weight.grad, once + once)
    layer.zero_grad()
    assert layer.weight.grad is None
    assert layer.bias.grad is None


def test_nan_passes_as_in_torch() -> None:
    x = np.array([np.nan, -np.inf, np.inf, -1.0], np.float32)
    dy = np.arange(1, 5, dtype=np.float32)
    for name in ("ReLU", "LeakyReLU", "Threshold", "Sigmoid", "Tanh"):
        ours, theirs = (make() for make in ELEMENTWISE[name])
        tx = torch.from_numpy(x.copy()).requires_grad_()
        ty = theirs(tx)
        ty.backward(torch.from_numpy(dy))
        assert_allclose(ours(x), ty.detach().numpy(), rtol=1e-6, err_msg=name)
        assert_allclose(ours.backward(dy), tx.grad.numpy(), rtol=1e-6, err_msg=name)


@pytest.mark.parametrize("p", [0.0, 0.25, 0.5, 1.0])
@pytest.mark.parametrize("dtype", DTYPES)
def test_dropout_is_torchs(p: float, dtype: type) -> None:
    x, dy = draw(3, (7, 11), dtype), draw(4, (7, 11), dtype)
    ours = snn.Dropout(p)
    snn.manual_seed(5)
    torch.manual_seed(5)
    if 0 < p < 1:
        kept = torch.rand(7, 11, dtype=torch.float64).numpy() < 1 - p
        factor = kept.astype(dtype) / dtype(1 - p)
    else:
        factor = np.full((7, 11), 1 - p, dtype)
    assert_array_equal(ours(x), x * factor)
    assert_array_equal(ours.backward(dy), dy * factor)
    if torch_draws_masks_from_the_generator():
        torch.manual_seed(5)
        tx = torch.from_numpy(x.copy()).requires_grad_()
        ty = torch.nn.Dropout(p)(tx)
        ty.backward(torch.from_numpy(dy))
        assert_array_equal(x * factor, ty.detach().numpy())
        assert_array_equal(dy * factor, tx.grad.numpy())
    assert_array_equal(snn.rand(3), torch.rand(3).numpy())  # the streams stand at the same place
    ours.eval()
    assert_array_equal(ours(x), x)
    assert_array_equal(ours.backward(dy), dy)
    assert_array_equal(snn.rand(3), torch.rand(3).numpy())


# Containers ---------------------------------------------------------------------------------------


def small() -> snn.Sequential:
    return snn.Sequential(snn.Linear(2, 3), snn.ReLU(), snn.Linear(3, 1), snn.Sigmoid())


def test_sequential_indexes_slices_and_iterates() -> None:
    model = small()
    assert len(model) == 4
    assert isinstance(model[1], snn.ReLU)
    assert model[-1] is list(model)[-1]
    assert [type(m).__name__ for m in model[1:3]] == ["ReLU", "Linear"]
    assert model[:2][0] is model[0]
    with pytest.raises(IndexError, match="Sequential of 4 modules has no index 4"):
        model[4]
    model[1] = snn.Tanh()
    assert isinstance(model[1], snn.Tanh)
    assert len(model) == 4
    model.append(snn.Identity())
    assert isinstance(model[4], snn.Identity)


def test_names_and_repr_read_like_torchs() -> None:
    pairs = [
        (
            snn.Sequential(snn.Linear(2, 3, bias=False), snn.Sequential(snn.LeakyReLU(), snn.Dropout(0.2))),
            torch.nn.Sequential(
                torch.nn.Linear(2, 3, bias=False),
                torch.nn.Sequential(torch.nn.LeakyReLU(), torch.nn.Dropout(0.2)),
            ),
        ),
        (
            snn.Sequential(OrderedDict(enter=snn.Linear(2, 3), leave=snn.Softmax(dim=1))),
            torch.nn.Sequential(OrderedDict(enter=torch.nn.Linear(2, 3), leave=torch.nn.Softmax(dim=1))),
        ),
        (
            snn.ModuleList([snn.Linear(1, 1), snn.Tanh()]),
            torch.nn.ModuleList([torch.nn.Linear(1, 1), torch.nn.Tanh()]),
        ),
        (snn.Threshold(0.1, 20.0), torch.nn.Threshold(0.1, 20.0)),
    ]
    for ours, theirs in pairs:
        assert list(ours.state_dict()) == list(theirs.state_dict())
        assert [n for n, _ in ours.named_modules()] == [n for n, _ in theirs.named_modules()]
        assert [n for n, _ in ours.named_children()] == [n for n, _ in theirs.named_children()]
        # torch.nn prints p=0.2 of Dropout with inplace=False, which we do not have; a ModuleList by ranges.
        assert repr(ours).replace("p=0.2", "p=0.2, inplace=False") == repr(theirs)


def test_one_module_in_two_places() -> None:
    """Gradients of both uses add up, as in torch."""
    snn.manual_seed(1)
    torch.manual_seed(1)
    layer, tlayer = snn.Linear(3, 3, dtype=np.float64), torch.nn.Linear(3, 3, dtype=torch.float64)
    model = snn.Sequential(layer, snn.Tanh(), snn.Sequential(layer, snn.Tanh()), layer)
    twin = torch.nn.Sequential(tlayer, torch.nn.Tanh(), torch.nn.Sequential(tlayer, torch.nn.Tanh()), tlayer)
    x, dy = draw(0, (4, 3), np.float64), draw(1, (4, 3), np.float64)
    tx = torch.from_numpy(x.copy()).requires_grad_()
    twin(tx).backward(torch.from_numpy(dy))
    model(x)
    assert_allclose(model.backward(dy), tx.grad.numpy(), rtol=1e-13)
    assert_allclose(layer.weight.grad, tlayer.weight.grad.numpy(), rtol=1e-13)
    assert [n for n, _ in model.named_parameters()] == [n for n, _ in twin.named_parameters()]
    assert list(model.state_dict()) == list(twin.state_dict())


class Residual(snn.Module):
    """A user's own module."""

    def __init__(self) -> None:
        self.inner = snn.Linear(2, 2)
        self.gain = snn.Parameter([2.0])

    def forward(self, x):
        self.x, self.h = x, self.inner(x)
        return x + self.gain.data * self.h

    def backward(self, dy):
        self.gain.accumulate((dy * self.h).sum(keepdims=True).reshape(1))
        return dy + self.inner.backward(self.gain.data * dy)


def test_a_users_module_registers_by_attribute() -> None:
    model = Residual()
    assert [n for n, _ in model.named_parameters()] == ["gain", "inner.weight", "inner.bias"]
    assert model.gain.dtype == np.float32
    x, dy = draw(0, (4, 2), np.float32), draw(1, (4, 2), np.float32)
    model(x)
    model.backward(dy)
    h = model.inner(x)
    assert_allclose(model.gain.grad, [(dy * h).sum()], rtol=1e-5)
    assert repr(model).startswith("Residual(\n  (inner): Linear(")


def test_mlp_is_a_list_of_widths() -> None:
    model = snn.MLP(2, [4, 3], 1, "tanh", "sigmoid")
    assert [type(m).__name__ for m in model] == ["Linear", "Tanh", "Linear", "Tanh", "Linear", "Sigmoid"]
    assert [p.shape for p in model.parameters()] == [(4, 2), (4,), (3, 4), (3,), (1, 3), (1,)]
    assert len(snn.MLP(2, [], 1)) == 1
    assert len(snn.MLP(2, 5, 1)) == 3
    assert snn.MLP(2, 5, 1, lambda: snn.LeakyReLU(0.2))[1].negative_slope == 0.2
    with pytest.raises(ValueError, match="activation='rleu'; it must be one of"):
        snn.MLP(2, 5, 1, "rleu")


# State --------------------------------------------------------------------------------------------


def test_state_dict_moves_both_ways() -> None:
    model = small()
    twin = torch.nn.Sequential(
        torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1), torch.nn.Sigmoid()
    )
    twin.load_state_dict({k: torch.from_numpy(v) for k, v in model.state_dict().items()})
    x = draw(0, (5, 2), np.float32)
    assert_allclose(twin(torch.from_numpy(x)).detach().numpy(), model(x), rtol=1e-6)
    other = small()
    other.load_state_dict({k: v.numpy() for k, v in twin.state_dict().items()})
    assert_array_equal(other(x), model(x))
    other[0].weight.data += 1
    assert not np.array_equal(other(x), model(x)), "loaded arrays must be copies"


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda s: s.pop("0.bias"), "missing: 0.bias"),
        (lambda s: s.update({"4.weight": np.ones(1)}), "unexpected: 4.weight"),
        (
            lambda s: s.update({"2.weight": np.ones((1, 4))}),
            r"2.weight has shape \(1, 4\), the model needs \(1, 3\)",
        ),
    ],
)
def test_load_state_dict_loads_all_or_nothing(change, match) -> None:
    model = small()
    before = copy.deepcopy(model.state_dict())
    state = {k: v + 1 for k, v in before.items()}
    change(state)
    with pytest.raises(RuntimeError, match=match):
        model.load_state_dict(state)
    for path, value in model.state_dict().items():
        assert_array_equal(value, before[path])


def test_load_state_dict_not_strict_takes_what_fits() -> None:
    model = small()
    bias = model[0].bias.data.copy()
    model.load_state_dict({"0.weight": np.ones((3, 2)), "other": np.ones(2)}, strict=False)
    assert_array_equal(model[0].weight.data, np.ones((3, 2)))
    assert_array_equal(model[0].bias.data, bias)
    with pytest.raises(TypeError, match="of dtype <U1; it needs numbers"):
        model.load_state_dict({"0.weight": np.array([["a"]])}, strict=False)
    with pytest.raises(ValueError, match=r"got 0.bias as a list whose rows differ in length"):
        model.load_state_dict({"0.bias": [[1.0], [1.0, 2.0]]}, strict=False)
    with pytest.raises(TypeError, match="it needs a dict"):
        model.load_state_dict([1, 2])


def test_load_state_dict_casts_as_torch_does() -> None:
    model, twin = snn.Linear(1, 1), torch.nn.Linear(1, 1)
    state = {"weight": np.array([[1e300]]), "bias": np.array([1 / 3])}
    model.load_state_dict(state)
    twin.load_state_dict({key: torch.from_numpy(value) for key, value in state.items()})
    for key, value in twin.state_dict().items():
        assert_array_equal(model.state_dict()[key], value.numpy())


def test_train_and_eval_reach_everything() -> None:
    model = snn.Sequential(snn.Sequential(snn.Dropout(0.5)), snn.Linear(2, 2))
    assert model.eval() is model
    assert not any(m.training for m in model.modules())
    model.train()
    assert all(m.training for m in model.modules())
    with pytest.raises(ValueError, match="mode"):
        model.train("yes")


def test_astype_keeps_the_parameter_objects() -> None:
    model = small()
    weight = model[0].weight
    assert model.astype(np.float64) is model
    assert model[0].weight is weight
    assert weight.dtype == np.float64
    assert model(np.zeros((1, 2))).dtype == np.float64
    with pytest.raises(TypeError, match="float32, float64"):
        model.astype("float16")


def test_copies_and_pickles_carry_no_activations() -> None:
    model = small()
    x = draw(0, (1000, 2), np.float32)
    model(x)
    for other in (copy.deepcopy(model), pickle.loads(pickle.dumps(model))):
        assert_array_equal(other(x[:3]), model(x[:3]))
    assert len(pickle.dumps(model)) < 4000


def test_forward_hooks_see_and_replace() -> None:
    layer = snn.Identity()
    seen: list[tuple[object, ...]] = []
    remove = layer.register_forward_hook(lambda m, inputs, y: seen.append((m, inputs, y)))
    remove_second = layer.register_forward_hook(lambda m, x, y: y + 1)
    x = np.ones(2, np.float32)
    assert_array_equal(layer(x), x + 1)
    assert seen[0][0] is layer
    assert isinstance(seen[0][1], tuple)
    assert seen[0][1][0] is x
    remove()
    remove_second()
    layer.register_forward_hook(lambda m, inputs, y: None)
    remove_second()  # once more: another hook has its place now
    assert len(layer._hooks or {}) == 1
    assert_array_equal(layer(x), x)
    assert len(seen) == 1


# Bad input, and input that must simply work -------------------------------------------------------


def test_wrong_last_axis_names_both_shapes() -> None:
    with pytest.raises(
        ValueError, match=r"Linear\(20, 64\) got x of shape \(32, 19\); the last axis must be 20"
    ):
        snn.Linear(20, 64)(np.zeros((32, 19), np.float32))
    with pytest.raises(ValueError, match=r"shape \(\)"):
        snn.Linear(1, 1)(3.0)


@pytest.mark.parametrize("layer", [snn.Linear(2, 2), snn.ReLU(), snn.Softmax(1), snn.Dropout()], ids=repr)
@pytest.mark.parametrize(
    "x",
    [
        np.zeros((3, 2), np.int64),
        np.zeros((3, 2), np.float16),
        np.zeros((3, 2), object),
        np.array([["a", "b"]]),
        np.zeros((3, 2), bool),
        "text",
        None,
        [["a", "b"]],
        [[1.0, 2.0j]],
    ],
    ids=lambda x: f"{type(x).__name__}-{getattr(x, 'dtype', '')}",
)
def test_what_is_no_float_is_refused(layer: snn.Module, x: object) -> None:
    with pytest.raises(TypeError, match=rf"^{type(layer).__name__}\(.* (it needs|x as|numbers)"):
        layer(x)


def test_float64_into_float32_names_the_cure() -> None:
    with pytest.raises(
        TypeError, match=r"float64; it needs float32: pass x.astype\(np.float32\), or convert the model"
    ):
        snn.Linear(2, 2)(np.zeros((3, 2)))


def test_ragged_list_is_refused() -> None:
    with pytest.raises(ValueError, match="rows differ in length"):
        snn.Linear(2, 2)([[1.0, 2.0], [3.0]])


def test_backward_before_forward_and_with_the_wrong_shape() -> None:
    model = small()
    for module in (model, model[0], model[1], model[3]):
        with pytest.raises(RuntimeError, match="backward before forward"):
            module.backward(np.ones((1, 1), np.float32))
    model(np.zeros((4, 2), np.float32))
    with pytest.raises(
        ValueError, match=r"dy of shape \(3, 1\) in backward; its last output had shape \(4, 1\)"
    ):
        model.backward(np.ones((3, 1), np.float32))
    assert all(p.grad is None for p in model.parameters())
    with pytest.raises(TypeError, match="dy of dtype float64"):
        model.backward(np.ones((4, 1)))


@pytest.mark.parametrize(
    ("make", "error", "match"),
    [
        (lambda: snn.Linear(0, 3), ValueError, "in_features=0; it must be at least 1"),
        (lambda: snn.Linear(3, 2.5), TypeError, "out_features=2.5; it needs an int"),
        (lambda: snn.Linear(3, 2, dtype="int8"), TypeError, "use float32"),
        (lambda: snn.Dropout(1.5), ValueError, r"within \[0, 1\]"),
        (lambda: snn.Dropout(float("nan")), ValueError, r"within \[0, 1\]"),
        (lambda: snn.LeakyReLU("a"), TypeError, "it needs a number"),
        (lambda: snn.Sequential(snn.ReLU), TypeError, "needs scratchnn modules"),
        (lambda: snn.Sequential({"a.b": snn.ReLU()}), KeyError, "cannot name"),
        (lambda: snn.Sequential({"forward": snn.ReLU()}), KeyError, "cannot name"),
        (lambda: snn.Softmax(2)(np.zeros((2, 2), np.float32)), IndexError, "dim must be between -2 and 1"),
        (lambda: snn.Softmax(None), TypeError, "Softmax got dim=None; it needs an int"),
        (lambda: snn.LogSoftmax(1.0), TypeError, "LogSoftmax got dim=1.0; it needs an int"),
        (lambda: snn.MLP(2, [4, 2.7], 1), TypeError, r"MLP got hidden\[1\]=2.7; it needs an int"),
        (lambda: snn.MLP(2, None, 1), TypeError, r"MLP got hidden\[0\]=None; it needs an int"),
        (lambda: snn.MLP(2, [0], 1), ValueError, r"hidden\[0\]=0; it must be at least 1"),
        (lambda: snn.MLP(2, 3, 1, None), ValueError, "activation=None; it must be one of"),
        (lambda: snn.MLP(2, 3, 1, ["relu"]), ValueError, "or a function that makes a module"),
        (lambda: snn.MLP(2, 3, 1, lambda: 3), TypeError, "MLP got activation=.*, which made 3"),
        (lambda: snn.ModuleList([snn.ReLU()])[1], IndexError, "ModuleList of 1 modules has no index 1"),
        (lambda: snn.ReLU().register_forward_hook(3), TypeError, r"ReLU\(\) got 3 as forward hook"),
        (lambda: snn.Parameter([1.0]).accumulate(np.ones(2)), ValueError, "gradient of shape"),
        (lambda: snn.Module().forward(1), NotImplementedError, "must write forward"),
    ],
)
def test_bad_arguments(make, error, match) -> None:
    with pytest.raises(error, match=match):
        make()


@pytest.mark.parametrize("layer", [snn.Linear(3, 2), *(make() for make, _ in ELEMENTWISE.values())], ids=repr)
def test_any_memory_layout_gives_the_same_and_nothing_is_written(layer: snn.Module) -> None:
    x, dy = draw(0, (4, 3), np.float32), draw(1, (4, 2 if isinstance(layer, snn.Linear) else 3), np.float32)

    def run(x: object, dy: object) -> list[np.ndarray]:
        layer.zero_grad()
        return [layer(x), layer.backward(dy), *(p.grad for p in layer.parameters())]

    wanted = run(x, dy)
    strided = np.zeros((8, 6), np.float32)
    strided[::2, ::2] = x
    frozen = x.copy()
    frozen.flags.writeable = False
    dfrozen = dy.copy()
    dfrozen.flags.writeable = False
    for other, dother in (
        (np.asfortranarray(x), np.asfortranarray(dy)),
        (strided[::2, ::2], dy),
        (frozen, dfrozen),
        (x.tolist(), dy.tolist()),
    ):
        for got, want in zip(run(other, dother), wanted, strict=True):
            assert_allclose(got, want, rtol=1e-6, atol=1e-6)
    assert_array_equal(x, frozen)
    assert_array_equal(dy, dfrozen)


def test_a_parameter_takes_a_read_only_array_by_copy() -> None:
    frozen, plain = np.ones(2, np.float32), np.ones(2, np.float32)
    frozen.flags.writeable = False
    parameters = [snn.Parameter(plain), snn.Parameter(frozen)]
    for parameter in parameters:
        parameter.grad = np.ones(2, np.float32)
    snn.SGD(parameters, lr=0.5).step()
    assert_array_equal(parameters[1].data, [0.5, 0.5])
    assert_array_equal(frozen, [1, 1])
    assert parameters[0].data is plain


class Frame:
    """What a table of pandas has of an array: no `dtype`, but a way to become one."""

    def __array__(self, dtype: object = None, copy: object = None) -> np.ndarray:
        return np.zeros((3, 2))


def test_what_becomes_an_array_keeps_its_dtype() -> None:
    with pytest.raises(TypeError, match=r"got x of dtype float64; it needs float32"):
        snn.Linear(2, 2)(Frame())
    assert snn.TensorDataset(Frame()).tensors[0].dtype == np.float64


def test_an_empty_batch_goes_through_layers() -> None:
    model = small()
    assert model(np.zeros((0, 2), np.float32)).shape == (0, 1)
    assert model.backward(np.zeros((0, 1), np.float32)).shape == (0, 2)
    assert_array_equal(model[0].weight.grad, np.zeros((3, 2)))


def test_a_matrix_product_does_not_warn() -> None:
    """As in PyTorch: a BLAS may leave the flag of an invalid operation behind finite numbers, too."""
    layer = snn.Linear(2, 1)
    layer.weight.data[...] = [[0, 1]]
    x = np.array([[np.inf, 1]], np.float32)
    with np.errstate(all="raise"):
        y = layer(x)
        dx = layer.backward(np.array([[np.inf]], np.float32))
    assert np.isnan(y).all()
    assert_array_equal(dx, [[np.nan, np.inf]])
    assert np.isinf(layer.weight.grad).any()
