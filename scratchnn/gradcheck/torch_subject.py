"""torch.autograd.Function, torch.nn.Module and functions of tensors, checked by differences.

Loaded only where the user has loaded torch already.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch

from ..checks import Array
from .subject import BackwardRun, Subject, short_repr, unknown_constant

__all__ = ["TorchSubject", "is_torch"]


def is_torch(subject: Any, inputs: Sequence[Any]) -> bool:
    """True for a Function class, a torch module, or a plain function given at least one tensor."""
    if isinstance(subject, torch.nn.Module):
        return True
    if isinstance(subject, type) and issubclass(subject, torch.autograd.Function):
        return True
    return callable(subject) and any(isinstance(x, torch.Tensor) for x in inputs)


class TorchSubject(Subject):
    """Something whose backward autograd runs. A float32 module is copied to float64."""

    real_only = "PyTorch's own functions are checked on real numbers"

    def __init__(
        self,
        subject: Any,
        inputs: Sequence[Any],
        loss_fn: Any,
        target: Any,
        constants: Sequence[Any] = (),
    ) -> None:
        self.module: Any = None
        self.call: Any = subject
        if isinstance(subject, torch.nn.Module):
            self.module = self.call = copy.deepcopy(subject).double()
        elif isinstance(subject, type):
            self.call = subject.apply  # type: ignore[attr-defined]
        self.loss_fn, self.target = loss_fn, target
        if loss_fn is not None:
            self.loss_fn = (
                copy.deepcopy(loss_fn).double() if isinstance(loss_fn, torch.nn.Module) else loss_fn
            )
            self.target = torch.as_tensor(target)
            if self.target.is_floating_point():
                self.target = self.target.double()
        self.inputs = [_constant(x) for x in inputs]
        self.places = [i for i, x in enumerate(self.inputs) if _is_float(x)]
        if not self.places and self.module is None:
            raise TypeError("gradcheck needs at least one float tensor to differentiate by")
        parameters = list(self.module.named_parameters()) if self.module is not None else []
        many = len(self.places) > 1
        names = [f"x{k}" if many else "x" for k in range(len(self.places))] + [name for name, _ in parameters]
        self.constants = _constant_names(constants, names, [inputs[i] for i in self.places], subject)
        self.places = [i for i, n in zip(self.places, names, strict=False) if n not in self.constants]
        parameters = [(name, p) for name, p in parameters if name not in self.constants]
        self.names = [name for name in names if name not in self.constants]
        self.parameter_names = [name for name, _ in parameters]
        self.parameters = [p for _, p in parameters]
        tensors = [self.inputs[i] for i in self.places] + self.parameters
        self.values = [t.detach().cpu().numpy().copy() for t in tensors]
        self.title = subject.__name__ if isinstance(subject, type) else short_repr(subject)
        self.seed = int(torch.initial_seed())
        self.state = torch.random.get_rng_state()

    def _run(self, values: Sequence[Array], grad: bool) -> tuple[torch.Tensor, list[torch.Tensor]]:
        tensors = [torch.tensor(value, dtype=torch.float64, requires_grad=grad) for value in values]
        arguments = list(self.inputs)
        for place, tensor in zip(self.places, tensors, strict=False):
            arguments[place] = tensor
        rest = tensors[len(self.places) :]
        before = torch.random.get_rng_state()
        torch.random.set_rng_state(self.state)
        try:
            with torch.set_grad_enabled(grad):
                if self.module is None:
                    y = self.call(*arguments)
                else:
                    y = torch.func.functional_call(
                        self.module, dict(zip(self.parameter_names, rest, strict=True)), tuple(arguments)
                    )
                if isinstance(y, tuple):
                    y = (
                        y[0]
                        if self.loss_fn is not None
                        else torch.cat([t.flatten() for t in y if _is_float(t)])
                    )
                if self.loss_fn is not None:
                    y = self.loss_fn(y, self.target)
        finally:
            torch.random.set_rng_state(before)
        return y, tensors

    def output(self, values: Sequence[Array]) -> Array:
        return self._run(values, grad=False)[0].detach().cpu().numpy()

    def backward(self, cotangent: Array, values: Sequence[Array]) -> BackwardRun:
        y, tensors = self._run(values, grad=True)
        gradients = torch.autograd.grad(y, tensors, torch.as_tensor(cotangent), allow_unused=True)
        return BackwardRun([None if g is None else np.asarray(g.detach().cpu().numpy()) for g in gradients])


def _constant_names(constants: Sequence[Any], names: list[str], inputs: list[Any], subject: Any) -> list[str]:
    """The names of what the user calls constant, by name or by the tensor itself."""
    tensors = [*inputs, *(subject.parameters() if isinstance(subject, torch.nn.Module) else ())]
    found = []
    for constant in [constants] if isinstance(constants, (str, np.ndarray, torch.Tensor)) else constants:
        if isinstance(constant, str):
            chosen = [name for name in names if name == constant]
        else:
            chosen = [name for name, tensor in zip(names, tensors, strict=True) if tensor is constant]
        if not chosen:
            raise ValueError(unknown_constant(constant, names))
        found += chosen
    return found


def _constant(value: Any) -> Any:
    if isinstance(value, np.ndarray):
        value = torch.as_tensor(value)
    return value.detach().double() if _is_float(value) else value


def _is_float(value: Any) -> bool:
    return isinstance(value, torch.Tensor) and value.is_floating_point()
