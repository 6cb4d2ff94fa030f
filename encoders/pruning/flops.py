"""What a language model's prefill takes for visual tokens, counted as papers count it."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Decoder:
    """Sizes of a language model."""

    hidden_size: int
    intermediate_size: int
    num_layers: int


def prefill_flops(num_tokens: int, decoder: Decoder, *, ffn_matrices: int = 2) -> int:
    """Layers · (4nD² + 2n²D + k·nDm) for n tokens, without text and without the tower.

    Papers differ in the matrices of a feed-forward layer: FastV and HoliTom count two
    (k = 2), PyramidDrop, BTP and re-evaluations of CDPruner three (k = 3), which LLaMA has.
    """
    n, width, inner = num_tokens, decoder.hidden_size, decoder.intermediate_size
    of_layer = 4 * n * width**2 + 2 * n**2 * width + ffn_matrices * n * width * inner
    return decoder.num_layers * of_layer
