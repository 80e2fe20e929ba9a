"""What it means that gradients are the right ones times a number, or the right ones in another shape."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from .case import Case
from .catalogue import CATALOGUE
from .layout import Sizes
from .residue import MATCH, Residue, Tensor
from .tape import Node

__all__ = ["Atom", "Meaning", "Meanings", "evidence_of", "names_of"]

# What a residue is made of: a kind ("sign", "times", "transposed", ...) and one or two numbers.
Atom: TypeAlias = tuple[str, float, float]


@dataclass(frozen=True)
class Meaning:
    """What one residue may come from: these atoms, together. rank: small is more likely."""

    rank: int
    atoms: tuple[Atom, ...]


def names_of(names: Sequence[str], everything: bool = False) -> str:
    written = [f"d{n}" if n.isidentifier() else f"d({n})" for n in names]
    if len(written) == 1:
        return written[0]
    return "every gradient" if everything else f"each of {', '.join(written)}"


class Meanings:
    """Reads residues. sizes: of the data; squared: a loss known to be so; dloss: of a scalar output."""

    def __init__(self, case: Case | None, sizes: Sizes, squared: bool, dloss: float | None) -> None:
        self.sizes, self.lengths, self.divisors = sizes.means, sizes.lengths, sizes.divisors
        self.constants, self.dloss = sizes.constants, dloss
        self.squared = squared if case is None else _squared_error(case)
        self.divides = case is None or _divides(case)

    def known(self, factor: float) -> bool:
        """The factor means something."""
        return factor in (0.0, 1.0) or any(True for _ in self._numbers(factor))

    def likely(self) -> list[float]:
        """Factors that a whole backward is often off by."""
        counts = [float(n) for n in self.divisors] if self.divides else []
        return [-1.0, 0.5, 2.0, *counts, *(1 / n for n in counts)]

    def read(self, residue: Residue) -> list[Meaning]:
        """What may have left this residue, the likeliest first."""
        if residue.kind == "weight":
            return [Meaning(2, (("weight", residue.factor, 0),))]
        shape: list[Atom] = [] if residue.kind in ("same", "scaled") else [(residue.kind, 0, 0)]
        c = residue.factor
        if c == 1.0:
            found = [Meaning(0, ())]
        elif c == 0:
            found = [Meaning(0, (("zero", 0, 0),))]
        else:
            found = [Meaning(rank, tuple(atoms)) for rank, atoms in self._numbers(c)]
            if self.dloss is not None and _near(c * self.dloss, 1):
                found.append(Meaning(0, (("dloss", 0, 0),)))
        if not found:
            found = [Meaning(5, (("constant", c, 0),))]
        return [Meaning(m.rank, (*shape, *m.atoms)) for m in sorted(found, key=lambda m: m.rank)]

    def _numbers(self, c: float) -> Iterator[tuple[int, list[Atom]]]:
        """(rank, atoms) for each way to make c: of a sign, a 2, and a size or a quotient of two."""
        sign: list[Atom] = [("sign", 0, 0)] if c < 0 else []
        size = abs(c)
        if _near(size, 1):
            if sign:
                yield 0, sign
            return
        two = 1 if self.squared else 2
        ones: list[tuple[int, Atom, float]] = [(two, ("halved", 0, 0), 0.5), (two, ("doubled", 0, 0), 2.0)]
        for n in self.sizes:
            rank = 2 if n == 2 and self.squared else 1
            lost = 3 if n == 2 and not self.divides else rank
            ones += [(lost, ("times", n, 0), float(n)), (rank, ("over", n, 0), 1.0 / n)]
        alone = [(rank, [atom, *sign]) for rank, atom, value in ones if _near(size, value)]
        if alone:
            yield from alone
            return
        for (r, a, va), (s, b, vb) in itertools.product(ones[2:], ones[:2]):
            if _near(size, va * vb):
                # What the forward divides by is what is lost, rather than another size.
                yield r + s + (1 if a[1] in self.divisors else 2), [a, b, *sign]
        for k in self.constants:
            if _near(size, k) or _near(size, 1 / k):
                yield 2, [("times constant" if _near(size, k) else "over constant", k, 0), *sign]
        for n, m in itertools.product(self.sizes, self.lengths) if self.divides else ():
            if n != m and _near(size, n / m):
                yield 4, [("another", n, m), *sign]

    # ---- words ------------------------------------------------------------------------------

    def words(self, atom: Atom, tensors: Sequence[Tensor], names: str, alone: bool) -> tuple[str, str]:
        """(name, sentence) of one atom in these tensors; `alone`: nothing else is wrong with them."""
        kind, n, m = atom
        what = self.sizes.get(int(n), "")
        if kind == "zero":
            return "no-gradient", f"{names} is zero: the backward never computes it, or loses it."
        if kind == "dloss":
            meaning = CATALOGUE["upstream-ignored"].capitalize()
            return "upstream-ignored", f"{meaning}: {names} is the one for dloss = 1."
        if kind == "weight":
            return "weight-term", _of_weight(n, tensors, names, self.dloss)
        if kind == "sign":
            return "sign-flipped", f"{names} has its sign flipped in every entry."
        if kind == "halved":
            where = "the squared error's derivative" if self.squared else "a square's derivative"
            half = "half of the right gradient" if alone else "too small by a 2"
            return "factor-2-dropped", f"{names} is {half}: the 2 of {where} is missing."
        if kind == "doubled":
            twice = "twice the right gradient" if alone else "too large by a 2"
            return (
                "factor-2-doubled",
                f"{names} is {twice}: a 2 (of a squared error?) was multiplied in twice.",
            )
        if kind == "another":
            return "divided-by-another-size", (
                f"{names} is divided by {int(m)} ({self.lengths[int(m)]}), where the forward divides by "
                f"{int(n)} ({what})."
            )
        if kind == "times" and not self.divides:
            return "constant-factor", f"{names} is too large by {int(n)}, which is {what}."
        if kind == "times":
            return "sum-for-mean", (
                f"{names} is {'the right gradient times' if alone else 'too large by'} {int(n)}: {what}. "
                "The forward takes a mean, whose "
                "division is missing from the backward."
            )
        over = "the right gradient divided by" if alone else "too small by"
        if kind == "over" and self.divides:
            return "divided-twice", (
                f"{names} is {over} {int(n)}: {what}. The division of the mean was "
                "made twice: once in the loss, once more after it."
            )
        if kind == "over":
            return "mean-for-sum", (
                f"{names} is {over} {int(n)}: {what}. The forward takes a sum, the "
                "backward is that of a mean."
            )
        if kind in ("times constant", "over constant"):
            return "constant-factor", (
                f"{names} is the right gradient {kind.split()[0]} {n:.6g}, a constant by which the forward "
                "multiplies or divides; the backward must do the same, once."
            )
        if kind == "constant":
            of = f" ({_list(self.sizes)})" if self.sizes else ""
            return "constant-factor", (
                f"{names} is the right gradient times {n:.6g}, which is no size of the data{of}."
            )
        return _of_shape(kind, tensors, names)


def _near(a: float, b: float) -> bool:
    return abs(a - b) <= MATCH * max(abs(a), abs(b))


def _list(sizes: dict[int, str]) -> str:
    return ", ".join(f"{what} is {number}" for number, what in sizes.items())


def _of_weight(c: float, tensors: Sequence[Tensor], names: str, dloss: float | None) -> str:
    much = f"{abs(c) / (dloss or 1.0):.6g} times {', '.join(t.name for t in tensors)}"
    much += " times dloss" if dloss is not None else ""
    if c > 0:
        return (
            f"{names} is the right gradient plus {much}: weight decay, which belongs to the optimizer, or a "
            "penalty's gradient twice."
        )
    return f"{names} is the right gradient minus {much}: a penalty's gradient, or half of it, is missing."


def _of_shape(kind: str, tensors: Sequence[Tensor], names: str) -> tuple[str, str]:
    if kind == "transposed":
        return (
            "transpose",
            f"{names} is the transpose of the right gradient: one .T too few, or one too many.",
        )
    if kind == "turned":
        text = f"{names} is the transpose of the right gradient, reshaped; use .T where it is reshaped."
        return "transpose", text
    pairs = " and ".join(dict.fromkeys(f"{t.found.shape} instead of {t.truth.shape}" for t in tensors))
    return "wrong-shape", f"{names} has the right numbers in shape {pairs}."


def evidence_of(residue: Residue, names: str) -> str:
    """What the numbers say, where a tensor's residue is this one."""
    c = residue.factor
    if residue.kind == "weight":
        return f"{names} less the right gradient is {c:.6g} times the tensor itself in every entry"
    if residue.kind == "scaled":
        return f"the backward starts from {c:.6g} times dy"
    if residue.kind == "same":
        return f"{names} is the right gradient times {c:.6g} in every entry"
    times = "" if c == 1.0 else f", times {c:.6g}"
    if residue.kind == "reshaped":
        return f"the numbers of {names} in order are the right ones{times}"
    return f"the numbers of {names} in order are those of the transpose{times}"


# ---- what the forward says --------------------------------------------------------------------


def _squared_error(case: Case) -> bool:
    """A difference that is squared stands in the forward."""
    for node in case.nodes:
        if node.op == "square":
            return True
        if node.op in ("multiply", "power") and len(node.args) == 2:
            a, b = node.values()
            if node.op == "power" and np.all(np.asarray(b) == 2):
                return True
            if node.op == "multiply" and np.shape(a) == np.shape(b) and np.array_equal(a, b):
                return True
    return False


def _divides(case: Case) -> bool:
    """The forward has a mean, or a division by a constant."""
    for node in case.nodes:
        if node.op == "mean":
            return True
        if node.op in ("divide", "multiply"):
            for arg in node.args:
                if (
                    not isinstance(arg, Node)
                    and np.ndim(arg) == 0
                    and float(arg) not in (0.0, 1.0, -1.0, 2.0)
                ):
                    return True
    return False
