"""Find what a program trains: on which arrays its output depends, and where their gradients are.

Two backwards with different upstream gradients show which arrays are gradients. A name says whose one is;
where there is none, the array that agrees with the measured derivative is it. What is left is not checked.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from ..checks import Array
from ..layers import Parameter
from .adopt import Adopted, Positions, Source, Value
from .agreement import Agreement
from .form import RATE, Form
from .match import Candidate, match
from .memory import families, positions
from .names import RATES, TARGETS, is_named, is_weight, rank
from .observe import Seen, differs, forward, observe
from .returned import leaves
from .subject import ModuleSubject, argument_names, held_random, unknown_constant
from .world import ARGUMENTS, OUTSIDE, Address, Place, World

__all__ = ["FLOATS", "discover", "read", "ready"]

DATA = TARGETS.union(["x", "xs", "xb", "inputs", "input", "data", "batch", "images", "features", "x_train"])
FLOATS = ("array", "list")  # kinds of places
SEED = 0x5EA2C4
PROBES = (1e-3, 1.0)  # moves of an array, in units of its largest entry
POINTS = 3  # at which dependence is looked for


def discover(form: Form, subject: Any, inputs: Sequence[Any], constants: Sequence[Any] = ()) -> Adopted:
    """A Module around a copy of the program, with all its arrays and their gradients.

    Raises:
        TypeError: forward and backward are called in no known way. ValueError: an unknown constant.
    """
    forward, _ = form.functions(subject)
    arguments = [ready(x) for x in inputs]
    original = World(subject, arguments, argument_names(forward, len(arguments)))
    fixed = _constants(original, constants, dict(zip(map(id, inputs), arguments, strict=True)))
    world, later = read(form, original)
    if later is not None:
        known = {place.address for place in world.places()}
        if _Search(later, form, fixed).needs({p.address for p in later.places()} - known):
            world = later
    return _Search(world, form, fixed).result()


def read(form: Form, original: World) -> tuple[World, World | None]:
    """(the program in float64, the program after a forward if that made arrays which stay).

    A layer that makes its weights when it sees the first input has none before.
    """
    with held_random():
        world = original.in_float64()
        ran = copy.deepcopy(world)
        form.read(ran)
        known = {place.address for place in world.places()}
        made = {p.address: p.thing for p in ran.places() if p.address not in known and p.kind in FLOATS}
        if made:
            form.run_forward(ran)
        stays = any(made.get(p.address) is p.thing and not _given(p) for p in ran.places())
        return world, ran if made and stays else None


def ready(x: Any) -> Any:
    """An argument of forward, a copy: lists of numbers become arrays."""
    if isinstance(x, (np.floating, np.ndarray)):
        return np.array(x, subok=True)
    if not isinstance(x, list):
        return x
    try:
        array = np.array(x)
    except ValueError:  # of arrays of several shapes
        return x
    return array if array.dtype.kind in "biuf" and not any(isinstance(y, np.ndarray) for y in x) else x


def _constants(world: World, constants: Sequence[Any], given: dict[int, Any]) -> dict[Address, str]:
    """{address: name} of the arrays that the user calls constant, by name or by the array itself."""
    places = [place for place in world.places() if place.kind in (*FLOATS, "integers")]
    ways = {(*edge, key): place for place in places for edge, key in place.edges}
    found: dict[Address, str] = {}
    for constant in constants:
        if isinstance(constant, str):
            chosen = [place for way, place in ways.items() if constant == shown(world, way)]
        else:
            thing = constant.data if isinstance(constant, Parameter) else given.get(id(constant), constant)
            chosen = [place for place in places if place.thing is thing]
        if not chosen:
            raise ValueError(
                unknown_constant(constant, list(dict.fromkeys(shown(world, way) for way in ways)))
            )
        found.update((place.address, shown(world, place.address)) for place in chosen)
    return found


def shown(world: World, address: Address) -> str:
    """The name of an array; a Parameter's is its own."""
    *before, last = address
    inside = last == ("attribute", "data") and isinstance(world.get(tuple(before)), Parameter)
    return world.name(tuple(before) if inside else address)


class _Search:
    def __init__(self, world: World, form: Form, fixed: dict[Address, str]) -> None:
        self.world, self.form, self.fixed = world, form, fixed
        self.rng = np.random.default_rng(SEED)
        self.inputs = [
            self._input(i)
            for i, x in enumerate(world.arguments)
            if _is_float(x) and _argument(i) not in fixed
        ]

    def _input(self, i: int) -> Value:
        name = self.world.argument_names[i]
        # backward calls it dx, dinputs or grad_input, whatever forward calls it.
        names = [name] if self.world.arguments[:i] and i else [name, "x"]
        return Value(name, self.world.arguments[i], [([n], None) for n in names], argument=i)

    def needs(self, addresses: set[Address]) -> bool:
        """The output depends on an array at one of these."""
        values = [*self.inputs, *self._weights()]
        self.subject = _subject(self.world, self.form, values)
        depends = self._dependent(values)
        return any(v.address in addresses for v in values if v.argument is None and id(v) in depends)

    def result(self) -> Adopted:
        """The program with what was found."""
        bare = Adopted(self.world, self.form, self.inputs, [])
        y = forward(bare)
        self.dys = [
            self.rng.standard_normal(y.shape) if self.form.upstream else np.ones(y.shape) for _ in range(2)
        ]
        values = [*self.inputs, *self._weights()]
        self.subject = _subject(self.world, self.form, values)
        depends = self._dependent(values)
        try:
            first = observe(bare, self.dys[0])
        except Exception as error:  # found again, by those who call it, where it is judged
            made = self._finished([v for v in values if id(v) in depends], [])
            made.broken = error
            return made
        self._forget(first, depends)
        trained = [v for v in values if v.argument is not None or id(v) in depends]
        seen = [observe(bare, dy) for dy in self.dys]
        for value in trained:
            value.moves = value.argument is None and value.address not in seen[0].kept
        candidates = list(self._candidates(seen[0], seen[1], trained))
        trained += self._rare(seen[0], candidates) + self._unused(seen[0], candidates, values, depends)
        self.subject = _subject(self.world, self.form, trained)
        match(trained, candidates, Agreement(self.subject, trained, self.dys[0], self.rng))
        for value in trained:
            if not value.sources and value.argument is None:
                self._from_update(value, seen[0])
        checked = [v for v in trained if v.sources]
        return self._finished(checked, [v for v in trained if not v.sources and id(v) in depends], seen[0])

    def _finished(self, checked: list[Value], left: list[Value], seen: Seen | None = None) -> Adopted:
        inputs = [v for v in checked if v.argument is not None]
        made = Adopted(self.world, self.form, inputs, [v for v in checked if v.argument is None])
        given = [value for value in left if seen is not None and self._is_given(value, seen)]
        made.unchecked = [value for value in left if value not in given]
        made.constants = [*self.fixed.values(), *(value.name for value in given)]
        return made

    # ---- what the output depends on ----------------------------------------------------------------

    def _weights(self) -> list[Value]:
        """Every array of floats but those that forward is called with; views belong to what they view."""
        places = [p for p in self.world.places() if p.kind in FLOATS and not _given(p)]
        places = [p for p in places if p.address not in self.fixed]
        arrays = [p.thing for p in places if p.kind == "array"]
        relatives = {id(a): family for family in families(arrays) for a in family}
        values, seen = [], set()
        for place in places:
            family = relatives.get(id(place.thing)) if place.kind == "array" else None
            found = positions(family) if family else None
            if found is None:
                values.append(self._value([(place, None)]))
            elif id(family) not in seen:
                seen.add(id(family))
                whole, where = found
                kin = [p for p in places if id(p.thing) in where]
                kin.sort(key=lambda p: p.thing is not whole)
                values.append(
                    self._value([(p, None if p.thing is whole else where[id(p.thing)]) for p in kin])
                )
        return values

    def _value(self, places: list[tuple[Place, Positions]]) -> Value:
        first = places[0][0]
        names = [
            (self.world.steps((*container, key)), positions)
            for place, positions in places
            for container, key in place.edges
        ]
        array = np.array(first.thing, np.float64)
        return Value(shown(self.world, first.address), array, names, places=places)

    def _dependent(self, values: list[Value]) -> set[int]:
        """The ids of those that change the output when they are moved, at one of several points."""
        found: set[int] = set()
        arrays = [value.array for value in values]
        for _ in range(POINTS):
            try:
                y = self.subject.output(arrays)
                left = [k for k, value in enumerate(values) if id(value) not in found]
                # All at once first: most of what is left has nothing to do with the output.
                if self._moves(arrays, left, y):
                    found |= {id(values[k]) for k in left if self._moves(arrays, [k], y)}
            except Exception:  # out of the forward's domain: this point tells nothing
                pass
            arrays = [v.array + _scale(v.array) * self.rng.standard_normal(v.array.shape) for v in values]
        return found

    def _moves(self, arrays: list[Array], some: list[int], y: Array) -> bool:
        """Another y comes out when some of the arrays are others."""
        for size in PROBES:
            moved = list(arrays)
            for k in some:
                step = self.rng.uniform(0.5, 1, arrays[k].shape) * self.rng.choice([-1, 1], arrays[k].shape)
                moved[k] = arrays[k] + size * _scale(arrays[k]) * step
            try:
                other = self.subject.output(moved)
            except Exception:  # a forward that does not like another value reads it
                return True
            if other.shape != y.shape or not np.array_equal(other, y, equal_nan=True):
                return True
        return False

    # ---- what the backward makes -------------------------------------------------------------------

    def _forget(self, seen: Seen, depends: set[int]) -> None:
        """Clear the gradients of earlier backwards: they are no part of this one's."""
        values = [value for value in _all(self.subject) if id(value) in depends]
        held = {place.address for value in values for place, _ in value.places}
        wanted = [names for value in values for names, _ in value.names]
        for place in self.world.places():
            if place.address in held or _given(place) or place.kind == "integers":
                continue
            called = [self.world.steps(address) for address in place.addresses]
            named = any(is_named(rank(steps, names)) for steps in called for names in wanted)
            if named or (place.kind != "number" and seen.changed(place.address)):
                if place.kind == "array" and place.thing.flags.writeable:
                    place.thing[...] = 0
                else:
                    self.world.put(place, np.zeros(np.shape(place.thing)))
        # A list that backward appends to holds those of earlier ones.
        grown = {address[:-1] for address in seen.after if address not in seen.before}
        for container in grown:
            if isinstance(longer := self.world.get(container), list) and not any(
                address[: len(container)] == container for address in held
            ):
                longer.clear()

    def _candidates(self, seen: Seen, other: Seen, values: list[Value]) -> Iterator[Candidate]:
        held = {address for value in values for place, _ in value.places for address in place.addresses}
        held |= {_argument(i) for i in range(len(self.world.arguments))}
        for group in seen.groups:
            if held.intersection(group):
                continue
            for address in group:
                live = seen.changed(address)
                if self.form.upstream:
                    live = live and differs(other.after, seen.after, address)
                source = Source("state", address, self.world.name(address))
                name = self.world.steps(address)
                yield Candidate(source, name, seen.after[address], live, same=group[0])
        for value in values:
            for container, key in (edge for place, _ in value.places for edge in place.edges):
                address = (*container, ("attribute", "grad"))
                empty = key == ("attribute", "data") and address not in seen.after
                if empty and isinstance(self.world.get(container), Parameter):
                    source = Source("state", address, self.world.name(address))
                    yield Candidate(source, self.world.steps(address), None, False)
        for path, steps, array in leaves(seen.returned, self.form.returned):
            words = "what backward returned" + "".join(f"[{key!r}]" for key in path)
            yield Candidate(Source("returned", path, words), steps, array, True)

    def _rare(self, seen: Seen, candidates: list[Candidate]) -> list[Value]:
        """Numbers and arrays of integers that a gradient has the name of: weights after all."""
        places = [
            place
            for place in self.world.places()
            if place.kind in ("number", "integers")
            and place.address[0][1] != ARGUMENTS
            and place.address not in self.fixed
            and not seen.changed(place.address)
        ]
        pairs = [
            (place, c.source.where)
            for place in places
            for c in candidates
            if c.steps is not None
            and np.shape(c.array) == np.shape(place.thing)
            and is_named(rank(c.steps, self.world.steps(place.address)))
        ]
        if not pairs:
            return []
        rare = {place.address: self._value([(place, None)]) for place in places}
        values = [*self.inputs, *rare.values()]
        self.subject = _subject(self.world, self.form, values)
        depends = self._dependent(values)
        # What the output depends on is not a gradient: dt may be a step in time.
        moving = {address for address, value in rare.items() if id(value) in depends}
        chosen = {place.address for place, where in pairs if where not in moving}
        return [value for address, value in rare.items() if address in chosen & moving]

    def _unused(
        self, seen: Seen, candidates: list[Candidate], values: list[Value], depends: set[int]
    ) -> list[Value]:
        """Weights that have a gradient by name and do not move the output: it must be 0."""
        found = []
        for value in values:
            known = value.argument is not None or id(value) in depends or value.address not in seen.kept
            if known or not is_weight(value.names[0][0][-1]):
                continue
            names = [c for c in candidates if c.live and c.steps and rank(c.steps, value.names[0][0]) == 0]
            itself = any(c.source.where == value.address for c in candidates if c.live)
            if names and not itself and not seen.changed(value.address):
                found.append(value)
        return found

    def _from_update(self, value: Value, seen: Seen) -> None:
        """A backward that takes the step itself shows its gradient in the step."""
        if not seen.changed(value.address):
            return
        if not self.form.takes_rate:
            rates = [p for p in self.world.places() if p.kind == "number" and _is_rate(p.address)]
            if not rates:
                value.note = (
                    "backward changes it by a rate of its own; let it ask: backward(dy, learning_rate)"
                )
                return
            nearest = max(rates, key=lambda p: _common(p.address, value.address))
            self.world.put(nearest, np.array(RATE))
        value.sources = [(Source("update", value.address, "its update"), None)]
        value.note = ""

    def _is_given(self, value: Value, seen: Seen) -> bool:
        """Its place says that it is not trained: a target, data, or what a function reads from outside."""
        if value.argument is not None:
            name = value.name.lower()
            if not self.form.takes_data:
                return name in TARGETS
            return self.form.forward is not None or name in DATA
        outside = [key for key in {*seen.before, *seen.after} if key[0][1] == OUTSIDE]
        pure = not any(seen.changed(key) for key in outside)
        return (
            self.form.forward is None and pure and value.address[0][1] == OUTSIDE and len(value.address) == 2
        )


# ---- helpers ---------------------------------------------------------------------------------------


def _argument(i: int) -> Address:
    return (("item", ARGUMENTS), ("item", i))


def _given(place: Place) -> bool:
    """It is an argument of forward, wherever else it was put."""
    return any(container == (("item", ARGUMENTS),) for container, _ in place.edges)


def _is_float(thing: Any) -> bool:
    return isinstance(thing, np.ndarray) and thing.dtype.kind == "f"


def _scale(array: Array) -> float:
    """The size of a move that is no trifle."""
    return float(np.abs(array[np.isfinite(array)]).max(initial=0.0)) or 1.0


def _subject(world: World, form: Form, values: Sequence[Value]) -> ModuleSubject:
    inputs = [v for v in values if v.argument is not None]
    weights = [v for v in values if v.argument is None]
    made = Adopted(world, form, inputs, weights)
    return ModuleSubject(made, [v.array for v in inputs], None, None, [v.name for v in inputs])


def _all(subject: ModuleSubject) -> list[Value]:
    return [*subject.pristine.inputs, *subject.pristine.weights]


def _is_rate(address: Address) -> bool:
    return str(address[-1][1]).lower().strip("_") in RATES


def _common(a: Address, b: Address) -> int:
    return next((i for i, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b)))
