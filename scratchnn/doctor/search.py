"""Which mistakes, together, give the gradients at hand.

A state is a set of slips made in one backward, and what it leaves unexplained of each tensor: nothing, a
factor, a shape, or everything. The search begins with the right backward and adds the slips that explain
a tensor more. The fewest mistakes win; among as many, the likeliest.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from ..checks import Array
from .case import Case, Slip
from .catalogue import slips
from .explanation import Explanation, State, Writer, best
from .factors import Meanings
from .residue import MATCH, RIGHT, Residue, Tensor, common_factor
from .tape import NOTHING, Change

__all__ = ["explain"]

MOST_SLIPS = 3  # in one explanation
STATES = 6  # kept from one round to the next
PAIRS = 3000  # tried where no slip alone explains a tensor
LIKELY = 4  # the rank up to which they are tried in pairs
NOT_LINEAR = ("derivative-at-gradient", "relu-mask-from-gradient")  # in dy


def explain(case: Case | None, tensors: Sequence[Tensor], meanings: Meanings) -> list[Explanation]:
    """The best explanations, of as many mistakes each, the likeliest first; partial where none is whole."""
    return best(Search(case, tensors, meanings).run())


class Search:
    """One run of it."""

    def __init__(self, case: Case | None, tensors: Sequence[Tensor], meanings: Meanings) -> None:
        self.case, self.tensors, self.meanings = case, tensors, meanings
        self.wrong = [i for i, t in enumerate(tensors) if not t.free and t.residue(t.truth) != RIGHT]
        self.found: list[Explanation] = []

    def run(self) -> list[Explanation]:
        truth = [t.truth for t in self.tensors]
        self.right = _mark(truth)
        start = State((), NOTHING, self._left(truth, strict=False), self.right)
        self.writer = Writer(self.tensors, self.meanings, start, self.wrong)
        self._keep(start)
        if self.case is None or not self.wrong:
            return self.found
        self.slips = list(slips(self.case))
        kept, number = [start, *self._scaled(start)], 0
        while kept and number < MOST_SLIPS and not self._settled(number):
            grown = [(old, state) for old in kept for state in self._with_one_more(old)]
            gained = [state for old, state in grown if self._gains(old, state)]
            whole = [new for old, new in grown if None not in new.left and not _alike(old.left, new.left)]
            for state in [*gained, *whole]:
                self._keep(state)
            kept = _best(gained)
            number += 1
            if number == 1 and not kept and not self._settled(number):
                self._pairs(self.case, [state for old, state in grown if old is start])
                self._scaled_rules(self.case)
        return self.found

    def _scaled(self, start: State) -> Iterator[State]:
        """A factor above everything: rules that are not linear in dy see it."""
        factors = dict.fromkeys(
            r.factor for r in start.left if r is not None and r.kind == "same" and r.strong
        )
        for factor in factors:
            if self.case is not None and factor not in (0.0, 1.0) and self.meanings.known(factor):
                yield self._times(self.case, factor)

    def _times(self, case: Case, factor: float) -> State:
        change = Change(cotangent=factor * case.cotangent)
        gradients = case.gradients(change)
        return State((), change, self._left(gradients, strict=True), _mark(gradients), factor)

    def _scaled_rules(self, case: Case) -> None:
        """A factor that no tensor shows, since the rule right below it is not linear in dy."""
        for factor in self.meanings.likely():
            scaled = self._times(case, factor)
            for slip in self.slips:
                if slip.key in NOT_LINEAR:
                    state = self._state(scaled, slip)
                    if state is not None and None not in state.left:
                        self._keep(state)

    def _keep(self, state: State) -> None:
        if not self._spoils(state):
            self.found += self.writer.explanations(state)

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

    def _state(self, old: State, slip: Slip) -> State | None:
        """The old slips and one more; None where the two cannot be."""
        assert self.case is not None
        try:
            change = old.change | slip.change
            gradients = self.case.gradients(change)
        except (ValueError, IndexError):
            return None
        left = self._left(gradients, True, any(s.stretched for s in (*old.made, slip)))
        if len(slip.factors) > 1:
            if all(
                common_factor(t.truth, g) is not None for t, g in zip(self.tensors, gradients, strict=True)
            ):
                return None  # a plain factor, which has a name of its own
            if np.isclose(self._common(left) or np.nan, slip.factors, rtol=MATCH, atol=0).any():
                left = (RIGHT,) * len(left)
        return State((*old.made, slip), change, left, _mark(gradients), old.scale)

    def _gains(self, old: State, new: State) -> bool:
        """More of what is wrong is explained, and nothing less than before."""
        pairs = list(zip(old.left, new.left, strict=True))
        return (
            not self._spoils(new) and all(n or not o for o, n in pairs) and any(n and not o for o, n in pairs)
        )

    def _spoils(self, state: State) -> bool:
        return any(r != RIGHT for i, r in enumerate(state.left) if i not in self.wrong)

    def _left(
        self, gradients: Sequence[Array], strict: bool, stretched: bool = False
    ) -> tuple[Residue | None, ...]:
        left = [t.residue(g, stretched) for t, g in zip(self.tensors, gradients, strict=True)]
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

    def _pairs(self, case: Case, states: list[State]) -> None:
        """Two slips that all wrong tensors see: neither explains anything alone."""
        unique: dict[tuple[str, ...], State] = {}
        for state in sorted(states, key=lambda s: s.rank):
            likely = state.rank <= LIKELY and not self._spoils(state)
            if likely and all(self._moves(state, i) for i in self.wrong):
                unique.setdefault(state.mark, state)
        pairs = sorted(
            itertools.combinations(unique.values(), 2), key=lambda pair: pair[0].rank + pair[1].rank
        )
        last = self._used_last(case)
        for first, second in pairs[:PAIRS]:
            try:
                gradient = case.gradient(case.tape.leaves[last], first.change | second.change)
            except (ValueError, IndexError):
                continue
            if self.tensors[last].residue(gradient) is not None:
                both = self._state(first, second.made[0])
                if both is not None and None not in both.left:
                    self._keep(both)

    def _used_last(self, case: Case) -> int:
        """The wrong tensor that the forward uses last: its gradient is the least work."""
        uses = case.tape.consumers()
        there = [i for i in self.wrong if not self.tensors[i].free]
        return max(there, key=lambda i: min((n.index for n in uses[case.tape.leaves[i].index]), default=0))

    def _moves(self, state: State, i: int) -> bool:
        return self.tensors[i].free or state.mark[i] != self.right[i]


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
