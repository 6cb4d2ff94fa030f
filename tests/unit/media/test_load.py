import asyncio
import base64
from typing import Any

import pytest

from saccade.serving.config.media import MediaConfig
from saccade.serving.errors import ClientError
from saccade.serving.media.fetch import MediaFetcher
from saccade.serving.media.inline import LiftedText
from saccade.serving.media.inspect import content_hash
from saccade.serving.media.load import Embeds, Media, Picture, load_media
from tests.unit.media.pictures import exif, picture
from tests.unit.media.server import PictureServer, response

PNG = picture("PNG")
JPEG = picture("JPEG", exif=exif(6))


def settings(**options: Any) -> MediaConfig:
    return MediaConfig(allowed_private_hosts=["127.0.0.1"], **options)


def data_url(data: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(data).decode()}"


def asking(*urls: str) -> list[dict[str, Any]]:
    parts = [{"type": "image_url", "image_url": {"url": url}} for url in urls]
    return [{"role": "user", "content": [{"type": "text", "text": "What is it?"}, *parts]}]


async def load(messages: object, config: MediaConfig | None = None) -> list[Media]:
    config = config or settings()
    async with MediaFetcher(config) as fetcher:
        return await load_media(messages, fetcher, config)


async def refusal(messages: object, config: MediaConfig | None = None) -> ClientError:
    with pytest.raises(ClientError) as caught:
        await load(messages, config)
    return caught.value


async def test_pictures_are_found_fetched_and_checked_in_order(server: PictureServer) -> None:
    server.routes["/a.jpg"] = response(JPEG)
    messages = asking(data_url(PNG), server.url("/a.jpg"), base64.b64encode(PNG).decode())

    first, second, third = [p for p in await load(messages) if isinstance(p, Picture)]

    assert [p.param for p in (first, second, third)] == [
        f"messages[0].content[{index}]" for index in (1, 2, 3)
    ]
    assert (first.data, second.data, third.data) == (PNG, JPEG, PNG)
    assert (second.header.format, second.header.width, second.header.height) == ("JPEG", 8, 12)
    assert first.content_hash == third.content_hash == content_hash(PNG)
    assert second.content_hash != first.content_hash


@pytest.mark.parametrize("messages", [[], None, 3, [{"role": "user", "content": "hello"}]])
async def test_a_request_without_pictures_has_none(messages: object) -> None:
    assert await load(messages) == []


@pytest.mark.parametrize(
    ("url", "code", "status"),
    [
        (data_url(b"<svg/>"), "unsupported_image_format", 400),
        (data_url(PNG[:-20]), "invalid_image", 400),
        ("data:image/png;base64,?", "invalid_base64", 400),
        ("/etc/passwd", "unsupported_image_format", 400),
        ("file:///etc/passwd", "unsupported_url_scheme", 400),
        ("http://10.0.0.1/a.png", "image_url_forbidden", 400),
        (data_url(bytes(2000)), "image_too_large", 413),
    ],
)
async def test_a_refusal_names_the_picture(url: str, code: str, status: int) -> None:
    error = await refusal(asking(data_url(PNG), url), settings(max_bytes=1500))
    assert (error.code, error.status) == (code, status)
    assert error.param == "messages[0].content[2]"


async def test_the_limits_of_the_configuration_are_held() -> None:
    url = data_url(PNG)
    assert (await refusal(asking(url), settings(max_pixels=95))).code == "image_too_many_pixels"
    assert (await refusal(asking(url), settings(max_side=11))).code == "image_too_many_pixels"
    assert (await refusal(asking(url, url), settings(max_images=1))).code == "too_many_images"
    tight = settings(max_bytes=1024, max_total_bytes=1024)
    padded = data_url(PNG + bytes(600 - len(PNG)))
    assert len(await load(asking(padded), tight)) == 1
    assert (await refusal(asking(padded, padded), tight)).code == "images_too_large"


async def test_media_of_other_kinds_is_refused_before_anything_is_fetched(
    server: PictureServer,
) -> None:
    messages = asking(server.url("/"))
    messages[0]["content"].append({"type": "video_url", "video_url": {"url": "u"}})
    assert (await refusal(messages)).code == "unsupported_content_part"
    assert server.heads == []


async def test_one_refusal_ends_the_fetching_of_the_others(server: PictureServer) -> None:
    asked, hung_up = asyncio.Event(), asyncio.Event()

    async def hang(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        asked.set()
        assert await reader.read() == b""
        hung_up.set()

    async def refuse(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await asked.wait()
        writer.write(response(status=404))

    server.routes.update({"/hang": hang, "/404": refuse})
    error = await refusal(asking(server.url("/hang"), server.url("/404")))
    assert error.code == "image_fetch_failed"
    await hung_up.wait()


async def test_pictures_are_fetched_side_by_side(server: PictureServer) -> None:
    both = asyncio.Barrier(2)

    async def meet(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await both.wait()
        writer.write(response(PNG))

    server.routes["/"] = meet
    assert len(await load(asking(server.url("/"), server.url("/")))) == 2


@pytest.mark.parametrize("url", [data_url(PNG), f" {base64.b64encode(PNG).decode()} "])
async def test_what_was_taken_out_of_the_body_is_the_same_picture_and_not_held_twice(
    url: str,
) -> None:
    [lifted] = await load(asking(LiftedText("name", url.encode())))
    [plain] = await load(asking(url))
    assert isinstance(lifted, Picture)
    assert isinstance(plain, Picture)
    assert (lifted.data, lifted.content_hash) == (plain.data, plain.content_hash)
    assert type(lifted.part.url) is str


async def test_a_long_address_is_an_address_also_when_it_was_taken_out(
    server: PictureServer,
) -> None:
    server.routes["/a.jpg"] = response(JPEG)
    url = LiftedText("name", server.url("/a.jpg").encode())
    [found] = await load(asking(url))
    assert isinstance(found, Picture)
    assert found.data == JPEG


async def test_all_bytes_are_told_to_who_counts_them(server: PictureServer) -> None:
    server.routes["/a.jpg"] = response(JPEG)
    taken: list[int] = []
    config = settings()
    async with MediaFetcher(config) as fetcher:
        messages = asking(data_url(PNG), server.url("/a.jpg"))
        await load_media(messages, fetcher, config, take_of_all=taken.append)
    assert sum(taken) == len(PNG) + len(JPEG)


def embedding(data: bytes) -> dict[str, Any]:
    return {"type": "image_embeds", "image_embeds": base64.b64encode(data).decode()}


async def test_embeddings_are_decoded_and_named_by_their_content() -> None:
    messages = [
        {"role": "user", "content": [embedding(b"one"), embedding(b"one"), embedding(b"2")]}
    ]
    one, same, other = await load(messages, settings(accept_image_embeds=True))
    assert isinstance(one, Embeds)
    assert one.files == {"image_embeds": b"one"}
    assert one.content_hash == same.content_hash != other.content_hash
    assert one.content_hash != content_hash(b"one")


@pytest.mark.parametrize(
    ("encoded", "code", "status"),
    [
        ("?", "invalid_base64", 400),
        ("http://a/tensor", "invalid_base64", 400),
        ("QQ", "invalid_base64", 400),
        (base64.b64encode(bytes(1025)).decode(), "image_embeds_too_large", 413),
    ],
)
async def test_embeddings_that_are_no_file_are_refused(
    encoded: str, code: str, status: int
) -> None:
    messages = [{"role": "user", "content": [{"type": "image_embeds", "image_embeds": encoded}]}]
    error = await refusal(messages, settings(accept_image_embeds=True, max_embeds_bytes=1024))
    assert (error.code, error.status) == (code, status)
    assert error.param == "messages[0].content[0]"


async def test_embeddings_count_for_the_bytes_of_a_request() -> None:
    config = settings(accept_image_embeds=True, max_total_bytes=1500, max_bytes=1024)
    messages = [{"role": "user", "content": [embedding(bytes(1000)), embedding(bytes(1000))]}]
    assert (await refusal(messages, config)).code == "images_too_large"
