"""SGD, Adam and AdamW against their torch namesakes: steps, groups, state, and the door."""

from __future__ import annotations

import copy

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from scratchnn.layers import Parameter
from scratchnn.optim import SGD, Adam, AdamW, Optimizer

SHAPES = [(4, 3), (4,), (), (2, 4), (2,)]
KINDS = {"SGD": SGD, "Adam": Adam, "AdamW": AdamW}

decays = st.sampled_from([0.0, 1e-4, 0.05])
betas = st.sampled_from([0.0, 0.4, 0.9, 0.999])


@st.composite
def sgd_arguments(draw):
    momentum = draw(st.sampled_from([0.0, 0.5, 0.9, 0.99]))
    nesterov = momentum > 0 and draw(st.booleans())
    return {
        "lr": draw(st.sampled_from([1e-4, 0.1, 1.0])),
        "momentum": momentum,
        "dampening": 0.0 if nesterov else draw(st.sampled_from([0.0, 0.3, 1.0])),
        "weight_decay": draw(decays),
        "nesterov": nesterov,
        "maximize": draw(st.booleans()),
    }


adam_arguments = st.fixed_dictionaries(
    {
        "lr": st.sampled_from([1e-4, 1e-2, 0.1]),
        "betas": st.tuples(betas, betas),
        "eps": st.sampled_from([1e-8, 1e-3]),
        "weight_decay": decays,
        "amsgrad": st.booleans(),
        "maximize": st.booleans(),
    }
)
optimizers = st.tuples(st.just("SGD"), sgd_arguments(), sgd_arguments()) | st.tuples(
    st.sampled_from(["Adam", "AdamW"]), adam_arguments, adam_arguments
)


def arrays_of(rng, dtype, scale=1.0):
    return [np.asarray(scale * rng.standard_normal(shape), dtype) for shape in SHAPES]


def pair(name, arrays, defaults, override):
    """The same optimizer over the same parameters, ours and torch's: two groups, one with overrides."""
    ours = [Parameter(array.copy()) for array in arrays]
    theirs = [torch.nn.Parameter(torch.from_numpy(array.copy())) for array in arrays]
    make = KINDS[name], getattr(torch.optim, name)
    groups = [[{"params": each[:3]}, {"params": each[3:], **override}] for each in (ours, theirs)]
    return ours, theirs, make[0](groups[0], **defaults), make[1](groups[1], **defaults, foreach=False)


def give_gradients(ours, theirs, gradients):
    for mine, their, gradient in zip(ours, theirs, gradients, strict=True):
        mine.grad = None if gradient is None else gradient
        their.grad = None if gradient is None else torch.from_numpy(gradient.copy())


def assert_same_state(optimizer, twin, factor):
    """Same keys, same steps, arrays within factor * eps of their largest number."""
    mine, their = optimizer.state_dict()["state"], twin.state_dict()["state"]
    assert mine.keys() == their.keys()
    for index, entries in their.items():
        assert list(mine[index]) == list(entries)
        for key, value in entries.items():
            got, want = mine[index][key], value.numpy()
            assert got.dtype == want.dtype
            assert got.shape == want.shape
            atol = 0 if key == "step" else factor * np.finfo(got.dtype).eps * max(np.abs(want).max(), 1)
            np.testing.assert_allclose(got, want, rtol=0, atol=atol)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@settings(deadline=None, max_examples=25)
@given(choice=optimizers, seed=st.integers(0, 2**32 - 1), skip=st.floats(0, 0.3))
def test_fifty_steps_are_torchs(dtype, choice, seed, skip):
    """Parameters within the bound of one step times the steps taken; state likewise."""
    name, defaults, override = choice
    rng = np.random.default_rng(seed)
    arrays = arrays_of(rng, dtype)
    ours, theirs, optimizer, twin = pair(name, arrays, defaults, override)
    means = [4 * np.sign(array) for array in arrays_of(rng, dtype)]
    largest = max(np.abs(array).max() for array in arrays)
    for step in range(1, 51):
        # Between 3 and 5 in size: larger than the decay's part. Where gradient and decay cancel, Adam
        # divides by the rounding error of their sum, torch's as well as ours.
        gradients = [np.asarray(mean + rng.uniform(-1, 1, mean.shape), dtype) for mean in means]
        give_gradients(ours, theirs, [None if rng.random() < skip else g for g in gradients])
        before = [parameter.data.copy() for parameter in ours]
        optimizer.step()
        twin.step()
        for mine, their, old in zip(ours, theirs, before, strict=True):
            assert mine.data.dtype == dtype
            largest = max(largest, np.abs(mine.data).max(), np.abs(mine.data - old).max())
            atol = step * 4 * np.finfo(dtype).eps * largest
            np.testing.assert_allclose(mine.data, their.detach().numpy(), rtol=0, atol=atol)
    assert_same_state(optimizer, twin, 50 * 4)


@settings(deadline=None, max_examples=25)
@given(choice=optimizers, seed=st.integers(0, 2**32 - 1))
def test_state_moves_to_torch_and_back_unchanged(choice, seed):
    name, defaults, override = choice
    rng = np.random.default_rng(seed)
    ours, theirs, optimizer, twin = pair(name, arrays_of(rng, np.float32), defaults, override)
    for _ in range(3):
        give_gradients(ours, theirs, arrays_of(rng, np.float32))
        optimizer.step()
    before = optimizer.state_dict()
    twin.load_state_dict(
        {
            "state": {
                i: {key: torch.from_numpy(value) for key, value in entries.items()}
                for i, entries in before["state"].items()
            },
            "param_groups": before["param_groups"],
        }
    )
    for mine, their in zip(ours, theirs, strict=True):
        their.data = torch.from_numpy(mine.data.copy())
    twin.step()  # torch can go on from it ...
    optimizer.step()
    assert_same_state(optimizer, twin, 64)

    _, _, other, _ = pair(name, arrays_of(rng, np.float32), defaults, {})
    other.load_state_dict(twin.state_dict())  # ... and we from torch's, tensors and all
    for index, entries in twin.state_dict()["state"].items():
        for key, value in entries.items():
            np.testing.assert_array_equal(other.state_dict()["state"][index][key], value.numpy())
    for group, their in zip(other.param_groups, twin.param_groups, strict=True):
        assert all(group[key] == their[key] for key in optimizer.defaults)


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_a_resumed_run_is_the_same_run(name, dtype):
    extra = {"momentum": 0.9} if name == "SGD" else {"amsgrad": True}
    rng = np.random.default_rng(3)
    start, gradients = arrays_of(rng, dtype), [arrays_of(rng, dtype) for _ in range(20)]

    def run(parameters, optimizer, steps):
        for step in steps:
            for parameter, gradient in zip(parameters, gradients[step], strict=True):
                parameter.grad = gradient
            optimizer.step()

    straight = [Parameter(array.copy()) for array in start]
    optimizer = KINDS[name](straight, lr=0.05, **extra)
    run(straight, optimizer, range(10))
    saved, values = optimizer.state_dict(), [parameter.data.copy() for parameter in straight]
    run(straight, optimizer, range(10, 20))

    resumed = [Parameter(value) for value in values]
    second = KINDS[name](resumed, lr=1.0)
    second.load_state_dict(saved)  # a snapshot: the ten steps since have not touched it
    run(resumed, second, range(10, 20))
    for a, b in zip(straight, resumed, strict=True):
        np.testing.assert_array_equal(a.data, b.data)
    assert second.param_groups[0]["lr"] == 0.05


def test_loading_casts_to_the_parameters_dtype_and_copies():
    source, target = Parameter(np.ones(3)), Parameter(np.ones(3, np.float32))
    optimizer, other = Adam([source]), Adam([target])
    source.grad = np.ones(3)
    optimizer.step()
    saved = optimizer.state_dict()
    other.load_state_dict(saved)
    assert {key: value.dtype for key, value in other.state[target].items()} == {
        "step": np.dtype(np.float32),
        "exp_avg": np.dtype(np.float32),
        "exp_avg_sq": np.dtype(np.float32),
    }
    optimizer.load_state_dict(saved)
    saved["state"][0]["exp_avg"][...] = 7
    assert not (optimizer.state[source]["exp_avg"] == 7).any()


def test_older_state_without_flags_loads_and_adamw_stays_adamw():
    p = Parameter(np.ones(2))
    saved = Adam([p]).state_dict()
    del saved["param_groups"][0]["maximize"]
    optimizer = AdamW([p])
    optimizer.load_state_dict(saved)
    assert optimizer.param_groups[0]["maximize"] is False
    assert optimizer.param_groups[0]["decoupled_weight_decay"] is True


def test_a_changed_learning_rate_takes_effect_at_the_next_step():
    p = Parameter(np.zeros(2))
    optimizer = SGD([p], lr=1.0)
    p.grad = np.ones(2)
    optimizer.step()
    optimizer.param_groups[0]["lr"] = 0.25
    optimizer.step()
    np.testing.assert_array_equal(p.data, [-1.25, -1.25])


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_parameters_change_in_place_and_gradients_not_at_all(kind):
    data = np.asfortranarray(np.ones((3, 2), np.float32))
    p, idle = Parameter(data), Parameter(np.ones(2, np.float32))
    view, gradient = p.data[1:], np.full((2, 3), 0.5, np.float32).T
    gradient.flags.writeable = False
    optimizer = kind([p, idle], weight_decay=0.1, maximize=True)
    p.grad = gradient
    optimizer.step()
    assert p.data is data
    assert (view > 1).all()
    assert p.grad is gradient
    assert (gradient == 0.5).all()
    assert (idle.data == 1).all()  # no gradient: left alone, weight decay included
    assert idle not in optimizer.state


@pytest.mark.parametrize("kind", [SGD, Adam, AdamW])
def test_hyperparameters_in_float64_do_not_raise_a_float32_update_to_float64(kind):
    """A schedule computed in NumPy leaves np.float64 in the group; the run stays the same."""
    ends = []
    for number in (float, np.float64):
        p = Parameter(np.full(64, 0.3, np.float32))
        optimizer = kind([p], lr=number(0.1), weight_decay=number(0.07))
        for step in range(1, 4):
            p.grad = np.linspace(-1, 1, 64, dtype=np.float32) / np.float32(step)
            optimizer.step()
        ends.append(p.data)
    assert ends[0].dtype == ends[1].dtype == np.float32
    np.testing.assert_array_equal(*ends)


def test_zero_grad_and_closure():
    p = Parameter(np.ones(2))
    optimizer = SGD([p], lr=0.5)
    given_gradient = np.ones(2)

    def closure():
        optimizer.zero_grad()
        p.grad = given_gradient
        return 3.5

    assert optimizer.step(closure) == 3.5
    np.testing.assert_array_equal(p.data, [0.5, 0.5])
    optimizer.zero_grad(set_to_none=False)
    assert (p.grad == 0).all()
    assert (given_gradient == 1).all()
    optimizer.zero_grad()
    assert p.grad is None


@pytest.mark.parametrize("name", KINDS)
def test_repr_is_torchs_less_the_options_that_only_torch_has(name):
    only_torch = ("capturable", "differentiable", "foreach", "fused")
    want = repr(getattr(torch.optim, name)([torch.nn.Parameter(torch.zeros(2))], lr=0.5))
    want = "\n".join(line for line in want.splitlines() if not line.strip().startswith(only_torch))
    assert repr(KINDS[name]([Parameter(np.zeros(2))], lr=0.5)) == want


def test_groups_take_generators_single_parameters_and_names():
    a, b, c = (Parameter(np.ones(2)) for _ in range(3))
    optimizer = SGD((p for p in [a, b]), lr=0.5)
    optimizer.add_param_group({"params": c, "lr": 0.1})
    assert [group["params"] for group in optimizer.param_groups] == [[a, b], [c]]
    assert [group["lr"] for group in optimizer.param_groups] == [0.5, 0.1]
    assert optimizer.state_dict()["param_groups"][1]["params"] == [2]

    named = SGD(iter([("weight", a), ("bias", b)]))
    assert named.param_groups[0]["param_names"] == ["weight", "bias"]
    named.load_state_dict(SGD([a, b], lr=0.3).state_dict())
    assert named.param_groups[0]["param_names"] == ["weight", "bias"]
    with pytest.raises(ValueError, match="with and without names"):
        named.add_param_group({"params": [c]})
    with pytest.raises(ValueError, match="names for some parameters only"):
        SGD([("weight", a), b])


def test_amsgrad_switched_on_later_starts_its_maximum_there():
    p = Parameter(np.ones(2))
    optimizer = Adam([p])
    p.grad = np.ones(2)
    optimizer.step()
    optimizer.param_groups[0]["amsgrad"] = True
    optimizer.step()
    np.testing.assert_array_equal(optimizer.state[p]["max_exp_avg_sq"], optimizer.state[p]["exp_avg_sq"])


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.parametrize("value", [1e30, np.inf, np.nan])
def test_overflow_gives_torchs_values_without_a_warning(name, value):
    arrays = [np.ones(3, np.float32)]
    ours, theirs = [Parameter(arrays[0].copy())], [torch.nn.Parameter(torch.ones(3))]
    optimizer, twin = KINDS[name](ours, lr=1e10), getattr(torch.optim, name)(theirs, lr=1e10, foreach=False)
    for _ in range(2):
        give_gradients(ours, theirs, [np.full(3, value, np.float32)])
        optimizer.step()
        twin.step()
    np.testing.assert_allclose(ours[0].data, theirs[0].detach().numpy(), rtol=1e-6)


def test_a_copied_optimizer_is_independent():
    p = Parameter(np.ones(2))
    optimizer = Adam([p])
    p.grad = np.ones(2)
    optimizer.step()
    twin = copy.deepcopy(optimizer)
    twin.step()
    assert optimizer.state[p]["step"] == 1
    assert twin.state[twin.param_groups[0]["params"][0]]["step"] == 2


nan = float("nan")
BAD_ARGUMENTS = [
    (SGD, {"lr": -0.1}, ValueError, r"Invalid learning rate: -0.1; SGD needs lr >= 0"),
    (SGD, {"lr": nan}, ValueError, "Invalid learning rate: nan"),
    (SGD, {"lr": "fast"}, TypeError, "SGD got lr='fast'; it needs a number"),
    (SGD, {"lr": None}, TypeError, "SGD got lr=None"),
    (SGD, {"dampening": "a"}, TypeError, "SGD got dampening='a'; it needs a number"),
    (SGD, {"momentum": -0.5}, ValueError, "Invalid momentum value: -0.5"),
    (SGD, {"momentum": nan}, ValueError, "Invalid momentum value: nan"),
    (SGD, {"weight_decay": -1}, ValueError, "Invalid weight_decay value: -1"),
    (SGD, {"nesterov": True}, ValueError, "Nesterov momentum requires a momentum and zero dampening"),
    (SGD, {"nesterov": True, "momentum": 0.9, "dampening": 0.1}, ValueError, "zero dampening"),
    (Adam, {"lr": -1e-9}, ValueError, "Invalid learning rate"),
    (Adam, {"lr": nan}, ValueError, "Invalid learning rate: nan"),
    (Adam, {"eps": -1e-8}, ValueError, "Invalid epsilon value: -1e-08"),
    (Adam, {"eps": nan}, ValueError, "Invalid epsilon value: nan"),
    (Adam, {"betas": (1.0, 0.9)}, ValueError, "Invalid beta parameter at index 0: 1.0"),
    (Adam, {"betas": (0.9, -0.1)}, ValueError, "Invalid beta parameter at index 1: -0.1"),
    (Adam, {"betas": (0.9, nan)}, ValueError, "Invalid beta parameter at index 1: nan"),
    (Adam, {"betas": (0, 0.9)}, ValueError, "betas must be two floats"),
    (Adam, {"betas": (0.9,)}, ValueError, "betas must be two floats"),
    (Adam, {"betas": 0.9}, ValueError, "betas must be two floats"),
    (Adam, {"weight_decay": nan}, ValueError, "Invalid weight_decay value: nan"),
    (AdamW, {"weight_decay": -0.01}, ValueError, "Invalid weight_decay value: -0.01; AdamW needs"),
]


@pytest.mark.parametrize(("kind", "arguments", "error", "message"), BAD_ARGUMENTS)
def test_bad_arguments_at_the_class_and_in_a_group(kind, arguments, error, message):
    p, q = Parameter(np.ones(2)), Parameter(np.ones(2))
    with pytest.raises(error, match=message):
        kind([p], **arguments)
    optimizer = kind([p])
    with pytest.raises(error, match=message):
        optimizer.add_param_group({"params": [q], **arguments})
    assert len(optimizer.param_groups) == 1


P = Parameter(np.ones(2))
BAD_PARAMS = [
    ([], ValueError, "SGD got an empty parameter list; pass model.parameters()"),
    (iter(()), ValueError, "empty parameter list"),
    (P, TypeError, "SGD got params of type Parameter; it needs a list"),
    (None, TypeError, "params of type NoneType"),
    (np.ones(3), TypeError, "params of type ndarray"),
    ({"params": [P]}, TypeError, "params of type dict"),
    ({P}, TypeError, "set, whose order is not fixed"),
    ([{"params": {P}}], TypeError, "set, whose order is not fixed"),
    ([np.ones(2)], TypeError, "can only optimize Parameters, but one of the params is ndarray"),
    ([P, {"params": [P]}], TypeError, "one of the params is dict"),
    ([{"params": [P]}, P], TypeError, "parameter group of type Parameter"),
    ([[P]], TypeError, "one of the params is list"),
    ([{"lr": 0.1}], ValueError, r"the keys \['lr'\]; it needs \"params\""),
    ([P, P], ValueError, "some parameters more than once"),
    ([{"params": P}, {"params": [P]}], ValueError, "some parameters more than once"),
    ([Parameter(np.ones(2, np.complex128))], TypeError, "dtype complex128; it needs float32 or float64"),
]


@pytest.mark.parametrize(("params", "error", "message"), BAD_PARAMS)
def test_bad_parameters(params, error, message):
    with pytest.raises(error, match=message):
        SGD(params)


@pytest.mark.parametrize(
    ("gradient", "error", "message"),
    [
        (np.ones(3, np.float32), ValueError, r"gradient of shape \(3,\) for a parameter of shape \(2,\)"),
        (np.ones(2), TypeError, "gradient of float64 for a parameter of float32"),
        ([1.0, 1.0], TypeError, "gradient of list"),
    ],
)
def test_a_gradient_that_does_not_fit_changes_nothing(gradient, error, message):
    first, second = Parameter(np.ones(2, np.float32)), Parameter(np.ones(2, np.float32))
    optimizer = Adam([first, second])
    first.grad, second.grad = np.ones(2, np.float32), gradient
    with pytest.raises(error, match=message):
        optimizer.step()
    assert (first.data == 1).all()
    assert not optimizer.state


def spoil(change):
    """A state dict of Adam over parameters of shapes (2,) and (3,), with one change."""
    a, b = Parameter(np.ones(2)), Parameter(np.ones(3))
    optimizer = Adam([a, b], lr=0.5)
    a.grad, b.grad = np.ones(2), np.ones(3)
    optimizer.step()
    saved = optimizer.state_dict()
    change(saved)
    return saved


BAD_STATES = [
    (lambda s: s.pop("state"), r"the keys \['param_groups'\]; it needs \"state\""),
    (lambda s: s["param_groups"].append({}), "different number of parameter groups: 2"),
    (lambda s: s["param_groups"][0]["params"].pop(), "doesn't match the size of optimizer's group: 1"),
    (lambda s: s["param_groups"][0].pop("betas"), r"no \['betas'\] in a parameter group; is it Adam's"),
    (lambda s: s["param_groups"][0].update(lr=-1), "Invalid learning rate: -1"),
    (lambda s: s["state"][1].pop("exp_avg"), r"no \['exp_avg'\] for parameter 1"),
    (lambda s: s["state"][1].update(exp_avg=np.ones(2)), r"exp_avg of shape \(2,\) for parameter 1"),
    (lambda s: s["state"].update({5: {}}), "state for parameter 5, which is in no group"),
]


@pytest.mark.parametrize(("change", "message"), BAD_STATES)
def test_a_state_that_does_not_fit_changes_nothing(change, message):
    optimizer = Adam([Parameter(np.ones(2)), Parameter(np.ones(3))])
    with pytest.raises(ValueError, match=message):
        optimizer.load_state_dict(spoil(change))
    with pytest.raises(TypeError, match="Adam got a state dict of type NoneType; it needs what state_dict"):
        optimizer.load_state_dict(None)
    assert optimizer.param_groups[0]["lr"] == 1e-3
    assert not optimizer.state
    optimizer.load_state_dict(spoil(lambda s: None))
    assert optimizer.param_groups[0]["lr"] == 0.5
    assert len(optimizer.state) == 2


def test_an_optimizer_of_ones_own_needs_one_method():
    class SignDescent(Optimizer):
        def _update(self, parameter, group):
            return parameter.data - group["lr"] * np.sign(parameter.grad)

    p = Parameter(np.zeros(2))
    p.grad = np.array([3.0, -2.0])
    SignDescent([p], {"lr": 0.5}).step()
    np.testing.assert_array_equal(p.data, [-0.5, 0.5])
    with pytest.raises(NotImplementedError, match="Optimizer must implement _update"):
        Optimizer([p], {"lr": 0.5}).step()
