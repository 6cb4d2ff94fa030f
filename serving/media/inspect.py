"""Check a picture file without decoding its pixels."""

import hashlib
from dataclasses import dataclass
from io import BytesIO
from typing import Final

from PIL import GifImagePlugin, ImageFile, JpegImagePlugin, PngImagePlugin, WebPImagePlugin

from saccade.serving.errors import InvalidRequestError
from saccade.serving.media.container import Container, PictureError, PictureFormat, walk

# Named rather than found by `Image.open`: no other decoder can be reached by any bytes.
_PLUGINS: Final[dict[PictureFormat, type[ImageFile.ImageFile]]] = {
    "PNG": PngImagePlugin.PngImageFile,
    "JPEG": JpegImagePlugin.JpegImageFile,
    "WEBP": WebPImagePlugin.WebPImageFile,
    "GIF": GifImagePlugin.GifImageFile,
}
_SIDEWAYS: Final = frozenset({5, 6, 7, 8})


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """`width` and `height` are those of the upright picture: EXIF orientation is applied."""

    format: PictureFormat
    width: int
    height: int
    orientation: int


def inspect(data: bytes, *, max_pixels: int, max_side: int, param: str | None) -> PictureHeader:
    """The header of a picture that is whole and within the limits.

    Raises InvalidRequestError, and nothing else. Takes milliseconds for megabytes.
    """
    try:
        header, image = open_checked(data, max_pixels=max_pixels, max_side=max_side)
    except PictureError as error:
        raise refusal(error, param) from error
    image.close()
    return header


def content_hash(data: bytes) -> str:
    """256 bits of BLAKE2b in hexadecimal: names the picture in caches."""
    return hashlib.blake2b(data, digest_size=32).hexdigest()


def refusal(error: PictureError, param: str | None) -> InvalidRequestError:
    return InvalidRequestError(f"The image cannot be used: {error}.", param=param, code=error.code)


def open_checked(
    data: bytes, *, max_pixels: int, max_side: int
) -> tuple[PictureHeader, ImageFile.ImageFile]:
    """The header, and Pillow's view of the essential bytes, opened but not decoded.

    The limits are held before Pillow sees anything. Raises PictureError, and nothing else.
    """
    container = walk(data)
    _hold_limits(container, max_pixels, max_side)
    stored = (container.width, container.height)
    try:
        image = _PLUGINS[container.format](BytesIO(container.essential))
    except Exception as error:  # Pillow lets many types through on bad files
        raise PictureError(f"it is not a {container.format} file that can be read") from error
    if image.size != stored:
        raise PictureError("its headers contradict each other")
    width, height = stored[::-1] if container.orientation in _SIDEWAYS else stored
    return PictureHeader(container.format, width, height, container.orientation), image


def _hold_limits(container: Container, max_pixels: int, max_side: int) -> None:
    width, height = container.width, container.height
    if not width or not height:
        raise PictureError("it has no pixels")
    if width * height > max_pixels:
        raise PictureError(
            f"{width} x {height} is more than {max_pixels} pixels", "image_too_many_pixels"
        )
    if max(width, height) > max_side:
        raise PictureError(
            f"a side of {width} x {height} is longer than {max_side} pixels",
            "image_too_many_pixels",
        )
