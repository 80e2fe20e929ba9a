"""Networks as courses, books and posts write them, each with its gradients through `g(name, gradient)`.

`g` leaves them as they are, or spoils the one of a name. N rows, D inputs, H hidden units, M outputs.
"""

from __future__ import annotations

from collections import deque, namedtuple
from collections.abc import Callable
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, NamedTuple

import numpy as np

import scratchnn as snn
from scratchnn.gradcheck.world import World

N, D, H, M = 4, 3, 3, 2
G = Callable[[str, Any], Any]
Layout = Callable[[G], tuple[Any, ...]]
LAYOUTS: dict[str, Layout] = {}
# Whose gradients have no name that says whose they are: a wrong one is found missing, not wrong.
UNNAMED: set[str] = set()
# Whose backward takes the step.
UPDATING = {"updates_by_a_rate", "updates_by_its_own_rate"}


def layout(make: Layout) -> Layout:
    LAYOUTS[make.__name__] = make
    return make


def unnamed(make: Layout) -> Layout:
    UNNAMED.add(make.__name__)
    return layout(make)


def draws(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng((seed, *shape)).standard_normal(shape)


X, T = draws(N, D), draws(N, M, seed=1)
LABELS = np.array([0, 1, 1, 0])


def state(subject: Any, inputs: Any) -> tuple[dict[Any, tuple[Any, bytes]], list[tuple[Any, list[str]]]]:
    """Every array with its identity and bytes, and every object with the names of its attributes."""
    world = World(subject, inputs, [f"x{i}" for i in range(len(inputs))])
    arrays = {
        (*container, key): (place.thing, np.array(place.thing).tobytes())
        for place in world.places()
        for container, key in place.edges
    }
    return arrays, [(thing, list(getattr(thing, "__dict__", ()))) for thing in world.things()]


def assert_same(before: Any, after: Any) -> None:
    arrays, things = before
    assert list(arrays) == list(after[0])
    for address, (thing, content) in arrays.items():
        assert after[0][address][0] is thing or isinstance(thing, float), address
        assert after[0][address][1] == content, address
    assert [id(thing) for thing, _ in things] == [id(thing) for thing, _ in after[1]]
    assert [names for _, names in things] == [names for _, names in after[1]]


class Dense:
    """A layer with W and b, dW and db."""

    def __init__(self, g: G, i: int, o: int, name: str = "") -> None:
        self.W, self.b = draws(i, o, seed=2), draws(o, seed=3)
        self.g, self.name = g, name

    def forward(self, x: Any) -> Any:
        self.x = x
        return np.tanh(x @ self.W + self.b) if self.name != "last" else x @ self.W + self.b

    def backward(self, dy: Any) -> Any:
        dz = dy * (1 - np.tanh(self.x @ self.W + self.b) ** 2) if self.name != "last" else dy
        self.dW, self.db = self.g(f"{self.name}W", self.x.T @ dz), self.g(f"{self.name}b", dz.sum(0))
        return dz @ self.W.T


class Chain:
    """Layers in a list."""

    def __init__(self, layers: Any) -> None:
        self.layers = layers

    def forward(self, x: Any) -> Any:
        for layer in self.layers:
            x = layer.forward(x)
        return x

    def backward(self, dy: Any) -> Any:
        for layer in reversed(self.layers):
            dy = layer.backward(dy)
        return dy


@layout
def layers_in_a_list(g: G) -> Any:
    return Chain([Dense(g, D, H, "first"), Dense(g, H, M, "last")]), X


@layout
def layers_in_a_tuple(g: G) -> Any:
    return Chain((Dense(g, D, H, "first"), Dense(g, H, M, "last"))), X


@layout
def layers_in_a_deque(g: G) -> Any:
    return Chain(deque([Dense(g, D, H, "first"), Dense(g, H, M, "last")])), X


@layout
def layers_as_attributes(g: G) -> Any:
    class Net:
        def __init__(self) -> None:
            self.l1, self.l2 = Dense(g, D, H, "first"), Dense(g, H, M, "last")

        def forward(self, x: Any) -> Any:
            return self.l2.forward(self.l1.forward(x))

        def backward(self, dout: Any) -> Any:
            return self.l1.backward(self.l2.backward(dout))

    return Net(), X


@layout
def layers_that_know_each_other(g: G) -> Any:
    """A cycle: each layer has the next and the one before."""
    chain = Chain([Dense(g, D, H, "first"), Dense(g, H, M, "last")])
    first, last = chain.layers
    first.next, last.previous, first.net = last, first, chain
    return chain, X


@layout
def callable_layers(g: G) -> Any:
    class Affine:
        def __init__(self) -> None:
            self.w, self.b = draws(D, M), draws(M)

        def __call__(self, x: Any) -> Any:
            self.x = x
            return x @ self.w + self.b

        def backward(self, grad_output: Any) -> Any:
            self.grad_w, self.grad_b = g("w", self.x.T @ grad_output), g("b", grad_output.sum(0))
            return grad_output @ self.w.T

    return Affine(), X


@layout
def deep_learning_from_scratch(g: G) -> Any:
    """params and grads as lists, written into in place."""

    class Affine:
        def __init__(self) -> None:
            self.params = [draws(D, H), draws(H)]
            self.grads = [np.zeros((D, H)), np.zeros(H)]

        def forward(self, x: Any) -> Any:
            W, b = self.params
            self.x = x
            return x @ W + b

        def backward(self, dout: Any) -> Any:
            W, _ = self.params
            self.grads[0][...] = g("W", self.x.T @ dout)
            self.grads[1][...] = g("b", dout.sum(axis=0))
            return dout @ W.T

    return Affine(), X


@layout
def params_shared_with_layers(g: G) -> Any:
    """The network's dict holds the arrays of its layers; grads are gathered after the backward."""

    class Net(Chain):
        def __init__(self) -> None:
            super().__init__([Dense(g, D, H, "first"), Dense(g, H, M, "last")])
            self.params = {f"W{i}": layer.W for i, layer in enumerate(self.layers, 1)}
            self.params |= {f"b{i}": layer.b for i, layer in enumerate(self.layers, 1)}
            self.grads: dict[str, Any] = {}

        def backward(self, dy: Any) -> Any:
            dx = super().backward(dy)
            for i, layer in enumerate(self.layers, 1):
                self.grads[f"W{i}"], self.grads[f"b{i}"] = layer.dW, layer.db
            return dx

    return Net(), X


@layout
def neural_networks_from_scratch(g: G) -> Any:
    """forward keeps .output, backward keeps .dinputs; both return nothing."""

    class Layer_Dense:
        def __init__(self) -> None:
            self.weights, self.biases = draws(D, H), draws(1, H)

        def forward(self, inputs: Any) -> None:
            self.inputs = inputs
            self.output = np.dot(inputs, self.weights) + self.biases

        def backward(self, dvalues: Any) -> None:
            self.dweights = g("weights", np.dot(self.inputs.T, dvalues))
            self.dbiases = g("biases", np.sum(dvalues, axis=0, keepdims=True))
            self.dinputs = np.dot(dvalues, self.weights.T)

    return Layer_Dense(), X


@layout
def cs231n_layer_functions(g: G) -> Any:
    def affine_forward(x: Any, w: Any, b: Any) -> Any:
        out = x.reshape(len(x), -1) @ w + b
        cache = (x, w, b)
        return out, cache

    def affine_backward(dout: Any, cache: Any) -> Any:
        x, w, _ = cache
        dx = dout @ w.T
        dw = g("w", x.T @ dout)
        db = g("b", dout.sum(axis=0))
        return dx, dw, db

    return (affine_forward, affine_backward), X, draws(D, H), draws(H)


@layout
def cs231n_two_layer_net(g: G) -> Any:
    """model.params, and loss(X, y) that returns (loss, grads)."""

    class TwoLayerNet:
        def __init__(self) -> None:
            self.params = {"W1": draws(D, H), "b1": draws(H), "W2": draws(H, M), "b2": draws(M)}
            self.reg = 0.1

        def loss(self, X: Any, y: Any = None) -> Any:
            W1, b1, W2, b2 = (self.params[name] for name in ("W1", "b1", "W2", "b2"))
            h = np.tanh(X @ W1 + b1)
            scores = h @ W2 + b2
            if y is None:
                return scores
            e = np.exp(scores - scores.max(axis=1, keepdims=True).real)
            p = e / e.sum(axis=1, keepdims=True)
            loss = -np.log(p[np.arange(len(y)), y]).mean() + 0.5 * self.reg * ((W1**2).sum() + (W2**2).sum())
            dscores = p.copy()
            dscores[np.arange(len(y)), y] -= 1
            dscores /= len(y)
            dh = dscores @ W2.T * (1 - h**2)
            grads = {
                "W2": g("W2", h.T @ dscores + self.reg * W2),
                "b2": g("b2", dscores.sum(axis=0)),
                "W1": g("W1", X.T @ dh + self.reg * W1),
                "b1": g("b1", dh.sum(axis=0)),
            }
            return loss, grads

    return TwoLayerNet(), X, LABELS


@layout
def cs231n_bound_loss(g: G) -> Any:
    model, x, y = cs231n_two_layer_net(g)
    return model.loss, x, y


@layout
def cs231n_svm(g: G) -> Any:
    def svm_loss_naive(W: Any, X: Any, y: Any, reg: float) -> Any:
        scores = X @ W
        e = np.exp(scores)
        p = e / e.sum(axis=1, keepdims=True)
        loss = -np.log(p[np.arange(len(y)), y]).mean() + reg * (W * W).sum()
        dW = g("W", X.T @ (p - np.eye(scores.shape[1])[y]) / len(y) + 2 * reg * W)
        return loss, dW

    return svm_loss_naive, draws(D, M), X, LABELS, 0.1


@layout
def andrew_ng(g: G) -> Any:
    """Samples in columns, parameters in a dict, caches in a list, gradients under dW1, db1, ..."""

    def model(parameters: Any, X: Any, Y: Any) -> Any:
        caches, A = [], X
        for layer in (1, 2):
            W, b = parameters[f"W{layer}"], parameters[f"b{layer}"]
            A, before = np.tanh(W @ A + b), A
            caches.append((before, W, b, A))
        m = Y.shape[1]
        cost = ((A - Y) ** 2).sum() / (2 * m)
        grads, dA = {}, (A - Y) / m
        for layer in (2, 1):
            before, W, b, after = caches[layer - 1]
            dZ = dA * (1 - after**2)
            grads[f"dW{layer}"] = g(f"W{layer}", dZ @ before.T)
            grads[f"db{layer}"] = g(f"b{layer}", dZ.sum(axis=1, keepdims=True))
            dA = W.T @ dZ
            grads[f"dA{layer - 1}"] = dA
        return cost, grads

    parameters = {"W1": draws(H, D), "b1": draws(H, 1), "W2": draws(M, H), "b2": draws(M, 1)}
    return model, parameters, X.T, T.T


@layout
def andrew_ng_class(g: G) -> Any:
    class Model:
        def __init__(self) -> None:
            self.parameters = {"W1": draws(H, D), "b1": np.zeros((H, 1))}

        def forward(self, A_prev: Any) -> Any:
            Z = self.parameters["W1"] @ A_prev + self.parameters["b1"]
            return 1 / (1 + np.exp(-Z)), (A_prev, Z)

        def backward(self, dA: Any, cache: Any) -> Any:
            A_prev, Z = cache
            s = 1 / (1 + np.exp(-Z))
            dZ = dA * s * (1 - s)
            self.grads = {
                "dW1": g("W1", dZ @ A_prev.T),
                "db1": g("b1", dZ.sum(axis=1, keepdims=True)),
            }
            return self.parameters["W1"].T @ dZ

    return Model(), X.T


@layout
def nielsen(g: G) -> Any:
    """weights and biases in lists; backprop(x, y) returns (nabla_b, nabla_w), the loss stands outside."""

    class Network:
        def __init__(self) -> None:
            self.biases = [draws(n, 1, seed=n) for n in (H, M)]
            self.weights = [draws(n, m, seed=n) for m, n in ((D, H), (H, M))]

        def feedforward(self, a: Any) -> Any:
            for b, w in zip(self.biases, self.weights, strict=True):
                a = np.tanh(w @ a + b)
            return a

        def backprop(self, x: Any, y: Any) -> Any:
            activations = [x]
            for b, w in zip(self.biases, self.weights, strict=True):
                activations.append(np.tanh(w @ activations[-1] + b))
            nabla_b, nabla_w = [None, None], [None, None]
            delta = activations[-1] - y
            for k in (1, 0):
                delta = delta * (1 - activations[k + 1] ** 2)
                nabla_b[k] = g(f"b{k}", delta)
                nabla_w[k] = g(f"w{k}", delta @ activations[k].T)
                delta = self.weights[k].T @ delta
            return nabla_b, nabla_w

    net = Network()

    def cost(x: Any, y: Any) -> Any:
        return 0.5 * ((net.feedforward(x) - y) ** 2).sum(), net.backprop(x, y)

    return cost, X[:1].T, T[:1].T


@layout
def joelnet(g: G) -> Any:
    """A layer's params and grads as dicts; the keys of grads come with the first backward."""

    class Linear:
        def __init__(self) -> None:
            self.params, self.grads = {"w": draws(D, M), "b": draws(M)}, {}

        def forward(self, inputs: Any) -> Any:
            self.inputs = inputs
            return inputs @ self.params["w"] + self.params["b"]

        def backward(self, grad: Any) -> Any:
            self.grads["b"] = g("b", np.sum(grad, axis=0))
            self.grads["w"] = g("w", self.inputs.T @ grad)
            return grad @ self.params["w"].T

    return Linear(), X


@layout
def accumulates_into_a_fresh_dict(g: G) -> Any:
    class Linear:
        def __init__(self) -> None:
            self.params, self.grads = {"w": draws(D, M), "b": draws(M)}, {}

        def forward(self, x: Any) -> Any:
            self.x = x
            return x @ self.params["w"] + self.params["b"]

        def backward(self, dy: Any) -> Any:
            for name, slope in (("w", self.x.T @ dy), ("b", dy.sum(0))):
                self.grads[name] = self.grads.get(name, 0) + g(name, slope)
            return dy @ self.params["w"].T

    return Linear(), X


@layout
def dict_of_dicts(g: G) -> Any:
    class Net:
        def __init__(self) -> None:
            self.params = {"hidden": {"W": draws(D, H), "b": draws(H)}, "out": {"W": draws(H, M)}}
            self.grads: Any = {"hidden": {}, "out": {}}

        def forward(self, x: Any) -> Any:
            self.x = x
            self.h = np.tanh(x @ self.params["hidden"]["W"] + self.params["hidden"]["b"])
            return self.h @ self.params["out"]["W"]

        def backward(self, dy: Any) -> Any:
            self.grads["out"]["W"] = g("out.W", self.h.T @ dy)
            dz = dy @ self.params["out"]["W"].T * (1 - self.h**2)
            self.grads["hidden"] = {"W": g("hidden.W", self.x.T @ dz), "b": g("hidden.b", dz.sum(0))}
            return dz @ self.params["hidden"]["W"].T

    return Net(), X


@layout
def returns_a_dict(g: G) -> Any:
    class Linear:
        def __init__(self) -> None:
            self.W, self.b = draws(D, H), draws(H)

        def forward(self, x: Any) -> Any:
            self.x = x
            return x @ self.W + self.b

        def backward(self, dy: Any) -> Any:
            return {"db": g("b", dy.sum(0)), "dx": g("x", dy @ self.W.T), "dW": g("W", self.x.T @ dy)}

    return Linear(), X


@layout
def returns_dw_db_dx(g: G) -> Any:
    class Linear:
        def __init__(self) -> None:
            self.W, self.b = draws(D, H), draws(H)

        def forward(self, x: Any) -> Any:
            self.x = x
            return x @ self.W + self.b

        def backward(self, dy: Any) -> Any:
            return g("W", self.x.T @ dy), g("b", dy.sum(0)), g("x", dy @ self.W.T)

    return Linear(), X


@layout
def returns_square_ones_without_names(g: G) -> Any:
    """Three gradients of one shape in an order of its own: only the numbers tell whose they are."""

    class Net:
        def __init__(self) -> None:
            self.W1, self.W2 = draws(D, D), draws(D, D, seed=5)

        def forward(self, x: Any) -> Any:
            self.x, self.h = x, np.tanh(x @ self.W1)
            return self.h @ self.W2

        def backward(self, dy: Any) -> Any:
            dz = dy @ self.W2.T * (1 - self.h**2)
            return g("W2", self.h.T @ dy), g("x", dz @ self.W1.T), g("W1", self.x.T @ dz)

    return Net(), draws(D, D)


@dataclass
class Weights:
    kernel: Any
    offset: Any
    grad_kernel: Any = None
    grad_offset: Any = None


@layout
def dataclass_of_weights(g: G) -> Any:
    @dataclass
    class Layer:
        weights: Weights = field(default_factory=lambda: Weights(draws(D, H), draws(H)))

        def forward(self, x: Any) -> Any:
            self.x = x
            return x @ self.weights.kernel + self.weights.offset

        def backward(self, dy: Any) -> Any:
            self.weights.grad_kernel = g("kernel", self.x.T @ dy)
            self.weights.grad_offset = g("offset", dy.sum(0))
            return dy @ self.weights.kernel.T

    return Layer(), X


class Pair(NamedTuple):
    W: Any
    b: Any


@layout
def namedtuple_of_weights(g: G) -> Any:
    Grads = namedtuple("Grads", "W b")

    class Layer:
        def __init__(self) -> None:
            self.params = Pair(draws(D, H), draws(H))

        def forward(self, x: Any) -> Any:
            self.x = x
            return x @ self.params.W + self.params.b

        def backward(self, dy: Any) -> Any:
            self.grads = Grads(g("W", self.x.T @ dy), g("b", dy.sum(0)))
            return dy @ self.params.W.T

    return Layer(), X


@layout
def slots(g: G) -> Any:
    class Layer:
        __slots__ = ("W", "b", "dW", "db", "x")

        def __init__(self) -> None:
            self.W, self.b = draws(D, H), draws(H)

        def forward(self, x: Any) -> Any:
            self.x = x
            return x @ self.W + self.b

        def backward(self, dy: Any) -> Any:
            self.dW, self.db = g("W", self.x.T @ dy), g("b", dy.sum(0))
            return dy @ self.W.T

    return Layer(), X


@layout
def class_attributes(g: G) -> Any:
    class Layer:
        W = draws(D, H)
        dW = np.zeros((D, H))

        def forward(self, x: Any) -> Any:
            self.x = x
            return x @ Layer.W

        def backward(self, dy: Any) -> Any:
            Layer.dW = g("W", self.x.T @ dy)
            return dy @ self.W.T

    return Layer(), X


@layout
def tensors_of_ones_own(g: G) -> Any:
    """Every array in an object with .data and .grad."""

    class Tensor:
        def __init__(self, data: Any) -> None:
            self.data, self.grad = data, np.zeros_like(data)

    class Layer:
        def __init__(self) -> None:
            self.w, self.b = Tensor(draws(D, H)), Tensor(draws(H))

        def parameters(self) -> Any:
            return [self.w, self.b]

        def forward(self, x: Any) -> Any:
            self.x = x
            return x @ self.w.data + self.b.data

        def backward(self, dy: Any) -> Any:
            self.w.grad += g("w", self.x.T @ dy)
            self.b.grad += g("b", dy.sum(0))
            return dy @ self.w.data.T

    return Layer(), X


@layout
def parameters_in_a_plain_object(g: G) -> Any:
    class Layer:
        def __init__(self) -> None:
            self.w = [snn.Parameter(draws(D, H).astype(np.float32)), snn.Parameter(draws(H, M))]

        def forward(self, x: Any) -> Any:
            self.x, self.h = x, np.tanh(x @ self.w[0].data)
            return self.h @ self.w[1].data

        def backward(self, dy: Any) -> Any:
            self.w[1].accumulate(g("w1", self.h.T @ dy))
            dz = dy @ self.w[1].data.T * (1 - self.h**2)
            self.w[0].accumulate(g("w0", self.x.T @ dz))
            return dz @ self.w[0].data.T

    return Layer(), X


@layout
def module_in_a_plain_object(g: G) -> Any:
    class Spoilt(snn.Linear):
        def backward(self, dy: Any) -> Any:
            before, self.weight.grad = self.weight.grad, None
            dx = super().backward(dy)
            slope = g("weight", self.weight.grad)
            self.weight.grad = slope if before is None else before + slope
            return dx

    class Net:
        def __init__(self) -> None:
            self.parts = {
                "fc": Spoilt(D, H, dtype=np.float64),
                "act": snn.Tanh(),
                "own": Dense(g, H, M, "last"),
            }

        def forward(self, x: Any) -> Any:
            for part in self.parts.values():
                x = part.forward(x)
            return x

        def backward(self, dy: Any) -> Any:
            for part in reversed(self.parts.values()):
                dy = part.backward(dy)
            return dy

    snn.manual_seed(0)
    return Net(), X


@layout
def plain_objects_in_a_module(g: G) -> Any:
    class Net(snn.Module):
        def __init__(self) -> None:
            self.fc = snn.Linear(D, H, dtype=np.float64)
            self.layers = [Dense(g, H, H, "first"), Dense(g, H, M, "last")]

        def forward(self, x: Any) -> Any:
            x = self.fc(x)
            for layer in self.layers:
                x = layer.forward(x)
            return x

        def backward(self, dy: Any) -> Any:
            for layer in reversed(self.layers):
                dy = layer.backward(dy)
            return self.fc.backward(dy)

    snn.manual_seed(0)
    return Net(), X


@layout
def modules_in_a_list_of_a_module(g: G) -> Any:
    class Net(snn.Module):
        def __init__(self) -> None:
            self.blocks = [snn.Linear(D, D, dtype=np.float64), snn.Linear(D, D, dtype=np.float64)]

        def forward(self, x: Any) -> Any:
            for block in self.blocks:
                x = block(x)
            return x

        def backward(self, dy: Any) -> Any:
            for k in (1, 0):
                dy = self.blocks[k].backward(dy)
                self.blocks[k].weight.grad = g(f"weight{k}", self.blocks[k].weight.grad)
            return dy

    snn.manual_seed(0)
    return Net(), X


@layout
def updates_by_a_rate(g: G) -> Any:
    """backward takes the step itself."""

    class Layer:
        def __init__(self) -> None:
            self.weights, self.bias = draws(D, H), draws(1, H)

        def forward(self, x: Any) -> Any:
            self.x = x
            return x @ self.weights + self.bias

        def backward(self, output_error: Any, learning_rate: float) -> Any:
            input_error = output_error @ self.weights.T
            self.weights -= learning_rate * g("weights", self.x.T @ output_error)
            self.bias = self.bias - learning_rate * g("bias", output_error.sum(0, keepdims=True))
            return input_error

    return Layer(), X


@layout
def updates_by_its_own_rate(g: G) -> Any:
    """backward(input, grad_output), with a rate in an attribute."""

    class Layer:
        def __init__(self) -> None:
            self.learning_rate = 0.1
            self.weights, self.biases = draws(D, H), np.zeros(H)

        def forward(self, input: Any) -> Any:
            return input @ self.weights + self.biases

        def backward(self, input: Any, grad_output: Any) -> Any:
            grad_input = grad_output @ self.weights.T
            self.weights = self.weights - self.learning_rate * g("weights", input.T @ grad_output)
            self.biases = self.biases - self.learning_rate * g("biases", grad_output.sum(axis=0))
            return grad_input

    return Layer(), X


@layout
def two_outputs(g: G) -> Any:
    class Heads:
        def __init__(self) -> None:
            self.A, self.B = draws(D, D), draws(D, M)

        def forward(self, x: Any) -> Any:
            self.x = x
            return x @ self.A, np.tanh(x @ self.B)

        def backward(self, da: Any, db: Any) -> Any:
            dz = db * (1 - np.tanh(self.x @ self.B) ** 2)
            self.dA, self.dB = g("A", self.x.T @ da), g("B", self.x.T @ dz)
            return da @ self.A.T + dz @ self.B.T

    return Heads(), X


@layout
def lstm_step(g: G) -> Any:
    """Two states and a cache come out, the gradients of both states go in."""

    def step_forward(x: Any, prev_h: Any, prev_c: Any, Wx: Any, Wh: Any) -> Any:
        u = np.tanh(x @ Wx + prev_h @ Wh)
        next_c = prev_c * 0.5 + u
        next_h = np.tanh(next_c)
        return next_h, next_c, (x, prev_h, Wx, Wh, u, next_h)

    def step_backward(dnext_h: Any, dnext_c: Any, cache: Any) -> Any:
        x, prev_h, Wx, Wh, u, next_h = cache
        dc = dnext_c + dnext_h * (1 - next_h**2)
        du = dc * (1 - u**2)
        dx, dprev_h, dprev_c = du @ Wx.T, du @ Wh.T, dc * 0.5
        dWx, dWh = g("Wx", x.T @ du), g("Wh", prev_h.T @ du)
        return dx, dprev_h, dprev_c, dWx, dWh

    shapes = (N, H), (N, H)
    return (step_forward, step_backward), X, *(draws(*s) for s in shapes), draws(D, H), draws(H, H, seed=4)


@layout
def embedding(g: G) -> Any:
    class Embedding:
        def __init__(self) -> None:
            self.table = draws(5, 5)

        def forward(self, index: Any) -> Any:
            self.index = index
            return self.table[index]

        def backward(self, dy: Any) -> None:
            dtable = np.zeros_like(self.table)
            np.add.at(dtable, self.index, dy)
            self.table_gradient = g("table", dtable)

    return Embedding(), np.array([0, 3, 1, 3])


@layout
def flat_vector_with_views(g: G) -> Any:
    """All weights in one vector, the layers see views of it; so are the gradients."""

    class Net:
        def __init__(self) -> None:
            self.theta, self.dtheta = draws(D * H + H), np.zeros(D * H + H)
            self.W, self.b = self.theta[: D * H].reshape(D, H), self.theta[D * H :]
            self.dW, self.db = self.dtheta[: D * H].reshape(D, H), self.dtheta[D * H :]

        def forward(self, x: Any) -> Any:
            self.x = x
            return x @ self.W + self.b

        def backward(self, dy: Any) -> Any:
            self.dW[...] = g("W", self.x.T @ dy)
            self.db[...] = g("b", dy.sum(0))
            return dy @ self.W.T

    return Net(), X


@layout
def tied_weights(g: G) -> Any:
    """The decoder's matrix is the encoder's, transposed: a view."""

    class Linear:
        def __init__(self, W: Any) -> None:
            self.W = W

        def forward(self, x: Any) -> Any:
            self.x = x
            return x @ self.W

        def backward(self, dy: Any) -> Any:
            self.dW = g(f"W{self.W.shape}", self.x.T @ dy)
            return dy @ self.W.T

    W = draws(D, 2)
    return Chain([Linear(W), Linear(W.T)]), X


@layout
def one_layer_used_twice(g: G) -> Any:
    """The same object twice in the list, its gradient added up."""

    class Linear:
        def __init__(self) -> None:
            self.W, self.seen, self.dW = draws(D, D), [], np.zeros((D, D))

        def forward(self, x: Any) -> Any:
            self.seen.append(x)
            return np.tanh(x @ self.W)

        def backward(self, dy: Any) -> Any:
            x = self.seen.pop()
            dz = dy * (1 - np.tanh(x @ self.W) ** 2)
            self.dW = self.dW + g("W", x.T @ dz)
            return dz @ self.W.T

    layer = Linear()
    return Chain([layer, layer]), X


@layout
def a_pair_of_methods(g: G) -> Any:
    layer = Dense(g, D, H)
    return (layer.forward, layer.backward), X


@layout
def functions_around_an_object(g: G) -> Any:
    layer = Dense(g, D, H)
    return (lambda x: layer.forward(x), lambda dy: layer.backward(dy)), X


@layout
def dicts_in_and_out(g: G) -> Any:
    def forward(x: Any, params: Any) -> Any:
        h = np.tanh(x @ params["W1"] + params["b1"])
        return h @ params["W2"], (x, h, params)

    def backward(dy: Any, cache: Any) -> Any:
        x, h, params = cache
        dz = dy @ params["W2"].T * (1 - h**2)
        grads = {"W1": g("W1", x.T @ dz), "b1": g("b1", dz.sum(0)), "W2": g("W2", h.T @ dy)}
        return dz @ params["W1"].T, grads

    return (forward, backward), X, {"W1": draws(D, H), "b1": draws(H), "W2": draws(H, H, seed=6)}


@layout
def python_numbers_and_lists(g: G) -> Any:
    """No arrays at all in the object: a float and a list of floats."""

    class Line:
        def __init__(self) -> None:
            self.w, self.b = [0.5, -1.5, 2.0], 0.25
            self.dw, self.db = [0.0, 0.0, 0.0], 0.0

        def forward(self, x: Any) -> Any:
            self.x = x
            return sum(self.w[k] * x[:, k] for k in range(3)) + self.b

        def backward(self, dy: Any) -> Any:
            self.dw = g("w", np.array([float((self.x[:, k] * dy).sum()) for k in range(3)])).tolist()
            self.db = float(g("b", dy.sum()))
            return np.outer(dy, self.w)

    return Line(), X


@layout
def weights_of_integers(g: G) -> Any:
    class Layer:
        def __init__(self) -> None:
            self.W = np.array([[1, 2], [0, -1], [3, 1]])

        def forward(self, x: Any) -> Any:
            self.x = x
            return x @ self.W

        def backward(self, dy: Any) -> Any:
            self.dW = g("W", self.x.T @ dy)
            return dy @ self.W.T

    return Layer(), X


@layout
def a_loss_of_ones_own(g: G) -> Any:
    class Loss:
        def forward(self, y_pred: Any, y_true: Any) -> Any:
            self.difference = y_pred - y_true
            return (self.difference**2).mean()

        def backward(self) -> Any:
            return g("prediction", 2 * self.difference / self.difference.size)

    return Loss(), draws(N, M), T


@layout
def loss_and_gradient(g: G) -> Any:
    """loss(x, t) and gradient(x, t), which returns a dict."""

    class TwoLayerNet:
        def __init__(self) -> None:
            self.params = {"W1": draws(D, H), "b1": np.zeros(H), "W2": draws(H, M), "b2": np.zeros(M)}

        def predict(self, x: Any) -> Any:
            h = np.tanh(x @ self.params["W1"] + self.params["b1"])
            return h, h @ self.params["W2"] + self.params["b2"]

        def loss(self, x: Any, t: Any) -> Any:
            return ((self.predict(x)[1] - t) ** 2).sum() / 2

        def gradient(self, x: Any, t: Any) -> Any:
            h, y = self.predict(x)
            dz = (y - t) @ self.params["W2"].T * (1 - h**2)
            grads = {"W2": g("W2", h.T @ (y - t)), "b2": g("b2", (y - t).sum(0))}
            grads["W1"], grads["b1"] = g("W1", x.T @ dz), g("b1", dz.sum(0))
            return grads

    return TwoLayerNet(), X, T


@layout
def function_and_its_gradient(g: G) -> Any:
    def cost(theta: Any, X: Any, y: Any) -> Any:
        return ((X @ theta - y) ** 2).mean()

    def gradient(theta: Any, X: Any, y: Any) -> Any:
        return g("theta", 2 * X.T @ (X @ theta - y) / y.size)

    return (cost, gradient), draws(D, M), X, T


@layout
def cost_with_the_data_first(g: G) -> Any:
    def cost(X: Any, y: Any, theta: Any) -> Any:
        residual = X @ theta - y
        return (residual**2).mean(), g("theta", 2 * X.T @ residual / y.size)

    return cost, X, T, draws(D, M)


@layout
def private_names(g: G) -> Any:
    class Layer:
        def __init__(self) -> None:
            self._W, self.__b = draws(D, H), draws(H)

        def forward(self, x: Any, training: bool = True) -> Any:
            self._x = x
            return x @ self._W + self.__b

        def backward(self, grad_out: Any, cache: Any = None, verbose: bool = False) -> Any:
            self._dW, self.__db = g("W", self._x.T @ grad_out), g("b", grad_out.sum(0))
            return grad_out @ self._W.T

    return Layer(), X


@layout
def recurrent_with_a_state(g: G) -> Any:
    """The state goes in and comes out; dh is the gradient of the one that came out."""

    class Recurrent:
        def __init__(self) -> None:
            self.Wx, self.Wh, self.h = draws(D, H), draws(H, H, seed=7), draws(N, H)

        def forward(self, x: Any) -> Any:
            self.x, self.h_before = x, self.h
            self.h = np.tanh(x @ self.Wx + self.h @ self.Wh)
            return self.h

        def backward(self, dh: Any) -> Any:
            dz = dh * (1 - self.h**2)
            self.dh_before = dz @ self.Wh.T
            self.dWx, self.dWh = g("Wx", self.x.T @ dz), g("Wh", self.h_before.T @ dz)
            return dz @ self.Wx.T

    return Recurrent(), X


@unnamed
def unguessable_names(g: G) -> Any:
    class Thing:
        def __init__(self) -> None:
            self.stuff = SimpleNamespace(alpha=draws(D, H), omega=None)

        def forward(self, x: Any) -> Any:
            self.kept = x
            return np.tanh(x @ self.stuff.alpha)

        def backward(self, signal: Any) -> Any:
            inner = signal * (1 - np.tanh(self.kept @ self.stuff.alpha) ** 2)
            self.stuff.omega = g("alpha", self.kept.T @ inner)
            return inner @ self.stuff.alpha.T

    return Thing(), X


@unnamed
def matrix_in_a_closure(g: G) -> Any:
    """A script: the weights and their gradient are variables outside the functions."""
    W, dW = draws(D, H), None

    def forward(x: Any) -> Any:
        return x @ W, x

    def backward(dy: Any, x: Any) -> Any:
        nonlocal dW
        dW = g("W", x.T @ dy)
        return dy @ W.T

    return (forward, backward), X
