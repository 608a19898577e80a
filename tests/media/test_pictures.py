from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageCms

from storymem.errors import MediaError, StorageError
from storymem.media import from_uint8, read_image, to_uint8, write_png


def pixels(height: int = 12, width: int = 20) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def read_pixels(path: Path) -> np.ndarray:
    return to_uint8(read_image(path))


def test_png_comes_back_bit_for_bit(tmp_path: Path):
    for source in (pixels(), from_uint8(pixels())):
        write_png(tmp_path / "a.png", source)
        frame = read_image(tmp_path / "a.png")
        assert frame.dtype == np.float32
        assert np.array_equal(frame, from_uint8(pixels()))
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]


@pytest.mark.parametrize("mode", ["L", "LA", "1", "P", "PA", "RGBA", "CMYK", "YCbCr", "HSV", "LAB"])
def test_every_mode_of_picture_becomes_three_channels(tmp_path: Path, mode: str):
    picture = Image.new("RGB", (20, 12), (255, 255, 255))
    picture = picture.convert("L").convert(mode) if mode in ("LA", "PA") else picture.convert("RGB")
    if mode == "LAB":
        lab = ImageCms.createProfile("LAB")
        picture = ImageCms.profileToProfile(picture, ImageCms.createProfile("sRGB"), lab, outputMode="LAB")
    elif mode not in ("LA", "PA"):
        picture = picture.convert(mode)
    if mode in ("YCbCr", "CMYK", "LAB"):
        path = tmp_path / "a.tif"
    elif mode in ("HSV", "PA"):
        picture = picture.convert("RGBA" if mode == "PA" else "RGB")
        path = tmp_path / "a.webp"
    else:
        path = tmp_path / "a.png"
    picture.save(path)
    frame = read_image(path)
    assert frame.shape == (3, 12, 20)
    assert frame.min() > 0.98


def test_sixteen_bits_are_scaled_not_clipped(tmp_path: Path):
    grey = np.array([[0, 257 * 10, 257 * 128, 65535]], np.uint16)
    Image.fromarray(grey).save(tmp_path / "a.png")
    assert read_pixels(tmp_path / "a.png")[0, :, 0].tolist() == [0, 10, 128, 255]


def test_transparency_lies_on_white(tmp_path: Path):
    rgba = np.zeros((4, 4, 4), np.uint8)
    rgba[:, :2] = (255, 0, 0, 255)
    rgba[:, 3] = (0, 0, 0, 128)
    Image.fromarray(rgba).save(tmp_path / "a.png")
    out = read_pixels(tmp_path / "a.png")
    assert out[0, 0].tolist() == [255, 0, 0]
    assert out[0, 2].tolist() == [255, 255, 255]
    assert out[0, 3].tolist() == [127, 127, 127]


def test_transparent_palette_entry_lies_on_white(tmp_path: Path):
    picture = Image.new("P", (4, 4), 1)
    picture.putpalette([255, 0, 0, 0, 0, 255])
    picture.putpixel((0, 0), 0)
    picture.save(tmp_path / "a.gif", transparency=1)
    out = read_pixels(tmp_path / "a.gif")
    assert out[0, 0].tolist() == [255, 0, 0]
    assert out[2, 2].tolist() == [255, 255, 255]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(tmp_path: Path, orientation: int):
    picture = Image.new("RGB", (32, 16), "black")
    picture.paste((255, 255, 255), (0, 0, 8, 8))  # a white corner
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(tmp_path / "a.png", exif=exif)
    out = read_pixels(tmp_path / "a.png")
    assert out.shape[:2] == ((16, 32) if orientation < 5 else (32, 16))
    top, left = {1: (1, 1), 2: (1, 0), 3: (0, 0), 4: (0, 1), 5: (1, 1), 6: (1, 0), 7: (0, 0), 8: (0, 1)}[orientation]
    assert out[0 if top else -1, 0 if left else -1].tolist() == [255, 255, 255]
    assert (out == 255).all(axis=2).sum() == 64


def test_animation_gives_its_first_picture(tmp_path: Path):
    pictures = [Image.new("RGB", (8, 8), colour) for colour in ("red", "lime", "blue")]
    pictures[0].save(tmp_path / "a.gif", save_all=True, append_images=pictures[1:])
    assert read_pixels(tmp_path / "a.gif")[0, 0].tolist() == [255, 0, 0]


def test_colour_profile_is_applied_and_a_broken_one_ignored(tmp_path: Path):
    lab = ImageCms.profileToProfile(
        Image.new("RGB", (4, 4), (200, 30, 60)),
        ImageCms.createProfile("sRGB"),
        ImageCms.createProfile("LAB"),
        outputMode="LAB",
    )
    lab.save(tmp_path / "a.tif", icc_profile=ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes())
    assert np.abs(read_pixels(tmp_path / "a.tif").astype(int) - [200, 30, 60]).max() <= 3
    Image.new("RGB", (4, 4), (200, 30, 60)).save(tmp_path / "b.png", icc_profile=b"this is no profile")
    assert read_pixels(tmp_path / "b.png")[0, 0].tolist() == [200, 30, 60]


def _png_header(width: int, height: int) -> bytes:
    """A PNG that claims a size and has almost nothing in it."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"\0" * 100)) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(10_000, 10_000), (60_000, 60_000)])
def test_decompression_bomb_is_refused_before_it_unpacks(tmp_path: Path, size: tuple[int, int]):
    (tmp_path / "a.png").write_bytes(_png_header(*size))
    with pytest.raises(MediaError, match="more than 89,478,485 pixels"):
        read_image(tmp_path / "a.png")


def test_what_is_no_picture_is_an_error_with_place_and_remedy(tmp_path: Path):
    (tmp_path / "text.png").write_text("a tale of two cities\n")
    (tmp_path / "empty.png").touch()
    (tmp_path / "folder.png").mkdir()
    (tmp_path / "program.eps").write_text("%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n")
    write_png(tmp_path / "whole.png", pixels(64, 64))
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:5000])
    for name, words in {
        "text.png": "not a picture",
        "empty.png": "not a picture",
        "folder.png": "cannot be read",
        "program.eps": "not a picture",
        "half.png": "damaged",
        "none.png": "no such picture",
    }.items():
        with pytest.raises(MediaError, match=words) as caught:
            read_image(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        assert "\n" not in str(caught.value)


def test_write_png_refuses_what_is_no_frame(tmp_path: Path):
    for array in (np.zeros((4, 4), np.uint8), np.zeros((3, 4, 4), np.int64), np.zeros((3, 0, 4), np.float32)):
        with pytest.raises(MediaError, match="must be float"):
            write_png(tmp_path / "a.png", array)
    with pytest.raises(MediaError, match="does not exist"):
        write_png(tmp_path / "none" / "a.png", pixels())
    with pytest.raises(MediaError, match="folder of that name"):
        write_png(tmp_path, pixels())
    assert list(tmp_path.iterdir()) == []


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_full_disk_keeps_the_old_picture(tmp_path: Path):
    write_png(tmp_path / "a.png", pixels())
    (tmp_path / ".making-a.png").symlink_to("/dev/full")
    with pytest.raises(StorageError, match=r"a\.png: could not be written \(No space left on device\)"):
        write_png(tmp_path / "a.png", 255 - pixels())
    assert np.array_equal(read_pixels(tmp_path / "a.png"), pixels())
    assert [path.name for path in tmp_path.iterdir()] == ["a.png"]
    write_png(tmp_path / "a.png", 255 - pixels())
    assert np.array_equal(read_pixels(tmp_path / "a.png"), 255 - pixels())
