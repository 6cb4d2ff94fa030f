"""HoliTom's outer stage (arXiv 2505.21334): what stands still in a clip is kept once."""

import math

import torch

from saccade.encoders.pruning.checks import check_finite, check_shape
from saccade.kernels import ops

Segment = tuple[int, int]
"""First and last frame, both in it."""


def segment(feature_sim: torch.Tensor, tau: float, max_window: int) -> tuple[list[Segment], int]:
    """Cut a clip so that keeping static places once per segment saves the most tokens.

    `feature_sim` [T-1, P] are cosines of neighbouring frames. A place is static in a segment if all
    its cosines there are above `tau`; frames a to b save (b-a) · (static places). Dynamic
    programming over segments of at most `max_window` frames; among equals a single frame wins, then
    the shorter segment. Returns the segments and the number of tokens saved.
    """
    check_shape("feature_sim", feature_sim, "T-1", "P")
    check_finite(feature_sim=feature_sim)
    if max_window < 1:
        raise ValueError(f"max_window must be at least 1; it is {max_window}")
    # For each place and frame: how many frames up to it the place has stood still.
    still = feature_sim > tau
    num_frames = len(still) + 1
    run = torch.zeros(feature_sim.shape[1], dtype=torch.int64, device=feature_sim.device)
    saved, length = [0], [1]  # of the first frames: the best saving, and the last segment's length
    for last in range(1, num_frames):
        run = torch.where(still[last - 1], run + 1, 0)
        # lasting[w]: places that stood still for at least w steps, so are static in w + 1 frames.
        lasting = torch.bincount(run, minlength=last + 1).flip(0).cumsum(0).flip(0).tolist()
        best, width = saved[-1], 1
        for window in range(2, min(last + 1, max_window) + 1):
            before = saved[last - window] if last >= window else 0
            gain = before + (window - 1) * lasting[window - 1]
            if gain > best:
                best, width = gain, window
        saved.append(best)
        length.append(width)
    segments = []
    last = num_frames - 1
    while last >= 0:
        segments.append((last - length[last] + 1, last))
        last -= length[last]
    return segments[::-1], saved[-1]


def dpc_knn(
    x: torch.Tensor, cluster_num: int, k: int = 7, beta: float = 0.6
) -> tuple[torch.Tensor, torch.Tensor]:
    """Merge the tokens `x` [B, N, C] into `cluster_num` clusters: [B, c, C] and centres [B, c].

    Centres, in rising order, are the tokens with the largest product of density (by min(k, c)
    neighbours) and distance to a denser token; every other token joins the nearest centre, which
    becomes β · centre + (1-β) · mean of those that joined.
    """
    check_shape("x", x, "B", "N", "C")
    check_finite(x=x)
    num_tokens = x.shape[1]
    if not 1 <= cluster_num <= num_tokens:
        raise ValueError(f"cluster_num must be from 1 to {num_tokens}; it is {cluster_num}")
    if k < 1:
        raise ValueError(f"k must be at least 1; it is {k}")
    density, separation = ops.density_peaks(x, min(k, cluster_num))
    ranked = (density * separation).sort(dim=1, descending=True, stable=True).indices
    centres = ranked[:, :cluster_num].sort(1).values
    chosen = x.gather(1, centres[:, :, None].expand(-1, -1, x.shape[-1]))
    owner = ops.pairwise_distance(x, chosen).argmin(-1)
    own = torch.arange(cluster_num, device=x.device).expand(len(x), -1)
    owner.scatter_(1, centres, own)
    return ops.merge_members(x, centres, owner, beta), centres


def merge(
    features: torch.Tensor,
    attention: torch.Tensor,
    *,
    tau: float,
    retain_ratio: float,
    beta: float = 0.6,
    k: int = 7,
    max_window: int = 1024,
) -> tuple[torch.Tensor, list[int]]:
    """The tokens [n, C] left of a clip `features` [T, P, C], and how many each segment has.

    `attention` [T, P] is the saliency that decides among what moves. What a caller puts behind the
    clip (LLaVA-OneVision's newline) is not in it. Of a clip that stands still, a small ratio may
    leave nothing, since numbers of clusters are rounded.
    """
    tokens, _, counts = merge_with_sources(
        features,
        attention,
        tau=tau,
        retain_ratio=retain_ratio,
        beta=beta,
        k=k,
        max_window=max_window,
    )
    return tokens, counts


def merge_with_sources(
    features: torch.Tensor,
    attention: torch.Tensor,
    *,
    tau: float,
    retain_ratio: float,
    beta: float,
    k: int,
    max_window: int,
) -> tuple[torch.Tensor, torch.Tensor, list[int]]:
    """As `merge`, and for each token the number t · P + p [n] of the one whose place it takes.

    For what stands still that is the centre of its cluster in the segment's first frame.
    """
    check_shape("features", features, "T", "P", "C")
    if attention.shape != features.shape[:2]:
        raise ValueError(
            f"attention must be {list(features.shape[:2])}, is {list(attention.shape)}"
        )
    if not 0 < retain_ratio <= 1:
        raise ValueError(f"retain_ratio must be above 0 and at most 1; it is {retain_ratio}")
    check_finite(features=features, attention=attention)
    similarity = ops.frame_similarity(features)
    segments, saved = segment(similarity, tau, max_window)
    num_tokens = attention.numel()
    # What is saved by keeping still places once is not to be saved again.
    ratio = min(retain_ratio / ((num_tokens - saved) / num_tokens), 1.0)
    tokens, sources, counts = [], [], []
    for first, last in segments:
        static = (similarity[first:last] > tau).all(0)
        if first == last:
            static = torch.zeros_like(static)
        still, still_sources = _still(features, static, first, last, ratio, k, beta)
        moving = _moving(attention, static, first, last, ratio)
        tokens += [still, features.flatten(0, 1)[moving]]
        sources += [still_sources, moving]
        counts.append(len(still) + len(moving))
    return torch.cat(tokens), torch.cat(sources), counts


def bound(num_frames: int, places: int, retain_ratio: float) -> int:
    """The most tokens that `merge` can leave of a clip, whatever it shows.

    Its shares add up to retain_ratio · T · P; rounding adds less than one for each frame, and at
    most a half for each segment of two frames or more.
    """
    most = math.floor(num_frames * places * retain_ratio + 1.25 * num_frames + 1e-6)
    return min(num_frames * places, most)


def _still(
    features: torch.Tensor,
    static: torch.Tensor,
    first: int,
    last: int,
    ratio: float,
    k: int,
    beta: float,
) -> tuple[torch.Tensor, torch.Tensor]:
    places = static.nonzero()[:, 0]
    num_clusters = round(len(places) * ratio)
    if num_clusters == 0:
        return features[0, :0], places[:0]
    average = features[first : last + 1, places].mean(0)
    [merged], [centres] = dpc_knn(average[None], num_clusters, k, beta)
    return merged, first * features.shape[1] + places[centres]


def _moving(
    attention: torch.Tensor, static: torch.Tensor, first: int, last: int, ratio: float
) -> torch.Tensor:
    """Numbers t · P + p, rising, of the most salient places of each frame that are not static."""
    places = (~static).nonzero()[:, 0]
    # A ratio that was float32 on its way must not turn 4.0000001 into 5.
    keep = math.ceil(len(places) * ratio - 1e-6)
    salience = attention[first : last + 1, places]
    best = salience.sort(dim=1, descending=True, stable=True).indices[:, :keep].sort(1).values
    frames = torch.arange(first, last + 1, device=attention.device)[:, None]
    return (frames * attention.shape[1] + places[best]).flatten()
