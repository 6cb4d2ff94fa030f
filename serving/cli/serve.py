"""`saccade serve`: start the system and keep it running until it is told to stop."""

import asyncio
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from saccade.serving.cli.options import ConfigFile, Overrides, fail, settings_from

if TYPE_CHECKING:
    from saccade.serving.config.settings import Settings


def serve(
    config: ConfigFile = None,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    model: Annotated[
        str | None,
        typer.Option(
            metavar="FOLDER|HUB-ID",
            help="Checkpoint to serve, instead of model.path. `saccade models` lists families.",
        ),
    ] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes a free one.")] = None,
    overrides: Overrides = None,
) -> None:
    """Start Ray, the instances and the HTTP API, and serve until Ctrl-C.

    Ctrl-C or SIGTERM lets running requests finish (api.drain_timeout_s) and then stops
    everything; a second Ctrl-C does not wait for them.

    With --model and no configuration there are one encode instance (none for a language model
    without pictures) and two that prefill and decode, for trying a checkpoint out on a CPU.
    """
    flags = {"api.host": host, "api.port": port, **_flags_for(model, config, overrides)}
    settings = settings_from(config, overrides, **flags)
    _prepare_checkpoint(settings)
    _show_plan(settings)
    from saccade.serving.logs import configure_logging

    configure_logging(settings.log)
    raise typer.Exit(asyncio.run(_serve(settings)))


def _flags_for(
    model: str | None, config: Path | None, overrides: list[str] | None
) -> dict[str, Any]:
    """What --model sets."""
    if model is None:
        return {}
    from saccade.encoders.base import UnsupportedCheckpointError
    from saccade.encoders.registry import ENCODERS
    from saccade.serving.cli.find_model import find_model, not_here

    folder = find_model(model)
    if folder is None:
        fail(f"--model {not_here(model)}", 2)
    flags: dict[str, Any] = {"model.path": str(folder)}
    if not Path(model).expanduser().exists():
        flags["model.served_name"] = model
    named = any(one.startswith(("instances.", "instances=")) for one in overrides or [])
    if config is None and not named:
        try:
            family = ENCODERS.family(folder)
        except UnsupportedCheckpointError as error:
            fail(f"--model {model}: {error}", 2)
        flags["instances.llm"] = {"roles": ["prefill", "decode"], "replicas": 2, "cpus": 0.5}
        if family.support.pictures:
            flags["instances.encode"] = {"roles": ["encode"], "cpus": 0.5}
    return flags


def _show_plan(settings: "Settings") -> None:
    """Print what will be started; refuse a checkpoint that cannot be served."""
    from saccade.encoders.base import UnsupportedCheckpointError
    from saccade.serving.plan import in_words, plan, sizes_of_checkpoint

    try:
        sizes = sizes_of_checkpoint(settings.model.path, settings.model.dtype)
        groups = plan(settings, sizes)
    except UnsupportedCheckpointError as error:
        fail(f"model.path: {error}", 2)
    lines = [f"{settings.model.name}: {sizes.family.name}, {sizes.dtype}"]
    for group in groups:
        cache = (
            f" + {in_words(group.kv_cache_bytes)} KV cache ({group.kv_cache_tokens:,} tokens)"
            if group.kv_cache_bytes
            else ""
        )
        lines.append(
            f"  {group.replicas} x {group.name} ({'+'.join(group.roles)}): "
            f"{in_words(group.weights_bytes)} weights{cache} each"
        )
    if sizes.tokens_per_megapixel is not None:
        lines.append(f"  a picture of one megapixel: {sizes.tokens_per_megapixel:,} visual tokens")
    print("\n".join(lines), flush=True)


def _prepare_checkpoint(settings: "Settings") -> None:
    path = settings.model.path
    if (path / "config.json").is_file():
        return
    if not settings.model.create_if_missing:
        fail(
            f"model.path: there is no checkpoint at {path} (no config.json). Give the folder of "
            f"one, or make the small built-in one with `saccade checkpoint create {path}`.",
            2,
        )
    from saccade.training.checkpoint import CheckpointError, create_checkpoint

    try:
        create_checkpoint(path, seed=0)
    except (CheckpointError, OSError) as error:
        fail(f"model.path: {error}", 2)


async def _serve(settings: "Settings") -> int:
    from saccade.serving.cli.progress import StartupProgress

    progress = StartupProgress()
    progress.begin()
    from saccade.serving.cluster import environment as ray_environment
    from saccade.serving.engine import environment as vllm_environment

    ray_environment.prepare_environment(local=settings.cluster.address is None)
    vllm_environment.prepare_environment()
    from saccade.serving.cluster.launch import StartError
    from saccade.serving.server import Gateway, StoppedError

    stop, hurry = asyncio.Event(), asyncio.Event()
    received: list[signal.Signals] = []

    def on_signal(number: signal.Signals) -> None:
        if received:
            hurry.set()
        received.append(number)
        progress.note("stop", "stopping; once more to stop at once")
        stop.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, on_signal, number)
    try:
        await Gateway(settings, progress.note).run(
            stop, hurry, lambda url: _announce(progress, settings, url)
        )
    except StoppedError:
        pass
    except StartError as error:
        progress.close()
        print(f"saccade: {error}", file=sys.stderr)
        return 1
    progress.close()
    print("Stopped.", flush=True)
    return 130 if received[:1] == [signal.SIGINT] else 0


def _announce(progress: "StartupProgressType", settings: "Settings", url: str) -> None:
    from saccade.serving.cli.examples import curl_example

    seconds = progress.finish()
    model = settings.model.name
    print(
        f"\nReady after {seconds:.0f} s.\n"
        f"  API      {url}/v1   (model: {model})\n"
        f"  Ready?   {url}/readyz\n"
        f"  Metrics  {url}/metrics\n\n"
        f"Ask about a picture:\n\n{curl_example(settings, url)}\n\n"
        f'  saccade chat --url {url} --image picture.png "What colour is the circle?"\n\n'
        "Ctrl-C stops it.",
        flush=True,
    )


if TYPE_CHECKING:
    from saccade.serving.cli.progress import StartupProgress as StartupProgressType
