"""`saccade cache`: the caches of a running server."""

import json
import os
from typing import Annotated, Any

import typer

from saccade.serving.cli.chat import DEFAULT_URL
from saccade.serving.cli.options import fail

app = typer.Typer(
    help="Look at, or empty, the caches of a running server.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

Url = Annotated[str, typer.Option(help="Base URL of the server.")]
STATS_EPILOG = """Examples:

  saccade cache stats

  saccade cache stats --url http://10.0.0.1:8000 --json
"""
CLEAR_EPILOG = """Examples:

  saccade cache clear

  SACCADE_API_KEY=key-of-team-a saccade cache clear
"""


@app.command("stats", epilog=STATS_EPILOG)
def stats(
    url: Url = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Print hits, misses and what is held, since the server started.

    Of visual tokens by tier; of prompts, what the prefix caches of the LLM instances hold as far
    as the gateway's index knows, and how right the index was.

    Numbers of instances are up to some seconds old. The API key, if the server wants one, is read
    from the variable SACCADE_API_KEY.
    """
    answer = _call("GET", url)
    if as_json:
        typer.echo(json.dumps(answer, indent=1))
    else:
        _print(answer)


@app.command("clear", epilog=CLEAR_EPILOG)
def clear(url: Url = DEFAULT_URL) -> None:
    """Remove the visual tokens that are kept for the tenant of the API key, from every tier.

    Without keys in the server's configuration everybody is one tenant. vLLM's prefix caches stay.
    """
    answer = _call("DELETE", url)
    typer.echo(f"removed {answer['removed_entries']} entries")


def _call(method: str, url: str) -> Any:
    import httpx2

    key = os.environ.get("SACCADE_API_KEY")
    headers = {"authorization": f"Bearer {key}"} if key else {}
    try:
        with httpx2.Client(base_url=url.rstrip("/"), headers=headers, timeout=60) as client:
            response = client.request(method, "/saccade/cache")
    except httpx2.ConnectError:
        fail(f"no server answers at {url}; start one with `saccade serve`, or give --url")
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        fail(f"{url}: {error}")
    try:
        answer = response.json()
        if response.status_code != 200:
            fail(str(answer["error"]["message"]))
    except (ValueError, KeyError, TypeError):
        fail(f"the server at {url} answered with status {response.status_code}; is it Saccade?")
    return answer


def _print(answer: Any) -> None:
    hits = answer["hits"]
    pictures = answer["encoded"] + answer["joined"] + sum(hits.values())
    saved_s = sum(answer["saved_ms"].values()) / 1e3
    typer.echo(
        f"{pictures:,} pictures: {answer['encoded']:,} encoded, {answer['joined']:,} joined, "
        + ", ".join(f"{number:,} from {tier}" for tier, number in hits.items())
        + f"\n{saved_s:,.1f} s of preprocessing and encoding saved"
    )
    if answer["tiers"]:
        _print_tiers(answer["tiers"])
    else:
        typer.echo("nothing is kept (visual_cache.enabled is off)")
    _print_prefix(answer["prefix"])


def _print_tiers(rows: Any) -> None:
    columns = ("tier", "instance", "entries", "MB", "of MB", "evictions", "corrupted", "errors")
    _print_table(
        columns,
        [
            (
                row["tier"],
                row["instance"],
                f"{row['entries']:,}",
                f"{row['bytes'] / 1e6:,.1f}",
                f"{row['budget_bytes'] / 1e6:,.1f}",
                *(f"{row[name]:,}" for name in columns[5:]),
            )
            for row in rows
        ],
    )


def _print_prefix(prefix: Any) -> None:
    typer.echo(
        f"\n{prefix['cached_tokens']:,} prompt tokens were cached, {prefix['expected_tokens']:,} "
        f"expected ({prefix['too_many_tokens']:,} too many, {prefix['too_few_tokens']:,} too few)\n"
        f"{prefix['saved_ms'] / 1e3:,.1f} s of prefill saved, by the cost model"
    )
    if not prefix["instances"]:
        typer.echo(
            "no prefix cache is followed (prefix_index.enabled is off, or no instance is up)"
        )
        return
    columns = ("instance", "blocks", "batches", "gaps", "rebuilds")
    rows = prefix["instances"]
    _print_table(
        columns,
        [(row["instance"], *(f"{row[name]:,}" for name in columns[1:])) for row in rows],
    )


def _print_table(columns: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for title in columns:
        table.add_column(title, justify="left" if title in {"tier", "instance"} else "right")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False).print(table)
