"""What the public formulas ask of their arguments; the formulas themselves check nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from scratchnn import functional as F
from scratchnn.functional import formulas

X = np.ones((4, 2))
WRONG: list[tuple[Callable[[], Any], str]] = [
    (lambda: F.relu([1.0, 2.0]), r"relu got x=\[1.0, 2.0\]; it needs an array: np.asarray\(x\)"),
    (lambda: F.relu(X > 0), "relu got x of dtype bool"),
    (lambda: F.relu(np.ma.masked_greater(X, 0)), "relu got x as a masked array"),
    (lambda: F.relu(), "relu got other arguments than it takes: missing a required argument: 'x'"),
    (lambda: F.sigmoid_vjp(X, X[:3]), r"dy of shape \(4, 2\) and y of shape \(3, 2\); the shapes must be"),
    (lambda: F.softmax(X, 2), r"softmax got x of shape \(4, 2\); it has no axis=2"),
    (lambda: F.softmax(X[:, :0], 1), "at least one number along axis=1"),
    (lambda: F.leaky_relu(X, "0.1"), "leaky_relu got negative_slope='0.1'; it needs a number"),
    (lambda: F.linear(X, np.ones((3, 4)), None), r"x's last axis must be 4"),
    (lambda: F.linear(X, np.ones(2), None), r"weight of shape \(2,\); it needs \(out, in\)"),
    (lambda: F.linear(X, np.ones((3, 2)), np.ones(2)), r"bias must be \(3,\)"),
    (lambda: F.linear_vjp(X, X, np.ones((3, 2))), r"dy must be \(4, 3\)"),
    (lambda: F.mse(X, X.T), "the shapes must be equal"),
    (lambda: F.mse(X, X, "avg"), "mse got reduction='avg'; it must be one of"),
    (lambda: F.bce(X, X, np.ones(3)), "weight must broadcast to prediction"),
    (lambda: F.nll(X, X), "it needs class indices"),
    (lambda: F.nll(X, np.zeros(3, int)), r"class indices must be \(4,\)"),
    (lambda: F.nll(X, np.array([0, 1, 2, 0])), "nll got class index 2 in target; log_probs has 2 classes"),
    (lambda: F.cross_entropy(X, np.zeros(4, int), np.ones(3)), r"weight must be \(2,\)"),
    (
        lambda: F.cross_entropy(X, np.zeros(4, int), label_smoothing=2),
        r"label_smoothing=2; it must be within",
    ),
    (lambda: F.cross_entropy_vjp(X, X, np.zeros(4, int)), r"dloss must be a number or \(4,\)"),
    (lambda: F.row_mean(X, np.ones(2)), r"row_weights must be \(N,\)"),
    (lambda: F.hits(X, np.ones((2, 2)), None), "the shapes must be equal, or target be class indices"),
    (lambda: F.total_norm(iter([X])), "total_norm got gradients=.*; it needs a list of arrays"),
    (lambda: F.sgd(X, X, X[0], 0.1, 0.0, 1.0, 0.0, False, False), "the shapes must be equal"),
    (lambda: F.adam_scalars(0, 0.1, 0.9, 0.9, 1e-8, 0), "t=0; it must be at least 1"),
    (lambda: F.half_square_vjp(np.ones(3), X[0]), "dloss must broadcast to weight|it needs a number"),
]


@pytest.mark.parametrize(("call", "words"), WRONG, ids=[words for _, words in WRONG])
def test_refused_in_words(call: Callable[[], Any], words: str) -> None:
    with pytest.raises((TypeError, ValueError, IndexError), match=words):
        call()


def test_right_arguments_pass_unchanged() -> None:
    scores, target, weight = X * np.arange(2), np.array([0, 1, -100, 0]), np.array([1.0, 2.0])
    calls: list[tuple[str, tuple[Any, ...]]] = [
        ("relu", (X.astype(np.float16),)),
        ("sigmoid", (X + 1j,)),
        ("tanh", (np.float64(0.5),)),
        ("softmax", (X[:0], 1)),
        ("linear", (np.ones((2, 3, 2)), X, None)),
        ("mse_vjp", (1, X, X)),
        ("mse_vjp", (X, X, X, "none")),
        ("bce_with_logits", (X, X, np.ones((4, 1)), "sum", np.float64(2))),
        ("cross_entropy", (scores, target, weight)),
        ("cross_entropy", (scores, X / 2, None, -100, "none", 0.1)),
        ("nll_vjp", (np.ones(4), scores, target, None, -100, "none")),
        ("hits", (X, target, None)),
        ("total_norm", ([],)),
        ("clip_factor", (0.5, 1.0)),
        ("dropout_factor", (X > 0, 0.5)),
    ]
    for name, arguments in calls:
        expected = getattr(formulas, name)(*arguments)
        np.testing.assert_array_equal(getattr(F, name)(*arguments), expected, err_msg=name)


def test_layers_and_losses_call_the_formulas_unchecked() -> None:
    from scratchnn import layers, losses

    assert layers.linear.F is layers.activations.F is losses.values.F is losses.classes.F is formulas
    assert F.relu is not formulas.relu
    assert F.relu.__wrapped__ is formulas.relu  # type: ignore[attr-defined]
