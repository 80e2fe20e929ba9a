"""The one place where `scratchnn.trace` asks PyTorch, which is optional: imported where it is used."""

from __future__ import annotations

import sys
from typing import Any

__all__ = ["is_torch", "module_from_torch"]


def is_torch(thing: Any) -> bool:
    """True for a torch.nn.Module, a loss among them; without loading PyTorch."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(thing, torch.nn.Module)


def module_from_torch(module: Any) -> Any:
    """The same network of our layers. Raises TypeError for a class that there is no layer for."""
    from reference import from_torch

    return from_torch(module)
