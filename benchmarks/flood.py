"""Large pictures against the gateway's event loop and its memory.

    python -m benchmarks.flood                        # docs/results/flood.md
    python -m benchmarks.flood --output /tmp/flood.md

One request with sixteen 12-megapixel JPEGs in base64: how late the event loop was, from the
histogram `saccade_event_loop_lag_seconds` of the server itself. Then 200 requests at once, with
sixteen such pictures each by URL: what was answered, and how far the gateway's memory grew.
"""

import argparse
import asyncio
import base64
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx2

from benchmarks.caching.variants import Changes, written
from benchmarks.machine import describe
from benchmarks.servers import MODEL, ROOT, Server, saccade_server
from tests.e2e.flood import NUM_PICTURES, NUM_REQUESTS, flood, photograph, pictures_by_url

LAG = "saccade_event_loop_lag_seconds_bucket"
CHANGES: Changes = {
    "media": {"max_images": 16, "allowed_private_hosts": ["127.0.0.1"]},
    "model": {"max_model_len": 4096},
}
ROUNDS = 5


def lag_buckets(url: str) -> dict[float, float]:
    """Cumulative counts by upper bound in seconds."""
    buckets = {}
    for line in httpx2.get(f"{url}/metrics").text.splitlines():
        if line.startswith(LAG):
            bound = line.partition('le="')[2].partition('"')[0]
            buckets[float(bound.replace("+Inf", "inf"))] = float(line.rpartition(" ")[2])
    return buckets


def largest_lag_s(before: dict[float, float], after: dict[float, float]) -> float:
    """The bound of the highest bucket that anything was counted in meanwhile."""
    bounds = sorted(after)
    grown = [after[bound] - before[bound] for bound in bounds]
    return next(bound for bound, count in zip(bounds, grown, strict=True) if count == grown[-1])


def one_large_request(url: str) -> tuple[int, float]:
    """Its body's size in bytes, and the event loop's largest lag in seconds, an upper bound."""
    encoded = base64.b64encode(photograph()).decode()
    content = [
        {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{encoded}"}}
    ] * NUM_PICTURES
    body = {"model": MODEL, "messages": [{"role": "user", "content": content}], "max_tokens": 2}
    before = lag_buckets(url)
    response = httpx2.post(f"{url}/v1/chat/completions", json=body, timeout=300)
    if response.status_code != 200:
        raise SystemExit(response.text)
    return len(response.request.content), largest_lag_s(before, lag_buckets(url))


def flooded(server: Server) -> tuple[dict[int, int], int]:
    """Answers by status, and by how many bytes the gateway grew at most."""
    before = server.process.memory_info().rss
    peak = before
    over = threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.05):
            peak = max(peak, server.process.memory_info().rss)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        with pictures_by_url() as pictures:
            counted = asyncio.run(flood(server.url, pictures))
    finally:
        over.set()
        watcher.join()
    statuses: dict[int, int] = {}
    for (status, _), number in counted.items():
        statuses[status] = statuses.get(status, 0) + number
    return statuses, peak - before


def lines(server: Server, cores: str | None) -> Iterator[str]:
    yield "# Large pictures against the gateway"
    yield ""
    yield f"Made by `python -m benchmarks.flood`. {describe(cores)}"
    yield ""
    one_large_request(server.url)
    sizes, lags = zip(*(one_large_request(server.url) for _ in range(ROUNDS)), strict=True)
    shown = ", ".join(f"{lag * 1e3:g}" for lag in lags)
    yield (
        f"A body of {sizes[0] / 1e6:.0f} MB with {NUM_PICTURES} pictures of 12 megapixels in "
        f"base64, {ROUNDS} times: the event loop was late by at most {shown} ms (bounds of the "
        "histogram's buckets). The goal is 20 ms."
    )
    yield ""
    statuses, grown = flooded(server)
    answered = ", ".join(f"{number} with {status}" for status, number in sorted(statuses.items()))
    offered = len(photograph()) * NUM_PICTURES * NUM_REQUESTS
    yield (
        f"{NUM_REQUESTS} requests at once with {NUM_PICTURES} such pictures each by URL, "
        f"{offered / 1e9:.1f} GB together: answered {answered}. The gateway grew by "
        f"{grown / 2**20:.0f} MiB at most; `api.max_bytes_in_flight` is 512 MiB."
    )


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--cores", help="that the server may use, such as 0,1; all if not given")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "flood")
    parser.add_argument("--output", type=Path, default=ROOT / "docs" / "results" / "flood.md")
    options = parser.parse_args()
    config = written("flood", CHANGES, options.folder)
    with saccade_server(config, options.folder, options.cores) as server:
        text = "".join(f"{line}\n" for line in lines(server, options.cores))
    options.output.parent.mkdir(parents=True, exist_ok=True)
    options.output.write_text(text, encoding="utf-8")
    print(text)


if __name__ == "__main__":
    main()
