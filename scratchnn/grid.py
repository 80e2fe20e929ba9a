"""One architecture, many settings: every combination of a grid, trained in one call of `fit_many`."""

from __future__ import annotations

import inspect
import itertools
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from .checks import as_function, as_list, as_mapping, as_seed, shown
from .layers import Module
from .losses import Loss
from .many import Many, fit_many
from .optim import Optimizer
from .random import default_generator, manual_seed

__all__ = ["fit_grid"]


def fit_grid(
    make: Callable[..., tuple[Module, Optimizer]],
    loss_fn: Loss,
    X: Any,
    y: Any,
    *,
    grid: Mapping[str, Iterable[Any]],
    seeds: Iterable[int] = (0,),
    **options: Any,
) -> Many:
    """Train one network for each combination of the grid's values and each seed.

        def make(hidden, lr):
            model = snn.MLP(2, hidden, 1, "tanh", "sigmoid")
            return model, snn.Adam(model.parameters(), lr=lr)

        many = snn.fit_grid(make, snn.BCELoss(), X, y, epochs=100, seeds=range(20),
                            grid={"hidden": [1, 2, 3], "lr": [0.1, 0.01]})
        many.table()                          # 120 rows: param_hidden, param_lr, seed, train_loss, ...

    Args:
        make: gives (model, optimizer) for one value of each name in the grid. It is called after
            `manual_seed(seed)`, so its weights are drawn from the seed; batches are drawn from the seed too.
        loss_fn, X, y: as `fit_many` takes them.
        grid: {argument of `make`: its values}, as scikit-learn's ParameterGrid; the last name varies
            fastest, the seed faster still.
        seeds: of every combination.
        options: `epochs` and whatever else `fit_many` takes, but `seeds` and `labels`.
    Returns:
        Many, with a column `param_<name>` in its results for each name of the grid. The default
        generator is left where it was.
    Raises:
        TypeError: `make` does not take the grid's names, or gives no pair of model and optimizer.
        ValueError: a name or `seeds` without values. Whatever `fit_many` raises.
    """
    as_function("fit_grid", "make", make, "a function that returns (model, optimizer)")
    given = as_mapping("fit_grid", "grid", grid, "a dict {argument of make: its values}")
    for name in given:
        if not isinstance(name, str):
            raise TypeError(f"fit_grid got {shown(name)} as a name in grid; it needs the name of an argument")
    values = {n: as_list("fit_grid", f"grid[{n!r}]", choices, "values") for n, choices in given.items()}
    chosen_seeds = [
        as_seed("fit_grid", f"seeds[{i}]", seed)
        for i, seed in enumerate(as_list("fit_grid", "seeds", seeds, "ints"))
    ]
    if empty := [name for name, choices in {**values, "seeds": chosen_seeds}.items() if not choices]:
        raise ValueError(f"fit_grid got no values for {', '.join(empty)}; give each at least one")
    settings = [
        dict(zip(values, combination, strict=True)) for combination in itertools.product(*values.values())
    ]
    try:
        inspect.signature(make).bind(**settings[0])
    except TypeError as error:
        names = ", ".join(values) or "nothing"
        raise TypeError(f"fit_grid calls make({names}), which it does not take: {error}") from error
    runs = [(setting, seed) for setting in settings for seed in chosen_seeds]
    before = default_generator.get_state()
    try:
        made = [_make(make, setting, seed) for setting, seed in runs]
    finally:
        default_generator.set_state(before)
    return fit_many(
        [model for model, _ in made],
        loss_fn,
        [optimizer for _, optimizer in made],
        X,
        y,
        seeds=[seed for _, seed in runs],
        labels={name: [setting[name] for setting, _ in runs] for name in values},
        **options,
    )


def _make(make: Callable[..., Any], setting: dict[str, Any], seed: int) -> tuple[Module, Optimizer]:
    manual_seed(seed)
    made = make(**setting)
    if not (
        isinstance(made, tuple)
        and len(made) == 2
        and isinstance(made[0], Module)
        and isinstance(made[1], Optimizer)
    ):
        raise TypeError(f"fit_grid needs make to return (model, optimizer); it returned {made!r}")
    return made
