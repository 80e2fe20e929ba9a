"""Ways to change a file. Damage changes bytes; forgery changes values, and signs the file again."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

import numpy as np
import safetensors.numpy

from scratchnn.files import model_file
from scratchnn.recording import frames as recording_frames

# ---- damage: bytes --------------------------------------------------------------------------------


def flipped(rng: random.Random, data: bytes, _: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(rng.randint(1, 8)):
        changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


def cut(rng: random.Random, data: bytes, _: bytes) -> bytes:
    return data[: rng.randrange(len(data))]


def spliced(rng: random.Random, data: bytes, other: bytes) -> bytes:
    return data[: rng.randrange(len(data))] + other[rng.randrange(len(other)) :]


def zeros(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start, size = rng.randrange(len(data)), rng.randint(1, 600)
    return data[:start] + bytes(min(size, len(data) - start)) + data[start + size :]


def noise(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start, size = rng.randrange(len(data)), rng.randint(1, 64)
    return data[:start] + rng.randbytes(size) + data[start + size :]


def piece_removed(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start = rng.randrange(len(data))
    return data[:start] + data[start + rng.randint(1, 900) :]


def piece_doubled(rng: random.Random, data: bytes, _: bytes) -> bytes:
    start = rng.randrange(len(data))
    stop = start + rng.randint(1, 900)
    return data[:stop] + data[start:stop] + data[stop:]


def length_forged(rng: random.Random, data: bytes, _: bytes) -> bytes:
    """A huge number where a length may be: at the start of the file, or after a frame's first word."""
    number = rng.choice([2**16, 2**24, 2**31, 2**40, 2**62, 2**64 - 1]).to_bytes(8, "little")
    starts = [0, *_frame_starts(data)]
    at = rng.choice(starts) + rng.choice([0, 4, 12])
    return data[:at] + number + data[at + 8 :]


def frames_moved(rng: random.Random, data: bytes, other: bytes) -> bytes:
    """Whole frames of a recording removed, doubled, exchanged, or taken from another recording."""
    starts = _frame_starts(data)
    if len(starts) < 3:
        return piece_removed(rng, data, other)
    pieces = [data[a:b] for a, b in zip(starts, [*starts[1:], len(data)], strict=True)]
    i, j = sorted(rng.sample(range(len(pieces)), 2))
    how = rng.randrange(4)
    if how == 0:
        del pieces[i]
    elif how == 1:
        pieces.insert(j, pieces[i])
    elif how == 2:
        pieces[i], pieces[j] = pieces[j], pieces[i]
    else:
        theirs = _frame_starts(other)
        pieces[i] = other[theirs[0] : theirs[1]] if len(theirs) > 1 else other
    return b"".join(pieces)


def _frame_starts(data: bytes) -> list[int]:
    found, at = [], data.find(recording_frames.MAGIC)
    while at >= 0:
        found.append(at)
        at = data.find(recording_frames.MAGIC, at + 4)
    return found


DAMAGE: list[Callable[[random.Random, bytes, bytes], bytes]] = [
    flipped, cut, spliced, zeros, noise, piece_removed, piece_doubled, length_forged, frames_moved,
]  # fmt: skip


# ---- forgery: values, signed again ----------------------------------------------------------------

HUGE = [-1, 0, 10**4, 10**6, 10**7, 10**8, 10**9, 10**10, 10**12, 2**53, 2**63]
VALUES: list[Any] = [
    0, 1, -1, 2, 3, 7, 100, 2**16, 2**31, 2**40, 2**53, 2**63, 10**12, 10**30, -(2**40), 0.5, -0.1, 1e308,
    True, False, None, "", "x", "numpy", "Linear", [], {}, [[]], [0], {"is": "float", "of": "nan"},
    {"is": "float", "of": "inf"}, {"is": "dict", "of": []}, {"is": "tuple", "of": [1, 2]},
    {"is": "array", "of": "0"},
]  # fmt: skip


def changed(rng: random.Random, value: Any) -> Any:
    """JSON with one node of it another."""
    value = copy.deepcopy(value)
    nodes: list[tuple[Any, Any]] = []

    def collect(node: Any) -> None:
        for key in (
            list(node) if isinstance(node, dict) else range(len(node)) if isinstance(node, list) else ()
        ):
            nodes.append((node, key))
            collect(node[key])

    collect(value)
    if not nodes:
        return rng.choice(VALUES)
    numbers = [(node, key) for node, key in nodes if type(node[key]) is int]
    if numbers and rng.random() < 0.3:
        node, key = rng.choice(numbers)
        node[key] = rng.choice(HUGE)
        return value
    node, key = rng.choice(nodes)
    how = rng.randrange(8)
    if how == 0:
        del node[key]
    elif how == 1 and isinstance(node, list):
        node.append(copy.deepcopy(node[key]))
    elif how == 2:
        other, theirs = rng.choice(nodes)
        node[key] = copy.deepcopy(other[theirs]) if other is not node or theirs in _keys(node) else None
    elif how == 3 and isinstance(node[key], (int, float)) and not isinstance(node[key], bool):
        node[key] = node[key] * rng.choice([-1, 2, 1000, 10**9]) + rng.choice([0, 1, -1])
    else:
        node[key] = copy.deepcopy(rng.choice(VALUES))
    return value


def _keys(node: Any) -> Any:
    return node if isinstance(node, dict) else range(len(node))


def array_changed(rng: random.Random, value: np.ndarray) -> np.ndarray:
    how = rng.randrange(5)
    if how == 0:
        return value.astype(rng.choice(["float32", "float64", "int64", "uint8", "bool"]))
    if how == 1:
        return np.concatenate([value.reshape(-1), value.reshape(-1)])
    if how == 2:
        return value.reshape(-1)[: rng.randint(0, value.size)].copy()
    if value.size and value.dtype.kind in "iuf":
        worst = [0, 1, 255] if value.dtype.kind == "u" else [0, -1, 2**40, -(2**62)]
        worst = worst if value.dtype.kind != "f" else [np.nan, np.inf, -1e30, 1e30, 0.5]
        value = value.copy()
        value.reshape(-1)[rng.randrange(value.size)] = rng.choice(worst)
    return value


def forged_tensors(rng: random.Random, data: bytes) -> bytes:
    """A model or a checkpoint that says other things, with a digest that is right."""
    size = int.from_bytes(data[:8], "little")
    header = json.loads(json.loads(data[8 : 8 + size])["__metadata__"]["scratchnn"])
    tensors = safetensors.numpy.load(data)
    for _ in range(rng.randint(1, 2)):
        if rng.random() < 0.6 or not tensors:
            header = changed(rng, {k: v for k, v in header.items() if k != "sha256"})
        else:
            name = rng.choice(sorted(tensors))
            if rng.random() < 0.15:
                del tensors[name]
            else:
                tensors[name] = array_changed(rng, tensors[name])
        header = header if isinstance(header, dict) else {}
    header["sha256"] = model_file._digest(header, tensors)
    return safetensors.numpy.save(tensors, {"scratchnn": json.dumps(header)})


def forged_frames(rng: random.Random, data: bytes) -> bytes:
    """A recording whose frames say other things, chained again."""
    head, pieces, at = recording_frames.HEAD, [], 0
    while at < len(data):
        _, text_size, body_size, _, _ = head.unpack_from(data, at)
        text = data[at + head.size : at + head.size + text_size]
        pieces.append(
            (json.loads(text), data[at + head.size + text_size : at + head.size + text_size + body_size])
        )
        at += head.size + text_size + body_size
    for _ in range(rng.randint(1, 2)):
        i = rng.choice([0, 0, rng.randrange(len(pieces)), rng.randrange(len(pieces))])
        text, body = pieces[i]
        how = rng.random()
        if how < 0.6:
            pieces[i] = changed(rng, text), body
        elif how < 0.75 and body:
            pieces[i] = text, flipped(rng, body, b"")
        elif how < 0.85:
            del pieces[i]
        elif how < 0.95:
            pieces.insert(rng.randrange(len(pieces) + 1), pieces[i])
        else:
            text = {**text, "state": changed(rng, text["state"])} if isinstance(text, dict) else text
            pieces[i] = text, body + bytes(rng.randint(0, 9))
        if not pieces:
            break
    found, last = b"", recording_frames.NOWHERE
    for text, body in pieces:
        packed = json.dumps(text).encode()
        digest = recording_frames._digest(last.digest, packed, body)
        found += recording_frames.frame_of(packed, body, digest)
        last = last.then(head.size + len(packed) + len(body), digest)
    return found
