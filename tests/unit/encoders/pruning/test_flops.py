import pytest

from saccade.encoders.pruning.flops import Decoder, prefill_flops

QWEN2_7B = Decoder(3584, 18944, 28)
LLAMA_7B = Decoder(4096, 11008, 32)
LLAMA_13B = Decoder(5120, 13824, 40)


@pytest.mark.parametrize(
    ("num_tokens", "decoder", "ffn_matrices", "published"),
    [
        # HoliTom on LLaVA-OneVision-7B, 32 frames of 196.
        (6272, QWEN2_7B, 2, 40.8),
        (1568, QWEN2_7B, 2, 8.7),
        (1254, QWEN2_7B, 2, 7.0),
        (941, QWEN2_7B, 2, 5.2),
        (627, QWEN2_7B, 2, 3.4),
        # BTP's tables, its row of DivPrune, and CDPruner re-evaluated.
        (576, LLAMA_7B, 3, 3.82),
        (128, LLAMA_7B, 3, 0.83),
        (192, LLAMA_7B, 3, 1.25),
        (288, LLAMA_7B, 3, 1.89),
        (576, LLAMA_13B, 3, 7.44),
    ],
)
def test_published_columns_are_reproduced(
    num_tokens: int, decoder: Decoder, ffn_matrices: int, published: float
) -> None:
    digits = len(str(published).partition(".")[2])
    tera = prefill_flops(num_tokens, decoder, ffn_matrices=ffn_matrices) / 1e12
    # Published tokens are rounded, too.
    assert tera == pytest.approx(published, abs=1.5 * 0.1**digits)
