import contextlib
import copy
import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saccade.serving.errors import ClientError, InvalidRequestError
from saccade.serving.media.parts import (
    ClipPart,
    EmbedsPart,
    MediaLimits,
    PicturePart,
    find_media,
    replace_parts,
)
from saccade.serving.media.sampling import Sampling

TEXT = {"type": "text", "text": "What is it?"}


def image(url: Any = "data:,", **more: Any) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}, **more}


def user(*parts: Any, role: str = "user") -> dict[str, Any]:
    return {"role": role, "content": list(parts)}


def find_pictures(messages: object, max_images: int) -> list[PicturePart]:
    """Where no clips are served."""
    found = find_media(messages, MediaLimits(max_images))
    return [part for part in found if isinstance(part, PicturePart)]


def refused(messages: object, max_images: int = 8) -> InvalidRequestError:
    with pytest.raises(InvalidRequestError) as caught:
        find_pictures(messages, max_images)
    return caught.value


def test_pictures_are_found_in_order_with_their_place() -> None:
    messages = [
        {"role": "system", "content": "Be brief."},
        user(TEXT, image("a")),
        {"role": "assistant", "content": None},
        user(image("b"), TEXT, image("c")),
    ]
    assert find_pictures(messages, 3) == [
        PicturePart("messages[1].content[1]", "a", 1, 1),
        PicturePart("messages[3].content[0]", "b", 3, 0),
        PicturePart("messages[3].content[2]", "c", 3, 2),
    ]


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "u", "detail": "low"}},
        {"type": "image_url", "image_url": "u"},
        {"image_url": "u"},
        {"image_url": {"url": "u"}},
        {"type": None, "image_url": "u"},
        {"type": "image_url", "image_url": "u", "uuid": "mine"},
        {"type": "image_url", "image_url": "u", "text": None, "file": None},
    ],
)
def test_all_spellings_of_a_picture_are_understood(part: dict[str, Any]) -> None:
    assert [found.url for found in find_pictures([user(part)], 1)] == ["u"]


@pytest.mark.parametrize("role", ["system", "developer", "user", "assistant", "tool", "anything"])
def test_media_is_guarded_in_every_role(role: str) -> None:
    assert len(find_pictures([user(image(), role=role)], 1)) == 1
    error = refused([user({"type": "video_url", "video_url": {"url": "u"}}, role=role)])
    assert error.code == "unsupported_content_part"


@pytest.mark.parametrize(
    "part",
    [
        {"type": "input_image", "image_url": "u"},
        {"type": "image_embeds", "image_embeds": "AAAA"},
        {"image_embeds": "AAAA"},
        {"image_embeds": None, "uuid": "sent-earlier"},
        {"type": "audio_embeds", "audio_embeds": "AAAA"},
        {"type": "video_embeds", "video_embeds": "AAAA"},
        {"type": "prompt_embeds", "data": "AAAA"},
        {"prompt_embeds": "AAAA"},
        {"type": "image_pil", "image_pil": "x"},
        {"type": "audio_url", "audio_url": {"url": "u"}},
        {"audio_url": "u"},
        {"video_url": "u"},
        {"type": "input_audio", "input_audio": {"data": "AAAA", "format": "wav"}},
        {"input_audio": {"data": "AAAA", "format": "wav"}},
        {"type": "file", "file": {"file_id": "x"}},
        {"type": "input_file", "file_id": "x"},
        {"type": "image", "image": "u"},
        {"type": "image", "source": {"type": "base64", "data": "AAAA"}},
        {"type": "hologram"},
        {"type": "image_url", "image_url": "u", "video_url": "u"},
    ],
)
def test_every_other_kind_of_media_is_refused_by_name(part: dict[str, Any]) -> None:
    error = refused([user(TEXT, part)])
    assert error.code == "unsupported_content_part"
    assert error.param == "messages[0].content[1]"
    assert error.status == 400


@pytest.mark.parametrize(
    "part",
    [
        {"type": "text", "text": "hi", "image_url": "http://10.0.0.1/"},
        {"type": "text", "text": "hi", "image_url": "http://10.0.0.1/", "uuid": "x"},
        {"type": "text", "text": "hi", "image_url": None, "uuid": "sent-earlier"},
        {"type": "text", "text": "hi", "image": None},
        {"type": 5, "image_url": "http://10.0.0.1/", "uuid": "x"},
        {"type": ["image_url"], "image_url": "http://10.0.0.1/"},
        {"type": {}, "video_url": "http://10.0.0.1/", "uuid": "x"},
    ],
)
def test_media_does_not_hide_behind_another_type(part: dict[str, Any]) -> None:
    assert refused([user(part)]).code == "unsupported_content_part"


@pytest.mark.parametrize(
    ("part", "where"),
    [
        ({"type": "image_url"}, ".image_url"),
        ({"type": "image_url", "image_url": None}, ".image_url"),
        ({"type": "image_url", "image_url": None, "uuid": "sent-earlier"}, ".image_url"),
        ({"image_url": None}, ".image_url"),
        ({"image_url": None, "uuid": "sent-earlier"}, ".image_url"),
        ({"type": "image_url", "image_url": 7}, ".image_url"),
        ({"type": "image_url", "image_url": ["u"]}, ".image_url"),
        ({"type": "image_url", "image_url": {}}, ".image_url.url"),
        ({"type": "image_url", "image_url": {"url": None}}, ".image_url.url"),
        ({"type": "image_url", "image_url": {"url": {"url": "u"}}}, ".image_url.url"),
        ({"type": "image_url", "image_url": {"url": ""}}, ".image_url.url"),
        ({"type": "image_url", "image_url": " \n"}, ".image_url"),
    ],
)
def test_a_picture_without_a_url_is_refused_where_it_is_missing(
    part: dict[str, Any], where: str
) -> None:
    assert refused([user(part)]).param == f"messages[0].content[0]{where}"


def test_the_picture_above_the_limit_is_named() -> None:
    messages = [user(image(), image()), user(TEXT, image())]
    assert len(find_pictures(messages, 3)) == 3
    error = refused(messages, max_images=2)
    assert (error.code, error.param) == ("too_many_images", "messages[1].content[1]")


@pytest.mark.parametrize(
    "messages",
    [
        None,
        7,
        "image_url",
        {"content": [image()]},
        [],
        [None, 3, "x", [image()]],
        [{"role": "user"}],
        [{"role": "user", "content": 3}],
        [{"role": "user", "content": {"type": "image_url", "image_url": "u"}}],
        [user("plain", 4, None, [image()], {}, {"text": "no type"}, {"type": 3})],
        [user({"type": "text"}, {"type": "thinking", "thinking": "x"}, {"type": "refusal"})],
        [user({"type": "text", "text": "x", "image_url": None, "input_audio": None, "file": None})],
    ],
)
def test_what_is_not_media_is_left_to_the_engine(messages: object) -> None:
    assert find_pictures(messages, 1) == []


def test_a_replaced_part_keeps_nothing_of_the_client() -> None:
    messages = [user(TEXT, image("a", uuid="mine", extra=1)), user(image("b"), TEXT)]
    before = copy.deepcopy(messages)
    first, second = find_pictures(messages, 2)
    ours = {"type": "image_embeds", "image_embeds": 1}

    result = replace_parts(messages, [(first, ours), (second, {"type": "x"})])

    assert result == [user(TEXT, ours), user({"type": "x"}, TEXT)]
    assert "mine" not in json.dumps(result)
    assert messages == before
    assert result[0]["content"][1] is not ours


def test_two_pictures_of_one_message_are_replaced() -> None:
    messages = [user(image("a"), image("b")), {"role": "assistant", "content": "yes"}]
    pictures = find_pictures(messages, 2)
    result = replace_parts(messages, [(picture, {"n": picture.url}) for picture in pictures])
    assert result == [user({"n": "a"}, {"n": "b"}), messages[1]]
    assert result[1] is messages[1]


KEYS = st.sampled_from(
    ["content", "type", "text", "image_url", "url", "uuid", "image_embeds", "video_url", "file"]
)
WORDS = st.sampled_from(["text", "image_url", "video_url", "input_image", "file", "data:,", "x"])
LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | WORDS
VALUES = LEAVES | st.lists(LEAVES, max_size=2) | st.dictionaries(KEYS, LEAVES, max_size=3)
PARTS = st.dictionaries(KEYS, VALUES, max_size=4) | VALUES
MESSAGE = st.fixed_dictionaries({"content": st.lists(PARTS, max_size=4) | VALUES}) | VALUES
MESSAGES = st.lists(MESSAGE, max_size=3) | VALUES


@settings(deadline=None)
@given(messages=MESSAGES)
def test_any_json_gives_pictures_or_a_client_error(messages: Any) -> None:
    before = copy.deepcopy(messages)
    with contextlib.suppress(ClientError):
        pictures = find_pictures(messages, 2)
        if pictures:
            ours = replace_parts(messages, [(picture, {"ours": 1}) for picture in pictures])
            assert find_pictures(ours, 2) == []
    assert repr(messages) == repr(before)


WITH_CLIPS = MediaLimits(max_images=2, max_videos=1, max_frames=3)


def clip(url: Any = "data:,", **more: Any) -> dict[str, Any]:
    return {"type": "video_url", "video_url": {"url": url, **more}}


def test_clips_are_found_where_they_are_served() -> None:
    messages = [user(image("a"), clip("b", fps=2, max_frames=8), TEXT)]
    picture, found = find_media(messages, WITH_CLIPS)
    assert picture == PicturePart("messages[0].content[0]", "a", 0, 0)
    assert found == ClipPart(
        "messages[0].content[1]", ("b",), True, Sampling(2.0, 8), message_index=0, part_index=1
    )


def test_a_clip_may_be_a_list_of_frames() -> None:
    part = {"type": "video", "video": ["a", "b"], "fps": 0.5}
    [found] = find_media([user(part)], WITH_CLIPS)
    assert found == ClipPart("messages[0].content[0]", ("a", "b"), False, Sampling(0.5), 0, 0)


@pytest.mark.parametrize(
    ("part", "where"),
    [
        (clip(None), "video_url.url"),
        (clip("u", fps=0), "video_url.fps"),
        (clip("u", fps="2"), "video_url.fps"),
        (clip("u", fps=True), "video_url.fps"),
        (clip("u", fps=float("nan")), "video_url.fps"),
        (clip("u", max_frames=1.5), "video_url.max_frames"),
        (clip("u", max_frames=0), "video_url.max_frames"),
        ({"type": "video", "video": []}, "video"),
        ({"type": "video", "video": "a"}, "video"),
        ({"type": "video", "video": ["a"] * 4}, "video"),
        ({"type": "video", "video": ["a", 3]}, "video[1]"),
        ({"type": "video_url"}, "video_url"),
    ],
)
def test_malformed_clips_are_refused_with_their_place(part: dict[str, Any], where: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        find_media([user(part)], WITH_CLIPS)
    assert caught.value.param == f"messages[0].content[0].{where}"


def test_more_clips_than_allowed_are_refused() -> None:
    with pytest.raises(InvalidRequestError) as caught:
        find_media([user(clip(), TEXT, clip())], WITH_CLIPS)
    assert (caught.value.code, caught.value.param) == ("too_many_videos", "messages[0].content[2]")


@pytest.mark.parametrize(
    ("value", "files"),
    [
        ("QQ==", {"image_embeds": "QQ=="}),
        ({"image_embeds": "QQ=="}, {"image_embeds": "QQ=="}),
        (
            {"image_embeds": "QQ==", "image_grid_thw": "Qg=="},
            {"image_embeds": "QQ==", "image_grid_thw": "Qg=="},
        ),
    ],
)
def test_embeddings_are_found_where_they_are_enabled(value: Any, files: dict[str, str]) -> None:
    part = {"type": "image_embeds", "image_embeds": value}
    limits = MediaLimits(2, embeds=True)
    expected = EmbedsPart("messages[0].content[1]", files, 0, 1)
    assert find_media([user(TEXT, part)], limits) == [expected]
    assert find_media([user(TEXT, {"image_embeds": value})], limits) == [expected]


@pytest.mark.parametrize(
    "value",
    [None, 3, [], [1.0, 2.0], {}, {"image_grid_thw": "Qg=="}, {"image_embeds": None},
     {"image_embeds": "QQ==", "pixel_values": "QQ=="}, {"image_embeds": [[1.0]]}],
)  # fmt: skip
def test_embeddings_in_no_known_form_are_refused(value: Any) -> None:
    part = {"type": "image_embeds", "image_embeds": value}
    with pytest.raises(InvalidRequestError) as caught:
        find_media([user(part)], MediaLimits(2, embeds=True))
    assert caught.value.code == "invalid_image_embeds"
    assert caught.value.param == "messages[0].content[0].image_embeds"


def test_embeddings_count_as_pictures() -> None:
    part = {"type": "image_embeds", "image_embeds": "QQ=="}
    with pytest.raises(InvalidRequestError) as caught:
        find_media([user(image(), part)], MediaLimits(1, embeds=True))
    assert caught.value.code == "too_many_images"


def test_a_refusal_of_embeddings_names_the_switch() -> None:
    error = refused([user({"type": "image_embeds", "image_embeds": "QQ=="})])
    assert "media.accept_image_embeds" in error.message
