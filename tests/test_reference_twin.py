"""scratchnn to PyTorch and back: every class has its namesake, and numbers travel unchanged."""

from __future__ import annotations

from collections import OrderedDict

import numpy as np
import pytest
import torch

import reference
import scratchnn as snn

torch.set_num_threads(1)

LAYERS = {
    "Linear": lambda: snn.Linear(3, 4),
    "Linear without bias": lambda: snn.Linear(3, 4, bias=False),
    "Linear in float64": lambda: snn.Linear(3, 4, dtype=np.float64),
    "ReLU": snn.ReLU,
    "LeakyReLU": lambda: snn.LeakyReLU(0.3),
    "Sigmoid": snn.Sigmoid,
    "Tanh": snn.Tanh,
    "Softmax": lambda: snn.Softmax(1),
    "LogSoftmax": lambda: snn.LogSoftmax(-1),
    "Threshold": lambda: snn.Threshold(0.25, -3.0),
    "Identity": snn.Identity,
    "Dropout": lambda: snn.Dropout(0.3),
    "Sequential": lambda: snn.Sequential(snn.Linear(3, 4), snn.Sequential(snn.Tanh(), snn.Linear(4, 2))),
    "Sequential by name": lambda: snn.Sequential(OrderedDict(first=snn.Linear(3, 4), second=snn.ReLU())),
    "MLP": lambda: snn.MLP(3, [4, 5], 2, "tanh", "sigmoid"),
    "empty Sequential": snn.Sequential,
}

LOSSES = {
    "MSELoss": lambda: snn.MSELoss(reduction="sum"),
    "L1Loss": lambda: snn.L1Loss(reduction="none"),
    "HuberLoss": lambda: snn.HuberLoss("sum", delta=0.4),
    "BCELoss": lambda: snn.BCELoss(weight=np.array([0.5, 2.0])),
    "BCEWithLogitsLoss": lambda: snn.BCEWithLogitsLoss(pos_weight=np.array([3.0, 0.1]), reduction="sum"),
    "NLLLoss": lambda: snn.NLLLoss(weight=np.array([1.0, 2.0]), ignore_index=0),
    "CrossEntropyLoss": lambda: snn.CrossEntropyLoss(np.array([1.0, 2.0]), 1, label_smoothing=0.1),
}


def optimizers(groups):
    return {
        "SGD": lambda: snn.SGD(groups(), lr=0.1, momentum=0.9, dampening=0.2, weight_decay=0.01),
        "SGD with nesterov": lambda: snn.SGD(groups(), lr=0.1, momentum=0.9, nesterov=True, maximize=True),
        "Adam": lambda: snn.Adam(groups(), lr=0.02, betas=(0.8, 0.95), eps=1e-7, weight_decay=0.1),
        "Adam with amsgrad": lambda: snn.Adam(groups(), amsgrad=True, maximize=True),
        "AdamW": lambda: snn.AdamW(groups(), lr=0.02, weight_decay=0.3),
    }


def states(model: snn.Module) -> dict[str, np.ndarray]:
    return {key: value.copy() for key, value in model.state_dict().items()}


def assert_same_state(ours: snn.Module, theirs: torch.nn.Module) -> None:
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for key, value in ours.state_dict().items():
        tensor = theirs.state_dict()[key].cpu().numpy()
        assert tensor.dtype == value.dtype
        np.testing.assert_array_equal(tensor, value)


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_has_its_twin(name: str) -> None:
    ours = LAYERS[name]()
    theirs = reference.twin(ours)
    assert type(theirs) is getattr(torch.nn, "Sequential" if name == "MLP" else type(ours).__name__)
    assert_same_state(ours, theirs)
    # torch writes its module as we write ours: the same classes with the same arguments.
    if name != "MLP":
        assert repr(theirs).replace(", inplace=False", "") == repr(ours)


@pytest.mark.parametrize("name", LAYERS)
def test_there_and_back(name: str) -> None:
    ours = LAYERS[name]()
    back = reference.from_torch(reference.twin(ours))
    assert repr(back).replace("MLP", "Sequential") == repr(ours).replace("MLP", "Sequential")
    assert list(back.state_dict()) == list(ours.state_dict())
    for key, value in ours.state_dict().items():
        assert back.state_dict()[key].dtype == value.dtype
        np.testing.assert_array_equal(back.state_dict()[key], value)


def test_every_public_layer_is_in_the_list() -> None:
    public = {
        name
        for name in snn.__all__
        if isinstance(getattr(snn, name), type) and issubclass(getattr(snn, name), snn.Module)
    }
    assert public - {"Module", "ModuleList"} <= {type(make()).__name__ for make in LAYERS.values()}


def test_every_public_loss_and_optimizer_is_in_the_list() -> None:
    classes = [getattr(snn, name) for name in snn.__all__ if isinstance(getattr(snn, name), type)]
    assert {c.__name__ for c in classes if issubclass(c, snn.Loss)} - {"Loss"} == set(LOSSES)
    found = {c.__name__ for c in classes if issubclass(c, snn.Optimizer)} - {"Optimizer"}
    assert found <= set(optimizers(list))


def test_twin_copies_and_does_not_share() -> None:
    ours = snn.Linear(2, 2)
    theirs = reference.twin(ours)
    before = states(ours)
    with torch.no_grad():
        theirs.weight.add_(1)
    np.testing.assert_array_equal(ours.weight.data, before["weight"])
    back = reference.from_torch(theirs)
    back.weight.data += 1
    assert not np.array_equal(back.weight.data, theirs.weight.detach().numpy())


def test_module_lists_and_layers_in_two_places() -> None:
    layer = snn.Linear(3, 3)
    ours = snn.Sequential(layer, snn.Tanh(), layer)
    theirs = reference.twin(ours)
    assert theirs[0] is theirs[2]
    assert_same_state(ours, theirs)
    back = reference.from_torch(theirs)
    assert back[0] is back[2]
    listed = snn.ModuleList([snn.Linear(1, 2), snn.ReLU()])
    assert_same_state(listed, reference.twin(listed))
    assert repr(reference.from_torch(reference.twin(listed))) == repr(listed)


def test_training_mode_of_every_module_is_kept() -> None:
    ours = snn.Sequential(snn.Dropout(0.5), snn.Sequential(snn.Dropout(0.5), snn.ReLU()))
    ours[1][0].eval()
    theirs = reference.twin(ours)
    assert [m.training for m in theirs.modules()] == [m.training for m in ours.modules()]
    back = reference.from_torch(theirs)
    assert [m.training for m in back.modules()] == [m.training for m in ours.modules()]


def test_no_generator_is_disturbed() -> None:
    ours = snn.Sequential(snn.Linear(3, 4), snn.ReLU(), snn.Linear(4, 1))
    torch.manual_seed(3)
    before, ours_before = torch.get_rng_state(), snn.default_generator.get_state()
    theirs = reference.twin(ours)
    reference.seeded_twin(ours, 7)
    reference.from_torch(theirs)
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(snn.default_generator.get_state(), ours_before)


@pytest.mark.parametrize("seed", [0, 1, 26, 2**31, -5])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_seeded_twin_draws_the_weights_that_we_draw(seed: int, dtype: type) -> None:
    def initialise(model, init):
        init.kaiming_uniform_(model[0].weight, nonlinearity="relu")
        init.xavier_uniform_(model[2].weight)

    snn.manual_seed(seed)
    ours = snn.Sequential(snn.Linear(2, 10, dtype=dtype), snn.ReLU(), snn.Linear(10, 3, dtype=dtype))
    assert_same_state(ours, reference.seeded_twin(ours, seed))
    initialise(ours, snn.init)
    assert_same_state(ours, reference.seeded_twin(ours, seed, initialise))
    ours[0].weight.data[0, 0] = 0  # nothing is copied
    with pytest.raises(AssertionError):
        assert_same_state(ours, reference.seeded_twin(ours, seed, initialise))


def test_state_dicts_move_both_ways() -> None:
    ours, theirs = (
        snn.MLP(3, 5, 2),
        torch.nn.Sequential(torch.nn.Linear(3, 5), torch.nn.ReLU(), torch.nn.Linear(5, 2)),
    )
    theirs.load_state_dict({k: torch.from_numpy(v) for k, v in ours.state_dict().items()})
    assert_same_state(ours, theirs)
    other = reference.twin(snn.MLP(3, 5, 2))
    ours.load_state_dict({k: v.numpy() for k, v in other.state_dict().items()})
    assert_same_state(ours, other)


def test_a_subclass_is_judged_by_its_ancestor() -> None:
    class MyLinear(snn.Linear):
        pass

    class MyTanh(snn.Tanh):
        pass

    theirs = reference.twin(snn.Sequential(MyLinear(2, 2), MyTanh()))
    assert [type(m) for m in theirs] == [torch.nn.Linear, torch.nn.Tanh]


def test_a_class_without_twin_is_named() -> None:
    class Tanh(snn.Module):  # the name alone does not make it one
        pass

    class Odd(snn.Loss):
        pass

    class Drift(snn.Optimizer):
        pass

    with pytest.raises(TypeError, match=r"Tanh has no twin in torch\.nn.*torch_model="):
        reference.twin(snn.Sequential(Tanh()))
    with pytest.raises(TypeError, match=r"Odd has no twin.*BCELoss"):
        reference.twin_loss(Odd())
    model = snn.Linear(1, 1)
    with pytest.raises(TypeError, match=r"Drift has no twin.*AdamW"):
        reference.twin_optimizer(Drift(model.parameters(), {}), model, reference.twin(model))


def test_from_torch_names_what_it_does_not_know() -> None:
    with pytest.raises(TypeError, match=r"Conv2d at '1\.0' is not supported; scratchnn knows Linear"):
        reference.from_torch(
            torch.nn.Sequential(torch.nn.ReLU(), torch.nn.Sequential(torch.nn.Conv2d(1, 1, 1)))
        )
    with pytest.raises(ValueError, match=r"Softmax has dim=None"):
        reference.from_torch(torch.nn.Softmax())
    with pytest.raises(TypeError, match=r"bfloat16 weights; call module\.float"):
        reference.from_torch(torch.nn.Linear(1, 1, dtype=torch.bfloat16))

    class MyLinear(torch.nn.Linear):  # may compute anything
        pass

    with pytest.raises(TypeError, match="MyLinear is not supported"):
        reference.from_torch(MyLinear(1, 1))


@pytest.mark.parametrize("name", LOSSES)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_every_loss_has_its_twin(name: str, dtype: type) -> None:
    ours = LOSSES[name]()
    theirs = reference.twin_loss(ours, dtype=dtype)
    assert type(theirs) is getattr(torch.nn, name)
    assert theirs.reduction == ours.reduction
    for argument in ("weight", "pos_weight"):
        given = getattr(ours, argument, None)
        if given is not None:
            assert getattr(theirs, argument).dtype == torch.from_numpy(np.zeros(0, dtype)).dtype
            np.testing.assert_array_equal(getattr(theirs, argument).numpy(), np.asarray(given, dtype))
    for argument in ("ignore_index", "label_smoothing"):
        assert getattr(theirs, argument, None) == getattr(ours, argument, None)


@pytest.mark.parametrize("name", optimizers(list))
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_optimizers_are_taken_over_in_the_middle_of_a_run(name: str, dtype: type) -> None:
    ours = snn.Sequential(snn.Linear(3, 4, dtype=dtype), snn.Tanh(), snn.Linear(4, 2, dtype=dtype))

    def groups():
        second = {"params": list(ours[2].parameters()), "lr": 0.003}
        return [{"params": list(ours[0].parameters())}, second]

    optimizer = optimizers(groups)[name]()
    rng = np.random.default_rng(0)

    def set_gradients() -> dict[str, np.ndarray]:
        for _, parameter in ours.named_parameters():
            parameter.grad = rng.standard_normal(parameter.shape).astype(dtype)
        return {name: parameter.grad for name, parameter in ours.named_parameters()}

    for _ in range(3):
        set_gradients()
        optimizer.step()
    theirs = reference.twin(ours)
    torch_optimizer = reference.twin_optimizer(optimizer, ours, theirs)
    assert type(torch_optimizer) is getattr(torch.optim, name.split()[0])
    assert [group["lr"] for group in torch_optimizer.param_groups] == [
        group["lr"] for group in optimizer.param_groups
    ]
    # torch's own serial form of our state dict is what the twin holds.
    theirs_state, ours_state = torch_optimizer.state_dict()["state"], optimizer.state_dict()["state"]
    assert theirs_state.keys() == ours_state.keys()
    for index, entries in ours_state.items():
        assert {k for k, v in theirs_state[index].items() if v is not None} == set(entries)
        for key, value in entries.items():
            np.testing.assert_array_equal(np.asarray(theirs_state[index][key]), value)
    gradients = set_gradients()
    for key, parameter in theirs.named_parameters():
        parameter.grad = torch.from_numpy(gradients[key].copy())
    optimizer.step()
    torch_optimizer.step()
    for key, parameter in theirs.named_parameters():
        value = dict(ours.named_parameters())[key].data
        allowed = 4 * np.finfo(dtype).eps * max(1.0, np.abs(value).max())
        np.testing.assert_allclose(value, parameter.detach().numpy(), rtol=0, atol=allowed)


def test_an_optimizer_over_other_parameters_is_refused() -> None:
    model, other = snn.Linear(1, 1), snn.Linear(1, 1)
    with pytest.raises(ValueError, match=r"SGD holds a parameter of shape \(1, 1\) that is not the model's"):
        reference.twin_optimizer(snn.SGD(other.parameters(), lr=0.1), model, reference.twin(model))
    wrong = torch.nn.Sequential(torch.nn.Linear(1, 1))
    with pytest.raises(ValueError, match=r"no parameter 'weight'; it has 0\.weight, 0\.bias"):
        reference.twin_optimizer(snn.SGD(model.parameters(), lr=0.1), model, wrong)


def test_a_device_that_is_not_there() -> None:
    model = snn.Linear(1, 1)
    with pytest.raises(ValueError, match="'tpu' is not a PyTorch device; use 'cpu'"):
        reference.twin(model, device="tpu")
    with pytest.raises(ValueError, match="not supported; use 'cpu'"):
        reference.twin(model, device="meta")
    if not torch.cuda.is_available():
        with pytest.raises(ValueError, match=r"device='cuda'.*sees no CUDA device; use device='cpu'"):
            reference.twin(model, device="cuda")


def test_dtypes_that_cannot_be_compared() -> None:
    with pytest.raises(TypeError, match="float32 or float64, got complex128; use model"):
        reference.twin(snn.Linear(1, 1).astype(np.complex128))
    mixed = snn.Sequential(snn.Linear(1, 1), snn.Linear(1, 1, dtype=np.float64))
    with pytest.raises(TypeError, match="several dtypes"):
        reference.compare(mixed, snn.MSELoss(), [[1.0]], [[1.0]])
