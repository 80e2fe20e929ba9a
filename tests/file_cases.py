"""What the tests of files, exports and source texts share: models to write, and when two are the same."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from hypothesis import strategies as st

import scratchnn as snn

# Every layer once, with arguments that are no defaults.
LEAVES: list[snn.Module] = [
    snn.Linear(3, 3),
    snn.Linear(3, 3, bias=False, dtype=np.float64),
    snn.ReLU(),
    snn.LeakyReLU(0.3),
    snn.Sigmoid(),
    snn.Tanh(),
    snn.Softmax(-1),
    snn.LogSoftmax(1),
    snn.Threshold(0.1, -0.7),
    snn.Identity(),
    snn.Dropout(0.75),
]


@st.composite
def layers(draw: Any, dtype: Any, in_features: int = 3, out_features: int = 3) -> snn.Module:
    """A layer for (N, 3)."""
    if draw(st.booleans()):
        return snn.Linear(in_features, out_features, draw(st.booleans()), dtype=dtype)
    number = st.floats(-2, 2)
    return draw(
        st.one_of(
            st.sampled_from([snn.ReLU, snn.Sigmoid, snn.Tanh, snn.Identity]).map(lambda kind: kind()),
            st.builds(snn.LeakyReLU, number),
            st.builds(snn.Threshold, number, number),
            st.builds(snn.Dropout, st.sampled_from([0, 0.1, 0.5, 1])),
            st.builds(snn.Softmax, st.sampled_from([-2, -1, 0, 1])),
            st.builds(snn.LogSoftmax, st.sampled_from([-1, 1])),
        )
    )


@st.composite
def models(draw: Any, depth: int, dtype: Any = None, lists: bool = True) -> snn.Module:
    """Containers in containers, named and not, with modules in several places, for (N, 3)."""
    snn.manual_seed(draw(st.integers(0, 2**32)))
    dtype = dtype or draw(st.sampled_from([np.float32, np.float64]))
    pool: list[snn.Module] = []

    def module(depth: int) -> snn.Module:
        if pool and draw(st.integers(0, 3)) == 0:
            return draw(st.sampled_from(pool))
        made = container(depth - 1) if depth and draw(st.booleans()) else draw(layers(dtype))
        made.training = draw(st.booleans())
        pool.append(made)
        return made

    def container(depth: int) -> snn.Module:
        children = [module(depth) for _ in range(draw(st.integers(0, 3)))]
        kind = draw(st.sampled_from(["Sequential", "named", "MLP"]))
        if kind == "MLP":
            return snn.MLP(
                3, [draw(st.integers(1, 4))], 3, "tanh", draw(st.sampled_from([None, "relu"])), dtype=dtype
            )
        if kind == "named":
            return snn.Sequential({f"part {i}\n\"'\\é": child for i, child in enumerate(children)})
        return snn.Sequential(*children)

    if lists and draw(st.integers(0, 5)) == 0:
        return snn.ModuleList([module(depth) for _ in range(3)])
    return container(depth)


def equal_models(a: snn.Module, b: snn.Module) -> bool:
    """The same classes, arguments, modes, sharing, names and bits."""
    places = [{id(m): path for path, m in model.named_modules()} for model in (a, b)]
    return (
        repr(a) == repr(b)
        and [(type(m), m.training) for m in a.modules()] == [(type(m), m.training) for m in b.modules()]
        and list(places[0].values()) == list(places[1].values())
        and list(dict(a.named_parameters())) == list(dict(b.named_parameters()))
        and {k: (v.dtype, v.shape, v.tobytes()) for k, v in a.state_dict().items()}
        == {k: (v.dtype, v.shape, v.tobytes()) for k, v in b.state_dict().items()}
    )


def raw_file(header: bytes, data: bytes) -> bytes:
    """A safetensors file of these parts, whatever they are."""
    return struct.pack("<Q", len(header)) + header + data
