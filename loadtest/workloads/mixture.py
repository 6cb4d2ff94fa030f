"""Sessions of synthetic workloads."""

from collections import deque
from collections.abc import Iterator, Sequence

import numpy as np

from saccade.loadtest.workloads.session import Media, Picture, Session, Turn, Video
from saccade.loadtest.workloads.spec import Component, MixtureSpec, PictureSpec
from saccade.loadtest.workloads.text import TextSource

_SEEDS = 2**31


class PictureSource:
    """Draws pictures, some of which were drawn before."""

    def __init__(self, spec: PictureSpec, rng: np.random.Generator) -> None:
        self._spec = spec
        self._rng = rng
        self._recent: deque[Picture] = deque(maxlen=spec.recent)

    def draw(self, size: tuple[int, int] | None = None) -> Picture:
        """A picture of the given width and height, or of the spec's."""
        rng = self._rng
        if self._recent and rng.random() < self._spec.repeat_ratio:
            return self._recent[rng.integers(len(self._recent))]
        width, height = size or (
            self._spec.width.draw_int(rng, 1),
            self._spec.height.draw_int(rng, 1),
        )
        num_bytes = self._spec.file_bytes.draw_int(rng, 1) if self._spec.file_bytes else None
        seed = int(rng.integers(_SEEDS))
        picture = Picture(seed, width, height, num_bytes, self._spec.format)
        self._recent.append(picture)
        return picture


class ComponentSource:
    """Draws sessions of one component. Sources with the same seed draw the same sessions."""

    def __init__(
        self, component: Component, text: TextSource, length_scale: float, seed: Sequence[int]
    ) -> None:
        self._component = component
        self._text = text
        self._scale = length_scale
        self._rng = np.random.default_rng(seed)
        self._pictures = PictureSource(component.picture, self._rng)
        num_system_tokens = round(component.system_tokens * length_scale)
        self._system = text.make(num_system_tokens, self._rng) if num_system_tokens else None

    def draw(self) -> Session:
        """The next session."""
        num_turns = self._component.num_turns.draw_int(self._rng, 1)
        turns = tuple(self._turn(i, last=i == num_turns - 1) for i in range(num_turns))
        return Session(component=self._component.name, turns=turns, system=self._system)

    def _turn(self, index: int, *, last: bool) -> Turn:
        component, rng = self._component, self._rng
        media = self._media() if index == 0 else ()
        num_text_tokens = self._length(component.text_tokens.draw(rng))
        max_tokens = self._length(component.output_tokens.draw(rng))
        scripted = component.history == "scripted" and not last
        return Turn(
            text=self._text.make(num_text_tokens, rng),
            media=media,
            text_tokens=num_text_tokens,
            max_tokens=max_tokens,
            think_s=component.think_s.draw(rng) if index else 0.0,
            scripted_answer=self._text.make(max_tokens, rng) if scripted else None,
        )

    def _media(self) -> tuple[Media, ...]:
        rng = self._rng
        media: list[Media] = [
            self._pictures.draw() for _ in range(self._component.num_pictures.draw_int(rng))
        ]
        spec = self._component.video
        if spec is not None:
            video = Video(
                seed=int(rng.integers(_SEEDS)),
                width=_even(spec.width.draw_int(rng, 2)),
                height=_even(spec.height.draw_int(rng, 2)),
                num_frames=spec.num_frames.draw_int(rng, 1),
                frames_per_s=spec.frames_per_s,
                format=spec.format,
            )
            media.append(video)
        return tuple(media)

    def _length(self, value: float) -> int:
        return max(1, round(value * self._scale))


def _even(value: int) -> int:
    """Video codecs store colour at half the resolution."""
    return value + value % 2


def component_sources(spec: MixtureSpec, text: TextSource, seed: int) -> dict[str, ComponentSource]:
    """One source a component, each with its own stream of random numbers: another component's
    weight does not change what this one draws."""
    return {
        component.name: ComponentSource(component, text, spec.length_scale, (seed, 1, index))
        for index, component in enumerate(spec.components)
    }


def drawn_sessions(spec: MixtureSpec, text: TextSource, seed: int) -> Iterator[Session]:
    """Endless: components by their weights."""
    sources = list(component_sources(spec, text, seed).values())
    weights = np.array([component.weight for component in spec.components])
    rng = np.random.default_rng((seed, 2))
    while True:
        yield sources[rng.choice(len(sources), p=weights / weights.sum())].draw()
