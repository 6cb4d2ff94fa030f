"""Options of the commands that send requests, and the plan they make."""

import dataclasses
import functools
import inspect
import math
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from saccade.serving.cli.loadtest_show import in_plain_words

if TYPE_CHECKING:
    from saccade.loadtest.plan import Plan
    from saccade.loadtest.workloads.parse import WorkloadOptions


DIST = "a number, uniform(LOW,HIGH), lognormal(median=M,p90=P), empirical(FILE)"


def _option(text: str, *names: str, **more: Any) -> Any:
    return typer.Option(*names, help=text, **more)


@dataclass(kw_only=True)
class PlanOptions:
    """Each field is an option of every command that sends requests."""

    url: Annotated[str, _option("Base URL of an OpenAI-compatible server.")] = (
        "http://127.0.0.1:8000"
    )
    model: Annotated[str | None, _option("Model; the server's first if not given.")] = None
    api_key_env: Annotated[
        str, _option("Environment variable that holds the API key, if one is needed.")
    ] = "SACCADE_API_KEY"
    stream: Annotated[bool, _option("Ask for streams; without there is no TTFT.")] = True
    exact_output: Annotated[
        bool,
        _option(
            "Send ignore_eos and min_tokens, so that answers have the wanted length. Switch it off "
            "for servers that refuse these fields.",
        ),
    ] = True
    extra_body: Annotated[
        str | None, _option("Further fields of every request, as a JSON object.")
    ] = None
    explain: Annotated[
        Literal["auto", "on", "off"],
        _option("Ask a Saccade server for its stage times."),
    ] = "auto"
    timeout: Annotated[str, _option("Longest time for one answer.")] = "10min"

    workload: Annotated[
        str,
        _option(
            "What to send: a preset (`saccade loadtest workloads`), a mixture by weight "
            "(text=7,single-picture=3), FILE.jsonl, FILE.yaml, dataset (its answers are scored), "
            "or a recording: "
            "mooncake:FILE, burstgpt:FILE, azure-llm:FILE, azure-lmm:FILE, servegen:FOLDER.",
            "--workload",
            "-w",
        ),
    ] = "text"
    tokenizer: Annotated[
        Path | None,
        _option("tokenizer.json or checkpoint folder, for exact prompt lengths."),
    ] = None
    text_tokens: Annotated[
        str | None, _option(f"Tokens of a turn's text: {DIST}.", metavar="DIST")
    ] = None
    output_tokens: Annotated[str | None, _option("Tokens of an answer.", metavar="DIST")] = None
    pictures: Annotated[
        str | None, _option("Pictures of a request that has some.", metavar="DIST")
    ] = None
    picture_size: Annotated[
        str | None,
        _option("Pixels: 640x480, or a distribution for each side.", metavar="WxH|DIST"),
    ] = None
    picture_bytes: Annotated[str | None, _option("Size of a picture's file.", metavar="DIST")] = (
        None
    )
    repeat_ratio: Annotated[
        float | None, _option("Share of pictures that were sent before, 0 to 1.")
    ] = None
    turns: Annotated[str | None, _option("Turns of a conversation.", metavar="DIST")] = None
    think: Annotated[
        str | None, _option("Seconds from an answer to the next turn.", metavar="DIST")
    ] = None
    history: Annotated[
        Literal["actual", "scripted"] | None,
        _option(
            "Conversations quote the server's answers, or made-up ones; with these, turns do not "
            "wait for answers.",
        ),
    ] = None
    length_scale: Annotated[
        float | None, _option("Multiplies lengths, for models with a short context.")
    ] = None
    max_text_tokens: Annotated[
        int | None, _option("Recordings: cut longer prompts to this.", min=1)
    ] = None
    max_pictures: Annotated[
        int | None, _option("Recordings: at most so many pictures a request.", min=0)
    ] = None
    begin: Annotated[str | None, _option("Recordings: begin so far into them, such as 2min.")] = (
        None
    )

    rate: Annotated[
        float | None,
        _option("Requests per second (conversations, if of several turns).", "--rate", "-r"),
    ] = None
    arrivals: Annotated[
        Literal["poisson", "gamma", "constant"] | None,
        _option("How the gaps between requests are drawn; poisson if not given."),
    ] = None
    burstiness: Annotated[
        float | None,
        _option("Shape of Gamma gaps: 1 is Poisson, below it comes in bursts."),
    ] = None
    ramp: Annotated[str | None, _option("From one rate to another: 1:10.", metavar="A:B")] = None
    steps: Annotated[str | None, _option("Rates that hold for a while: 2x30s,5x30s.")] = None
    concurrency: Annotated[
        int | None,
        _option(
            "Closed loop: so many users, each waits for its answer.", "--concurrency", "-c", min=1
        ),
    ] = None
    speed: Annotated[
        float | None, _option("Recordings: their own times, so many times as fast.")
    ] = None
    duration: Annotated[
        str | None, _option("How long to send: 60, 60s, 5min.", "--duration", "-d")
    ] = None
    num_requests: Annotated[
        int | None, _option("Stop after so many.", "--num-requests", "-n", min=1)
    ] = None
    warmup: Annotated[
        str | None,
        _option("Not measured at the start; if not given, a tenth, at most 10 s."),
    ] = None
    cooldown: Annotated[
        str | None, _option("Not measured at the end; if not given, as --warmup.")
    ] = None
    seed: Annotated[int, _option("Same seed, same requests at the same times.", min=0)] = 0

    slo: Annotated[
        str | None,
        _option(
            "What a good request holds, for example ttft=500ms,tpot=50ms,image.ttft=2s.",
        ),
    ] = None
    keep_answers: Annotated[bool, _option("Write every answer's text into requests.jsonl.")] = False

    processes: Annotated[int, _option("Processes that send.", min=1)] = 1
    max_send_lag: Annotated[str, _option("Warn when sends are later than this at p99.")] = "10ms"

    def plan(self) -> "Plan":
        """Exits with code 2 and a message if the options make no plan."""
        with in_plain_words(code=2):
            return self._plan()

    def with_some_rate(self, rate: float) -> "PlanOptions":
        """For a mode that sets the rate itself; the shape of a ramp or of steps stays."""
        if self.ramp is not None or self.steps is not None:
            return self
        return dataclasses.replace(self, rate=rate, concurrency=None, speed=None)

    def _plan(self) -> "Plan":
        from saccade.loadtest.arrivals.parse import ArrivalOptions, parse_arrivals
        from saccade.loadtest.plan import Plan
        from saccade.loadtest.slo import parse_slo
        from saccade.loadtest.workloads.parse import changed, parse_workload

        workload = changed(parse_workload(self.workload), self._workload_options())
        duration_s = _seconds("--duration", self.duration)
        arrivals = parse_arrivals(
            ArrivalOptions(
                rate=self.rate,
                ramp=self.ramp,
                steps=self.steps,
                concurrency=self.concurrency,
                speed=self.speed,
                process=self.arrivals,
                burstiness=self.burstiness,
                duration_s=duration_s,
                num_requests=self.num_requests,
            ),
            recorded=workload.kind in ("trace", "jsonl"),
        )
        key = os.environ.get(self.api_key_env)
        plan = Plan.model_validate(
            {
                "url": self.url,
                "model": self.model,
                "api_key": key or None,
                "workload": workload,
                "arrivals": arrivals,
                "duration_s": duration_s if arrivals.kind != "open" else None,
                "num_requests": self.num_requests,
                "seed": self.seed,
                "slo": parse_slo(self.slo) if self.slo else None,
                "stream": self.stream,
                "exact_output": self.exact_output,
                "extra_body": _json_object(self.extra_body),
                "explain": self.explain,
                "timeout_s": _seconds("--timeout", self.timeout),
                "tokenizer": self.tokenizer,
                "num_processes": self.processes,
                "max_send_lag_s": _seconds("--max-send-lag", self.max_send_lag),
                "keep_answers": self.keep_answers,
            }
        )
        return self._with_edges(plan)

    def _with_edges(self, plan: "Plan") -> "Plan":
        """Warm-up and cool-down; where the length is not known beforehand, none unless given."""
        length_s = plan.schedule_s if self.num_requests is None else None
        usual_s = min(10.0, length_s / 10) if length_s is not None else 0.0
        warmup_s = _seconds("--warmup", self.warmup, zero=True)
        cooldown_s = _seconds("--cooldown", self.cooldown, zero=True)
        if warmup_s is None:
            warmup_s = usual_s
        if cooldown_s is None:
            cooldown_s = warmup_s if self.warmup is not None else usual_s
        fields = {name: getattr(plan, name) for name in type(plan).model_fields}
        return type(plan)(**(fields | {"warmup_s": warmup_s, "cooldown_s": cooldown_s}))

    def _workload_options(self) -> "WorkloadOptions":
        from saccade.loadtest.workloads.parse import WorkloadOptions

        return WorkloadOptions(
            text_tokens=self.text_tokens,
            output_tokens=self.output_tokens,
            pictures=self.pictures,
            picture_size=self.picture_size,
            picture_bytes=self.picture_bytes,
            repeat_ratio=self.repeat_ratio,
            turns=self.turns,
            think=self.think,
            history=self.history,
            length_scale=self.length_scale,
            max_text_tokens=self.max_text_tokens,
            max_pictures=self.max_pictures,
            begin_s=_seconds("--begin", self.begin, zero=True),
        )


def with_plan_options(
    command: Callable[..., None], without: Collection[str] = ()
) -> Callable[..., None]:
    """Give a command the options of a plan; it takes them as its argument `options`."""
    own = inspect.signature(command, eval_str=True).parameters
    shared = [
        inspect.Parameter(
            field.name,
            inspect.Parameter.KEYWORD_ONLY,
            default=field.default,
            annotation=field.type,
        )
        for field in dataclasses.fields(PlanOptions)
        if field.name not in without
    ]
    names = [parameter.name for parameter in shared]

    @functools.wraps(command)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        options = PlanOptions(**{name: kwargs.pop(name) for name in names})
        command(*args, options=options, **kwargs)

    rest = [
        parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY)
        for name, parameter in own.items()
        if name != "options"
    ]
    parameters = [*rest, *shared]
    wrapper.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    wrapper.__annotations__ = {p.name: p.annotation for p in parameters}
    return wrapper


def _seconds(name: str, text: str | None, *, zero: bool = False) -> float | None:
    """Of a duration; a bare number is in seconds."""
    from saccade.loadtest.errors import PlanError
    from saccade.loadtest.slo import parse_duration

    if text is None:
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0.0 if zero and text.strip() in ("0s", "0ms") else parse_duration(text)
    if not (0 <= seconds < math.inf) or (seconds == 0 and not zero):
        raise PlanError(f"{name} must be {'0 or more' if zero else 'above 0'}, not {text}.")
    return seconds


def _json_object(text: str | None) -> dict[str, Any]:
    import json

    from saccade.loadtest.errors import PlanError

    if text is None:
        return {}
    try:
        value = json.loads(text)
    except ValueError:
        value = None
    if not isinstance(value, dict):
        raise PlanError(f"--extra-body must be a JSON object, not {text!r}.")
    return value
