"""The loop that all stages share: steps, a log, curves, and going on after an interruption.

A run is a folder: `log.jsonl` with a line for each report, `state.pt` to go on from, `curves.png`,
and at the end `checkpoint/` in float32 for the next stage. Batch number n is the same whoever asks
for it, so a run that was killed goes on as if nothing had happened.
"""

import math
from collections.abc import Iterable, Iterator
from dataclasses import fields, is_dataclass
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
from torch.utils.data import DataLoader, Dataset

from saccade.training.recipe.curves import draw_curves
from saccade.training.recipe.log import Log
from saccade.training.recipe.settings import RecipeError, Reports, Schedule

STATE = "state.pt"
LOG = "log.jsonl"
CURVES = "curves.png"


class Task(Protocol):
    """What a stage has to say for itself."""

    def modules(self) -> dict[str, nn.Module]: ...

    def trained(self) -> Iterable[nn.Parameter]: ...

    def batch(self, step: int) -> Any:
        """Made in a process of its own; the same for the same step."""

    def loss(self, batch: Any) -> tuple[Tensor, dict[str, Tensor]]: ...

    def evaluate(self) -> dict[str, float]: ...


def run(
    task: Task, directory: Path, schedule: Schedule, reports: Reports, data_workers: int,
    device: torch.device,
) -> None:  # fmt: skip
    """Train from where the folder's last state is to the end of the schedule."""
    for module in task.modules().values():
        module.to(device)
    optimizer = _optimizer(task.trained(), schedule)
    first = _resume(directory, task, optimizer, device)
    log = Log(directory / LOG, first)
    with _progress() as progress:
        bar = progress.add_task(directory.name, total=schedule.steps, completed=first, note="")
        batches = _batches(task, first, schedule.steps, data_workers)
        for step, batch in zip(range(first, schedule.steps), batches, strict=True):
            rate = learning_rate(step, schedule)
            losses = _step(task, optimizer, on_device(batch, device), rate, schedule.clip_norm)
            done = step + 1
            if done % reports.log_every == 0 or done == schedule.steps:
                values = {name: value.item() for name, value in losses.items()}
                log.add(done, {"learning_rate": rate, **values})
                progress.update(bar, note=f"loss {values['loss']:.3f}")
            if done % reports.evaluate_every == 0 or done == schedule.steps:
                log.add(done, {f"held-out {n}": v for n, v in evaluate(task).items()})
                draw_curves(directory / LOG, directory / CURVES)
            if done % reports.save_every == 0 or done == schedule.steps:
                _save(directory, task, optimizer, done)
            progress.update(bar, completed=done)


def learning_rate(step: int, schedule: Schedule) -> float:
    """Linear warm-up, then half a cosine down to `final_ratio`."""
    warmup = max(1, round(schedule.warmup_ratio * schedule.steps))
    if step < warmup:
        return schedule.learning_rate * (step + 1) / warmup
    share = (step - warmup) / max(1, schedule.steps - warmup)
    cosine = (1 + math.cos(math.pi * share)) / 2
    return schedule.learning_rate * (schedule.final_ratio + (1 - schedule.final_ratio) * cosine)


def evaluate(task: Task) -> dict[str, float]:
    for module in task.modules().values():
        module.eval()
    try:
        return task.evaluate()
    finally:
        for module in task.modules().values():
            module.train()


def on_device(batch: Any, device: torch.device) -> Any:
    """A dataclass of tensors, or of such dataclasses, moved."""
    if isinstance(batch, Tensor):
        return batch.to(device, non_blocking=True)
    if is_dataclass(batch) and not isinstance(batch, type):
        return type(batch)(*(on_device(getattr(batch, f.name), device) for f in fields(batch)))
    return batch


def _step(
    task: Task, optimizer: torch.optim.Optimizer, batch: Any, rate: float, clip_norm: float
) -> dict[str, Tensor]:
    for group in optimizer.param_groups:
        group["lr"] = rate
    loss, parts = task.loss(batch)
    optimizer.zero_grad(set_to_none=True)
    loss.backward()
    parameters = [p for group in optimizer.param_groups for p in group["params"]]
    norm = nn.utils.clip_grad_norm_(parameters, clip_norm)
    optimizer.step()
    return {"loss": loss.detach(), "gradient norm": norm} | {
        name: part.detach() for name, part in parts.items()
    }


def _optimizer(parameters: Iterable[nn.Parameter], schedule: Schedule) -> torch.optim.AdamW:
    """Norms, biases and embeddings of one dimension are not decayed."""
    every = list(parameters)
    groups = [
        {"params": [p for p in every if p.dim() >= 2], "weight_decay": schedule.weight_decay},
        {"params": [p for p in every if p.dim() < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=schedule.learning_rate, betas=(0.9, schedule.beta2))


class _Numbered(Dataset[Any]):
    def __init__(self, task: Task) -> None:
        self._task = task

    def __getitem__(self, step: int) -> Any:
        return self._task.batch(step)


def _batches(task: Task, first: int, steps: int, workers: int) -> Iterator[Any]:
    return iter(
        DataLoader(
            _Numbered(task),
            batch_size=None,
            sampler=range(first, steps),
            num_workers=workers,
            prefetch_factor=4 if workers else None,
            worker_init_fn=_one_thread,
        )
    )


def _one_thread(_worker: int) -> None:
    torch.set_num_threads(1)


def _save(directory: Path, task: Task, optimizer: torch.optim.Optimizer, step: int) -> None:
    state = {
        "step": step,
        "optimizer": optimizer.state_dict(),
        "modules": {name: module.state_dict() for name, module in task.modules().items()},
    }
    scratch = directory / f".{STATE}.new"
    torch.save(state, scratch)
    scratch.replace(directory / STATE)


def _resume(
    directory: Path, task: Task, optimizer: torch.optim.Optimizer, device: torch.device
) -> int:
    """The step to go on with, 0 for a new run."""
    path = directory / STATE
    if not path.exists():
        return 0
    try:
        state = torch.load(path, map_location=device, weights_only=True)
        for name, module in task.modules().items():
            module.load_state_dict(state["modules"][name])
        optimizer.load_state_dict(state["optimizer"])
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
