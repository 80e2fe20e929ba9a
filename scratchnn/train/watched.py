"""What a plan was made from, and whether it is still so.

A compiled run reads model, loss, optimizer and loader once, and callbacks may change any of them between two
epochs. So each block of epochs begins with a look: the attributes of all these objects are compared by
identity with those that were read, without running any code of theirs. What changes in place without that
(the values of parameters, data, labels and the optimizer's state) is read anew for every block anyway.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from operator import is_, itemgetter
from typing import Any

import numpy as np

from ..data import DataLoader, Subset
from ..layers import Module, Parameter
from ..losses import Loss
from ..optim import Optimizer

__all__ = ["Watched", "datasets_of"]

OF_A_STEP = ("grad", "state")  # public attributes that every step changes


class Watched:
    """The objects of a run as they are now.

    Args:
        loader: None where the data are a pair.
    """

    def __init__(self, model: Module, loss_fn: Loss, optimizer: Optimizer, loader: DataLoader | None) -> None:
        self.optimizer = optimizer
        modules = list(model.modules())
        parameters = [
            value for one in modules for value in vars(one).values() if isinstance(value, Parameter)
        ]
        losses = [loss_fn, *([loss_fn.base] if hasattr(loss_fn, "base") else [])]
        data = [] if loader is None else [loader, *datasets_of(loader.dataset)]
        every = [*modules, *parameters, *losses, optimizer, *data]
        self.objects = list({id(one): one for one in every}.values())
        self.types = [*map(type, self.objects)]
        self.names = self._names()
        pairs = [(one, name) for one in self.objects for name in vars(one)]
        counting = [position for position, pair in enumerate(pairs) if _counts(*pair)]
        self._pick = itemgetter(*counting)
        self.values = self._values()
        # Of these the content counts as well.
        hooks: list[Any] = [one._hooks for one in modules if one._hooks is not None]
        weights = [v for loss in losses for v in vars(loss).values() if isinstance(v, (list, np.ndarray))]
        self.containers = hooks + weights
        self.contents = self._contents()
        self.groups = list(optimizer.param_groups)
        self.members = self._members()
        self.rates = self._rates()

    def unchanged(self) -> bool:
        """All is as it was, the optimizer's rates apart."""
        return (
            [*map(type, self.objects)] == self.types
            and self._names() == self.names
            and all(map(is_, self._values(), self.values))
            and _same(self.optimizer.param_groups, self.groups)
            and _same(self._members(), self.members)
            and self._contents() == self.contents
        )

    def new_rates(self) -> bool:
        """The optimizer's groups hold other values than at the last look."""
        rates = self._rates()
        changed = not _same(rates, self.rates)
        self.rates = rates
        return changed

    def _names(self) -> list[str]:
        return [*chain.from_iterable(map(vars, self.objects))]

    def _values(self) -> tuple[Any, ...]:
        found: tuple[Any, ...] = self._pick([*chain.from_iterable(map(_held_by, self.objects))])
        return found

    def _contents(self) -> list[Any]:
        return [*map(_content, self.containers)]

    def _members(self) -> list[Any]:
        return [parameter for group in self.optimizer.param_groups for parameter in group.get("params", ())]

    def _rates(self) -> list[Any]:
        return [value for group in self.optimizer.param_groups for value in group.values()]


def _held_by(one: Any) -> Iterable[Any]:
    return vars(one).values()


def _same(now: list[Any], then: list[Any]) -> bool:
    return len(now) == len(then) and all(map(is_, now, then))


def _content(container: Any) -> Any:
    if isinstance(container, np.ndarray):
        return (container.shape, container.dtype, container.tobytes())
    return repr(container) if isinstance(container, list) else list(container.items())


def _counts(one: Any, name: str) -> bool:
    """The attribute bears on a plan: it is public, hooks, or stands before a function of the class."""
    if name in OF_A_STEP:
        return False
    return not name.startswith("_") or name == "_hooks" or callable(getattr(type(one), name, None))


def datasets_of(dataset: Any) -> Iterator[Any]:
    """A dataset, and those it picks its rows from."""
    while hasattr(dataset, "__dict__"):
        yield dataset
        if not isinstance(dataset, Subset):
            return
        dataset = dataset.dataset
