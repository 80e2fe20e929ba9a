"""Which mistakes, together, give the gradients at hand.

A state is a set of slips made in one backward, and what it leaves unexplained of each tensor: nothing, a
factor, a shape, or everything. The search begins with the right backward and adds the slips that explain
a tensor more. The fewest mistakes win; among as many, the likeliest.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from ..checks import Array
from .case import Case, Slip
from .catalogue import CATALOGUE, slips
from .diagnosis import Finding
from .factors import Atom, Meaning, Meanings, evidence_of, names_of
from .residue import RIGHT, Residue, Tensor, common_factor
from .tape import NOTHING, Change

__all__ = ["Explanation", "best", "explain"]

MOST_SLIPS = 3  # in one explanation
STATES = 6  # kept from one round to the next
PAIRS = 1500  # tried where no slip alone explains a tensor
MOST_ALTERNATIVES = 6
MOST_READINGS = 16  # of factors that mean several things


@dataclass(frozen=True)
class State:
    """Slips made together, and what is left of each tensor; None where it is not explained.

    Attributes:
        mark: the same for states of the same gradients.
    """

    made: tuple[Slip, ...]
    change: Change
    left: tuple[Residue | None, ...]
    mark: tuple[str, ...]

    @property
    def explained(self) -> int:
        return sum(residue is not None for residue in self.left)

    @property
    def rank(self) -> int:
        return sum(slip.rank for slip in self.made)


@dataclass(frozen=True)
class Explanation:
    """Findings that together give the gradients at hand, but for the tensors in `missing`.

    cost: small is better: (tensors unexplained, mistakes, how unlikely they are).
    """

    findings: tuple[Finding, ...]
    missing: tuple[str, ...]
    cost: tuple[int, int, int]

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted({finding.name for finding in self.findings}))

    def with_one_more(self) -> tuple[int, int, int]:
        """The cost with one mistake besides, which is a likely one."""
        missing, count, rank = self.cost
        return missing, count + 1, rank - 1


def explain(case: Case | None, tensors: Sequence[Tensor], meanings: Meanings) -> list[Explanation]:
    """The best explanations, of as many mistakes each, the likeliest first; partial where none is whole."""
    return best(Search(case, tensors, meanings).run())


def best(found: Sequence[Explanation]) -> list[Explanation]:
    """Those of the fewest mistakes, one for each set of names, the likeliest first."""
    least = min((e.cost[:2] for e in found), default=None)
    unique: dict[tuple[str, ...], Explanation] = {}
    for explanation in sorted(found, key=lambda e: e.cost):
        if explanation.cost[:2] == least:
            unique.setdefault(explanation.names, explanation)
    return list(unique.values())[:MOST_ALTERNATIVES]


class Search:
    """One run of it."""

    def __init__(self, case: Case | None, tensors: Sequence[Tensor], meanings: Meanings) -> None:
        self.case, self.tensors, self.meanings = case, tensors, meanings
        self.wrong = [i for i, t in enumerate(tensors) if not t.free and t.residue(t.truth) != RIGHT]
        self.found: list[Explanation] = []

    def run(self) -> list[Explanation]:
        left = self._left([t.truth for t in self.tensors], strict=False)
        self.right = _mark([t.truth for t in self.tensors])
        start = State((), NOTHING, left, self.right)
        self._keep(start)
        if self.case is None:
            return self.found
        self.slips = list(slips(self.case))
        kept, number = [start], 0
        while kept and number < MOST_SLIPS and not self._settled(number):
            grown = [(old, state) for old in kept for state in self._with_one_more(old)]
            gained = [state for old, state in grown if self._gains(old, state)]
            whole = [new for old, new in grown if None not in new.left and not _alike(old.left, new.left)]
            for state in [*gained, *whole]:
                self._keep(state)
            kept = _best(gained)
            number += 1
            if number == 1 and not kept and not self._settled(number):
                self._pairs([state for _, state in grown])
        return self.found

    def _settled(self, made: int) -> bool:
        """One more slip than `made` would give nothing better than what is found."""
        whole = [e for e in self.found if not e.missing]
        plain = [e for e in whole if "constant-factor" not in e.names]
        return any(e.cost[1] <= made for e in whole) or any(0 < made >= e.cost[1] - 1 for e in plain)

    # ---- states -----------------------------------------------------------------------------

    def _with_one_more(self, old: State) -> Iterator[State]:
        for slip in self.slips:
            if slip not in old.made:
                state = self._state(old, slip)
                if state is not None:
                    yield state

    def _state(self, old: State, slip: Slip, whole: bool = False) -> State | None:
        """The old slips and one more; None where the two cannot be, or do not explain the `whole`."""
        assert self.case is not None
        try:
            change = old.change | slip.change
            gradients = self.case.gradients(change)
        except (ValueError, IndexError):
            return None
        if whole and any(self.tensors[i].residue(gradients[i]) is None for i in self.wrong):
            return None
        left = self._left(gradients, strict=True)
        if len(slip.factors) > 1:
            if all(
                common_factor(t.truth, g) is not None for t, g in zip(self.tensors, gradients, strict=True)
            ):
                return None  # a plain factor, which has a name of its own
            if self._common(left) in slip.factors:
                left = (RIGHT,) * len(left)
        return State((*old.made, slip), change, left, _mark(gradients))

    def _gains(self, old: State, new: State) -> bool:
        """More of what is wrong is explained, and nothing less than before."""
        pairs = list(zip(old.left, new.left, strict=True))
        return (
            not self._spoils(new) and all(n or not o for o, n in pairs) and any(n and not o for o, n in pairs)
        )

    def _spoils(self, state: State) -> bool:
        return any(r != RIGHT for i, r in enumerate(state.left) if i not in self.wrong)

    def _left(self, gradients: Sequence[Array], strict: bool) -> tuple[Residue | None, ...]:
        left = [t.residue(g) for t, g in zip(self.tensors, gradients, strict=True)]
        strong = [r.factor for r in left if r is not None and r.strong]
        # A factor without a meaning is believed of many entries, or where many share it.
        return tuple(
            None
            if r is not None
            and not r.strong
            and not self.meanings.known(r.factor)
            and not any(abs(r.factor - f) <= 1e-9 * abs(f) for f in strong)
            and (strict or len(self.wrong) > 1)
            else r
            for r in left
        )

    def _common(self, left: Sequence[Residue | None]) -> float | None:
        """The factor that all wrong tensors share, if they do."""
        factors = [
            r.factor if r is not None and r.kind == "same" else np.nan for r in (left[i] for i in self.wrong)
        ]
        if not factors or np.isnan(factors).any() or np.ptp(factors) > 1e-9 * max(map(abs, factors)):
            return None
        return float(factors[0])

    def _pairs(self, states: list[State]) -> None:
        """Two slips that all wrong tensors see: neither explains anything alone."""
        unique: dict[tuple[str, ...], State] = {}
        for state in sorted(states, key=lambda s: s.rank):
            if not self._spoils(state) and all(self._moves(state, i) for i in self.wrong):
                unique.setdefault(state.mark, state)
        pairs = itertools.combinations(unique.values(), 2)
        for first, second in itertools.islice(pairs, PAIRS):
            both = self._state(first, second.made[0], whole=True)
            if both is not None:
                self._keep(both)

    def _moves(self, state: State, i: int) -> bool:
        return self.tensors[i].free or state.mark[i] != self.right[i]

    # ---- explanations -----------------------------------------------------------------------

    def _keep(self, state: State) -> None:
        """Whatever this state explains of what is wrong."""
        if self._spoils(state) or (state.made and not self._pinned(state)):
            return
        missing = tuple(self.tensors[i].name for i in self.wrong if state.left[i] is None)
        groups = self._groups(state.left)
        if not state.made and not groups:
            return
        seen = [i for i, r in enumerate(state.left) if r is not None]
        by_slips = [self._finding(slip, state, seen) for slip in state.made]
        choices = itertools.product(*(self.meanings.read(residue) for residue, _ in groups))
        for chosen in itertools.islice(choices, MOST_READINGS):
            read = [(meaning, residue, i) for meaning, (residue, i) in zip(chosen, groups, strict=True)]
            findings = [*by_slips, *self._read(read, bool(by_slips))]
            # A number without a meaning, next to something else, is worth two.
            odd = len(findings) > 1 and any(f.name == "constant-factor" for f in findings)
            rank = state.rank + sum(meaning.rank for meaning in chosen)
            cost = (len(missing), len(findings) + odd, rank)
            self.found.append(Explanation(tuple(findings), missing, cost))

    def _pinned(self, state: State) -> bool:
        """Some wrong tensor has the very numbers of the slips, and not just a multiple."""
        left = [state.left[i] for i in self.wrong]
        return any(r is not None and self.meanings.known(r.factor) for r in left)

    def _read(self, read: list[tuple[Meaning, Residue, list[int]]], besides: bool) -> Iterator[Finding]:
        """A finding for each atom, in all tensors where it is one."""
        places: dict[Atom, list[int]] = {}
        alone: dict[Atom, bool] = {}
        evidence: dict[Atom, list[str]] = {}
        everything = list(range(len(self.tensors)))
        for meaning, residue, members in read:
            names = names_of([self.tensors[i].name for i in members], members == everything)
            for atom in meaning.atoms:
                places[atom] = sorted({*places.get(atom, []), *members})
                alone[atom] = alone.get(atom, True) and len(meaning.atoms) == 1
                evidence.setdefault(atom, []).append(evidence_of(residue, names))
        prefix = "with the other mistake made as well, " if besides else ""
        for atom, members in places.items():
            tensors = [self.tensors[i] for i in members]
            names = names_of([t.name for t in tensors], members == everything)
            name, sentence = self.meanings.words(atom, tensors, names, alone[atom])
            yield Finding(name, sentence, prefix + "; ".join(evidence[atom]))

    def _groups(self, left: Sequence[Residue | None]) -> list[tuple[Residue, list[int]]]:
        """Tensors with the same thing left, which is one mistake."""
        groups: list[tuple[Residue, list[int]]] = []
        for i, residue in enumerate(left):
            if (
                residue is None
                or residue.right
                or not (self.tensors[i].truth.any() or self.tensors[i].found.any())
            ):
                continue
            for known, members in groups:
                if known.kind == residue.kind and abs(known.factor - residue.factor) <= 1e-9 * abs(
                    known.factor
                ):
                    members.append(i)
                    break
            else:
                groups.append((residue, [i]))
        return groups

    def _finding(self, slip: Slip, state: State, seen: list[int]) -> Finding:
        meaning = CATALOGUE[slip.key]
        names = [self.tensors[i].name for i in seen if not self.tensors[i].free]
        wrong = [self.tensors[i].name for i in seen if i in self.wrong]
        alone = len(state.made) == 1 and all(r is None or r.right for r in state.left)
        evidence = (
            f"a backward pass with {'just this mistake' if alone else 'these mistakes'} gives the gradients "
            f"at hand, in every entry of {', '.join(names)}; wrong among them: {', '.join(wrong)}"
        )
        return Finding(slip.key, f"{meaning[0].upper()}{meaning[1:]}: {slip.text}.", evidence)


def _best(states: list[State]) -> list[State]:
    """The few that explain most, one of each that give the same gradients."""
    unique: dict[tuple[str, ...], State] = {}
    for state in sorted(states, key=lambda s: (-s.explained, s.rank)):
        unique.setdefault(state.mark, state)
    return list(unique.values())[:STATES]


def _alike(old: Sequence[Residue | None], new: Sequence[Residue | None]) -> bool:
    """A slip that changed too little to tell: the same is left as before."""
    return all(
        o is not None
        and n is not None
        and o.kind == n.kind
        and abs(o.factor - n.factor) <= 1e-6 * abs(o.factor)
        for o, n in zip(old, new, strict=True)
    )


def _mark(gradients: Sequence[Array]) -> tuple[str, ...]:
    return tuple(f"{float(np.cos(np.arange(g.size)) @ g.ravel()):.6e}{g.shape}" for g in gradients)
