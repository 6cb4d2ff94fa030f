"""What the caches and cache-aware placement are worth, each in one run.

    python -m benchmarks.caching chat        # every level of caching off in turn, and stock vLLM
    python -m benchmarks.caching placement   # cache-aware, least-loaded, round-robin
    python -m benchmarks.caching chat --quick --output /tmp/chat.md

The servers run one after the other, since they would share the cores otherwise.
"""

import argparse
import asyncio
import dataclasses
from collections.abc import Iterator
from pathlib import Path

from benchmarks.caching import chat, placement
from benchmarks.caching.variants import LEVELS, PLACEMENTS, written
from benchmarks.caching.variants import placement as placement_changes
from benchmarks.machine import describe
from benchmarks.servers import ROOT, saccade_server, stock_vllm

RESULTS = ROOT / "docs" / "results"


def main() -> None:
    options = _options()
    lines = _chat(options) if options.what == "chat" else _placement(options)
    output = options.output or RESULTS / f"caching-{options.what}.md"
    output.parent.mkdir(parents=True, exist_ok=True)
    text = ""
    for line in lines:
        print(line, flush=True)
        text += f"{line}\n"
        # After each line, so that an interruption costs one server.
        output.write_text(text, encoding="utf-8")
    print(f"wrote {output}")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("what", choices=("chat", "placement"))
    parser.add_argument("--quick", action="store_true", help="a few requests, to see that it works")
    parser.add_argument("--only", nargs="+", help="names of variants")
    parser.add_argument("--cores", help="that the servers may use, such as 0,1; all if not given")
    parser.add_argument("--checkpoint", type=Path, default=ROOT / ".cache" / "saccade-tiny")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "caching")
    parser.add_argument("--kv-cache-bytes", type=int, default=24 * 2**20, help="(placement)")
    parser.add_argument("--output", type=Path)
    return parser.parse_args()


def _head(title: str, command: str, options: argparse.Namespace) -> Iterator[str]:
    quick = " --quick" if options.quick else ""
    yield f"# {title}"
    yield ""
    yield f"Made by `python -m benchmarks.caching {command}{quick}`. {describe(options.cores)}"
    yield ""


def _chat(options: argparse.Namespace) -> Iterator[str]:
    num_pictures, num_turns, num_users = (2, 3, 4) if options.quick else (10, 6, 30)
    yield from _head("What each cache is worth to chat about pictures", "chat", options)
    yield (
        f"*Turns*: {num_pictures} conversations of {num_turns} turns about a picture each, one "
        f"after the other. *Users*: {num_users} users with one question each about the same "
        f"picture, four at a time after the first, for {num_pictures} pictures. Medians; cached: "
        "prompt tokens of later requests that were in the prefix cache; encodes: how often the "
        "vision tower ran, by metric."
    )
    yield ""
    yield "| server | workload | first TTFT, ms | later TTFT, ms | cached | encodes for pictures |"
    yield "|---|---|---|---|---|---|"
    for name, changes in LEVELS.items():
        if options.only is None or name in options.only:
            config = written(name, changes, options.folder)
            with saccade_server(config, options.folder / name, options.cores) as server:
                yield from _chat_rows(name, server.url, num_pictures, num_turns, num_users, True)
    if options.only is None or "vllm" in options.only:
        with stock_vllm(options.checkpoint, options.folder, options.cores) as server:
            yield from _chat_rows(
                "stock vLLM", server.url, num_pictures, num_turns, num_users, False
            )


def _chat_rows(
    name: str, url: str, num_pictures: int, num_turns: int, num_users: int, ours: bool
) -> Iterator[str]:
    # The first request after start-up is slow for reasons of its own.
    asyncio.run(chat.turns(url, 1, 2, 90_000, ours=ours))
    talks = asyncio.run(chat.turns(url, num_pictures, num_turns, 10_000, ours=ours))
    asked = asyncio.run(chat.users(url, num_pictures, num_users, 20_000, ours=ours))
    for workload, done in (("turns", talks), ("users", asked)):
        encodes = "" if done.encodes is None else f"{done.encodes} for {done.num_pictures}"
        yield (
            f"| {name} | {workload} | {done.first_ttft_s * 1e3:.0f} "
            f"| {done.later_ttft_s * 1e3:.0f} | {done.cached_ratio:.0%} | {encodes} |"
        )


def _placement(options: argparse.Namespace) -> Iterator[str]:
    workload = placement.Workload(24, 400, 6)
    if options.quick:
        workload = dataclasses.replace(workload, num_prefixes=6, num_requests=24, num_clients=3)
    yield from _head("Where prompts are placed that begin alike", "placement", options)
    yield (
        f"Four prefill instances with {options.kv_cache_bytes / 2**20:g} MiB of KV cache each, one "
        f"that decodes. {workload.num_requests} requests of {workload.num_clients} clients, each "
        f"with one of {workload.num_prefixes} beginnings (popular as 1/rank) and a question of its "
        "own. Cached: prompt tokens that were in the prefix cache. Expected: what the index said "
        "of the chosen instance; too many: of that, what was not there."
    )
    yield ""
    yield "| placement | cached | median TTFT, ms | p90 TTFT, ms | expected / cached | too many |"
    yield "|---|---|---|---|---|---|"
    for how in PLACEMENTS:
        if options.only is None or how in options.only:
            config = written(how, placement_changes(how, options.kv_cache_bytes), options.folder)
            with saccade_server(config, options.folder / how, options.cores) as server:
                done = asyncio.run(placement.run(server.url, workload))
            yield (
                f"| {how} | {done.hit_ratio:.1%} | {done.median_ttft_s * 1e3:.0f} "
                f"| {done.p90_ttft_s * 1e3:.0f} | {done.expected_tokens:,} / "
                f"{done.cached_tokens:,} | {done.too_many_tokens:,} |"
            )


if __name__ == "__main__":
    main()
