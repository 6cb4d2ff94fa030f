"""Long strings that are taken out of a body: what is parsed is the same, whatever arrives how."""

import itertools
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from saccade.serving.api.lifting import Lifter, put_back
from saccade.serving.media.inline import LiftedText

MIN = 24
"""So that short strings are long, here, but not `image_url`."""


def lifted(raw: bytes, cuts: Iterable[int] = ()) -> tuple[bytes, dict[str, bytes]]:
    """Of a body that arrives cut at these places."""
    lifter = Lifter(MIN)
    places = sorted({0, *(cut % (len(raw) + 1) for cut in cuts), len(raw)})
    for start, end in itertools.pairwise(places):
        lifter.feed(raw[start:end])
    rest, found = lifter.finish()
    return rest, dict(found)


def whole(value: Any) -> Any:
    """With `LiftedText` as the text that it stands for."""
    if isinstance(value, LiftedText):
        return value.raw.decode()
    if isinstance(value, dict):
        return {key: whole(one) for key, one in value.items()}
    return [whole(one) for one in value] if isinstance(value, list) else value


texts = st.one_of(
    st.text(st.sampled_from('ab/"\\\n\u00e9 +='), max_size=40),
    st.text(st.sampled_from("abcdef/+="), min_size=MIN, max_size=60).map("data:".__add__),
)
values = st.recursive(
    st.one_of(st.none(), st.integers(), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(texts, inner, max_size=4)),
    max_leaves=12,
)
parts = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "image_url"])},
    optional={
        "text": texts,
        "image_url": st.one_of(texts, st.fixed_dictionaries({"url": texts})),
        "video": st.lists(texts, max_size=3),
    },
)
bodies = st.fixed_dictionaries(
    {}, optional={
        "messages": st.lists(
            st.fixed_dictionaries({"content": st.one_of(texts, st.lists(parts, max_size=3))}),
            max_size=3,
        ),
        "other": values,
    },
)  # fmt: skip
cuts = st.lists(st.integers(0, 10**6), max_size=20)


@given(bodies, cuts, st.booleans(), st.booleans())
def test_the_parsed_body_is_the_same(
    body: Any, cuts: list[int], ascii_only: bool, escape_slashes: bool
) -> None:
    text = json.dumps(body, ensure_ascii=ascii_only)
    raw = (text.replace("/", "\\/") if escape_slashes else text).encode()
    rest, found = lifted(raw, cuts)
    assert whole(put_back(json.loads(rest), found)) == json.loads(raw)


@given(st.binary(max_size=60) | st.text(st.sampled_from('{}[]:,"\\ab/1'), max_size=60), cuts)
@example('"\\\\', [])
@example('"' + "a" * MIN + '\\\\"', [MIN + 1])
def test_what_is_no_json_stays_none_and_what_is_stays_the_same(
    raw: bytes | str, cuts: list[int]
) -> None:
    raw = raw.encode() if isinstance(raw, str) else raw
    rest, found = lifted(raw, cuts)
    try:
        expected: Any = json.loads(raw.decode())
    except ValueError:
        with pytest.raises(ValueError):  # noqa: PT011
            json.loads(rest.decode())
        return
    assert put_back({"value": json.loads(rest)}, found) == {"value": expected}


def test_a_picture_is_not_in_what_is_parsed() -> None:
    url = "data:image/png;base64," + "A" * 100
    body = {"messages": [{"content": [{"type": "image_url", "image_url": {"url": url}}]}]}
    rest, found = lifted(json.dumps(body).encode())
    assert b"AAAA" not in rest
    [raw] = [raw for raw in found.values() if raw.startswith(b"data:")]
    assert raw == url.encode()
    kept = put_back(json.loads(rest), found)["messages"][0]["content"][0]["image_url"]["url"]
    assert isinstance(kept, LiftedText)
    assert kept.raw == raw


def test_a_string_outside_of_media_is_itself_again_also_as_a_key() -> None:
    long = "x" * 50
    body = {"prompt": long, "logit_bias": {long: 1}, "stop": [long]}
    rest, found = lifted(json.dumps(body).encode())
    assert list(found.values()).count(long.encode()) == 3
    assert put_back(json.loads(rest), found) == body


def test_no_client_can_name_what_another_string_was_lifted_to() -> None:
    names = {name for _ in range(3) for name in lifted(b'"' + b"x" * 50 + b'"')[1]}
    assert len(names) == 3
