"""Regions of the plane as pictures of 256 x 256 pixels: built-in drawings, or any image file."""

from __future__ import annotations

import io
import os
import time
import warnings
from collections.abc import Callable
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

import scratchnn as snn
from scratchnn.checks import Array
from scratchnn.files.atomic import open_regular

from .lesson import StudyError

__all__ = ["DRAWINGS", "SIDE", "drawing", "every_pixel", "read_image", "sample"]

SIDE = 256  # pixels

# Millions of pixels of a picture file that are decoded in 2 seconds and 500 MB. A PNG takes 4 bytes a pixel,
# a WebP 20. A JPEG is decoded at an eighth of its size; a progressive one is kept whole meanwhile.
MOST_MILLIONS = {"BMP": 50, "GIF": 50, "JPEG": 100, "PNG": 50, "PPM": 50, "TIFF": 20, "WEBP": 12}
MOST_DECODED, MOST_PROGRESSIVE = 50, 20
MOST_ACROSS = 65_535  # pixels, as in a JPEG
MOST_BYTES = 160 * 2**20
MOST_SECONDS = 2.0  # of processor time
ENOUGH = 4 * SIDE  # pixels across, where a format can leave out others while it is decoded
BANDS = 16  # that a picture is converted in: so much less memory do the copies take

TURNS = {  # Exif's orientations
    2: "FLIP_LEFT_RIGHT",
    3: "ROTATE_180",
    4: "FLIP_TOP_BOTTOM",
    5: "TRANSPOSE",
    6: "ROTATE_270",
    7: "TRANSVERSE",
    8: "ROTATE_90",
}
ORIENTATION, TILE_WIDTH, TILE_HEIGHT = 0x0112, 322, 323  # numbers of Exif's and TIFF's tags


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
    """A region from a picture file: (256, 256) bool, resampled.

    An image with transparent parts has its region where it is opaque; any other, where it is dark. Of an
    animation, the first picture counts. Reading takes at most 2 s of processor time and 500 MB.

    Raises:
        StudyError: if the file is missing, empty, no image, too large, or all one class.
    """
    from PIL import Image, UnidentifiedImageError

    def refuse(reason: object) -> StudyError:
        return StudyError(f"drawing got image={str(Path(path))!r}; {reason}")

    try:
        with open_regular(path, buffering=0) as raw, warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of many pixels, and of damage that leaves the pixels readable
            size = os.fstat(raw.fileno()).st_size
            if not size:
                raise StudyError("the file is empty")
            if size > MOST_BYTES:
                raise StudyError(f"it has more than {MOST_BYTES >> 20} MiB; make it smaller")
            with Image.open(_Hurried(raw), formats=[*MOST_MILLIONS]) as image:
                _check_size(image)
                lightness, opacity = _pixels(image)
    except FileNotFoundError:
        raise refuse("there is no such file") from None
    except UnidentifiedImageError:
        raise refuse("that is no image; it must be a picture file such as PNG or JPEG") from None
    except Image.DecompressionBombError:
        raise refuse(
            f"it has more than {10**6 * max(MOST_MILLIONS.values()):,} pixels; make it smaller"
        ) from None
    except StudyError as error:
        raise refuse(error) from None
    except (OSError, SyntaxError, ValueError) as error:
        reason = getattr(error, "strerror", None) or " ".join(str(error).split())
        raise refuse(f"it cannot be read: {reason}") from None
    transparent = opacity.min() < 128
    inside = opacity >= 128 if transparent else lightness < 128
    if inside.all() or not inside.any():
        every = {True: "dark", False: "light"} if not transparent else {True: "opaque", False: "transparent"}
        raise refuse(
            f"every pixel is {every[bool(inside.all())]}, so all points would be of one class; "
            "the region must be dark on a light ground, or opaque on a transparent one"
        )
    return np.asarray(inside)


class _Hurried(io.BufferedReader):
    """A file that is read for MOST_SECONDS of processor time, MOST_BYTES in all.

    A picture may hold millions of empty parts, or name the same part many times.
    """

    def __init__(self, raw: Any) -> None:
        super().__init__(raw)
        self.until, self.left = time.thread_time() + MOST_SECONDS, MOST_BYTES

    def read(self, size: int | None = -1, /) -> bytes:
        if time.thread_time() > self.until:
            raise StudyError(f"it takes more than {MOST_SECONDS:g} s to read; make it smaller")
        data = super().read(size)
        self.left -= len(data)
        if self.left < 0:
            raise StudyError(f"more than {MOST_BYTES >> 20} MiB would have to be read; save it anew")
        return data


def _check_size(image: Any) -> None:
    """Refuse what is too large to decode; of a JPEG, leave out what is not needed."""
    millions = MOST_MILLIONS.get(image.format, MOST_MILLIONS["JPEG"])  # several JPEGs in one file are an MPO
    if image.info.get("progressive"):
        millions = MOST_PROGRESSIVE
    _check_pixels(image, millions)
    image.draft(None, (ENOUGH, ENOUGH))
    _check_pixels(image, MOST_DECODED)
    if image.format == "TIFF":  # a tile is decoded whole, and may be larger than the image
        tile = image.tag_v2.get(TILE_WIDTH, 1) * image.tag_v2.get(TILE_HEIGHT, 1)
        if tile > 10**6 * millions:
            raise StudyError(f"it has tiles of more than {millions},000,000 pixels; save it in smaller ones")


def _check_pixels(image: Any, millions: int) -> None:
    if image.width * image.height > 10**6 * millions:
        raise StudyError(f"it has more than {millions},000,000 pixels; make it smaller")
    if max(image.size) > MOST_ACROSS:
        raise StudyError(f"it is more than {MOST_ACROSS:,} pixels wide or high; make it smaller")


def _pixels(image: Any) -> tuple[Array, Array]:
    """Lightness and opacity, each (256, 256) from 0 to 255, resampled."""
    from PIL import Image

    image.load()
    orientation = image.getexif().get(ORIENTATION)
    whole = Image.new("RGBA", (SIDE, SIDE))
    for top in range(0, SIDE, SIDE // BANDS):
        bottom = top + SIDE // BANDS
        # Whole rows of the picture, all that these rows of the result have a part of.
        above, below = top * image.height // SIDE, -(-bottom * image.height // SIDE)
        band = _in_8_bits(image, image.crop((0, above, image.width, below))).convert("RGBA")
        rows = (0, top * image.height / SIDE - above, image.width, bottom * image.height / SIDE - above)
        whole.paste(band.resize((SIDE, SIDE // BANDS), Image.Resampling.BOX, box=rows), (0, top))
    if orientation in TURNS:
        whole = whole.transpose(Image.Transpose[TURNS[orientation]])
    return np.asarray(whole.convert("L"), dtype=np.int64), np.asarray(whole.getchannel("A"), dtype=np.int64)


def _in_8_bits(image: Any, band: Any) -> Any:
    """A band of an image that may have 16 or 32 bits; its own range becomes 0 to 255."""
    from PIL import Image

    if band.mode[0] not in "IF":
        return band
    values = np.asarray(band, dtype=np.float64)
    low, high = image.getextrema()
    if not np.isfinite([low, high]).all() or not np.isfinite(values).all():
        raise ValueError("it has pixels that are not finite")
    return Image.fromarray(np.uint8(255 * (values - low) / max(high - low, 1e-300)))


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
