"""Pictures as data: of any kind and any size, read within 2 s and 500 MB or refused in words."""

from __future__ import annotations

import io
import json
import os
import random
import socket
import struct
import subprocess
import sys
import warnings
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from scratchnn.studies import StudyError, regions
from scratchnn.studies.regions import read_image

INSIDE = np.zeros((256, 256), bool)
INSIDE[:64, :128] = True
GREY = Image.fromarray(np.where(INSIDE, np.uint8(0), np.uint8(255)))
ORIENTATION = 0x0112


# What is read -------------------------------------------------------------------------------------


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_a_picture_that_a_camera_has_turned(kind: str, orientation: int, tmp_path: Path) -> None:
    undo = {6: "ROTATE_90", 8: "ROTATE_270"}.get(orientation, regions.TURNS.get(orientation))
    turned = GREY.transpose(Image.Transpose[undo]) if undo else GREY
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    turned.save(tmp_path / "a", kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))
    np.testing.assert_array_equal(read_image(tmp_path / "a"), INSIDE)


@pytest.mark.parametrize("kind", ["GIF", "PNG", "WEBP"])
def test_of_an_animation_the_first_picture_counts(kind: str, tmp_path: Path) -> None:
    others = [Image.new("L", (256, 256), shade) for shade in (0, 255, 0)]
    GREY.save(tmp_path / "a", kind, save_all=True, append_images=others)
    np.testing.assert_array_equal(read_image(tmp_path / "a"), INSIDE)


def test_kinds_of_pixels(tmp_path: Path) -> None:
    path = tmp_path / "a"
    numbers = np.where(INSIDE, 100, 60_000)
    palette = GREY.convert("P")
    for image, kind, options in [
        (GREY.convert("CMYK"), "JPEG", {}),
        (palette, "PNG", {"transparency": 255}),  # white is not there
        (palette, "GIF", {"transparency": 255}),
        (GREY.convert("RGB"), "PNG", {"transparency": (255, 255, 255)}),
        (Image.fromarray(numbers.astype(np.uint16)), "PNG", {}),
        (Image.fromarray(numbers.astype(np.int32)), "TIFF", {}),
        (Image.fromarray(numbers.astype(np.float32) / 1e6), "TIFF", {}),
        (GREY.convert("RGB"), "PPM", {}),
        (GREY.convert("RGB"), "BMP", {}),
        (GREY, "JPEG", {"progressive": True}),
        (GREY, "MPO", {"save_all": True, "append_images": [GREY]}),
    ]:
        image.save(path, kind, **options)
        np.testing.assert_array_equal(read_image(path), INSIDE, err_msg=f"{image.mode} {kind}")


@pytest.mark.parametrize("size", [(1000, 3), (3, 1000), (257, 511), (4096, 4096)])
def test_a_large_jpeg_is_the_region_too(size: tuple[int, int], tmp_path: Path) -> None:
    width, height = size
    shades = np.full((height, width), 255, np.uint8)
    shades[:, : width // 2] = 0
    Image.fromarray(shades).save(tmp_path / "a", "JPEG", quality=95)
    found = read_image(tmp_path / "a")
    wrong = found != (np.arange(256) < 128)
    assert np.count_nonzero(wrong.any(axis=0)) <= 2 * 256 // width + 2  # at the edge


# What is refused ----------------------------------------------------------------------------------


def test_what_is_no_picture_file(tmp_path: Path) -> None:
    for name, data in {
        "text.png": b"no picture",
        "page.eps": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\n",  # a program
        "vector.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>",
    }.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(StudyError, match=f"{name}.*that is no image"):
            read_image(tmp_path / name)


def test_what_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(tmp_path / "socket"))
    for name, words in {"fifo": "Is a FIFO", "socket": "Is a socket", ".": "Is a folder"}.items():
        (tmp_path / f"link to {name}").symlink_to(name)
        for path in (tmp_path / name, tmp_path / f"link to {name}"):
            with pytest.raises(StudyError, match=words):
                read_image(path)


def test_one_pixel(tmp_path: Path) -> None:
    Image.new("RGB", (1, 1)).save(tmp_path / "a.png")
    with pytest.raises(StudyError, match="every pixel is dark"):
        read_image(tmp_path / "a.png")


def test_numbers_that_are_not_finite(tmp_path: Path) -> None:
    for number in (np.nan, np.inf):
        shades = np.where(INSIDE, np.float32(0), np.float32(1))
        shades[200, 200] = number
        Image.fromarray(shades).save(tmp_path / "a", "TIFF")
        with pytest.raises(StudyError, match="not finite"):
            read_image(tmp_path / "a")


@pytest.mark.parametrize("kind", regions.MOST_MILLIONS)
def test_each_format_has_a_limit(kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    GREY.convert("RGB").save(path, kind)
    read_image(path)
    monkeypatch.setitem(regions.MOST_MILLIONS, kind, 0)
    with pytest.raises(StudyError, match="it has more than 0,000,000 pixels; make it smaller"):
        read_image(path)


def test_other_limits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a"
    GREY.save(path, "JPEG", progressive=True)
    with monkeypatch.context() as changed:
        changed.setattr(regions, "MOST_PROGRESSIVE", 0)
        with pytest.raises(StudyError, match="pixels; make it smaller"):
            read_image(path)
    with monkeypatch.context() as changed:
        changed.setattr(regions, "MOST_BYTES", 100)
        with pytest.raises(StudyError, match="more than 0 MiB; make it smaller"):
            read_image(path)
    for size in ((70_000, 1), (1, 70_000)):
        Image.new("L", size).save(path, "PNG")
        with pytest.raises(StudyError, match="more than 65,535 pixels wide or high"):
            read_image(path)


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def test_millions_of_empty_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each takes microseconds, and they are read in Python: the time is looked at while reading."""
    file = io.BytesIO()
    GREY.save(file, "PNG")
    start, rest = file.getvalue()[:33], file.getvalue()[33:]  # signature and header; the pixels
    path = tmp_path / "a.png"
    path.write_bytes(start + 100 * chunk(b"tEXt", b"a\0b") + rest)
    np.testing.assert_array_equal(read_image(path), INSIDE)
    monkeypatch.setattr(regions, "MOST_SECONDS", 0.0)
    with pytest.raises(StudyError, match="it takes more than 0 s to read"):
        read_image(path)


def tiff(*tags: tuple[int, int, int, int], data: bytes = b"") -> bytes:
    """A TIFF of these tags (number, type, count, value), sorted, with `data` after them."""
    head = struct.pack("<2sHIH", b"II", 42, 8, len(tags))
    return head + b"".join(struct.pack("<HHII", *tag) for tag in tags) + bytes(4) + data


def test_parts_that_are_named_many_times(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    same = [(40_000 + i, 7, 60_000, 400) for i in range(20)]  # the same bytes, twenty times
    size = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), (273, 4, 1, 400)]
    (tmp_path / "a").write_bytes(tiff(*size, *same, data=bytes(61_000)))
    monkeypatch.setattr(regions, "MOST_BYTES", 100_000)
    with pytest.raises(StudyError, match="MiB would have to be read"):
        read_image(tmp_path / "a")


def test_a_tile_larger_than_its_picture(tmp_path: Path) -> None:
    tags = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 5), (262, 3, 1, 1)]
    tags += [(322, 4, 1, 30_000), (323, 4, 1, 30_000), (324, 4, 1, 130), (325, 4, 1, 100)]
    (tmp_path / "a").write_bytes(tiff(*tags, data=bytes(200)))
    with pytest.raises(StudyError, match="tiles of more than 20,000,000 pixels"):
        read_image(tmp_path / "a")


def test_damaged_files_are_read_or_refused(tmp_path: Path) -> None:
    files: list[bytes] = []
    for kind, mode in [(k, "RGB") for k in regions.MOST_MILLIONS] + [
        ("PNG", "RGBA"),
        ("TIFF", "F"),
        ("GIF", "P"),
    ]:
        file = io.BytesIO()
        GREY.resize((40, 40)).convert(mode).save(file, kind)
        files.append(file.getvalue())
    draws = random.Random(0)
    refused = 0
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for _ in range(300):
            data = bytearray(draws.choice(files))
            for _ in range(draws.choice((1, 3, 10))):
                data[draws.randrange(len(data))] = draws.choice((0, 1, 127, 255))
            (tmp_path / "a").write_bytes(data[: draws.choice((len(data), len(data) // 2))])
            try:
                read_image(tmp_path / "a")
            except StudyError:
                refused += 1
    assert 50 < refused < 300


# What it takes ------------------------------------------------------------------------------------

AT_THE_LIMITS = """
import json, os, sys
from PIL import Image
from scratchnn.studies import StudyError
from scratchnn.studies.regions import read_image

def alone(function, *arguments):
    # In a process of its own: the most memory that it had.
    child = os.fork()
    if child == 0:
        function(*arguments)
        os._exit(0)
    _, status, used = os.wait4(child, 0)
    assert status == 0
    return used.ru_maxrss * (1 if sys.platform == "darwin" else 1024)

def make(kind, mode, width, height, options):
    image = Image.new(mode, (width, height), "white")
    image.paste("black", (width // 4, height // 4, width // 2, height // 2))
    image.save("picture", kind, **options)

def read():
    try:
        found = int(read_image("picture").sum())
    except StudyError as error:
        found = str(error)
    print(json.dumps(found), flush=True)

for kind, *size, options in (
    ("PNG", "RGBA", 7000, 7000, {"compress_level": 1}),
    ("JPEG", "L", 10_000, 10_000, {}),
    ("JPEG", "RGB", 5000, 4000, {"progressive": True}),
    ("WEBP", "RGB", 4000, 3000, {"method": 0}),
    ("TIFF", "RGBA", 5000, 4000, {"compression": "packbits"}),
    ("PNG", "1", 20_000, 5000, {}),
):
    alone(make, kind, *size, options)
    print(alone(read), flush=True)
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="memory is measured in processes that are forked")
def test_memory_at_the_limits(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", AT_THE_LIMITS], cwd=tmp_path, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    *at_the_limit, too_large = lines[::2]
    # On a slow machine a picture may be refused for the time it takes.
    assert all(found == 64 * 64 or "to read; make it smaller" in found for found in at_the_limit)
    assert "more than 50,000,000 pixels" in too_large
    assert max(lines[1::2]) <= 500 * 2**20
