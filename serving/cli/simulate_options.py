"""Options of `saccade simulate` and `saccade plan`."""

from pathlib import Path
from typing import Annotated

import typer

Policies = Annotated[
    list[str] | None,
    typer.Option(
        "--policy", "-p",
        help="May be repeated; --workload list prints them. [elasticmm, static-equal and "
             "coupled-vllm-today]",
    ),
]  # fmt: skip
Workload = Annotated[
    str, typer.Option(help="Synthetic workload; `list` prints them and the policies.")
]
Trace = Annotated[
    Path | None,
    typer.Option(help="Recorded requests instead: Mooncake, BurstGPT, Azure LLM or LMM, a load "
                 "test's requests.jsonl, the scheduler's logs, Saccade's own JSON lines (.gz too), "
                 "or a ServeGen folder."),
]  # fmt: skip
Format = Annotated[
    str | None, typer.Option("--format", help="Format of the trace, where it is not recognised.")
]
Rates = Annotated[
    list[float] | None,
    typer.Option("--rate", help="Requests per second [20]. May be repeated."),
]
Duration = Annotated[float, typer.Option(help="Seconds of arrivals.")]
ImageRatio = Annotated[
    float | None, typer.Option(help="Share of the requests that carry pictures, 0 to 1.")
]
Speeds = Annotated[
    list[float] | None,
    typer.Option("--speed", help="Replay a trace so many times as fast [1]. May be repeated."),
]
MaxRequests = Annotated[int | None, typer.Option(help="Stop a trace after so many.", min=1)]
Gpu = Annotated[str, typer.Option(help="h200, h100, a100 or a800.")]
Gpus = Annotated[int, typer.Option(help="Instances, one GPU each.", min=1)]
Model = Annotated[str, typer.Option(help="qwen2.5-vl-7b or llama-3.2-vision-11b.")]
Seeds = Annotated[int, typer.Option(help="Runs with different random numbers.", min=1)]
FirstSeed = Annotated[int, typer.Option(help="The same seeds give the same bytes.", min=0)]
FailureEvery = Annotated[
    float | None, typer.Option(help="Mean seconds between failures of an instance.")
]
Jobs = Annotated[int, typer.Option(help="Runs at the same time.", min=1)]
Json = Annotated[Path | None, typer.Option("--json", help="Write all numbers.")]
Html = Annotated[Path | None, typer.Option(help="Write a page with plots.")]
Report = Annotated[
    Path | None,
    typer.Option(help="Write the comparison with the paper as Markdown, and nothing else. Of "
                 "the other options --duration, --rate, --seeds and --jobs matter then."),
]  # fmt: skip

Prices = Annotated[
    list[str],
    typer.Option("--price", metavar="GPU=PRICE", help="Per GPU-hour; may be repeated."),
]
Rate = Annotated[float, typer.Option(help="Requests per second of the workload.")]
Speed = Annotated[float, typer.Option(help="Replay the trace so many times as fast.")]
TtftMs = Annotated[float, typer.Option(help="Limit for text requests.")]
ImageTtftMs = Annotated[float, typer.Option(help="Limit, with pictures.")]
TpotMs = Annotated[float, typer.Option(help="Limit for each token after the first.")]
Attainment = Annotated[float, typer.Option(help="Share of the requests that must meet the limits.")]
MaxGpus = Annotated[int, typer.Option(help="Look no further.", min=2)]
PlanSeeds = Annotated[int, typer.Option(help="Runs of each cluster; 2 at least.", min=2)]
