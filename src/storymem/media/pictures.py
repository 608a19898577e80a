"""Reading and writing pictures."""

from __future__ import annotations

import io
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from storymem.errors import MediaError
from storymem.media.files import replacing, storage_errors
from storymem.media.frames import FloatArray, Uint8Array, as_picture, from_uint8

if TYPE_CHECKING:
    from PIL.Image import Image

__all__ = ["read_image", "write_png"]

# Named one by one, because Pillow also knows formats that run other programs (EPS starts Ghostscript).
_FORMATS = ("PNG", "JPEG", "WEBP", "AVIF", "TIFF", "BMP", "GIF", "JPEG2000", "PPM")
_FORMAT_WORDS = "PNG, JPEG, WebP, AVIF, TIFF, BMP or GIF"


def read_image(path: Path) -> FloatArray:
    """Read a picture as a frame.

    Turned upright by its EXIF orientation; brought to sRGB if it carries a colour profile; 16 bits become 8;
    transparent parts are laid on white, the paper that cut-out reference pictures are usually meant for; of an
    animation the first picture is taken.

    Returns:
        ``[3, H, W]`` float32 in [-1, 1].

    Raises:
        MediaError: there is no such file, it is no picture, it is damaged, or it has more than about 89 megapixels
            (Pillow's guard against files that unpack to fill the memory).
    """
    from PIL import Image, ImageOps, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", Image.DecompressionBombWarning)
            Image.init()  # what this Pillow was built with; asking for more would be a KeyError
            with Image.open(path, formats=[name for name in _FORMATS if name in Image.OPEN]) as picture:
                picture.load()
                upright = ImageOps.exif_transpose(picture)
        pixels = np.asarray(_to_rgb(upright), dtype=np.uint8)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:
        raise MediaError(
            f"{path}: the picture has more than {Image.MAX_IMAGE_PIXELS or 0:,} pixels: make it smaller first."
        ) from error
    except FileNotFoundError as error:
        raise MediaError(f"{path}: there is no such picture: check the path.") from error
    except UnidentifiedImageError as error:
        raise MediaError(f"{path}: this is not a picture that can be read: use {_FORMAT_WORDS}.") from error
    # Pillow's decoders report damage by any of these, according to the format.
    except (OSError, SyntaxError, ValueError, EOFError, IndexError, OverflowError) as error:
        raise MediaError(f"{path}: the picture is damaged or cannot be read ({error}): replace the file.") from error
    return from_uint8(pixels)


def _to_rgb(picture: Image) -> Image:
    """Any Pillow image as RGB, eight bits, sRGB, without transparency."""
    from PIL import Image

    if picture.mode.startswith("I") or picture.mode == "F":
        # 16-bit grey; Pillow's own conversion would clip it to white instead of scaling. "I" is what older versions
        # read 16-bit PNG as. Floats have no agreed range: [0, 1] is what the programs that write them mean.
        values = np.asarray(picture, dtype=np.float64)
        scaled = values * 255 if picture.mode == "F" else values / 257
        return Image.fromarray(np.rint(np.clip(scaled, 0, 255)).astype(np.uint8)).convert("RGB")

    alpha = picture.convert("RGBA").getchannel("A") if picture.has_transparency_data else None
    if picture.mode not in ("RGB", "CMYK", "L"):
        picture = picture.convert("RGB")
    picture = _to_srgb(picture)
    if alpha is None:
        return picture
    paper = Image.new("RGB", picture.size, "white")
    paper.paste(picture, mask=alpha)
    return paper


def _to_srgb(picture: Image) -> Image:
    """Apply the embedded colour profile (phones write Display P3); without a usable one, convert plainly."""
    from PIL import ImageCms

    profile = picture.info.get("icc_profile")
    if profile:
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
            converted = ImageCms.profileToProfile(picture, source, ImageCms.createProfile("sRGB"), outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            # A profile that is broken or for another kind of image: viewers ignore it, and so do we.
            return picture.convert("RGB")
        if converted is not None:
            return converted
    return picture.convert("RGB")


def write_png(path: Path, frame: FloatArray | Uint8Array) -> None:
    """Write a frame as PNG, whole or not at all.

    Args:
        path: the file; its folder must exist.
        frame: float ``[3, H, W]`` in [-1, 1], or uint8 ``[H, W, 3]`` (which is written bit for bit).

    Raises:
        MediaError: the array is no frame, or the folder does not exist.
        StorageError: the operating system refused.
    """
    from PIL import Image

    pixels = as_picture(frame)
    with replacing(path) as temporary, storage_errors(path):
        Image.fromarray(pixels).save(temporary, format="PNG")
