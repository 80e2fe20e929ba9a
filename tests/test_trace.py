"""`snn.trace`: it is the step that would have run, number by number, and it changes nothing."""

from __future__ import annotations

import copy
import csv
import io
import json
import random
import subprocess
import sys
import warnings
from typing import Any

import numpy as np
import pytest
import traced
from traced import CASES, Case, bits

import scratchnn as snn
from scratchnn import functional as F
from scratchnn.trace.steps import READINGS


def plainly(case: Case) -> dict[str, Any]:
    """The loop of the textbook, by hand: what a real step computes."""
    model, loss_fn, x, target = case
    model.zero_grad()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        prediction = model(x.copy())
        kept = prediction.copy()
        loss = loss_fn(prediction, target)
    model.backward(loss_fn.backward())
    return {"prediction": kept, "loss": loss, **{name: p.grad for name, p in model.named_parameters()}}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_it_is_the_plain_loop_bit_for_bit(make: Any) -> None:
    case = make()
    snn.manual_seed(7)
    trace = snn.trace(*case)
    real = plainly(case)  # draws what the trace has drawn and put back
    assert bits(trace.prediction) == bits(real.pop("prediction"))
    assert trace.loss == float(np.sum(real.pop("loss")))
    assert {name: bits(g) for name, g in trace.gradients.items()} == {n: bits(g) for n, g in real.items()}


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_nothing_changes(make: Any) -> None:
    case = make()
    model, loss_fn, x, target = case
    calls: list[int] = []
    next(iter(model.modules())).register_forward_hook(lambda module, x, y: calls.append(1))
    optimizer = snn.Adam(model.parameters(), lr=0.01)
    plainly(case)
    optimizer.step()
    plainly(case)  # gradients, saved arrays and Adam's moments are there
    before = traced.state_of([case, optimizer]), traced.world()
    snn.trace(model, loss_fn, x, target, optimizer=optimizer)
    assert (traced.state_of([case, optimizer]), traced.world()) == before


def test_nothing_changes_when_the_step_fails() -> None:
    model, loss_fn, x, target = traced.shared()
    plainly((model, loss_fn, x, target))
    before = traced.state_of(model), traced.world()
    with pytest.raises(ValueError, match=r"prediction of shape \(5, 3\) and target of shape \(4, 3\)"):
        snn.trace(model, loss_fn, x, target[:4])
    assert (traced.state_of(model), traced.world()) == before


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_every_step_is_what_ran(make: Any) -> None:
    """op(*inputs) gives the output, and vjp(*inputs) the gradients, in every bit."""
    trace = snn.trace(*make())
    checked = 0
    for step in trace.steps:
        if not step.op:
            continue
        result = getattr(F, step.op)(*step.inputs.values())
        results = result if isinstance(result, tuple) else (result,)
        outputs = list(step.outputs.values())
        if step.op == "linear_vjp" and len(outputs) == 2:
            results = results[:2]  # a layer without bias
        assert [bits(r) for r in results] == [bits(o) for o in outputs], step.label
        assert step.formulas
        checked += 1
    assert checked >= 4


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_steps_follow_from_each_other(make: Any) -> None:
    """Forward then backward, each module's backward after its forward, the loss between them."""
    trace = snn.trace(*make())
    directions = [step.direction for step in trace.steps]
    assert directions == sorted(directions, reverse=True)
    assert [step.index for step in trace.steps] == list(range(len(trace.steps)))
    forward = [step.path for step in trace.steps if step.direction == "forward"]
    backward = [step.path for step in trace.steps if step.direction == "backward"]
    assert len(set(forward)) == len(forward)
    assert sorted(forward) == sorted(backward)
    assert forward[-1] == backward[0] == "loss"


def test_the_layers_of_the_library_all_have_a_reading() -> None:
    kinds = {getattr(snn, name) for name in snn.__all__ if isinstance(getattr(snn, name), type)}
    layers = {kind for kind in kinds if issubclass(kind, snn.Module)}
    assert layers - {snn.Module, snn.Sequential, snn.ModuleList, snn.MLP} == set(READINGS)


def test_the_losses_of_the_library_are_all_read() -> None:
    kinds = {getattr(snn, name) for name in snn.__all__ if isinstance(getattr(snn, name), type)}
    losses = {kind for kind in kinds if issubclass(kind, snn.Loss)} - {snn.Loss}
    for kind in losses:
        model, target = snn.MLP(2, 3, 2, output_activation="softmax"), np.ones((4, 2), np.float32)
        if kind in (snn.NLLLoss, snn.CrossEntropyLoss):
            target = np.array([0, 1, 1, 0])
        pair = snn.trace(model, kind(), traced.batch(4, 2), target)["loss"]
        assert pair.forward.op == kind._op.__name__
        assert pair.backward is not None
        assert pair.backward.op == kind._op_vjp.__name__
        assert pair.forward.formulas
        assert pair.backward.formulas


def test_a_step_holds_what_went_in_and_what_came_out() -> None:
    model, loss_fn, x, target = traced.circles()
    trace = snn.trace(model, loss_fn, x, target)
    pair = trace["0"]
    assert pair.backward is not None
    assert (pair.forward.op, pair.backward.op) == ("linear", "linear_vjp")
    assert (pair.forward.module, pair.forward.label) == ("Linear(2, 10)", "0 (Linear)")
    assert list(pair.forward.inputs) == ["x", "weight", "bias"]
    assert list(pair.backward.inputs) == ["dy", "x", "weight"]
    assert list(pair.backward.outputs) == ["dx", "dweight", "dbias"]
    assert pair.forward.shapes == {"x": (64, 2), "weight": (10, 2), "bias": (10,), "y": (64, 10)}
    assert pair.forward.parameters == {"weight": "0.weight", "bias": "0.bias"}
    assert list(pair.forward.saved) == ["x"]
    assert list(trace["3"].forward.saved) == ["y"]
    loss = trace["loss"]
    assert loss.backward is not None
    assert list(loss.forward.outputs) == ["loss"]
    assert list(loss.backward.outputs) == ["dprediction"]
    assert loss.forward.inputs["reduction"] == "mean"
    assert bits(trace["1"].forward.inputs["x"]) == bits(pair.forward.outputs["y"])
    assert trace.paths == ["0", "1", "2", "3", "loss"]


def test_saved_arrays_are_kept_as_they_were() -> None:
    """A module that writes into its input or its upstream gradient does not reach the record."""
    model, loss_fn, x, target = traced.own_modules()
    trace = snn.trace(model, loss_fn, x, target)
    for path, after in (("2", "1"), ("5", "4")):
        pair, previous, scale = trace[path], trace[after], trace.parameters[f"{path}.s"]
        assert bits(pair.forward.inputs["x"]) == bits(previous.forward.outputs["y"])
        assert bits(pair.forward.outputs["y"]) == bits(pair.forward.inputs["x"] * scale)
        assert pair.backward is not None
        assert bits(pair.backward.outputs["dx"]) == bits(pair.backward.inputs["dy"] * scale)
        assert list(pair.forward.saved) == ["x"]
        assert bits(pair.backward.outputs["ds"]) == bits(trace.gradients[f"{path}.s"])


def test_a_formula_is_claimed_only_where_it_ran() -> None:
    trace = snn.trace(*traced.own_modules())
    assert [step.op for step in trace.steps if step.path == "3"] == ["", ""]
    assert trace["3"].forward.module == "Mine(3, 3)"
    assert trace["3"].forward.formulas == ()

    class Louder(snn.Sigmoid):
        factor = np.float32(1)

        def _remember(self, y: Any, *saved: Any) -> Any:
            return super()._remember(self.factor * y, *saved)

    for factor, op in ((2, ""), (1 + 1e-4, ""), (1 + 2.0**-23, "sigmoid"), (np.nan, "")):
        Louder.factor = np.float32(factor)
        trace = snn.trace(snn.Sequential(snn.Linear(2, 2), Louder()), snn.MSELoss(), [[1, 2]], [[0, 0]])
        assert trace["1"].forward.op == op
        assert trace["0"].forward.op == "linear"


def test_what_went_in_is_kept_though_the_model_writes_into_it() -> None:
    model = snn.Sequential(traced.Rude(3), snn.Linear(3, 3))
    x, target = traced.batch(4, 3), traced.batch(4, 3, seed=1)
    before = x.copy()
    trace = snn.trace(model, snn.MSELoss(), x, target)
    assert bits(trace.x) == bits(trace["0"].forward.inputs["x"]) == bits(x) == bits(before)


def test_the_loss_without_reduction_is_differentiated_as_a_sum() -> None:
    trace = snn.trace(*traced.own_modules())
    pair = trace["loss"]
    assert pair.backward is not None
    assert pair.backward.inputs["dloss"].shape == pair.forward.outputs["loss"].shape == (5, 3)
    assert trace.loss == float(pair.forward.outputs["loss"].sum())


class Noisy(snn.Module):
    """Draws from Python's and NumPy's streams."""

    def forward(self, x: Any) -> Any:
        self.factor = random.random() + np.random.rand()
        return x * np.float32(self.factor)

    def backward(self, dy: Any) -> Any:
        return dy * np.float32(self.factor)


def test_other_streams_of_random_numbers_stay_where_they_were() -> None:
    model = snn.Sequential(snn.Linear(2, 2), Noisy())
    before = traced.world()
    trace = snn.trace(model, snn.MSELoss(), [[1, 2]], [[0, 0]])
    assert traced.world() == before
    assert bits(trace.prediction) == bits(model([[1.0, 2.0]]))


def test_the_masks_can_be_drawn_again() -> None:
    trace = snn.trace(*traced.shared())
    snn.manual_seed(99)
    snn.default_generator.set_state(trace.random_state)
    assert bits(trace.model(trace.x)) == bits(trace.prediction)


def test_dropout_masks_are_those_of_the_next_step() -> None:
    model, loss_fn, x, target = traced.every_activation()
    snn.manual_seed(3)
    trace = snn.trace(model, loss_fn, x, target)
    model(x)
    assert bits(trace["4"].forward.inputs["factor"]) == bits(model[4]._saved[0])
    model(x)
    assert bits(trace["4"].forward.inputs["factor"]) != bits(model[4]._saved[0])
    assert (trace["4"].forward.op, snn.trace(*traced.eval_mode())["4"].forward.op) == ("dropout", "identity")


def test_hooks_run_as_in_a_real_step() -> None:
    model, loss_fn, x, target = traced.circles()
    model[1].register_forward_hook(lambda module, x, y: y * 2)
    trace = snn.trace(model, loss_fn, x, target)
    assert bits(trace["2"].forward.inputs["x"]) == bits(trace["1"].forward.outputs["y"] * 2)
    assert bits(trace.prediction) == bits(model(x))


@pytest.mark.parametrize("make", [traced.circles, traced.every_activation])
def test_the_dtype_stays(make: Any) -> None:
    model, loss_fn, x, target = make()
    dtype = model[0].weight.dtype
    trace = snn.trace(model, loss_fn, x, target)
    for step in trace.steps:
        for name, value in {**step.inputs, **step.outputs, **step.saved}.items():
            if isinstance(value, np.ndarray) and name != "target":
                assert value.dtype == dtype, (step.label, name)


def test_x_and_target_are_converted_as_by_fit() -> None:
    model, loss_fn, x, target = traced.circles()
    trace = snn.trace(model, loss_fn, x, target)
    for given in (x.astype(np.float64), x.tolist()):
        other = snn.trace(model, loss_fn, given, target.astype(bool))
        assert bits(other.prediction) == bits(trace.prediction)
        assert other.loss == trace.loss
        assert bits(other.target) == bits(trace.target)


def test_the_update_is_what_the_optimizer_would_do() -> None:
    model, loss_fn, x, target = case = traced.circles()
    optimizer = snn.Adam(model.parameters(), lr=0.01)
    plainly(case)
    optimizer.step()
    trace = snn.trace(model, loss_fn, x, target, optimizer=optimizer)
    before = {name: p.data.copy() for name, p in model.named_parameters()}
    assert {n: bits(v) for n, v in trace.parameters.items()} == {n: bits(v) for n, v in before.items()}
    plainly(case)
    optimizer.step()
    for name, parameter in model.named_parameters():
        assert bits(trace.updates[name]) == bits(parameter.data - before[name])
        assert bits(dict(trace.model.named_parameters())[name].data) == bits(before[name])
    assert snn.trace(model, loss_fn, x, target).updates == {}


def test_the_model_of_a_trace_is_free_of_it() -> None:
    trace = snn.trace(*traced.shared())
    for module in trace.model.modules():
        assert "forward" not in vars(module)
        assert "backward" not in vars(module)
    for parameter in trace.model.parameters():
        assert set(vars(parameter)) == {"data", "grad"}
        assert parameter.grad is None
    copy.deepcopy(trace)
    again = snn.trace(trace.model, trace.loss_fn, trace.x, trace.target)
    assert again.paths == trace.paths


def test_a_torch_module_is_read_as_ours() -> None:
    torch = pytest.importorskip("torch")
    theirs = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.ReLU(), torch.nn.Linear(3, 1))
    x, target = traced.batch(5, 2), traced.batch(5, 1, seed=1)
    trace = snn.trace(theirs, snn.MSELoss(), x, target)
    torch.nn.MSELoss()(theirs(torch.from_numpy(x)), torch.from_numpy(target)).backward()
    bound = 64 * np.finfo(np.float32).eps * max(np.abs(g).max() for g in trace.gradients.values())
    for name, parameter in theirs.named_parameters():
        assert np.abs(trace.gradients[name] - parameter.grad.numpy()).max() <= bound
    assert trace.paths == ["0", "1", "2", "loss"]
    with pytest.raises(TypeError, match=r"a torch\.nn\.modules\.loss\.MSELoss as loss_fn"):
        snn.trace(theirs, torch.nn.MSELoss(), x, target)
    with pytest.raises(ValueError, match=r"those of reference\.from_torch"):
        snn.trace(theirs, snn.MSELoss(), x, target, optimizer=snn.SGD(snn.Linear(2, 2).parameters(), lr=0.1))
    with pytest.raises(TypeError, match="Conv1d is not supported"):
        snn.trace(torch.nn.Conv1d(1, 1, 1), snn.MSELoss(), x, target)


def test_trace_and_a_model_load_without_torch() -> None:
    program = (
        "import sys, scratchnn as snn\n"
        "t = snn.trace(snn.MLP(2, 3, 1), snn.MSELoss(), [[1, 2]], [[1]])\n"
        "str(t), t.to_csv(), t.to_dict()\n"
        "assert not {'torch', 'rich', 'matplotlib', 'numba', 'sympy'} & set(sys.modules), 'loaded too much'\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)


# What is refused ---------------------------------------------------------------------------------------


def test_wrong_things_are_named() -> None:
    model, loss_fn, x, target = traced.circles()
    other = snn.SGD(snn.Linear(2, 2).parameters(), lr=0.1)
    wide = np.ones((64, 3), np.float32)
    refused: list[tuple[type[Exception], str, Any]] = [
        (TypeError, "got a list as model", ([1], loss_fn, x, target)),
        (TypeError, "a function as loss_fn; it needs a loss object", (model, traced.batch, x, target)),
        (TypeError, "the class scratchnn.losses.values.MSELoss as loss_fn", (model, snn.MSELoss, x, target)),
        (ValueError, r"got ReLU\(\), which has no parameters", (snn.ReLU(), loss_fn, x, target)),
        (ValueError, r"got x of shape \(64, 3\); the last axis must be 2", (model, loss_fn, wide, target)),
        (ValueError, r"target of shape \(64,\)", (model, loss_fn, x, target[:, 0])),
        (ValueError, r"x of shape \(0, 2\)", (model, loss_fn, x[:0], target[:0])),
        (TypeError, "it needs (real )?numbers", (model, loss_fn, [["a", "b"]], target)),
        (TypeError, "dtype complex64; it needs real numbers", (model, loss_fn, x * 1j, target)),
        (ValueError, "rows differ in length", (model, loss_fn, [[1, 2], [1]], target)),
        (IndexError, "class index 5", (model, snn.CrossEntropyLoss(), x, np.full(64, 5))),
    ]  # fmt: skip
    for kind, words, arguments in refused:
        with pytest.raises(kind, match=words):
            snn.trace(*arguments)
    with pytest.raises(TypeError, match=r"got a float as optimizer; it needs one such as scratchnn\.SGD"):
        snn.trace(model, loss_fn, x, target, optimizer=0.1)
    with pytest.raises(ValueError, match="over other parameters than the model's"):
        snn.trace(model, loss_fn, x, target, optimizer=other)
    with pytest.raises(KeyError, match="no step at '9'; there are '0', '1', '2', '3', 'loss'"):
        snn.trace(model, loss_fn, x, target)["9"]


# As data -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_csv_has_every_number_and_reads_back(make: Any, tmp_path: Any) -> None:
    trace = snn.trace(*make())
    path = tmp_path / "step.csv"
    text = trace.to_csv(path)
    assert path.read_bytes().decode() == text
    rows = list(csv.DictReader(io.StringIO(text)))
    for step in trace.steps:
        for role, values in (("input", step.inputs), ("output", step.outputs)):
            for name, value in values.items():
                found = [
                    row["value"]
                    for row in rows
                    if (row["step"], row["role"], row["name"]) == (str(step.index), role, name)
                ]
                if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                    assert bits(np.array(found, value.dtype).reshape(value.shape)) == bits(value)
                elif value is not None:
                    assert found == [str(v) for v in np.ravel(value)]


@pytest.mark.parametrize("make", CASES, ids=lambda make: make.__name__)
def test_the_dict_is_json_and_complete(make: Any) -> None:
    model, loss_fn, x, target = make()
    trace = snn.trace(model, loss_fn, x, target, optimizer=snn.SGD(model.parameters(), lr=0.1))
    data = json.loads(json.dumps(trace.to_dict(), allow_nan=False))
    assert len(data["steps"]) == len(trace.steps)
    for step, entry in zip(trace.steps, data["steps"], strict=True):
        assert entry["path"] == step.path
        for name, value in step.outputs.items():
            assert bits(np.array(entry["outputs"][name], value.dtype).reshape(value.shape)) == bits(value)
    assert set(data["gradients"]) == set(trace.gradients)
    assert data["findings"] == trace.findings
