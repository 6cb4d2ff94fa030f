"""Visual tokens of clients: what is in order passes as it is, whatever else there is does not."""

import io
import pickle
import zipfile
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
import safetensors.torch
import torch
from hypothesis import given
from hypothesis import strategies as st

from tests.integration.test_handed import LLAVA, QWEN2_5, QWEN3, family_of

if TYPE_CHECKING:
    from saccade.serving.engine.given import GivenTokens

pytestmark = pytest.mark.slow

MAX_TOKENS = 64
GRIDS = {LLAVA: None, QWEN2_5: [1, 6, 8], QWEN3: [1, 6, 8]}
COUNT = 12


def reader(name: str, dtype: torch.dtype = torch.float32) -> "GivenTokens":
    from saccade.serving.engine.given import GivenTokens
    from saccade.serving.engine.handed import Receiver

    family = family_of(name)
    return GivenTokens(Receiver(family, dtype, 4096, family.uses_grid_positions), MAX_TOKENS)


def embeddings(name: str, count: int = COUNT) -> torch.Tensor:
    generator = torch.Generator().manual_seed(7)
    return torch.randn(count, family_of(name).row_size, generator=generator)


def saved(tensor: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(tensor, buffer)
    return buffer.getvalue()


def files(tensor: torch.Tensor, grid: Any, form: str = "safetensors") -> dict[str, bytes]:
    """As a client sends them; a grid that is a list becomes a tensor of 64 bits."""
    tensors = {"image_embeds": tensor}
    if grid is not None:
        tensors["image_grid_thw"] = grid if isinstance(grid, torch.Tensor) else torch.tensor(grid)
    if form == "torch":
        return {key: saved(value) for key, value in tensors.items()}
    return {"image_embeds": safetensors.torch.save(tensors)}


def refusal(name: str, sent: Mapping[str, bytes], dtype: torch.dtype = torch.float32) -> str:
    from saccade.serving.engine.given import UnusableTensorError

    with pytest.raises(UnusableTensorError) as caught:
        reader(name, dtype).read(sent)
    return str(caught.value)


@pytest.mark.parametrize("form", ["safetensors", "torch"])
@pytest.mark.parametrize("name", [LLAVA, QWEN2_5, QWEN3])
def test_what_is_in_order_arrives_as_it_was_sent(name: str, form: str) -> None:
    tensor = embeddings(name)
    for sent in (tensor, tensor[None]):
        tokens = reader(name).read(files(sent, GRIDS[name], form))
        assert torch.equal(tokens.embeddings, tensor)
        assert tokens.extent == (COUNT if GRIDS[name] is None else 4)
        assert (tokens.positions is None) == (GRIDS[name] is None)


def test_positions_are_those_of_the_grid() -> None:
    tokens = reader(QWEN2_5).read(files(embeddings(QWEN2_5), [[1, 6, 8]]))
    assert tokens.positions is not None
    expected = [[0, row, column] for row in range(3) for column in range(4)]
    assert tokens.positions.tolist() == expected


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_numbers_are_rounded_to_the_format_of_the_model(dtype: torch.dtype) -> None:
    tensor = embeddings(LLAVA)
    assert torch.equal(reader(LLAVA, dtype).read(files(tensor, None)).embeddings, tensor.to(dtype))


@given(
    rows=st.integers(0, MAX_TOKENS + 3),
    change=st.sampled_from([0, 0, -1, 1, 3]),
    dtype=st.sampled_from(
        [torch.float32, torch.float16, torch.bfloat16, torch.float64, torch.int64, torch.bool]
    ),
    poison=st.sampled_from([0.0, 9e3, 2e4, -3e38, float("nan"), float("inf"), float("-inf")]),
    form=st.sampled_from(["safetensors", "torch"]),
)
def test_only_finite_floats_of_the_right_shape_pass(
    rows: int, change: int, dtype: torch.dtype, poison: float, form: str
) -> None:
    from saccade.serving.engine.given import DTYPES

    tensor = torch.zeros(rows, family_of(LLAVA).row_size + change, dtype=dtype)
    if rows:
        tensor[rows // 2, 0] = poison if dtype.is_floating_point else 1
    fine = 0 < rows <= MAX_TOKENS and change == 0 and dtype in DTYPES and poison in (0.0, 9e3)
    sent = files(tensor, None, form)
    if fine:
        assert torch.equal(reader(LLAVA).read(sent).embeddings, tensor.float())
    else:
        assert refusal(LLAVA, sent)


@given(
    grid=st.one_of(
        st.lists(st.integers(-(2**62), 2**62), max_size=4),
        st.tuples(st.integers(0, 3), st.integers(-1, 13), st.integers(-1, 13)).map(list),
    )
)
def test_a_grid_passes_only_if_it_has_as_many_cells(grid: list[int]) -> None:
    fits = len(grid) == 3 and grid[0] == 1 and min(grid) > 0
    fits = fits and not grid[1] % 2 and not grid[2] % 2 and grid[1] * grid[2] == 4 * COUNT
    sent = files(embeddings(QWEN2_5), torch.tensor(grid, dtype=torch.int64))
    if fits:
        tokens = reader(QWEN2_5).read(sent)
        assert tokens.extent == max(grid[1], grid[2]) // 2
    else:
        assert "image_grid_thw" in refusal(QWEN2_5, sent)


def test_a_grid_goes_with_the_models_that_have_one() -> None:
    assert "takes no image_grid_thw" in refusal(LLAVA, files(embeddings(LLAVA), [1, 6, 8]))
    assert "needs image_grid_thw" in refusal(QWEN3, files(embeddings(QWEN3), None))
    halves = torch.tensor([1.0, 6.0, 8.0])
    assert "float32" in refusal(QWEN3, files(embeddings(QWEN3), halves))


def test_what_is_too_large_for_the_models_numbers_is_refused() -> None:
    """The largest number of 32 bits is infinite in 16."""
    tensor = embeddings(LLAVA)
    tensor[0, 0] = torch.finfo(torch.float32).max
    assert "finite" in refusal(LLAVA, files(tensor, None), torch.bfloat16)
    assert "beyond" in refusal(LLAVA, files(tensor, None), torch.float32)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_tensor_are_refused(data: bytes) -> None:
    refusal(LLAVA, {"image_embeds": data})
    refusal(LLAVA, {"image_embeds": b"PK\x03\x04" + data})


@given(data=st.data(), form=st.sampled_from(["safetensors", "torch"]))
def test_files_with_wrong_bytes_are_refused_or_hold_what_a_tensor_may(
    data: st.DataObject, form: str
) -> None:
    from saccade.serving.engine.given import MAX_MAGNITUDE, UnusableTensorError

    sent = bytearray(files(embeddings(LLAVA, 1), None, form)["image_embeds"])
    # Most of a file is numbers; what is around them is at its ends.
    places = st.one_of(st.integers(0, 600), st.integers(len(sent) - 1200, len(sent) - 1))
    for _ in range(data.draw(st.integers(1, 4))):
        sent[data.draw(places)] = data.draw(st.integers(0, 255))
    try:
        tokens = reader(LLAVA).read({"image_embeds": bytes(sent)})
    except UnusableTensorError:
        return
    assert tuple(tokens.embeddings.shape) == (1, family_of(LLAVA).row_size)
    assert float(tokens.embeddings.abs().max()) <= MAX_MAGNITUDE


def test_a_small_file_that_claims_to_be_large_is_refused() -> None:
    row_size = family_of(LLAVA).row_size
    # The same number everywhere, in no memory at all: the shape counts, not the file.
    boundless = saved(torch.zeros(1).expand(10**9, row_size))
    assert "room for" in refusal(LLAVA, {"image_embeds": boundless})
    packed = io.BytesIO()
    with (
        zipfile.ZipFile(io.BytesIO(saved(embeddings(LLAVA, 1)))) as original,
        zipfile.ZipFile(packed, "w", zipfile.ZIP_DEFLATED) as file,
    ):
        for name in original.namelist():
            file.writestr(name, original.read(name))
    assert "as torch.save writes it" in refusal(LLAVA, {"image_embeds": packed.getvalue()})


class Payload:
    def __reduce__(self) -> Any:
        return (exec, ("raise SystemExit('code of the client was run')",))


@pytest.mark.parametrize(
    "content",
    [
        saved({"image_embeds": torch.zeros(1, 4096)}),
        saved([torch.zeros(1, 4096)]),
        saved(torch.zeros(1, 4096).to_sparse()),
        saved(torch.zeros(1, 4096, device="meta")),
        saved(Payload()),
        pickle.dumps(Payload()),
        pickle.dumps(torch.zeros(1, 4096)),
    ],
)
def test_saved_objects_other_than_a_dense_tensor_are_refused(content: bytes) -> None:
    refusal(LLAVA, {"image_embeds": content})


def test_unknown_and_doubled_tensors_are_refused() -> None:
    other = safetensors.torch.save({"pixel_values": torch.zeros(1)})
    assert "pixel_values" in refusal(LLAVA, {"image_embeds": other})
    both = files(embeddings(QWEN3), GRIDS[QWEN3])
    twice = {**both, "image_grid_thw": safetensors.torch.save({"image_grid_thw": torch.ones(3)})}
    assert "twice" in refusal(QWEN3, twice)
    assert "no tensor" in refusal(QWEN3, {"image_embeds": safetensors.torch.save({})})
