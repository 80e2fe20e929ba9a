"""From slips and what they leave to findings in words, and which explanation is best."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from .case import Slip
from .catalogue import CATALOGUE
from .diagnosis import Finding
from .factors import Atom, Meaning, Meanings, evidence_of, names_of
from .residue import MATCH, Residue, Tensor
from .tape import Change

__all__ = ["Explanation", "State", "Writer", "best"]

MOST_ALTERNATIVES = 6
MOST_READINGS = 32  # of factors that mean several things


@dataclass(frozen=True)
class State:
    """Slips made together, and what is left of each tensor; None where it is not explained.

    Attributes:
        mark: the same for states of the same gradients. scale: the backward starts from so many times dy.
    """

    made: tuple[Slip, ...]
    change: Change
    left: tuple[Residue | None, ...]
    mark: tuple[str, ...]
    scale: float = 1.0

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


def best(found: Sequence[Explanation]) -> list[Explanation]:
    """Those of the fewest mistakes, one for each set of names, the likeliest first."""
    least = min((e.cost[:2] for e in found), default=None)
    unique: dict[tuple[str, ...], Explanation] = {}
    for explanation in sorted(found, key=lambda e: e.cost):
        if explanation.cost[:2] == least:
            unique.setdefault(explanation.names, explanation)
    return list(unique.values())[:MOST_ALTERNATIVES]


Group = tuple[Residue, list[int]]  # a residue, and the numbers of the tensors that have it


class Writer:
    """Writes states down. start: what the right backward leaves; wrong: numbers of the wrong tensors."""

    def __init__(self, tensors: Sequence[Tensor], meanings: Meanings, start: State, wrong: list[int]) -> None:
        self.tensors, self.meanings, self.start, self.wrong = tensors, meanings, start, wrong

    def explanations(self, state: State) -> Iterator[Explanation]:
        """Whatever this state explains of what is wrong."""
        missing = tuple(self.tensors[i].name for i in self.wrong if state.left[i] is None)
        groups = self._groups(state)
        if (state.made and not self._pinned(state)) or not (state.made or groups):
            return
        seen = [i for i, r in enumerate(state.left) if r is not None]
        by_slips = [self._finding(slip, state, seen) for slip in state.made]
        for chosen in itertools.islice(itertools.product(*self._readings(groups)), MOST_READINGS):
            read = list(zip(chosen, groups, strict=True))
            findings = [*by_slips, *self._read(read, bool(by_slips))]
            # A number without a meaning, next to something else, is worth two.
            odd = sum(f.name == "constant-factor" for f in findings) if len(findings) > 1 else 0
            rank = state.rank + sum(meaning.rank for meaning in chosen)
            yield Explanation(tuple(findings), missing, (len(missing), len(findings) + odd, rank))

    def _pinned(self, state: State) -> bool:
        """Some wrong tensor has the very numbers of the slips, and not just a multiple without a meaning.

        Unless that multiple is seen without the slips as well.
        """
        seen = [r.factor for r in self.start.left if r is not None and r.strong]
        left = [r for r in (state.left[i] for i in self.wrong) if r is not None]
        return any(
            r.kind == "weight" or self.meanings.known(r.factor) or any(_near(r.factor, s) for s in seen)
            for r in left
        )

    def _groups(self, state: State) -> list[Group]:
        """Tensors with the same thing left, which is one mistake."""
        groups: list[Group] = []
        if state.scale != 1.0:
            seen = [i for i in self.wrong if _same(self.start.left[i], Residue(factor=state.scale))]
            groups.append((Residue("scaled", state.scale), seen or self.wrong))
        for i, left in enumerate(state.left):
            tensor = self.tensors[i]
            if left is None or left.right or not (tensor.truth.any() or tensor.found.any()):
                continue
            for known, members in groups:
                if _same(known, left):
                    members.append(i)
                    break
            else:
                groups.append((left, [i]))
        return groups

    def _readings(self, groups: Sequence[Group]) -> list[list[Meaning]]:
        """What each group may mean, alone or as something more than what most tensors have."""
        plain = [group for group in groups if group[0].kind != "weight" and group[0].factor not in (0.0, 1.0)]
        if not plain:
            return [self.meanings.read(residue) for residue, _ in groups]
        base = max(plain, key=lambda group: len(group[1]))[0].factor
        return [self._reading(residue, base) for residue, _ in groups]

    def _reading(self, residue: Residue, base: float) -> list[Meaning]:
        alone = self.meanings.read(residue)
        if residue.kind == "weight":
            return alone
        ratio = residue.factor / base
        if residue.factor == 0 or _near(ratio, 1) or not self.meanings.known(ratio):
            return alone
        beyond = self.meanings.read(Residue(residue.kind, ratio))
        common = self.meanings.read(Residue(factor=base))
        both = [
            Meaning(m.rank + c.rank, tuple(dict.fromkeys((*c.atoms, *m.atoms))))
            for m, c in itertools.product(beyond, common)
        ]
        return [*alone, *both]

    # ---- findings ---------------------------------------------------------------------------

    def _read(self, read: list[tuple[Meaning, Group]], besides: bool) -> Iterator[Finding]:
        """A finding for each atom, in all tensors where it is one."""
        places: dict[Atom, list[int]] = {}
        alone: dict[Atom, bool] = {}
        evidence: dict[Atom, list[str]] = {}
        everything = list(range(len(self.tensors)))
        for meaning, (residue, members) in read:
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
            if sentence.startswith(("each ", "every ")):
                sentence = sentence[0].upper() + sentence[1:]
            yield Finding(name, sentence, prefix + "; ".join(evidence[atom]))

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


def _near(a: float, b: float) -> bool:
    return bool(np.abs(a - b) <= MATCH * np.abs(b))


def _same(a: Residue | None, b: Residue) -> bool:
    return a is not None and a.kind == b.kind and _near(a.factor, b.factor)
