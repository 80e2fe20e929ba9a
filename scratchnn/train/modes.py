"""Training and evaluation mode, put back part by part."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..layers import Module

__all__ = ["in_mode"]


@contextmanager
def in_mode(model: Module, training: bool) -> Iterator[None]:
    """The whole model in one mode inside; afterwards each of its parts in the mode that it was in.

    Parts that came meanwhile get the mode that the model was in.
    """
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        known = {id(module) for module, _ in before}
        for module in model.modules():
            if id(module) not in known:
                module.training = before[0][1]
        for module, was in before:
            module.training = was
