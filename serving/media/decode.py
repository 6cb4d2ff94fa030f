"""Decode a checked picture to upright RGB; runs in the encode workers."""

from typing import Final

from PIL import Image

from saccade.serving.media.container import PictureError
from saccade.serving.media.inspect import open_checked, refusal

_LONGEST_SIDE: Final = 65_535
# What brings a picture of an EXIF orientation upright.
_UPRIGHT: Final = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def decode(data: bytes, max_pixels: int, *, param: str | None = None) -> Image.Image:
    """The picture in mode RGB, of the size that `inspect` says.

    EXIF orientation is applied, animations give their first frame, transparent pixels are laid
    on white, 16 bits become 8. Needs about 8 bytes a pixel (WebP: 16) beside the file. The
    header is checked again, so nothing is decoded that `inspect` would refuse.

    Raises InvalidRequestError, and nothing else.
    """
    try:
        header, image = open_checked(data, max_pixels=max_pixels, max_side=_LONGEST_SIDE)
        with image:
            picture = _decode(image)
            if header.orientation in _UPRIGHT:
                picture = picture.transpose(_UPRIGHT[header.orientation])
    except PictureError as error:
        raise refusal(error, param) from error
    return picture


def _decode(image: Image.Image) -> Image.Image:
    try:
        image.load()
        return _to_rgb(image)
    except Exception as error:  # Pillow lets many types through on bad files
        raise PictureError("its pixels cannot be decoded") from error


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode.startswith("I"):
        return image.point(lambda value: value / 256).convert("L").convert("RGB")
    if not image.has_transparency_data:
        return image.convert("RGB")
    layer = image.convert("RGBA")
    ground = Image.new("RGB", image.size, "white")
    ground.paste(layer, mask=layer.getchannel("A"))
    return ground
