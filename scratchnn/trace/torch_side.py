"""The one place where `scratchnn.trace` asks PyTorch, which is optional: imported where it is used."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import numpy as np

from ..checks import Array

if TYPE_CHECKING:
    from .trace import Trace

__all__ = ["by_torch", "is_torch", "module_from_torch"]


def is_torch(thing: Any) -> bool:
    """True for a torch.nn.Module, a loss among them; without loading PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(thing, torch.nn.Module)


def module_from_torch(module: Any) -> Any:
    """The same network of our layers. Raises TypeError for a class that there is no layer for."""
    from reference import from_torch

    return from_torch(module)


def by_torch(trace: Trace) -> dict[str, Array]:
    """The same step by PyTorch's autograd: "loss", and the gradients of "x" and of every parameter.

    Dropout draws the masks of the traced step. Raises ImportError without PyTorch, TypeError for a model or
    loss that it has no class for.
    """
    import torch

    from reference import twin, twin_loss
    from reference.streams import torch_stream

    model, loss_fn = twin(trace.model), twin_loss(trace.loss_fn, dtype=trace.x.dtype)
    x = torch.from_numpy(np.array(trace.x)).requires_grad_()
    with torch_stream():
        torch.set_rng_state(torch.from_numpy(trace.random_state.copy()))
        loss = loss_fn(model(x), torch.from_numpy(np.array(trace.target)))
        loss.sum().backward()
    found = {"loss": loss.detach().numpy()}
    leaves = {"x": x, **dict(model.named_parameters())}
    return found | {name: leaf.grad.numpy() for name, leaf in leaves.items() if leaf.grad is not None}
