"""Pictures, clips and tensors that are in the request itself: data URLs and bare base64."""

import binascii
from typing import Final, NoReturn, Self

import pybase64

from saccade.serving.config.media import MediaKind
from saccade.serving.errors import InvalidRequestError, TooLargeError

_EXAMPLES: Final = {"image": "data:image/png", "video": "data:video/mp4"}
_WHITESPACE: Final = b" \t\r\n\f\v"
# The characters that base64 needs and that percent-encoding of a URL may have changed.
_PERCENT_CODES: Final = {b"%2B": b"+", b"%2F": b"/", b"%3D": b"=", b"%20": b" "}


class LiftedText(str):
    """A string that was taken out of a request's body before that was parsed (`api.lifting`).

    As a `str` it is only the name that took its place; `raw` is the text, in ASCII.
    """

    raw: bytes

    def __new__(cls, name: str, raw: bytes) -> Self:
        text = super().__new__(cls, name)
        text.raw = raw
        return text


def decode_inline(url: str | bytes, max_bytes: int, param: str, kind: MediaKind = "image") -> bytes:
    """The bytes of a base64 data URL, or of bare base64.

    The size is checked before anything is decoded. Takes milliseconds for megabytes.
    """
    # "?" is not in the alphabet of base64.
    text = url if isinstance(url, bytes) else url.encode("ascii", errors="replace")
    if text[:5].lower() == b"data:":
        header, comma, payload = text[5:].partition(b",")
        if not comma or header.rpartition(b";")[2].strip().lower() != b"base64":
            _refuse(f"A data URL has to be of the form '{_EXAMPLES[kind]};base64,…'.", param)
    else:
        payload = text
    return _decode_base64(payload, max_bytes, param, kind)


def decode_file(text: str, max_bytes: int, param: str, name: str) -> bytes:
    """The bytes of bare base64 in the field `name`, which takes no URL."""
    encoded = text.encode("ascii", errors="replace")
    if _decoded_size(encoded) > max_bytes:
        raise TooLargeError(
            f"{name} has more than {max_bytes} bytes.", param=param, code="image_embeds_too_large"
        )
    try:
        return pybase64.b64decode(encoded, validate=True)
    except binascii.Error:
        _refuse(f"{name} is not valid base64.", param)


def _decode_base64(encoded: bytes, max_bytes: int, param: str, kind: MediaKind) -> bytes:
    if _decoded_size(encoded) <= max_bytes:
        try:
            return _strict(encoded, param, kind)
        except binascii.Error:
            pass
    encoded = _tidy(encoded)
    if _decoded_size(encoded) > max_bytes:
        raise TooLargeError(
            f"The {kind} has more than {max_bytes} bytes.", param=param, code=f"{kind}_too_large"
        )
    try:
        return _strict(encoded, param, kind)
    except binascii.Error:
        _refuse(f"The {kind} is neither an http(s) URL nor valid base64.", param)


def _decoded_size(encoded: bytes) -> int:
    return (len(encoded) - encoded[-2:].count(b"=")) * 3 // 4


def _strict(encoded: bytes, param: str, kind: MediaKind) -> bytes:
    data = pybase64.b64decode(encoded, validate=True)
    if not data:
        _refuse(f"The {kind} is empty.", param)
    return data


def _tidy(encoded: bytes) -> bytes:
    """Without percent-encoding and whitespace, and with the padding that may be left out."""
    if b"%" in encoded:
        for code, character in _PERCENT_CODES.items():
            encoded = encoded.replace(code, character).replace(code.lower(), character)
    encoded = encoded.translate(None, _WHITESPACE)
    return encoded + b"=" * (-len(encoded) % 4)


def _refuse(message: str, param: str) -> NoReturn:
    raise InvalidRequestError(message, param=param, code="invalid_base64")
