"""One image file: what it is, whether it can be used, and its pixels.

Files are read by their content, whatever they are called, and only in :data:`FORMATS`. They are
turned upright as their EXIF data say. What 8 bits a channel cannot hold, and files of several
pages or frames, are refused: docs/data.md says what is done with each kind.
"""

from __future__ import annotations

import functools
import io
import re
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import ExifTags, Image, ImageOps, UnidentifiedImageError

from benchmark.api import InputError

FORMATS = ("JPEG", "PNG", "BMP", "DIB", "TIFF", "WEBP", "GIF", "PPM", "JPEG2000", "AVIF")
GREY_MODES = ("1", "L", "LA")
THUMBNAIL = 8
_PREVIEWS = ("MPO",)  # a photograph, followed by smaller copies of it or by its second eye

# Up to twice this limit images are read in silence, beyond that Pillow refuses them.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


@dataclass(frozen=True)
class Header:
    """What an image file says of itself.

    Attributes:
        mode: as Pillow calls it.
        size: width and height, upright.
        turned: the EXIF orientation, if it is applied; 1 where nothing is to be done.
    """

    mode: str
    size: tuple[int, int]
    turned: int = 1


def header(path: Path, content: bytes | None = None) -> Header:
    """The header of an image file.

    Args:
        path: of the file.
        content: of the file, if it has been read.

    Raises:
        InputError: it is no image, or one of a kind that is not read.
    """
    if content is None:
        try:
            content = path.read_bytes()
        except OSError as error:
            raise unreadable(path, error) from error
    with opened(path, content) as image:
        if _is_deep(image, content):
            raise InputError(
                f"{path} has more than 8 bits a channel (mode {image.mode}): convert it to 8 bits"
            )
        pages = 1 if image.format in _PREVIEWS else getattr(image, "n_frames", 1)
        if pages > 1:
            raise InputError(
                f"{path} holds {pages} pages or frames: which is the image is not certain; save "
                "the one that is meant as a file of its own"
            )
        turned, size = 1, image.size
        # Pillow turns TIFF files itself; and looking for EXIF data may mean to decode a PNG.
        if image.format != "TIFF" and re.search(rb"(?i)exif", content):
            turned = _orientation(image)
        if turned >= 5:
            size = size[::-1]
        return Header(image.mode, size, turned)


@contextmanager
def opened(path: Path, content: bytes | None = None) -> Iterator[Image.Image]:
    """An image file, opened.

    Raises:
        InputError: it cannot be read, or what is done with it fails.
    """
    try:
        source: Any = path if content is None else io.BytesIO(content)
        with Image.open(source, formats=_formats()) as image:
            yield image
    except UnidentifiedImageError as error:
        raise unreadable(path, ValueError("no image of a known format")) from error
    except (OSError, EOFError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise unreadable(path, error) from error


@contextmanager
def decoded(path: Path, mode: str) -> Iterator[Image.Image]:
    """An image file, decoded and upright, as ``L`` or ``RGB``.

    Transparency is ignored: the colour that is stored below it counts.
    """
    with opened(path) as image:
        image.load()
        turned = _orientation(image)
        upright = ImageOps.exif_transpose(image) if turned != 1 else image
        yield upright.convert(mode)


def thumbnail(image: Image.Image) -> npt.NDArray[np.float32]:
    """``(64,)``: the mean grey levels of 8 x 8 fields, which survive another size or encoding."""
    small = image.convert("L").resize((THUMBNAIL, THUMBNAIL), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32).reshape(-1)


def unreadable(path: Path, error: Exception) -> InputError:
    """What is wrong with a file."""
    if isinstance(error, FileNotFoundError):
        return InputError(f"the image {path} is missing: put it back, or take it off the list")
    return InputError(f"the image {path} cannot be read ({error}): replace it")


def all_of(problems: list[InputError]) -> InputError:
    """One error of several."""
    if len(problems) == 1:
        return problems[0]
    return InputError("\n".join([f"{len(problems)} image files:", *map(str, problems)]))


@functools.cache
def _formats() -> list[str]:
    Image.init()
    return [name for name in FORMATS if name in Image.OPEN]


def _orientation(image: Image.Image) -> int:
    with suppress(Exception):  # damaged EXIF data are no reason not to read the pixels
        value = image.getexif().get(ExifTags.Base.Orientation, 1)
        return int(value) if value in range(2, 9) else 1
    return 1


def _is_deep(image: Image.Image, content: bytes) -> bool:
    """Whether channels have more than 8 bits, of which Pillow may drop the lower ones."""
    if image.mode[0] in "IF":
        return True
    if image.format == "JPEG2000":
        start = content.find(b"\xff\x4f\xff\x51") + 42  # the depth of the first channel
        return start > 41 and start < len(content) and (content[start] & 127) > 7
    words = [word for tile in getattr(image, "tile", ()) for word in (
        tile[3] if isinstance(tile[3], tuple) else (tile[3],))]  # fmt: skip
    deep_ppm = image.format == "PPM" and any(isinstance(w, int) and w > 255 for w in words)
    return deep_ppm or any(isinstance(word, str) and ";16" in word for word in words)
