"""Mistakes in products: the factors of a gradient taken for each other, turned, or in the wrong order."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from ..checks import Array
from .case import Case, Place, Slip, in_places, named, place_of, product_label
from .tape import Change, Node, Rule, unbroadcast

__all__ = ["matrix_products", "products", "signs"]


def products(case: Case) -> Iterator[Slip]:
    """y = a * b: da is dy * b."""
    for node in case.nodes:
        if node.op != "multiply" or len(node.args) != 2 or node.args[0] is node.args[1]:
            continue
        names = _names(node)
        both: list[Place] = []
        for place, arg in enumerate(node.args):
            if not isinstance(arg, Node):
                continue
            own, other = names[place], names[1 - place]
            y = f"for y = {names[0]} * {names[1]}{place_of(node)}"
            text = f"{y}, d{own} is dy * {own} instead of dy * {other}"
            change = Change(edges={(node.index, place): _times(arg.value, arg.value.shape)})
            both.append((text, 0, change))
            if isinstance(node.args[1 - place], Node):
                change = Change(edges={(node.index, place): _as_it_came(arg.value.shape)})
                yield Slip("derivative-forgotten", f"{y}, d{own} is dy as it came", change, 3)
        yield from in_places("product-swapped", both, "{}".format, 1)


def _times(factor: Array, shape: tuple[int, ...]) -> Rule:
    return lambda dy: unbroadcast(dy * factor, shape)


def _as_it_came(shape: tuple[int, ...]) -> Rule:
    return lambda dy: unbroadcast(dy, shape)


def _names(node: Node) -> list[str]:
    """What to call two factors: a tensor by its name, anything computed a or b."""
    names = []
    for arg, letter in zip(node.args, ("a", "b"), strict=True):
        leaf = named(arg)
        turned = isinstance(arg, Node) and leaf is not None and arg.value.shape == leaf.value.shape[::-1]
        turned = turned and isinstance(arg, Node) and arg.op == "transpose" and arg.value.ndim == 2
        name = letter if leaf is None or not leaf.name else leaf.name.rpartition(".")[2] + ".T" * turned
        names.append(name)
    return names if names[0] != names[1] else ["a", "b"]


# ---- matrix products --------------------------------------------------------------------------


def matrix_products(case: Case) -> Iterator[Slip]:
    """y = a b: da = dy b^T, db = a^T dy; and all else that can be written with these letters."""
    unturned: list[Place] = []
    for node in case.nodes:
        if node.op != "matmul" or np.ndim(node.values()[0]) < 2 or np.ndim(node.values()[1]) != 2:
            continue
        for place, arg in enumerate(node.args):
            if not isinstance(arg, Node):
                continue
            for key, text, rule in _writings(node, place):
                change = Change(edges={(node.index, place): rule})
                yield from in_places(key, [(text, 0 if key == "transpose" else 1, change)], "{}".format)
            weight = named(node.args[1 - place])
            if weight is not None and named(arg) is None and weight.value.shape == weight.value.shape[::-1]:
                factor = node.values()[1 - place]
                rule = _product(factor, False, False, place == 0, arg.value.shape)
                unturned.append((product_label(node), 0, Change(edges={(node.index, place): rule})))
    if len(unturned) > 1:
        yield from in_places(
            "transpose", unturned, "in {} dx is dy times the wrong side of the weight".format
        )


def _writings(node: Node, place: int) -> Iterator[tuple[str, str, Rule]]:
    """(key, text, rule) for every product of dy and a factor that has the shape of what is wanted.

    Leading axes, as in (B, T, D), count as one: dW = x^T dy over all positions.
    """
    values, names = [_flat(v) for v in node.values()], _names(node)
    own, other = names[place], names[1 - place]
    right = f"dy @ {_turn(other)}" if place == 0 else f"{_turn(other)} @ dy"
    dy_shape = _flat(node.value).shape
    for which, factor_turned, dy_turned, dy_first in np.ndindex(2, 2, 2, 2):
        factor, name = (values[1 - place], other) if which == 0 else (values[place], own)
        pair = [
            ("dy.T", dy_shape[::-1]) if dy_turned else ("dy", dy_shape),
            (_turn(name), factor.shape[::-1]) if factor_turned else (name, factor.shape),
        ]
        (first, left), (second, back) = pair if dy_first else pair[::-1]
        text = f"{first} @ {second}"
        if text == right or left[1] != back[0] or (left[0], back[1]) != values[place].shape:
            continue
        key = "transpose" if dy_first == (place == 0) else "product-order"
        said = f"for y = {names[0]} @ {names[1]}{place_of(node)}, d{own} is {text} instead of {right}"
        shape = np.shape(node.values()[place])
        rule = _product(factor, bool(factor_turned), bool(dy_turned), bool(dy_first), shape)
        yield key if which == 0 else "product-swapped", said, rule


def _flat(a: Array) -> Array:
    return a if a.ndim == 2 else a.reshape(-1, a.shape[-1])


def _turn(name: str) -> str:
    return name.removesuffix(".T") if name.endswith(".T") else f"{name}.T"


def _product(
    factor: Array, factor_turned: bool, dy_turned: bool, dy_first: bool, shape: tuple[int, ...]
) -> Rule:
    factor = factor.T if factor_turned else factor

    def rule(dy: Array) -> Array:
        dy = _flat(dy).T if dy_turned else _flat(dy)
        return (dy @ factor if dy_first else factor @ dy).reshape(shape)

    return rule


# ---- signs ------------------------------------------------------------------------------------


def signs(case: Case) -> Iterator[Slip]:
    """Subtraction is where signs get lost: the gradient of b in a - b."""
    places: list[Place] = []
    for node in case.nodes:
        if node.op in ("subtract", "negative"):
            place = 1 if node.op == "subtract" else 0
            arg = node.args[place]
            if isinstance(arg, Node):
                label = f"the minus in {node.scope}" if node.scope else "a minus in the forward"
                change = Change(edges={(node.index, place): _as_it_came(arg.value.shape)})
                places.append((label, 4, change))
    yield from in_places("sign-flipped", places, "{} is not in the backward".format)
