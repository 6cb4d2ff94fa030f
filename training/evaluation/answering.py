"""Two ways to an answer: over HTTP from any OpenAI-compatible server, or from a checkpoint with
stock transformers."""

import asyncio
import base64
import io
from collections.abc import AsyncIterator, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

from PIL import Image

from saccade.training.data import STILL_KINDS
from saccade.training.data.clips import NUM_FRAMES
from saccade.training.evaluation.items import Item

MOST_TOKENS = 12
"""Longer than any right answer."""


class AnswerError(Exception):
    """No answer can be had; the message says why."""


class Answerer(Protocol):
    def answers(self, items: Sequence[Item]) -> AsyncIterator[tuple[int, str]]:
        """Number of an item and its answer, as they come. Raises `AnswerError`."""


class HttpAnswerer:
    """Asks a running server, several questions at once, greedily."""

    def __init__(self, url: str, model: str | None, key: str | None, concurrency: int) -> None:
        self._url = url.rstrip("/")
        self._model = model
        self._headers = {"authorization": f"Bearer {key}"} if key else {}
        self._concurrency = concurrency

    async def answers(self, items: Sequence[Item]) -> AsyncIterator[tuple[int, str]]:
        import httpx2

        free = asyncio.Semaphore(self._concurrency)
        tasks: list[asyncio.Task[tuple[int, str]]] = []
        try:
            async with httpx2.AsyncClient(
                base_url=self._url, headers=self._headers, timeout=600
            ) as client:
                model = self._model or await _first_model(client)
                tasks = [
                    asyncio.create_task(_ask(client, model, free, number, item))
                    for number, item in enumerate(items)
                ]
                for done in asyncio.as_completed(tasks):
                    yield await done
        except httpx2.ConnectError:
            raise AnswerError(
                f"no server answers at {self._url}; start one with `saccade serve`, or evaluate a "
                "checkpoint with --checkpoint"
            ) from None
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise AnswerError(f"{self._url}: {error}") from None
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


class DirectAnswerer:
    """Stock transformers on a checkpoint, in one process."""

    def __init__(self, checkpoint: Path, dtype: str, batch_size: int = 16) -> None:
        from transformers import AutoProcessor, LlavaForConditionalGeneration

        try:
            self._processor = AutoProcessor.from_pretrained(checkpoint)
            # transformers' own annotations do not let its models generate.
            self._model: Any = LlavaForConditionalGeneration.from_pretrained(
                checkpoint, dtype=dtype
            )
        except (OSError, ValueError) as error:
            raise AnswerError(f"cannot load {checkpoint}: {error}") from error
        self._processor.tokenizer.padding_side = "left"
        self._batch_size = batch_size

    async def answers(self, items: Sequence[Item]) -> AsyncIterator[tuple[int, str]]:
        for numbers in _alike(items, self._batch_size):
            answers = self._generate([items[n] for n in numbers])
            for number, answer in zip(numbers, answers, strict=True):
                yield number, answer

    def _generate(self, items: Sequence[Item]) -> list[str]:
        import torch

        shown = [item.pictures() for item in items]
        prompts = [
            self._processor.apply_chat_template(
                messages(item, len(pictures)), add_generation_prompt=True
            )
            for item, pictures in zip(items, shown, strict=True)
        ]
        inputs = self._processor(
            text=prompts,
            images=[picture for pictures in shown for picture in pictures],
            padding=True,
            return_tensors="pt",
            add_special_tokens=False,
        )
        with torch.inference_mode():
            output = self._model.generate(
                **inputs.to(self._model.dtype), do_sample=False, max_new_tokens=MOST_TOKENS
            )
        new = output[:, inputs["input_ids"].shape[1] :]
        decoded: list[str] = self._processor.batch_decode(new, skip_special_tokens=True)
        return decoded


def messages(item: Item, num_pictures: int, urls: Sequence[str] = ()) -> list[dict[str, Any]]:
    """One user turn; `urls` stand for the pictures where they are sent."""
    pictures: list[dict[str, Any]] = (
        [{"type": "image_url", "image_url": {"url": url}} for url in urls]
        if urls
        else [{"type": "image"}] * num_pictures
    )
    text: dict[str, Any] = {"type": "text", "text": item.question.text}
    content = [text, *pictures] if item.text_first else [*pictures, text]
    return [{"role": "user", "content": content}]


def data_url(picture: Image.Image) -> str:
    packed = io.BytesIO()
    picture.save(packed, "PNG")
    return f"data:image/png;base64,{base64.b64encode(packed.getvalue()).decode()}"


async def _ask(
    client: Any, model: str, free: asyncio.Semaphore, number: int, item: Item
) -> tuple[int, str]:
    async with free:
        urls = [data_url(picture) for picture in item.pictures()]
        body = {
            "model": model,
            "messages": messages(item, len(urls), urls),
            "max_tokens": MOST_TOKENS,
            "temperature": 0,
        }
        response = await client.post("/v1/chat/completions", json=body)
    if response.status_code != 200:
        raise AnswerError(_message(response))
    return number, response.json()["choices"][0]["message"]["content"] or ""


async def _first_model(client: Any) -> str:
    response = await client.get("/v1/models")
    if response.status_code != 200:
        raise AnswerError(_message(response))
    first: str = response.json()["data"][0]["id"]
    return first


def _message(response: Any) -> str:
    try:
        return str(response.json()["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered with status {response.status_code}"


def _alike(items: Sequence[Item], size: int) -> Iterator[list[int]]:
    """Batches of items of one kind: they have as many pictures each."""
    by_kind: dict[str, list[int]] = {}
    for number, item in enumerate(items):
        by_kind.setdefault(item.question.kind, []).append(number)
    for kind, numbers in by_kind.items():
        step = size if kind in STILL_KINDS else max(1, size // NUM_FRAMES)
        yield from (numbers[i : i + step] for i in range(0, len(numbers), step))
