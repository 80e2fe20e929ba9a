"""Attributes that mean something in PyTorch and nothing here are refused where they are set."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest

import scratchnn as snn

LINEAR = snn.Linear(2, 1)
LOADER = snn.DataLoader(snn.TensorDataset(np.zeros((2, 1), np.float32)))


@pytest.mark.parametrize(
    ("thing", "name", "word"),
    [
        (LINEAR.weight, "requires_grad", "the other parameters only"),
        (LINEAR, "requires_grad", "the other parameters only"),
        (snn.MLP(2, [3], 1), "requires_grad", "the other parameters only"),
        (snn.SGD(LINEAR.parameters()), "lr", "param_groups"),
        (snn.SGD(LINEAR.parameters()), "momentum", "param_groups"),
        (snn.Adam(LINEAR.parameters()), "betas", "param_groups"),
        (snn.AdamW(LINEAR.parameters()), "fused", "leave it out"),
        (snn.MSELoss(), "reduce", "reduction"),
        (snn.CrossEntropyLoss(), "size_average", "reduction"),
        (LOADER, "num_workers", "leave it out"),
        (LOADER, "collate_fn", "dataset"),
        (LOADER, "sampler", "Subset"),
    ],
)
def test_refused_with_the_cure(thing: Any, name: str, word: str) -> None:
    before = dict(vars(thing))
    with pytest.raises(AttributeError, match=f"{type(thing).__name__} got {name}=False.*{word}"):
        setattr(thing, name, False)
    assert vars(thing).keys() == before.keys()


def test_what_is_so_anyway_may_be_said() -> None:
    model = snn.Sequential(snn.Linear(2, 1))
    assert model.requires_grad_() is model
    assert all(p.requires_grad and p.requires_grad_() is p for p in model.parameters())
    next(model.parameters()).requires_grad = True
    for freeze in (model.requires_grad_, next(model.parameters()).requires_grad_):
        with pytest.raises(AttributeError, match="requires_grad=False"):
            freeze(False)
    with pytest.raises(TypeError, match="requires_grad"):
        model.requires_grad_("no")  # type: ignore[arg-type]


class MyAdam(snn.Adam):
    """A class of one's own, that keeps its rate under this name."""

    def __init__(self, params: Any, lr: float) -> None:
        super().__init__(params, lr=lr)
        self.lr = lr


def test_a_class_of_ones_own_means_what_it_says() -> None:
    optimizer = MyAdam(LINEAR.parameters(), 0.1)
    optimizer.lr = 0.2
    assert copy.deepcopy(optimizer).lr == pickle.loads(pickle.dumps(optimizer)).lr == 0.2

    class Plain(snn.SGD):
        pass

    with pytest.raises(AttributeError, match="Plain got lr=5"):
        Plain(LINEAR.parameters()).lr = 5  # type: ignore[attr-defined]
