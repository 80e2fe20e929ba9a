"""Training and evaluation mode, put back module by module."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from ..layers import Module

__all__ = ["in_mode"]


@contextmanager
def in_mode(model: Module, training: bool) -> Iterator[None]:
    """The model in training or evaluation mode; afterwards every module in the mode it was in."""
    before = [(module, module.training) for module in model.modules()]
    model.train(training)
    try:
        yield
    finally:
        for module, was_training in before:
            module.training = was_training
