"""CDPruner (arXiv 2506.10967): tokens that matter to the question and differ from each other."""

import torch
from torch.nn.functional import normalize

from saccade.encoders.pruning.checks import check_finite, check_keep, check_shape
from saccade.kernels import ops


def relevance(
    image_embeds: torch.Tensor,
    text_embeds: torch.Tensor,
    *,
    negate: bool = True,
    joint: bool = True,
) -> torch.Tensor:
    """r̃ [B, N] of `image_embeds` [B, N, C] to `text_embeds` [M, C]: about 0 to 1.

    r_i = mean over m of cos(image_i, text_m), then (r - min + 1e-6) / (max - min). With CLIP's
    towers r is negated: cosines of single patches are *lower* where a patch is relevant. With
    embeddings of the language model (models without a text tower) take `negate=False`.

    `joint`: min and max are over all of the batch (the tiles of a picture, the frames of a clip),
    as in the authors' code; else over each row, as the paper reads. Constant relevance is 1.
    """
    check_shape("image_embeds", image_embeds, "B", "N", "C")
    check_shape("text_embeds", text_embeds, "M", "C")
    if image_embeds.shape[-1] != text_embeds.shape[-1]:
        raise ValueError(
            f"image_embeds and text_embeds must be of one width, they have "
            f"{image_embeds.shape[-1]} and {text_embeds.shape[-1]} numbers"
        )
    if not text_embeds.numel():
        raise ValueError("text_embeds is empty: relevance needs a question")
    check_finite(image_embeds=image_embeds, text_embeds=text_embeds)
    image = normalize(image_embeds.float(), dim=-1)
    text = normalize(text_embeds.float(), dim=-1)
    cosine = (image @ text.T).mean(-1)
    return _spread(-cosine if negate else cosine, joint)


def strengthened(relevance: torch.Tensor, theta: float) -> torch.Tensor:
    """exp(α r̃) with α = θ / 2(1-θ): a larger θ, in [0, 1), weighs relevance more.

    θ = 0 is diversity alone. The authors' code has this line commented out.
    """
    if not 0 <= theta < 1:
        raise ValueError(f"theta must be at least 0 and below 1; it is {theta}")
    return (theta / (2 * (1 - theta)) * relevance).exp()


def select(
    projected: torch.Tensor,
    relevance: torch.Tensor,
    keep: int,
    *,
    return_order: bool = False,
) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
    """Rising indices [B, keep] of the tokens `projected` [B, N, D] that are kept.

    The greedy maximiser of log det of L̃ = diag(r̃) cos diag(r̃), each row of the batch for itself.
    With `return_order` also the same indices in the order of choice: the first k of them are what
    `keep=k` would keep.

    Raises `ValueError` for shapes that do not fit, a `keep` out of range, NaN or infinity.
    """
    check_shape("projected", projected, "B", "N", "D")
    if relevance.shape != projected.shape[:2]:
        raise ValueError(
            f"relevance must be [B, N] = {list(projected.shape[:2])}, "
            f"its shape is {list(relevance.shape)}"
        )
    check_keep(keep, projected.shape[1])
    check_finite(projected=projected, relevance=relevance)
    order = ops.conditional_dpp(projected, relevance, keep)
    indices = order.sort(1).values
    return (indices, order) if return_order else indices


def _spread(raw: torch.Tensor, joint: bool) -> torch.Tensor:
    dims = (0, 1) if joint else (1,)
    low, high = raw.amin(dims, keepdim=True), raw.amax(dims, keepdim=True)
    constant = high == low
    spread = (raw - low + 1e-6) / torch.where(constant, 1, high - low)
    return torch.where(constant, 1.0, spread)
