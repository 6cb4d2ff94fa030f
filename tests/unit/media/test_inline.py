import base64
import contextlib
from urllib.parse import quote

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.serving.errors import InvalidRequestError, TooLargeError
from saccade.serving.media.inline import decode_inline

DATA = bytes(range(256))
BASE64 = base64.b64encode(DATA).decode()
PARAM = "messages[0].content[0]"


def decode(url: str, max_bytes: int = 1000) -> bytes:
    return decode_inline(url, max_bytes, PARAM)


@pytest.mark.parametrize(
    "url",
    [
        f"data:image/png;base64,{BASE64}",
        f"DATA:image/png;BASE64,{BASE64}",
        f"data:;base64,{BASE64}",
        f"data:image/png;charset=utf-8;name=a%20b;base64,{BASE64}",
        f"data:image/png; base64,{BASE64}",
        f"data:image/png;base64,{quote(BASE64, safe='')}",
        f"data:image/png;base64,{BASE64.replace('/', '%2f')}",
        f"data:image/png;base64,{BASE64.rstrip('=')}",
        f"data:image/png;base64,\n  {BASE64[:76]}\r\n{BASE64[76:]}\n",
        BASE64,
        base64.encodebytes(DATA).decode(),
    ],
)
def test_all_spellings_give_the_bytes(url: str) -> None:
    assert decode(url) == DATA


@pytest.mark.parametrize(
    "url",
    [
        "data:image/png;base64,",
        "data:image/png;base64,!!!!",
        "data:image/png;base64,AAAAA",
        "data:image/png;base64,AA==AAAA",
        "data:image/png;base64,A===",
        "data:image/png;base64,ÄÖÜß",
        "data:image/png;base64,\ud800AAA",
        "data:image/png;base64",
        "data:image/png,AAAA",
        "data:,AAAA",
        "data:",
        "/etc/passwd.txt",
        "../picture.png",
        "//host/picture.png",
        "<svg/>",
        "====",
    ],
)
def test_bad_base64_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        decode(url)
    assert (caught.value.code, caught.value.param) == ("invalid_base64", PARAM)


@pytest.mark.parametrize("num_bytes", [255, 256, 257, 258])
@pytest.mark.parametrize("break_lines", [False, True])
def test_the_limit_is_exact(num_bytes: int, break_lines: bool) -> None:
    encode = base64.encodebytes if break_lines else base64.b64encode
    url = encode(bytes(num_bytes)).decode()
    assert len(decode(url, max_bytes=num_bytes)) == num_bytes
    with pytest.raises(TooLargeError) as caught:
        decode(url, max_bytes=num_bytes - 1)
    assert (caught.value.code, caught.value.param) == ("image_too_large", PARAM)
    assert caught.value.status == 413


def test_the_limit_is_held_before_decoding() -> None:
    # Not even valid; its length alone is enough to refuse it.
    with pytest.raises(TooLargeError):
        decode("!" * 4000, max_bytes=1000)


@settings(deadline=None)
@given(st.binary(min_size=1, max_size=300))
def test_what_was_encoded_comes_back(data: bytes) -> None:
    assert decode(base64.b64encode(data).decode()) == data


@settings(deadline=None)
@given(st.text(max_size=40), st.sampled_from(["", "data:", "data:;base64,"]))
def test_any_text_gives_bytes_or_a_client_error(text: str, prefix: str) -> None:
    with contextlib.suppress(InvalidRequestError):
        assert decode(prefix + text)
