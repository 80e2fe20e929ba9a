"""Random streams on both sides: noted, lent and given back. scratchnn's states are PyTorch's bytes."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import torch

from scratchnn.checks import Array
from scratchnn.random import Generator, default_generator

__all__ = ["Streams", "scratchnn_stream", "torch_stream"]


@contextmanager
def torch_stream() -> Iterator[None]:
    """PyTorch's CPU generator may be used inside; afterwards it is where it was."""
    state = torch.get_rng_state()
    try:
        yield
    finally:
        torch.set_rng_state(state)


@contextmanager
def scratchnn_stream() -> Iterator[None]:
    """scratchnn's default generator may be used inside; afterwards it is where it was."""
    state = default_generator.get_state()
    try:
        yield
    finally:
        default_generator.set_state(state)


@dataclass
class Streams:
    """Where scratchnn's default generator, and the loader's own if it has one, stand at one moment.

    `torch_generator` is PyTorch's counterpart of the loader's own generator.
    """

    default: Array
    own: Array | None
    generator: Generator | None
    torch_generator: torch.Generator | None

    @classmethod
    def of(cls, data: Any) -> Streams:
        """The state now. `data` is a DataLoader, or anything that has no generator."""
        generator = getattr(data, "generator", None)
        if generator is None or generator is default_generator:
            theirs = None if generator is None else torch.default_generator
            return cls(default_generator.get_state(), None, None, theirs)
        return cls(default_generator.get_state(), generator.get_state(), generator, torch.Generator())

    def bring_torch(self) -> None:
        """Put PyTorch's default generator, and the counterpart of the loader's own, where ours stand."""
        torch.set_rng_state(torch.from_numpy(self.default.copy()))
        if self.own is not None and self.torch_generator is not None:
            self.torch_generator.set_state(torch.from_numpy(self.own.copy()))

    def states(self) -> list[Array]:
        """The states noted here: the default generator's, then the loader's own."""
        return [self.default] if self.own is None else [self.default, self.own]

    def torch_states(self) -> list[Array]:
        """The states that PyTorch's counterparts have now."""
        own = [] if self.own is None or self.torch_generator is None else [self.torch_generator.get_state()]
        return [state.numpy().copy() for state in (torch.get_rng_state(), *own)]

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """scratchnn's generators stand here inside; afterwards they are where they were."""
        now = Streams.of(self)
        self.restore()
        try:
            yield
        finally:
            now.restore()

    def restore(self) -> None:
        """Put scratchnn's generators here."""
        default_generator.set_state(self.default)
        if self.generator is not None and self.own is not None:
            self.generator.set_state(self.own)
