"""Regions of the plane as pictures of 256 x 256 pixels: built-in drawings, or any image file."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

import scratchnn as snn
from scratchnn.checks import Array

from .lesson import StudyError

__all__ = ["DRAWINGS", "SIDE", "drawing", "every_pixel", "read_image", "sample"]

SIDE = 256  # pixels
MOST_PIXELS = 100_000_000  # of an image file: 400 MB in memory


def _blob(u: Array, v: Array) -> Array:
    """Three hills that have run into one."""
    hills = ((0.42, 0.45, 0.20), (0.62, 0.60, 0.16), (0.38, 0.66, 0.12))
    height = sum(np.exp(-((u - a) ** 2 + (v - b) ** 2) / (2 * width**2)) for a, b, width in hills)
    return np.asarray(height > 0.7)


def _ring(u: Array, v: Array) -> Array:
    """Between two circles around the middle."""
    r = np.hypot(u - 0.5, v - 0.5)
    return np.asarray((r > 0.2) & (r < 0.38))


def _spiral(u: Array, v: Array) -> Array:
    """An arm that goes around nearly twice while its distance from the middle grows evenly."""
    r, turn = np.hypot(u - 0.5, v - 0.5) / 0.2, np.arctan2(v - 0.5, u - 0.5) / (2 * np.pi)
    turns = np.floor(r - turn)  # gone around before
    return np.asarray((r - turn - turns < 0.5) & (turn + turns > 0.15) & (turn + turns < 1.8))


def _islands(u: Array, v: Array) -> Array:
    """Two ellipses apart from each other."""
    one = ((u - 0.29) / 0.17) ** 2 + ((v - 0.66) / 0.22) ** 2 < 1
    other = ((u - 0.72) / 0.19) ** 2 + ((v - 0.33) / 0.16) ** 2 < 1
    return np.asarray(one | other)


def _letter(u: Array, v: Array) -> Array:
    """The letter A: three strokes."""
    strokes = (
        ((0.22, 0.15), (0.5, 0.88)),
        ((0.78, 0.15), (0.5, 0.88)),
        ((0.34, 0.40), (0.66, 0.40)),
    )
    nearest = np.full(u.shape, np.inf)
    for (a, b), (c, d) in strokes:
        along = ((u - a) * (c - a) + (v - b) * (d - b)) / ((c - a) ** 2 + (d - b) ** 2)
        along = np.clip(along, 0, 1)
        nearest = np.minimum(nearest, np.hypot(u - a - along * (c - a), v - b - along * (d - b)))
    return np.asarray(nearest < 0.07)


DRAWINGS: dict[str, Callable[[Array, Array], Array]] = {
    "blob": _blob,
    "ring": _ring,
    "spiral": _spiral,
    "islands": _islands,
    "letter": _letter,
}


def drawing(name: str) -> Array:
    """The built-in drawing of that name: (256, 256) bool, True inside, the first row on top.

    Raises:
        StudyError: if there is none, with the nearest name.
    """
    if name not in DRAWINGS:
        from difflib import get_close_matches

        (nearest,) = get_close_matches(str(name), DRAWINGS, n=1, cutoff=0.0)
        raise StudyError(
            f"there is no drawing {name!r}; did you mean {nearest!r}? There are: {', '.join(DRAWINGS)}"
        )
    middle = (np.arange(SIDE) + 0.5) / SIDE
    return DRAWINGS[name](*np.meshgrid(middle, middle[::-1]))


def read_image(path: str | PathLike[str]) -> Array:
    """A region from an image file of any size: (256, 256) bool, resampled.

    An image with transparent parts has its region where it is opaque; any other, where it is dark.

    Raises:
        StudyError: if the file is missing, empty, no image, too large, or all one class.
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    path = Path(path)

    def refuse(reason: str) -> StudyError:
        return StudyError(f"drawing got image={str(path)!r}; {reason}")

    try:
        if path.is_file() and not path.stat().st_size:
            raise refuse("the file is empty")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # its limit is another
            with Image.open(path) as image:
                if image.width * image.height > MOST_PIXELS:
                    raise refuse(f"it has more than {MOST_PIXELS:,} pixels; make it smaller")
                found = _pixels(ImageOps.exif_transpose(image))
    except FileNotFoundError:
        raise refuse("there is no such file") from None
    except UnidentifiedImageError:
        raise refuse("that is no image; it must be a picture file such as PNG or JPEG") from None
    except Image.DecompressionBombError:
        raise refuse(f"it has more than {MOST_PIXELS:,} pixels; make it smaller") from None
    except (OSError, SyntaxError, ValueError) as error:
        if isinstance(error, StudyError):
            raise
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise refuse(f"it cannot be read: {reason}") from None
    transparent = found[1].min() < 128
    inside = found[1] >= 128 if transparent else found[0] < 128
    if inside.all() or not inside.any():
        every = {True: "dark", False: "light"} if not transparent else {True: "opaque", False: "transparent"}
        raise refuse(
            f"every pixel is {every[bool(inside.all())]}, so all points would be of one class; "
            "the region must be dark on a light ground, or opaque on a transparent one"
        )
    return np.asarray(inside)


def _pixels(image: Any) -> tuple[Array, Array]:
    """Lightness and opacity, each (256, 256) from 0 to 255, resampled."""
    from PIL import Image

    if image.mode[0] in "IF":  # 16 or 32 bits: bring them into 8 by their own range
        values = np.asarray(image, dtype=np.float64)
        low, high = values.min(), values.max()
        image = Image.fromarray(np.uint8(255 * (values - low) / max(high - low, 1e-300)))
    whole = image.convert("RGBA").resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(whole.convert("L"), dtype=np.int64), np.asarray(whole.getchannel("A"), dtype=np.int64)


def sample(
    inside: Array, count: int, generator: snn.Generator, dtype: Any = np.float32
) -> tuple[Array, Array]:
    """`count` pixels drawn at random, the same one now and then twice.

    Returns:
        x (count, 2): across and up, from 0 to 1. y (count, 1): 1 inside the region.
    """
    row, column = snn.randint(0, SIDE, (count, 2), generator=generator).T
    x = np.stack([column, SIDE - 1 - row], axis=1) / (SIDE - 1)
    return x.astype(dtype), inside[row, column][:, None].astype(dtype)


def every_pixel(dtype: Any = np.float32) -> Array:
    """(256 * 256, 2) where the pixels lie, as `sample` has them: row by row, from the top left."""
    row, column = np.indices((SIDE, SIDE)).reshape(2, -1)
    return (np.stack([column, SIDE - 1 - row], axis=1) / (SIDE - 1)).astype(dtype)
