"""What gradcheck finds of a program, what it leaves unchecked, and what it refuses in words."""

from __future__ import annotations

import copy
import threading
from typing import Any

import numpy as np
import pytest
from layouts import Dense, draws

import scratchnn as snn
from scratchnn.gradcheck.names import is_named, rank, returned_names
from scratchnn.gradcheck.world import World

X = draws(5, 3)


def layer(**members: Any) -> Any:
    """An object of a class with these methods and attributes, which knows W and keeps x."""

    class Layer:
        def __init__(self) -> None:
            self.W = draws(3, 2)

        def forward(self, x: Any) -> Any:
            self.x = x
            return x @ self.W

        def backward(self, dy: Any) -> Any:
            self.dW = self.x.T @ dy
            return dy @ self.W.T

    return type("Layer", (Layer,), members)()


def statuses(report: Any) -> dict[str, str]:
    return {row.name: row.status for row in report.tensors}


# ---- names ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("gradient", "value"),
    [
        ("dW", "W"),
        ("dw", "W"),
        ("d_W", "W"),
        ("W_grad", "W"),
        ("grad_W", "W"),
        ("gradW", "W"),
        ("gW", "W"),
        ("dLdW", "W"),
        ("weights_gradient", "weights"),
        ("dweights", "weights"),
        ("gradient_of_kernel", "kernel"),
        ("delta_w", "w"),
        ("dL_dW", "W"),
        ("dJ_by_dW", "W"),
        ("dloss_dW", "W"),
        ("_dW", "_W"),
        ("_Layer__dW", "_Layer__W"),
        ("grad_wrt_W", "W"),
        ("nabla_b", "b"),
        ("db", "bias"),
        ("dinputs", "x"),
        ("grads W", "params W"),
        ("grads dW1", "parameters W1"),
        ("grads 0", "params 0"),
        ("grads nabla_w 1", "weights 1"),
        ("layers 0 dW", "layers 0 W"),
        ("layers 1 grads W", "layers 1 params W"),
        ("w grad", "w data"),
    ],
)
def test_the_name_of_a_gradient(gradient: str, value: str) -> None:
    steps = [[int(s) if s.isdigit() else s for s in text.split()] for text in (gradient, value)]
    assert is_named(rank(*steps))


@pytest.mark.parametrize(
    ("gradient", "value"),
    [
        ("W", "W"),
        ("dW", "b"),
        ("dW_previous", "W"),
        ("dW1", "W2"),
        ("dense", "kernel"),
        ("layers 0 dW", "layers 1 W"),
        ("dz", "W"),
        ("data", "W"),
        ("dW", "layers 0 W"),
    ],
)
def test_no_name_of_its_gradient(gradient: str, value: str) -> None:
    steps = [[int(s) if s.isdigit() else s for s in text.split()] for text in (gradient, value)]
    assert not is_named(rank(*steps))


def test_names_that_a_return_statement_gives() -> None:
    def two(dy: Any) -> Any:
        def inner() -> Any:
            return dy, dy, dy

        dx, dW = inner()[:2]
        return dx, dW

    def unknown(dy: Any) -> Any:
        return dy * 1, dy * 2

    def several(dy: Any) -> Any:
        if dy is None:
            return dy
        return dy, dy

    assert returned_names(two) == ["dx", "dW"]
    assert returned_names(unknown) == [None, None]
    assert returned_names(several) is None
    assert returned_names(np.sin) is None


# ---- the program ------------------------------------------------------------------------------


def test_everything_is_found_once_and_named_as_it_is_written() -> None:
    W = draws(2, 2)
    thing = layer(shared=W)
    thing.layers = [{"a": W, 3: (draws(1), [0.5, 1.5])}, np.array([draws(2), None], object)]
    thing.itself, thing.count, thing.rate = thing, np.arange(3), 0.1
    world = World(thing, [{"x": draws(2)}], ["inputs"])
    found = {world.name(place.address): place.kind for place in world.places()}
    assert found == {
        "W": "array",
        "layers[0]['a']": "array",
        "layers[0][3][0]": "array",
        "layers[0][3][1]": "list",
        "layers[1][(0,)]": "array",
        "count": "integers",
        "rate": "number",
        "inputs['x']": "array",
    }
    shared = next(place for place in world.places() if place.thing is W)
    assert len(shared.edges) == 2  # in the list and in the class


def test_a_copy_keeps_views_and_what_is_shared_and_takes_float64() -> None:
    thing = layer()
    thing.flat = np.arange(6, dtype=np.float32)
    thing.view, thing.back, thing.same = thing.flat.reshape(2, 3).T, thing.flat[::-2], thing.flat
    twin = World(thing, [], []).in_float64()
    again = copy.deepcopy(twin).subject
    for made in (twin.subject, again):
        assert made.flat.dtype == made.view.dtype == np.float64
        assert made.same is made.flat
        made.flat[:] = np.arange(10, 16)
        assert np.array_equal(made.view, made.flat.reshape(2, 3).T)
        assert np.array_equal(made.back, made.flat[::-2])
    assert thing.flat.tolist() == [0, 1, 2, 3, 4, 5]


def test_new_values_go_where_the_old_ones_were() -> None:
    thing = layer()
    thing.pair, thing.again = (thing.W, [thing.W]), {"W": thing.W}
    world = World(thing, [], [])
    new = draws(3, 2, seed=1)
    world.put(world.places()[0], new)
    assert thing.W is thing.pair[0] is thing.pair[1][0] is thing.again["W"] is new


def test_modules_and_locks_are_shared_and_what_has_no_copy_is_refused() -> None:
    thing = layer(np=None)
    thing.np, thing.lock = np, threading.Lock()
    assert snn.gradcheck(thing, X)
    thing.rows = (row for row in X)
    with pytest.raises(TypeError, match="gradcheck cannot copy Layer, and works on copies: cannot pickle"):
        snn.gradcheck(thing, X)


# ---- not checked ------------------------------------------------------------------------------


def test_an_array_without_gradient_is_named_and_the_verdict_is_not_checked() -> None:
    thing = layer(forward=lambda self, x: vars(self).update(x=x) or x @ self.W * self.deep["scale"][0])
    thing.deep = {"scale": [np.array([1.0, 1.0])], "unread": np.ones(3)}
    report = snn.gradcheck(thing, X)
    assert statuses(report) == {"x": "pass", "W": "pass", "deep['scale'][0]": "not checked"}
    assert report.verdict == "not checked"
    assert not report
    assert "constants=[\"deep['scale'][0]\"]" in str(report)
    for constants in (["deep['scale'][0]"], [thing.deep["scale"][0]], thing.deep["scale"][0]):
        known = snn.gradcheck(thing, X, constants=constants)
        assert known, str(known)
        assert known.constants == ["deep['scale'][0]"]
    with pytest.raises(
        ValueError, match=r"got 'scale' among constants; it must be one of W, deep\['scale'\]\[0\]"
    ):
        snn.gradcheck(thing, X, constants=["scale"])
    with pytest.raises(ValueError, match=r"got an array of shape \(7,\) and dtype float64 among constants"):
        snn.gradcheck(thing, X, constants=[np.ones(7)])


def test_dependence_is_seen_where_the_slope_is_zero() -> None:
    def forward(self: Any, x: Any) -> Any:
        self.x = x
        return np.maximum(x @ self.first, 0) @ self.W * 1.0

    def backward(self: Any, dy: Any) -> Any:
        self.dW = np.maximum(self.x @ self.first, 0).T @ dy
        return (dy @ self.W.T * (self.x @ self.first > 0)) @ self.first.T

    for first, second in ((-np.ones((3, 3)), draws(3, 2)), (draws(3, 3), np.zeros((3, 2)))):
        thing = layer(forward=forward, backward=backward)
        thing.first, thing.W = first, second
        assert statuses(snn.gradcheck(thing, np.abs(X)))["first"] == "not checked"


def test_what_the_output_does_not_depend_on_needs_no_gradient() -> None:
    thing = layer()
    thing.velocity, thing.best = np.ones((3, 2)), {"W": draws(3, 2)}
    thing.data, thing.history = draws(50, 3), [0.5, 0.25]
    assert statuses(snn.gradcheck(thing, X)) == {"x": "pass", "W": "pass"}


def test_a_gradient_for_what_is_not_used_must_be_zero() -> None:
    thing = layer(
        backward=lambda self, dy: vars(self).update(dW=self.x.T @ dy, db=dy.sum(0)) or dy @ self.W.T
    )
    thing.b = np.zeros(2)
    assert statuses(snn.gradcheck(thing, X)) == {"x": "pass", "W": "pass", "b": "FAIL"}


def test_a_name_is_believed_though_another_array_is_right() -> None:
    """dW is never written, and the right gradient lies about under another name."""
    thing = layer(backward=lambda self, dy: vars(self).update(temporary=self.x.T @ dy) or dy @ self.W.T)
    thing.dW = np.zeros((3, 2))
    assert statuses(snn.gradcheck(thing, X))["W"] == "FAIL"


def test_two_arrays_of_one_gradients_name_that_differ_are_not_checked() -> None:
    def backward(self: Any, dy: Any) -> Any:
        self.dW = self.x.T @ dy
        self.grads = {"W": self.factor * self.dW}
        return dy @ self.W.T

    assert snn.gradcheck(layer(backward=backward, factor=1), X)
    report = snn.gradcheck(layer(backward=backward, factor=0.5), X)
    assert report.verdict == "not checked"
    assert report["W"].note == "dW is its derivative, grads['W'] is not"


def test_an_array_of_the_right_shape_is_no_gradient_until_it_agrees() -> None:
    def backward(self: Any, signal: Any) -> Any:
        self.q = self.factor * self.x.T @ signal
        return signal @ self.W.T

    assert statuses(snn.gradcheck(layer(backward=backward, factor=1), X)) == {"x": "pass", "W": "pass"}
    report = snn.gradcheck(layer(backward=backward, factor=3), X)
    assert statuses(report) == {"x": "pass", "W": "not checked"}
    assert report["W"].note == "no gradient found; q has its shape, but is not its derivative"


def test_an_input_without_gradient_is_not_checked() -> None:
    thing = layer(backward=lambda self, dy: vars(self).update(dW=self.x.T @ dy))
    assert statuses(snn.gradcheck(thing, X)) == {"W": "pass", "x": "not checked"}
    for constants in (["x"], [X], X):
        report = snn.gradcheck(thing, X, constants=constants)
        assert report
        assert report.constants == ["x"]


def test_a_list_that_each_backward_appends_to() -> None:
    def backward(self: Any, dy: Any) -> Any:
        self.grads.append(self.factor * self.x.T @ dy)
        return dy @ self.params[0].T

    for factor, status in ((1, "pass"), (2, "FAIL")):
        thing = layer(forward=lambda self, x: vars(self).update(x=x) or x @ self.params[0], backward=backward)
        thing.params, thing.grads, thing.factor = [draws(3, 2)], [], factor
        for _ in range(3):
            assert statuses(snn.gradcheck(thing, X))["params[0]"] == status
            thing.forward(X)
            thing.backward(np.ones((5, 2)))
        assert len(thing.grads) == 3


@pytest.mark.parametrize("outer", [True, False])
def test_the_name_of_a_state_says_not_which_of_its_gradients_is_meant(outer: bool) -> None:
    """h goes in and comes out of a step; dh is dL/dh of the one or of the other."""

    def forward(self: Any, x: Any) -> Any:
        self.x, self.before = x, self.h
        self.h = np.tanh(x @ self.W + self.h)
        return self.h

    def backward(self: Any, dy: Any) -> Any:
        dz = dy * (1 - self.h**2)
        self.dW, self.dh = self.x.T @ dz, dy if outer else dz
        return dz @ self.W.T

    thing = layer(forward=forward, backward=backward, h=None)
    thing.h = draws(5, 2, seed=3)
    expected = {"x": "pass", "W": "pass", "h": "not checked" if outer else "pass"}
    assert statuses(snn.gradcheck(thing, X)) == expected


def test_weights_made_by_the_first_forward() -> None:
    def forward(self: Any, x: Any) -> Any:
        if self.V is None:
            self.V = np.random.default_rng(0).standard_normal((x.shape[1], 2))
        self.x = x
        return x @ self.V

    for factor in (1, -1):
        thing = layer(
            V=None,
            forward=forward,
            backward=lambda self, dy, f=factor: vars(self).update(dV=f * self.x.T @ dy) or dy @ self.V.T,
        )
        report = snn.gradcheck(thing, X)
        assert statuses(report) == {"x": "pass", "V": "pass" if factor == 1 else "FAIL"}
        assert thing.V is None


@pytest.mark.parametrize("pair", [lambda x, w: x @ w, lambda x, w, b=0: x @ w + b])
def test_a_pair_that_does_not_answer_for_an_array(pair: Any) -> None:
    report = snn.gradcheck((pair, lambda dy, x, w: dy @ w.T), X, draws(3, 2))
    assert statuses(report) == {"x": "pass", "w": "not checked"}
    assert snn.gradcheck((pair, lambda dy, x, w: dy @ w.T), X, draws(3, 2), constants=["w"])
    nothing = snn.gradcheck((pair, lambda dy, x, w: dy @ w.T), X, draws(3, 2), constants=["w", X])
    assert nothing.verdict == "nothing to check"


def test_what_a_pair_reads_from_outside_is_a_constant_unless_its_gradient_is_written() -> None:
    W = draws(3, 2)
    report = snn.gradcheck((lambda x: x @ W, lambda dy: dy @ W.T), X)
    assert report
    assert report.constants == ["W"]
    dense = Dense(lambda _, a: a, 3, 2)
    pair = (lambda x: dense.forward(x), lambda dy: dense.backward(dy) * 1)
    assert statuses(snn.gradcheck(pair, X)) == {"x": "pass", "dense.W": "pass", "dense.b": "pass"}
    wrong = Dense(lambda _, a: 2 * a, 3, 2)
    pair = (lambda x: wrong.forward(x), lambda dy: wrong.backward(dy) * 1)
    assert not snn.gradcheck(pair, X)


class Buffered(snn.Module):
    def __init__(self) -> None:
        self.mean, self.weight = np.array([0.5, 1.0, 2.0]), snn.Parameter(draws(3, 2))

    def forward(self, x: Any) -> Any:
        self.x = x - self.mean
        return self.x @ self.weight.data

    def backward(self, dy: Any) -> Any:
        self.weight.accumulate(self.x.T @ dy)
        return dy @ self.weight.data.T


def test_an_array_of_a_module_that_is_no_parameter() -> None:
    model = snn.Sequential(Buffered(), snn.Linear(2, 2, dtype=np.float64))
    report = snn.gradcheck(model, X)
    assert statuses(report)["0.mean"] == "not checked"
    for loss in ({}, {"loss_fn": snn.MSELoss(), "target": np.zeros((5, 2))}):
        known = snn.gradcheck(model, X, constants=["0.mean"], **loss)
        assert known
        assert [row.name for row in known.tensors] == ["x", "0.weight", "1.weight", "1.bias"]
        fixed = snn.gradcheck(model, X, constants=[model[0].mean, model[1].weight, "x"], **loss)
        assert [row.name for row in fixed.tensors] == ["0.weight", "1.bias"]
        assert fixed
    assert snn.diagnose(model, X, constants=["0.mean"])
    assert "Diagnosis: not checked." in str(snn.diagnose(model, X))


@pytest.mark.parametrize("factor", [1, 2])
def test_integers_are_not_differentiated(factor: int) -> None:
    class Embedding(snn.Module):
        def __init__(self) -> None:
            self.table = snn.Parameter(draws(4, 2))

        def forward(self, index: Any) -> Any:
            self.index = index
            return self.table.data[index]

        def backward(self, dy: Any) -> None:
            slope = np.zeros((4, 2))
            np.add.at(slope, self.index, factor * dy)
            self.table.accumulate(slope)

    report = snn.gradcheck(Embedding(), np.array([0, 3, 3]))
    assert statuses(report) == {"table": "pass" if factor == 1 else "FAIL"}
    # Integers into a layer that takes floats only are floats, as a list of them is.
    assert snn.gradcheck(snn.Linear(2, 2), np.arange(6).reshape(3, 2))["x"].status == "pass"
    identity = layer(forward=lambda self, x: x * 1.0, backward=lambda self, dy: dy)
    assert snn.gradcheck(identity, np.arange(3)).verdict == "nothing to check"


def test_batch_normalisation_and_its_running_statistics() -> None:
    class Norm:
        def __init__(self) -> None:
            self.gamma, self.beta = draws(3), draws(3, seed=1)
            self.mean, self.variance, self.training = np.zeros(3), np.ones(3), True

        def forward(self, x: Any) -> Any:
            m, v = self.mean, self.variance
            if self.training:
                m, v = x.mean(0), ((x - x.mean(0)) ** 2).mean(0)
                self.mean, self.variance = 0.9 * self.mean + 0.1 * m, 0.9 * self.variance + 0.1 * v
            self.scale = np.sqrt(v + 1e-5)
            self.h = (x - m) / self.scale
            return self.gamma * self.h + self.beta

        def backward(self, dy: Any) -> Any:
            self.dgamma, self.dbeta = (dy * self.h).sum(0), dy.sum(0)
            dh = dy * self.gamma
            through = dh.mean(0) + self.h * (dh * self.h).mean(0) if self.training else 0
            return (dh - through) / self.scale

    norm = Norm()
    assert statuses(snn.gradcheck(norm, X)) == {"x": "pass", "gamma": "pass", "beta": "pass"}
    norm.training = False
    assert snn.gradcheck(norm, X).verdict == "not checked"
    assert snn.gradcheck(norm, X, constants=["mean", "variance"])


# ---- forms that are refused --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("members", "words"),
    [
        ({"forward": lambda self, x: None}, "Layer.<lambda> returned None, and keeps no output in .output"),
        ({"forward": lambda self, x: {"y": x}}, "returned a dict of 1 as output"),
        ({"forward": lambda self, x: (x, x)}, "returned 2 outputs, and .* takes the gradient of 1"),
        (
            {"backward": lambda self, da, db: da},
            "asks for da, db, 2 upstream gradients, and .* returns 1 output",
        ),
        ({"backward": lambda self, dy, mask: dy}, "asks for mask, which .* neither takes nor returns"),
        (
            {"backward": lambda self, y_true: None},
            "asks for 'y_true', which .* does not: a backward that has the",
        ),
        ({"backward": lambda self, x, target, out: None}, "asks for 'target', which"),
        (
            {"backward": lambda self: None},
            r"asks for no upstream gradient, and .* returns an array of shape \(5, 2\)",
        ),
        ({"backward": lambda self, dy: len(dy[0, 0])}, r"<lambda>\(dy\) raised TypeError: object of type"),
    ],
)
def test_forms_that_are_not_known_are_refused_with_those_that_are(members: Any, words: str) -> None:
    thing = layer(**members)
    with pytest.raises(TypeError, match=words) as caught:
        snn.gradcheck(thing, X)
    assert "write forward(x), which returns y, and backward(dy)" in str(caught.value)


def test_a_forward_that_takes_more_says_what() -> None:
    with pytest.raises(TypeError, match=r"takes \(x, t\) and got 1 inputs: missing .* 't'; give gradcheck"):
        snn.gradcheck(layer(forward=lambda self, x, t: x), X)


@pytest.mark.parametrize(
    ("subject", "words"),
    [
        (lambda x: x**2, r"returned an array of shape \(5, 3\) and dtype float64; without a backward"),
        (lambda x: (x, x), "returned a tuple of 2; without a backward it must return"),
        (object(), "object; it needs a Module, a loss, a pair"),
        ("model.npz", "'model.npz'; it needs a Module"),
    ],
)
def test_what_has_no_backward_is_refused(subject: Any, words: str) -> None:
    with pytest.raises(TypeError, match=words) as caught:
        snn.gradcheck(subject, X)
    assert "(loss, grads)" in str(caught.value)


def test_a_function_with_a_loss_of_its_own_takes_no_other() -> None:
    with pytest.raises(TypeError, match="takes no loss_fn: it returns a loss of its own"):
        snn.gradcheck(lambda x: (x.sum(), x), X, loss_fn=snn.MSELoss(), target=X)


def test_torchs_constants_and_several_outputs() -> None:
    torch = pytest.importorskip("torch")

    class Powers(torch.autograd.Function):
        factor = 3.0

        @staticmethod
        def forward(ctx: Any, x: Any) -> Any:
            ctx.save_for_backward(x)
            return x**2, x**3

        @staticmethod
        def backward(ctx: Any, a: Any, b: Any) -> Any:
            (x,) = ctx.saved_tensors
            return 2 * x * a + Powers.factor * x**2 * b

    assert snn.gradcheck(Powers, torch.tensor(X))
    Powers.factor = 2.0
    assert not snn.gradcheck(Powers, torch.tensor(X))
    model = torch.nn.Linear(3, 2)
    report = snn.gradcheck(model, X, constants=["bias", X])
    assert [row.name for row in report.tensors] == ["weight"]
    assert report.constants == ["x", "bias"] or report.constants == ["bias", "x"]
    with pytest.raises(ValueError, match="must be one of x, weight, bias"):
        snn.gradcheck(model, X, constants=["b"])
