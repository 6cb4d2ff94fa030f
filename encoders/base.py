"""What the rest of the system knows of vision encoders: a family, and an encoder of one checkpoint.

EncoderError
├── UnsupportedCheckpointError   this checkpoint cannot be encoded for
├── UnsupportedPictureError      a picture is not in the form that preprocessing takes
├── UnsupportedSizeError         the family's own preprocessing refuses a picture of this size
└── BrokenOutputError            the encoder made numbers that must not reach an engine
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self

if TYPE_CHECKING:
    import torch
    from PIL.Image import Image

    from saccade.encoders.checkpoint import CheckpointFiles
    from saccade.encoders.views import TowerView, Watched


TOWER_VIEW = ("tower states", "attention")
"""What `encode_with_views` gives, for `Support.exposes`."""


class EncoderError(Exception):
    """Something about vision encoding went wrong."""


class UnsupportedCheckpointError(EncoderError):
    """The checkpoint is of a family, or has a setting, that no encoder here handles."""


class UnsupportedPictureError(EncoderError):
    """Pictures must be RGB: how transparency is filled is for whoever decodes them to settle."""


class UnsupportedSizeError(EncoderError):
    """The checkpoint's own preprocessing takes no picture of these proportions."""


class BrokenOutputError(EncoderError):
    """Visual tokens with NaN or infinity, which an engine would take without a word."""


@dataclass(frozen=True, slots=True)
class Block:
    """Visual tokens that show rows and columns of one view, row by row."""

    rows: int
    columns: int
    newlines: bool = False
    """Whether a newline ends each row, one token that shows nothing."""

    @property
    def num_tokens(self) -> int:
        return self.rows * (self.columns + self.newlines)


@dataclass(frozen=True, slots=True)
class VisualLayout:
    """What a picture or a clip becomes, before any pruning; known from its header alone.

    `grid` is (steps in time, rows, columns) of visual tokens, in families whose language model
    rotates by them (M-RoPE); None where visual tokens are a plain sequence. `time_scale` is the
    distance in positions between two steps in time.

    Where `apart`, each step in time has a place of its own in the prompt, behind its time in words
    (`Family.stamps_s`), and only rows and columns rotate.

    `blocks` say where in the picture tokens are, in all families: the picture as a whole, then its
    tiles put together; or one block for each frame or step in time. `num_leading` summary tokens
    stand before them. What is left of `num_tokens` shows nothing either: the newline behind a clip.
    """

    num_tokens: int
    grid: tuple[int, int, int] | None = None
    time_scale: float = 1.0
    blocks: tuple[Block, ...] = ()
    num_leading: int = 0
    apart: bool = False

    @classmethod
    def tiled(cls, side: int, rows: int, columns: int) -> Self:
        """The whole picture as a square, and once more as tiles with newlines."""
        blocks = (Block(side, side), Block(rows, columns, newlines=True))
        return cls(sum(block.num_tokens for block in blocks), blocks=blocks)

    @classmethod
    def stepped(
        cls, grid: tuple[int, int, int], time_scale: float = 1.0, *, apart: bool = False
    ) -> Self:
        """A grid of visual tokens, each step in time as a block."""
        steps, rows, columns = grid
        blocks = (Block(rows, columns),) * steps
        return cls(steps * rows * columns, grid, time_scale, blocks, apart=apart)


@dataclass(frozen=True, slots=True)
class Support:
    """What a family takes, for `saccade models` and for refusing the rest."""

    pictures: bool
    video: bool
    exposes: tuple[str, ...] = ()
    """What methods that choose tokens may look at (`encoders.views`), beside tokens and grid."""


@dataclass(frozen=True, slots=True)
class LanguageSizes:
    """Of the language model: what its KV cache and the width of a visual token follow from."""

    hidden_size: int
    num_layers: int
    num_kv_heads: int
    head_dim: int

    def kv_bytes_per_token(self, bytes_per_number: int = 2) -> int:
        """Keys and values of all layers."""
        return 2 * self.num_layers * self.num_kv_heads * self.head_dim * bytes_per_number


@dataclass(frozen=True, slots=True)
class Prepared:
    """One picture or clip after preprocessing, on the CPU.

    Tensors of several of the same kind are joined along their first dimension, name by name.
    """

    kind: str
    """`image` or `video`; only the same kind is encoded together."""
    tensors: Mapping[str, torch.Tensor]
    layout: VisualLayout
    patches_per_row: int = 1
    """Of the pixels: a row is one patch, or a tile of them."""

    @property
    def num_rows(self) -> int:
        return len(next(iter(self.tensors.values())))

    @property
    def num_patches(self) -> int:
        """What the cost of encoding grows with."""
        return self.num_rows * self.patches_per_row


@dataclass(frozen=True, slots=True)
class VisualTokens:
    """Encoded, and maybe pruned: what goes from an encode instance to a language model.

    `embeddings` is [n, row_size]. `positions` is [n, 3] (time, row, column), counted from where the
    picture begins; for families whose tokens are a plain sequence the three are equal, and None
    stands for 0, 1, 2, …. The text after the picture goes on at `extent`: the largest position of
    the *unpruned* picture plus one, however few tokens were kept.

    Where `steps_apart` is not 0, so many steps of a clip have places of their own in the prompt,
    with words between them: the time in `positions` counts them, and rows, columns and `extent` are
    each step's own.
    """

    embeddings: torch.Tensor
    positions: torch.Tensor | None
    extent: int
    steps_apart: int = 0

    @property
    def step_counts(self) -> tuple[int, ...]:
        """How many tokens each step has that stands apart; empty where none does."""
        if not self.steps_apart:
            return ()
        assert self.positions is not None, "steps are counted by positions"
        counts: list[int] = self.positions[:, 0].bincount(minlength=self.steps_apart).tolist()
        return tuple(counts)

    def on_cpu(self) -> VisualTokens:
        """For the way to another process."""
        return replace(self, embeddings=self.embeddings.cpu())

    def kept(self, indices: torch.Tensor) -> VisualTokens:
        """Only the tokens at `indices` [k], in rising order; each keeps its own position."""
        if self.positions is None:
            positions = indices[:, None].expand(-1, 3)
        else:
            positions = self.positions[indices]
        return replace(self, embeddings=self.embeddings[indices], positions=positions)


@dataclass(frozen=True, slots=True)
class VisualFeatures:
    """All that an encoder says of one picture or clip, whatever will be asked about it.

    `attention` [n] is how much the tower attended to each token's patch (`encoders.views`), and
    `image_embeds` [n, C] are the tower's states in the space of a text tower; None where the family
    shows no attention, or there is no text tower.
    """

    tokens: VisualTokens
    attention: torch.Tensor | None = None
    image_embeds: torch.Tensor | None = None

    def on_cpu(self) -> VisualFeatures:
        """For the way to another process."""
        others = (None if one is None else one.cpu() for one in (self.attention, self.image_embeds))
        return VisualFeatures(self.tokens.on_cpu(), *others)


class Family(ABC):
    """One checkpoint of a family, described by its configuration files: no weights, no torch.

    A new family is one module with one subclass, named in `encoders.registry`. `encode` is handed
    the family's model as transformers builds it, without its language model.
    """

    name: ClassVar[str]
    architectures: ClassVar[tuple[str, ...]]
    support: ClassVar[Support]
    weights: ClassVar[tuple[str, ...]]
    """How the names of the tensors that encoding needs begin, without a leading `model.`."""

    def __init__(self, files: CheckpointFiles) -> None:
        """Raises `UnsupportedCheckpointError` for settings that the family does not handle."""
        self.files = files
        self.language = files.language_sizes()

    @property
    def hidden_size(self) -> int:
        """Of the language model."""
        return self.language.hidden_size

    @property
    def row_size(self) -> int:
        """Numbers in one visual token as it is handed over."""
        return self.hidden_size

    @property
    def uses_grid_positions(self) -> bool:
        """Whether visual tokens have (time, row, column) positions in the language model."""
        return False

    @property
    def min_frames(self) -> int:
        """Of a clip that preprocessing takes; the last frame of a shorter one is repeated."""
        return 1

    @property
    def patches_per_row(self) -> int:
        """In one row of pixels as `tensors` leaves them: more than one where a row is a tile."""
        return 1

    @abstractmethod
    def picture(self, width: int, height: int) -> VisualLayout:
        """Of a picture of this size in pixels. Raises `UnsupportedSizeError`."""

    def clip(self, width: int, height: int, num_frames: int, frames_per_s: float) -> VisualLayout:
        """Of a clip of `num_frames` sampled frames. Raises `UnsupportedSizeError`."""
        raise NotImplementedError(f"{self.name} takes no video")

    def stamps_s(self, times_s: Sequence[float]) -> tuple[float, ...]:
        """The time of each step of a clip, as the prompt says it in words; empty where it does not.

        `times_s` are those of the sampled frames.
        """
        del times_s
        return ()

    def vision_config(self, config: Any) -> None:
        """Change transformers' configuration to what encoding needs; by default nothing."""
        del config

    def tensors(self, kind: str, processed: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        """What the processor made of one picture or clip, so that several can be joined."""
        return dict(processed)

    @abstractmethod
    def encode(
        self, model: Any, kind: str, batch: Mapping[str, torch.Tensor]
    ) -> Sequence[torch.Tensor]:
        """The visual tokens of each picture or clip in a batch, [n, row_size] each."""

    def watching(self, model: Any) -> AbstractContextManager[Watched]:
        """Watch the tower encode one batch.

        Raises `UnsupportedCheckpointError` for a family whose `support.exposes` is empty.
        """
        raise UnsupportedCheckpointError(f"{self.name} exposes nothing of its tower")

    def per_token(
        self,
        model: Any,
        kind: str,
        batch: Mapping[str, torch.Tensor],
        num_rows: Sequence[int],
        seen: torch.Tensor,
    ) -> Sequence[torch.Tensor]:
        """What was seen of each row of pixels, as [n, width + 1] for each picture or clip.

        `num_rows` says how many rows each of them has in the batch.
        """
        raise NotImplementedError(f"{self.name} exposes nothing of its tower")


class VisionEncoder(ABC):
    """From pictures to visual tokens: the tower and the projector of one checkpoint.

    Both steps are free of side effects, and may run in different threads at once.
    """

    @property
    @abstractmethod
    def family(self) -> Family:
        """What the checkpoint is, and how many visual tokens it makes of what."""

    @abstractmethod
    def preprocess(self, image: Image) -> Prepared:
        """The pixels that stock vLLM would compute, bit for bit.

        Raises `UnsupportedPictureError` if the picture is not RGB.
        """

    @abstractmethod
    def preprocess_clip(self, frames: Sequence[Image], frames_per_s: float) -> Prepared:
        """The same for a clip: RGB frames of one size, sampled at `frames_per_s`."""

    @abstractmethod
    def encode(self, batch: Sequence[Prepared]) -> list[VisualTokens]:
        """The visual tokens of each, on the encoder's device, each in memory of its own.

        Pictures of all sizes, and clips, may be mixed. Raises `BrokenOutputError` if one of the
        results is not finite.
        """

    @abstractmethod
    def encode_with_views(self, batch: Sequence[Prepared]) -> list[tuple[VisualTokens, TowerView]]:
        """The same, and what the tower saw; all of the batch of one kind.

        Not for two threads at once. Raises `UnsupportedCheckpointError` for a family whose
        `support.exposes` is empty.
        """
