"""Many requests at once, each with many large pictures by URL."""

import asyncio
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import BytesIO
from pathlib import Path
from typing import Any

import httpx2
from PIL import Image

ROOT = Path(__file__).parents[2]
NUM_REQUESTS = 200
NUM_PICTURES = 16


def photograph() -> bytes:
    """A JPEG of 12 megapixels, about 1.2 MB."""
    noise = Image.effect_noise((200, 150), 90).resize((4000, 3000)).convert("RGB")
    file = BytesIO()
    noise.save(file, "JPEG", quality=75)
    return file.getvalue()


@contextmanager
def pictures_by_url() -> Iterator[str]:
    """A server of such pictures, every path another file."""
    data = photograph()
    start, rest = data[:2], data[2:]

    class Pictures(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            comment = self.path.encode()
            content = start + b"\xff\xfe" + (len(comment) + 2).to_bytes(2, "big") + comment + rest
            self.send_response(200)
            self.send_header("content-type", "image/jpeg")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Not to the test's output."""

    class QuietServer(ThreadingHTTPServer):
        request_queue_size = 256

        def handle_error(self, *_: Any) -> None:
            """Whoever is refused hangs up in the middle of a picture."""

    server = QuietServer(("127.0.0.1", 0), Pictures)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def pictures_of_another_process() -> Iterator[str]:
    """The same, where whoever asks can measure its own memory."""
    serving = subprocess.Popen(
        [sys.executable, "-m", "tests.e2e.flood"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    with serving:
        assert serving.stdin is not None
        assert serving.stdout is not None
        yield serving.stdout.readline().strip()
        serving.stdin.close()


async def flood(url: str, pictures: str, key: str = "none") -> Counter[tuple[int, str]]:
    """Statuses and error codes of 200 requests that arrive at once."""
    limits = httpx2.Limits(max_connections=None)
    async with httpx2.AsyncClient(
        base_url=url,
        headers={"authorization": f"Bearer {key}"},
        timeout=300,
        limits=limits,
    ) as client:

        async def one(number: int) -> tuple[int, str]:
            content = [
                {"type": "image_url", "image_url": {"url": f"{pictures}/{number}-{picture}.jpg"}}
                for picture in range(NUM_PICTURES)
            ]
            body = {"messages": [{"role": "user", "content": content}], "max_tokens": 2}
            response = await client.post("/v1/chat/completions", json=body)
            error = response.json().get("error") or {}
            return response.status_code, str(error.get("code"))

        return Counter(await asyncio.gather(*(one(number) for number in range(NUM_REQUESTS))))


def main() -> None:
    """Serve pictures from a process of its own until its input ends; prints where."""
    with pictures_by_url() as url:
        print(url, flush=True)  # noqa: T201  # for whoever has started it
        sys.stdin.read()


if __name__ == "__main__":
    main()
