"""A file that grows by frames, each chained to the one before: what a killed process wrote stays readable.

    "SNN2"  length of the text  length of the body  digest  check of the four before  text  body

The text is JSON: the frame's plain values, in which arrays are named, and the list of the arrays, whose bytes
make up the body, in order. Nothing is pickled, and reading runs nothing. The digest is SHA-256 over the
digest of the frame before, the lengths, the text and the body: a frame that is missing, doubled, moved or of
another file breaks the chain, as a changed bit does. Only the end may be missing: a process was killed there.
"""

from __future__ import annotations

import hashlib
import json
import math
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, Any

import numpy as np

from ..checks import Array
from ..files.errors import FileFormatError, short
from ..files.state_file import DTYPES, _packed, _unpacked

__all__ = ["NOWHERE", "Frame", "Span", "body_of", "frame", "frames"]

MAGIC, OLDER = b"SNN2", b"SNNR"
HEAD = struct.Struct("<4sQQ32sI")
LENGTHS = struct.Struct("<QQ")
CHECKED = HEAD.size - 4  # bytes of a head that its last four check
LONGEST = 2**40  # axis of an array


@dataclass(frozen=True)
class Span:
    """Where a frame is in its file, and which one it is.

    Attributes:
        start, stop: bytes. before: the digest of the frame before. digest: its own.
    """

    start: int
    stop: int
    before: bytes
    digest: bytes

    def then(self, size: int, digest: bytes) -> Span:
        """That of the next frame."""
        return Span(self.stop, self.stop + size, self.digest, digest)


NOWHERE = Span(0, 0, bytes(32), bytes(32))  # what comes before the first frame


@dataclass(frozen=True)
class Frame:
    """What one frame holds, and where it is."""

    kind: str
    state: dict[str, Any]
    span: Span


def frame(kind: str, state: dict[str, Any], before: bytes) -> tuple[bytes, bytes]:
    """(one frame after that with the digest `before`, its digest); the last array of `state` ends it."""
    tensors: dict[str, Array] = {}
    packed = _packed("Recording", kind, state, tensors)
    listed = [[name, value.dtype.name, list(value.shape)] for name, value in tensors.items()]
    text = json.dumps({"kind": kind, "state": packed, "arrays": listed}, allow_nan=False).encode()
    body = b"".join(value.tobytes() for value in tensors.values())
    digest = _digest(before, text, body)
    return frame_of(text, body, digest), digest


def frame_of(text: bytes, body: bytes, digest: bytes) -> bytes:
    """The parts of a frame, after the head that tells them apart."""
    head = HEAD.pack(MAGIC, len(text), len(body), digest, 0)[:CHECKED]
    return b"".join((head, struct.pack("<I", zlib.crc32(head)), text, body))


def frames(path: str, file: IO[bytes]) -> Iterator[Frame]:
    """Every frame of a file, up to an end that is missing.

    Raises:
        FileFormatError: no recording; a damaged, missing or foreign frame.
    """
    file.seek(0, 2)
    size, last = file.tell(), NOWHERE
    while (at := last.stop) < size:
        file.seek(at)
        head = file.read(HEAD.size)
        if at == 0:
            _check_beginning(path, head, size)
        if len(head) < HEAD.size or (not any(head) and _only_zeros(file)):
            break  # the process was killed here; or the machine: then zeros are where data should have come
        magic, text_size, body_size, digest, check = HEAD.unpack(head)
        if magic != MAGIC or check != zlib.crc32(head[:CHECKED]):
            raise _damaged(path, at)
        stop = at + HEAD.size + text_size + body_size
        if stop > size:
            break
        file.seek(at + HEAD.size)
        text, body = file.read(text_size), file.read(body_size)
        if _digest(last.digest, text, body) != digest:
            raise _damaged(path, at)
        last = last.then(stop - at, digest)
        yield Frame(*_read(path, text, body), last)
    if last == NOWHERE:
        raise FileFormatError(f"{path} is no recording: it has {size} bytes")


def body_of(path: str, file: IO[bytes], span: Span) -> bytes:
    """The body of a frame that was read before. Raises FileFormatError where another one is there now."""
    file.seek(span.start)
    data = file.read(span.stop - span.start)
    if len(data) == span.stop - span.start and data[:4] == MAGIC:
        _, text_size, body_size, digest, _ = HEAD.unpack_from(data)
        text, body = data[HEAD.size : HEAD.size + text_size], data[HEAD.size + text_size :]
        # The one in the head tells an equal frame of another file, where another one comes before it.
        if len(body) == body_size and digest == span.digest == _digest(span.before, text, body):
            return body
    raise FileFormatError(f"{path} is not the file that was read: it was replaced or changed; load it again")


def _only_zeros(file: IO[bytes]) -> bool:
    """From here to the end."""
    return all(not any(part) for part in iter(lambda: file.read(2**16), b""))


def _digest(before: bytes, text: bytes, body: bytes) -> bytes:
    found = hashlib.sha256(before)
    for part in (LENGTHS.pack(len(text), len(body)), text, body):
        found.update(part)
    return found.digest()


def _check_beginning(path: str, head: bytes, size: int) -> None:
    if head[:4] == OLDER:
        raise FileFormatError(
            f"{path} is a recording of an older version of scratchnn, whose frames are not chained; "
            "record it again"
        )
    if head[:4] != MAGIC:
        raise FileFormatError(f"{path} is no recording, or is damaged at byte 0: it has {size} bytes")


def _damaged(path: str, at: int) -> FileFormatError:
    return FileFormatError(
        f"{path} is damaged at byte {at}: something was changed or taken out there"
        + (f". What is before it is whole: cut the file to {at} bytes to read that" if at else "")
    )


def _read(path: str, text: bytes, body: bytes) -> tuple[str, dict[str, Any]]:
    try:
        found = json.loads(text)
        tensors, at = {}, 0
        for name, dtype, shape in found["arrays"]:
            if dtype not in DTYPES or not all(type(n) is int and 0 <= n < LONGEST for n in shape):
                raise FileFormatError(f"an array of {dtype} {shape}")
            size = math.prod(shape) * np.dtype(dtype).itemsize
            tensors[name] = np.frombuffer(body[at : at + size], dtype).reshape(shape).copy()
            at += size
        if at != len(body):
            raise FileFormatError(f"{at} bytes of arrays, where there are {len(body)}")
        return str(found["kind"]), dict(_unpacked(found["state"], tensors))
    except (KeyError, TypeError, ValueError, OverflowError, RecursionError) as error:
        raise FileFormatError(f"{path} holds a frame of another format: {short(repr(error))}") from error
