"""Visual tokens that a client has computed itself (`image_embeds`): read, and checked.

Everything that vLLM or our own models would stumble over is refused here, before a prompt is
rendered for it. Formats: safetensors, and what `torch.save` makes of a tensor.
"""

import io
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass

import safetensors.torch
import torch

from saccade.encoders.base import VisualLayout, VisualTokens
from saccade.encoders.patches import MERGE
from saccade.encoders.positions import grid_extent, grid_positions
from saccade.serving.engine.handed import BadHandOverError, Receiver, check_handed
from saccade.serving.engine.spans import visual_span

EMBEDS = "image_embeds"
GRID = "image_grid_thw"
DTYPES = (torch.float32, torch.float16, torch.bfloat16)
_WHOLE_NUMBERS = (torch.int64, torch.int32)
# Far above what towers make (hundreds), and far below where a language model's sums of squares
# overflow in 32 bits: its keys and values would be NaN from there on.
MAX_MAGNITUDE = 1e4
# torch's own pickles of a tensor have some hundred bytes.
MAX_PICKLE_BYTES = 16 * 2**10


class UnusableTensorError(Exception):
    """The client's tensors are not what the model takes."""


@dataclass(frozen=True, slots=True)
class GivenTokens:
    """Reads what clients give to one model."""

    receiver: Receiver
    max_tokens: int
    """Of one picture: what the model's context has room for."""

    def read(self, files: Mapping[str, bytes]) -> VisualTokens:
        """From files by the name of their tensor. Raises `UnusableTensorError`."""
        tensors = _tensors(files)
        embeddings = self._embeddings(tensors[EMBEDS])
        layout = self._layout(len(embeddings), tensors.get(GRID))
        if layout.grid is None:
            tokens = VisualTokens(embeddings, None, layout.num_tokens)
        else:
            tokens = VisualTokens(embeddings, grid_positions(layout), grid_extent(layout))
        try:
            alone = visual_span([(0, layout.num_tokens)], "")
            check_handed([alone], [tokens], self.receiver, layout.num_tokens)
        except BadHandOverError as error:
            raise UnusableTensorError(str(error)) from error
        return tokens

    def _embeddings(self, tensor: torch.Tensor) -> torch.Tensor:
        """[n, row_size] in the model's number format, in memory of its own."""
        if tensor.ndim == 3 and tensor.shape[0] == 1:
            tensor = tensor[0]
        shape, row_size = tuple(tensor.shape), self.receiver.family.row_size
        if len(shape) != 2 or shape[1] != row_size or shape[0] == 0:
            raise UnusableTensorError(f"their shape is {list(shape)}, it has to be [n, {row_size}]")
        if shape[0] > self.max_tokens:
            raise UnusableTensorError(
                f"they are {shape[0]} tokens, the context has room for {self.max_tokens}"
            )
        if tensor.dtype not in DTYPES:
            allowed = ", ".join(_name(dtype) for dtype in DTYPES)
            raise UnusableTensorError(f"they are {_name(tensor.dtype)}, allowed are {allowed}")
        # Not a view, whose shape may be larger than its memory.
        tensor = tensor.to(self.receiver.dtype).clone(memory_format=torch.contiguous_format)
        if not bool(torch.isfinite(tensor).all()):
            raise UnusableTensorError(f"not all are finite as {_name(tensor.dtype)}")
        if float(tensor.abs().max()) > MAX_MAGNITUDE:
            raise UnusableTensorError(f"numbers beyond {MAX_MAGNITUDE:g} are not taken")
        return tensor

    def _layout(self, num_tokens: int, grid: torch.Tensor | None) -> VisualLayout:
        if not self.receiver.family.uses_grid_positions:
            if grid is not None:
                raise UnusableTensorError(f"this model takes no {GRID}")
            return VisualLayout(num_tokens)
        if grid is None:
            raise UnusableTensorError(f"this model needs {GRID} beside them")
        if tuple(grid.shape) not in ((3,), (1, 3)) or grid.dtype not in _WHOLE_NUMBERS:
            raise UnusableTensorError(
                f"{GRID} is {_name(grid.dtype)} of shape {list(grid.shape)}, it has to be int64 [3]"
            )
        time, tall, wide = (int(number) for number in grid.flatten())
        fits = time == 1 and tall > 0 and wide > 0 and not tall % MERGE and not wide % MERGE
        rows, columns = tall // MERGE, wide // MERGE
        if not fits or rows * columns != num_tokens:
            raise UnusableTensorError(
                f"{GRID} is {[time, tall, wide]}; it has to be [1, rows, columns] of patches, "
                f"{MERGE} x {MERGE} of which make one of the {num_tokens} tokens"
            )
        return VisualLayout(num_tokens, (1, rows, columns))


def _tensors(files: Mapping[str, bytes]) -> dict[str, torch.Tensor]:
    """By name: safetensors bring their own, a tensor alone has that of its file."""
    tensors: dict[str, torch.Tensor] = {}
    for name, data in files.items():
        found = _saved_by_torch(data, name) if data[:2] == b"PK" else _safetensors(data)
        for key in found:
            if key not in (EMBEDS, GRID) or key in tensors:
                raise UnusableTensorError(f"a tensor {key[:64]!r} is unknown, or there twice")
        tensors |= found
    if EMBEDS not in tensors:
        raise UnusableTensorError(f"there is no tensor {EMBEDS!r}")
    return tensors


def _safetensors(data: bytes) -> dict[str, torch.Tensor]:
    try:
        return safetensors.torch.load(data)
    except Exception as error:  # whatever it says of hostile bytes
        raise UnusableTensorError(
            "they are neither safetensors nor a tensor saved by torch.save"
        ) from error


def _saved_by_torch(data: bytes, name: str) -> dict[str, torch.Tensor]:
    """Without running code of the file's; nothing in it may be larger than the file itself."""
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as file:
            entries = file.infolist()
        packed = any(entry.compress_type != zipfile.ZIP_STORED for entry in entries)
        pickles = [entry.file_size for entry in entries if entry.filename.endswith(".pkl")]
        too_large = sum(entry.file_size for entry in entries) > len(data)
        if packed or too_large or len(pickles) != 1 or pickles[0] > MAX_PICKLE_BYTES:
            raise UnusableTensorError("the file is not as torch.save writes it")
        tensor = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
    except UnusableTensorError:
        raise
    except Exception as error:  # torch's unpickler lets many types through
        raise UnusableTensorError("the file cannot be read as a saved tensor") from error
    plain = isinstance(tensor, torch.Tensor) and tensor.layout is torch.strided
    if not plain or tensor.device.type != "cpu" or tensor.is_quantized:
        raise UnusableTensorError("the file holds something else than one dense tensor")
    return {name: tensor.detach()}


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
