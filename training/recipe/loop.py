"""The loop that all stages share: steps, a log, curves, and going on after an interruption.

A run is a folder: `log.jsonl` with a line for each report, `state.pt` to go on from, `curves.png`,
and at the end `checkpoint/` in float32 for the next stage. Batch number n is the same whoever asks
for it, so a run that was killed goes on as if nothing had happened.
"""

import math
from collections.abc import Iterable, Iterator, Sequence
from itertools import cycle, islice
from pathlib import Path
from typing import Any, Protocol

import torch
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    SpinnerColumn,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)
from torch import Tensor, nn
from torch.optim import AdamW, Muon, Optimizer
from torch.utils.data import DataLoader, Dataset

from saccade.training.recipe.curves import draw_curves
from saccade.training.recipe.device import on_device
from saccade.training.recipe.log import Log
from saccade.training.recipe.settings import RecipeError, Reports, Schedule

STATE = "state.pt"
LOG = "log.jsonl"
CURVES = "curves.png"


class Task(Protocol):
    """What a stage has to say for itself."""

    def modules(self) -> dict[str, nn.Module]: ...

    def trained(self) -> Iterable[nn.Parameter]: ...

    def begin(self) -> None:
        """Called before the first step, and not when a run goes on."""

    def batch(self, number: int) -> Any:
        """Made in a process of its own; the same for the same number."""

    def loss(self, batch: Any, step: int) -> tuple[Tensor, dict[str, Tensor]]: ...

    def evaluate(self) -> dict[str, float]: ...


def run(
    task: Task, directory: Path, schedule: Schedule, reports: Reports, data_workers: int,
    device: torch.device,
) -> None:  # fmt: skip
    """Train from where the folder's last state is to the end of the schedule. The task's modules
    are on the device already."""
    optimizers = _optimizers(task, schedule)
    first = _resume(directory, task, optimizers, device)
    if first == 0:
        task.begin()
    log = Log(directory / LOG, first)
    with _progress() as progress:
        bar = progress.add_task(directory.name, total=schedule.steps, completed=first, note="")
        batches = _batches(task, first, schedule, data_workers)
        for step, batch in zip(range(first, schedule.steps), batches, strict=True):
            share = learning_rate_share(step, schedule)
            losses = _step(
                task, optimizers, on_device(batch, device), step, share, schedule.clip_norm
            )
            done = step + 1
            if done % reports.log_every == 0 or done == schedule.steps:
                values = {name: value.item() for name, value in losses.items()}
                log.add(done, {"learning_rate": share * schedule.learning_rate, **values})
                progress.update(bar, note=f"loss {values['loss']:.3f}")
            if done % reports.evaluate_every == 0 or done == schedule.steps:
                log.add(done, {f"held-out {n}": v for n, v in evaluate(task).items()})
                draw_curves(directory / LOG, directory / CURVES)
            if done % reports.save_every == 0 or done == schedule.steps:
                _save(directory, task, optimizers, done)
            progress.update(bar, completed=done)


def learning_rate_share(step: int, schedule: Schedule) -> float:
    """Of the highest: linear warm-up, then half a cosine down to `final_ratio`."""
    warmup = max(1, round(schedule.warmup_ratio * schedule.steps))
    if step < warmup:
        return (step + 1) / warmup
    share = (step - warmup) / max(1, schedule.steps - warmup)
    cosine = (1 + math.cos(math.pi * share)) / 2
    return schedule.final_ratio + (1 - schedule.final_ratio) * cosine


def evaluate(task: Task) -> dict[str, float]:
    for module in task.modules().values():
        module.eval()
    try:
        return task.evaluate()
    finally:
        for module in task.modules().values():
            module.train()


def _step(
    task: Task, optimizers: Sequence[Optimizer], batch: Any, step: int, share: float,
    clip_norm: float,
) -> dict[str, Tensor]:  # fmt: skip
    loss, parts = task.loss(batch, step)
    loss.backward()
    groups = [group for optimizer in optimizers for group in optimizer.param_groups]
    parameters = [p for group in groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(parameters, clip_norm)
    for group in groups:
        group["lr"] = share * group["highest_lr"]
    for optimizer in optimizers:
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
    return {"loss": loss.detach(), "gradient norm": norm} | {
        name: part.detach() for name, part in parts.items()
    }


def _optimizers(task: Task, schedule: Schedule) -> list[Optimizer]:
    """AdamW, which decays neither norms nor biases; and, where the schedule says so, Muon for the
    matrices inside layers, and another rate for the projector."""
    every = {id(p): p for p in task.trained()}
    matrices: list[nn.Parameter] = []
    if schedule.matrix_learning_rate:
        inside = [
            parameter
            for module in task.modules().values()
            for name, parameter in module.named_parameters()
            if ".layers." in name and parameter.dim() == 2
        ]
        matrices = [p for p in inside if every.pop(id(p), None) is not None]
    decay, rate = schedule.weight_decay, schedule.learning_rate
    projector = [
        parameter
        for module in task.modules().values()
        for name, parameter in module.named_parameters()
        if name.startswith("projector.") and every.pop(id(parameter), None) is not None
    ]
    groups = [
        {"params": [p for p in some if (p.dim() >= 2) == matrix], "highest_lr": highest,
         "weight_decay": decay if matrix else 0.0}
        for some, highest in (
            (every.values(), rate), (projector, schedule.projector_learning_rate or rate)
        )
        for matrix in (True, False)
    ]  # fmt: skip
    optimizers: list[Optimizer] = [AdamW(groups, betas=(0.9, schedule.beta2))]
    if matrices:
        group = {"params": matrices, "highest_lr": schedule.matrix_learning_rate}
        optimizers.append(Muon([group], weight_decay=decay, adjust_lr_fn="match_rms_adamw"))
    return optimizers


class _Numbered(Dataset[Any]):
    def __init__(self, task: Task) -> None:
        self._task = task

    def __getitem__(self, step: int) -> Any:
        return self._task.batch(step)


def _batches(task: Task, first: int, schedule: Schedule, workers: int) -> Iterator[Any]:
    """From step `first` on. Where batches come again they are kept, not made again."""
    different = schedule.different_batches or schedule.steps
    numbers = [step % different for step in range(first, schedule.steps)]
    loader = DataLoader(
        _Numbered(task),
        batch_size=None,
        sampler=numbers[:different],
        num_workers=workers,
        prefetch_factor=4 if workers else None,
        worker_init_fn=_one_thread,
    )
    again = len(numbers) > different
    kept = []
    for batch in loader:
        # A copy, since each tensor from another process holds a file open.
        kept += [on_device(batch, torch.device("cpu"), copy=True)] if again else []
        yield batch
    yield from islice(cycle(kept), len(numbers) - different if again else 0)


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)


def _save(directory: Path, task: Task, optimizers: Sequence[Optimizer], step: int) -> None:
    state = {
        "step": step,
        "optimizers": [optimizer.state_dict() for optimizer in optimizers],
        "modules": {name: module.state_dict() for name, module in task.modules().items()},
    }
    scratch = directory / f".{STATE}.new"
    torch.save(state, scratch)
    scratch.replace(directory / STATE)


def _resume(
    directory: Path, task: Task, optimizers: Sequence[Optimizer], device: torch.device
) -> int:
    """The step to go on with, 0 for a new run."""
    path = directory / STATE
    if not path.exists():
        return 0
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        for name, module in task.modules().items():
            module.load_state_dict(state["modules"][name])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
    except Exception as error:
        raise RecipeError(
            f"{path} does not fit this stage: choose another folder, or delete it ({error})"
        ) from error
    return int(state["step"])


def _progress() -> Progress:
    return Progress(
        SpinnerColumn(),
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
