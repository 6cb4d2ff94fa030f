"""Workloads with a name."""

from collections.abc import Mapping
from dataclasses import dataclass

from saccade.loadtest.workloads.distributions import Distribution, parse_distribution
from saccade.loadtest.workloads.spec import (
    Component,
    MixtureSpec,
    PictureSpec,
    VideoSpec,
    Wave,
)


@dataclass(frozen=True)
class Preset:
    """A workload and one sentence about it."""

    workload: MixtureSpec
    what: str


def _d(text: str) -> Distribution:
    return parse_distribution(text)


_TEXT = Component(name="text", text_tokens=_d("64"), output_tokens=_d("32"))
_PICTURE = Component(
    name="single-picture", text_tokens=_d("16"), output_tokens=_d("32"), num_pictures=_d("1")
)


def _simple() -> dict[str, Preset]:
    repeated = _PICTURE.model_copy(
        update={"name": "repeated-picture", "picture": PictureSpec(repeat_ratio=0.8, recent=8)}
    )
    several = _PICTURE.model_copy(
        update={"name": "several-pictures", "num_pictures": _d("uniform(2,4)")}
    )
    turns = _PICTURE.model_copy(
        update={"name": "multi-turn", "num_turns": _d("uniform(2,5)"), "think_s": _d("1")}
    )
    video = Component(name="video", text_tokens=_d("16"), output_tokens=_d("32"), video=VideoSpec())
    return {
        "text": Preset(_one(_TEXT), "64 tokens in, 32 out."),
        "single-picture": Preset(_one(_PICTURE), "A 336 x 336 picture and a short question."),
        "repeated-picture": Preset(
            _one(repeated), "As single-picture; 4 of 5 pictures are one of the latest 8."
        ),
        "several-pictures": Preset(_one(several), "2 to 4 pictures and a short question."),
        "multi-turn": Preset(_one(turns), "2 to 5 turns on a picture, 1 s after each answer."),
        "video": Preset(_one(video), "A synthetic video of 8 frames and a short question."),
        "mixed": Preset(
            MixtureSpec(
                name="mixed",
                components=(
                    _TEXT.model_copy(update={"weight": 0.7}),
                    _PICTURE.model_copy(update={"weight": 0.3}),
                ),
            ),
            "7 text requests to 3 with a picture.",
        ),
    }


def _published() -> dict[str, Preset]:
    sharegpt = Component(
        name="sharegpt4o-like",
        text_tokens=_d("lognormal(median=30,p90=90,max=1000)"),
        output_tokens=_d("lognormal(median=160,p90=420,max=1000)"),
        num_pictures=_d("1"),
        picture=PictureSpec(
            width=_d("lognormal(median=1024,p90=1600,min=256,max=2048)"),
            height=_d("lognormal(median=900,p90=1400,min=256,max=2048)"),
        ),
    )
    instruct = Component(
        name="visualwebinstruct-like",
        text_tokens=_d("lognormal(median=220,p90=700,max=4000)"),
        output_tokens=_d("lognormal(median=300,p90=800,max=2000)"),
        num_pictures=_d("1"),
        picture=PictureSpec(
            width=_d("lognormal(median=560,p90=900,min=128,max=2048)"),
            height=_d("lognormal(median=420,p90=700,min=128,max=2048)"),
        ),
    )
    return {
        "sharegpt4o-like": Preset(
            _one(sharegpt), "One large picture, a short question, a paragraph as the answer."
        ),
        "visualwebinstruct-like": Preset(
            _one(instruct), "One middle-sized picture, a long question, a worked solution."
        ),
        "servegen-like": Preset(
            _one(_servegen()), "Production mix of ServeGen's mm-image clients."
        ),
    }


def _servegen() -> Component:
    # Pixels for 650 visual tokens on average at 28 x 28 each (p25 234, p50 540, p75 1196).
    sides = _d("choice(69:1,428:3,651:3,968:2,980:0.8,998:0.2)")
    pictures = _d("choice(0:0.006,1:0.8,2:0.066,3:0.076,4:0.021,9:0.031)")
    return Component(
        name="servegen-like",
        text_tokens=_d("lognormal(median=106,p90=1914,max=4000)"),
        output_tokens=_d("lognormal(median=100,p90=264,max=1000)"),
        num_pictures=pictures,
        picture=PictureSpec(width=sides, height=sides),
    )


def _bursts() -> dict[str, Preset]:
    quiet_then_burst = (Wave(duration_s=20, factor=0.25), Wave(duration_s=5, factor=4))
    up, down = Wave(duration_s=15, factor=1), Wave(duration_s=15, factor=0.1)
    return {
        "text-burst": Preset(
            _pair("text-burst", text=quiet_then_burst),
            "Steady pictures; text comes in bursts of 5 s, every 25 s, 16 times as dense.",
        ),
        "image-burst": Preset(
            _pair("image-burst", picture=quiet_then_burst),
            "Steady text; pictures come in bursts of 5 s, every 25 s, 16 times as dense.",
        ),
        "anti-phase": Preset(
            _pair("anti-phase", text=(up, down), picture=(down, up)),
            "Text and pictures take turns, 15 s each, 10 to 1.",
        ),
    }


def _pair(name: str, *, text: tuple[Wave, ...] = (), picture: tuple[Wave, ...] = ()) -> MixtureSpec:
    return MixtureSpec(
        name=name,
        components=(
            _TEXT.model_copy(update={"weight": 0.75, "waves": text}),
            _PICTURE.model_copy(update={"weight": 0.25, "waves": picture}),
        ),
    )


def _one(component: Component) -> MixtureSpec:
    return MixtureSpec(name=component.name, components=(component,))


PRESETS: Mapping[str, Preset] = _simple() | _published() | _bursts()
