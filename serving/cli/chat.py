"""`saccade chat`: ask a running server from the terminal."""

import base64
import json
import mimetypes
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from saccade.serving.cli.options import fail

DEFAULT_URL = "http://127.0.0.1:8000"


def chat(
    question: Annotated[str, typer.Argument(help="What to ask.")],
    image: Annotated[
        list[str] | None,
        typer.Option("--image", "-i", help="Picture: a file or an http(s) URL. May be repeated."),
    ] = None,
    url: Annotated[str, typer.Option(help="Base URL of the server.")] = DEFAULT_URL,
    model: Annotated[
        str | None, typer.Option(help="Model; the server's first one if not given.")
    ] = None,
    system: Annotated[str | None, typer.Option(help="System message.")] = None,
    max_tokens: Annotated[int, typer.Option(min=1, help="Longest answer, in tokens.")] = 128,
    temperature: Annotated[float, typer.Option(min=0, help="0 is greedy.")] = 0.0,
    explain: Annotated[
        bool, typer.Option(help="Print which instance did what, in how long.")
    ] = False,
) -> None:
    """Ask a question, about pictures or not, and print the answer as it comes.

    The API key, if the server wants one, is read from the variable SACCADE_API_KEY.
    """
    import httpx2

    content: list[dict[str, Any]] = [
        {"type": "image_url", "image_url": {"url": _picture_url(name)}} for name in image or []
    ]
    content.append({"type": "text", "text": question})
    messages: list[dict[str, Any]] = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": content})
    key = os.environ.get("SACCADE_API_KEY")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx2.Client(base_url=url.rstrip("/"), headers=headers, timeout=600) as client:
            body = {
                "model": model or _first_model(client),
                "messages": messages,
                "max_tokens": max_tokens,
                "temperature": temperature,
                "stream": True,
                "saccade": {"explain": explain},
            }
            _print_answer(client, body)
    except httpx2.ConnectError:
        fail(f"no server answers at {url}; start one with `saccade serve`, or give --url")
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        fail(f"{url}: {error}")


def _picture_url(name: str) -> str:
    if name.startswith(("http://", "https://", "data:")):
        return name
    path = Path(name)
    try:
        data = path.read_bytes()
    except OSError as error:
        fail(f"{name}: {error.strerror}", 2)
    kind = mimetypes.guess_type(name)[0] or "application/octet-stream"
    return f"data:{kind};base64,{base64.b64encode(data).decode()}"


def _first_model(client: Any) -> str:
    response = client.get("/v1/models")
    if response.status_code != 200:
        fail(_message(response.content, response.status_code))
    first: str = response.json()["data"][0]["id"]
    return first


def _print_answer(client: Any, body: dict[str, Any]) -> None:
    with client.stream("POST", "/v1/chat/completions", json=body) as response:
        if response.status_code != 200:
            fail(_message(response.read(), response.status_code))
        explanation = None
        for chunk in _events(response.iter_lines()):
            if "error" in chunk:
                print()
                fail(str(chunk["error"]["message"]))
            for choice in chunk["choices"]:
                print(choice["delta"].get("content") or "", end="", flush=True)
            explanation = chunk.get("saccade", explanation)
    print()
    for stage in (explanation or {}).get("stages", []):
        cache = f"  ({stage['cache']})" if "cache" in stage else ""
        line = f"  {stage['stage']:<10} {stage['instance']:<12} {stage['ms']:8.1f} ms{cache}"
        print(line, file=sys.stderr)


def _events(lines: Iterator[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        data = line.removeprefix("data: ")
        if line.startswith("data: ") and data != "[DONE]":
            yield json.loads(data)


def _message(raw: bytes, status: int) -> str:
    try:
        return str(json.loads(raw)["error"]["message"])
    except (ValueError, KeyError, TypeError):
        return f"the server answered with status {status}"
