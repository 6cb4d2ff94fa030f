"""What a row of any recording comes to, and the session it becomes."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from saccade.loadtest.workloads.mixture import PictureSource
from saccade.loadtest.workloads.session import Session, Turn
from saccade.loadtest.workloads.spec import TraceSpec
from saccade.loadtest.workloads.text import TextSource

BLOCK_TOKENS = 512
"""Mooncake's hashes are of blocks of so many tokens."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One recorded request."""

    at_s: float
    """After the recording's first."""
    text_tokens: int
    output_tokens: int
    picture_tokens: tuple[int | None, ...] = ()
    """Visual tokens of each picture; None where only the number of pictures is known."""
    blocks: tuple[int, ...] = ()
    """Same ids, same text: what a prefix cache can find again."""


def row_sessions(
    rows: Iterable[Row], spec: TraceSpec, text: TextSource, seed: int
) -> Iterator[Session]:
    """Sessions of one turn. Rows before `begin_s` are left out and time begins there."""
    rng = np.random.default_rng((seed, 3))
    pictures = PictureSource(spec.picture, rng)
    blocks = BlockText(text, seed, spec.length_scale)
    for row in rows:
        if row.at_s < spec.begin_s:
            continue
        num_tokens = _scaled(row.text_tokens, spec.length_scale)
        if spec.max_text_tokens is not None:
            num_tokens = min(num_tokens, spec.max_text_tokens)
        if row.blocks:
            prompt = blocks.make(row.blocks, num_tokens, rng)
        else:
            prompt = text.make(num_tokens, rng)
        media = tuple(
            pictures.draw(_size(tokens, spec.pixels_per_token))
            for tokens in row.picture_tokens[: spec.max_pictures]
        )
        turn = Turn(
            text=prompt,
            media=media,
            text_tokens=num_tokens,
            max_tokens=_scaled(row.output_tokens, spec.length_scale),
        )
        yield Session(component=spec.format, turns=(turn,), at_s=row.at_s - spec.begin_s)


class BlockText:
    """Prompts made of blocks whose text depends on their ids alone."""

    def __init__(self, text: TextSource, seed: int, length_scale: float) -> None:
        self._text = text
        self._seed = seed
        self._block_tokens = _scaled(BLOCK_TOKENS, length_scale)

    def make(self, blocks: tuple[int, ...], num_tokens: int, rng: np.random.Generator) -> str:
        """Whole blocks, then a last one that is cut to the rest; what is over is new text."""
        pieces, left = [], num_tokens
        for block in blocks:
            size = min(left, self._block_tokens)
            if size <= 0:
                break
            pieces.append(self._text.make(size, np.random.default_rng((self._seed, 4, block))))
            left -= size
        if left > 0:
            pieces.append(self._text.make(left, rng))
        return " ".join(pieces)


def _scaled(number: int, scale: float) -> int:
    return max(1, round(number * scale))


def _size(tokens: int | None, pixels_per_token: float) -> tuple[int, int] | None:
    if tokens is None:
        return None
    side = max(28, round((tokens * pixels_per_token) ** 0.5))
    return side, side
