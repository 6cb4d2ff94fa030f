"""Named synthetic workloads.

Numbers with a source carry it; the others are assumptions and say so. Quantiles of Azure LMM 2025
were digitised from the plots that Microsoft publishes with the trace, those of ServeGen computed
from its files.
"""

import numpy as np

from saccade.scheduler.simulator.workloads.arrivals import RateProfile
from saccade.scheduler.simulator.workloads.sizes import Counts, Quantiles, Sizes
from saccade.scheduler.simulator.workloads.synthetic import Stream, SyntheticWorkload

# Assumption: short chat turns beside the pictures.
CHAT = Sizes(
    text_tokens=Quantiles(((0.05, 20), (0.25, 70), (0.5, 180), (0.9, 900), (0.99, 2500))),
    output_tokens=Quantiles(((0.02, 8), (0.25, 70), (0.5, 160), (0.9, 420), (0.99, 900))),
)
# One high-resolution picture of about 1,000 to 2,700 visual tokens and a short question.
SHAREGPT4O_IMAGE = Sizes(
    text_tokens=Quantiles(((0.05, 8), (0.5, 30), (0.9, 90), (0.99, 250))),
    output_tokens=Quantiles(((0.02, 20), (0.25, 110), (0.5, 200), (0.9, 420), (0.99, 800))),
    num_images=Counts(((1, 1.0),)),
    image_tokens=Quantiles(((0.05, 700), (0.25, 1036), (0.5, 1369), (0.9, 2691), (0.99, 4000))),
    repeat_ratio=0.2,
)
# One smaller picture of a web page or an exercise, and a longer text.
VISUAL_WEB_INSTRUCT_IMAGE = Sizes(
    text_tokens=Quantiles(((0.05, 60), (0.25, 180), (0.5, 350), (0.9, 1200), (0.99, 3000))),
    output_tokens=Quantiles(((0.02, 30), (0.25, 120), (0.5, 240), (0.9, 520), (0.99, 1000))),
    num_images=Counts(((1, 1.0),)),
    image_tokens=Quantiles(((0.05, 120), (0.25, 330), (0.5, 529), (0.9, 1196), (0.99, 2691))),
    repeat_ratio=0.2,
)
# Quantiles of alibaba/ServeGen mm-image.
SERVEGEN_IMAGE = Sizes(
    text_tokens=Quantiles(((0.1, 40), (0.5, 106), (0.75, 1032), (0.9, 1914), (0.99, 3064))),
    output_tokens=Quantiles(((0.1, 20), (0.5, 100), (0.9, 264), (0.99, 587))),
    num_images=Counts(((1, 0.80), (2, 0.066), (3, 0.076), (4, 0.021), (6, 0.02), (9, 0.011))),
    image_tokens=Quantiles(
        ((0.1, 6), (0.25, 234), (0.5, 540), (0.75, 1196), (0.9, 1224), (0.99, 1271))
    ),
    repeat_ratio=0.1,
)
# Azure LMM 2025: the field counts tiles, hence one "picture" is 256 tokens of a 448-pixel tile and
# a request has at most 16 of them here; the rest of ContextTokens is text.
AZURE_LMM_IMAGE = Sizes(
    text_tokens=Quantiles(((0.05, 90), (0.25, 300), (0.5, 700), (0.9, 5000), (0.98, 14000))),
    output_tokens=Quantiles(
        ((0.02, 3), (0.1, 15), (0.25, 33), (0.5, 80), (0.75, 179), (0.9, 401), (0.99, 806))
    ),
    num_images=Counts(((1, 0.70), (4, 0.05), (9, 0.16), (16, 0.09))),
    image_tokens=Quantiles.always(256),
)
AZURE_LMM_TEXT = Sizes(
    text_tokens=Quantiles(
        ((0.01, 71), (0.1, 177), (0.25, 370), (0.5, 784), (0.75, 1456), (0.9, 3085), (0.99, 14005))
    ),
    output_tokens=Quantiles(
        ((0.05, 1), (0.1, 8), (0.25, 26), (0.5, 147), (0.75, 219), (0.9, 471), (0.99, 1309))
    ),
)


def _mixture(
    name: str, image: Sizes, text: Sizes, rate_per_s: float, duration_s: float, image_ratio: float
) -> SyntheticWorkload:
    """Poisson arrivals; `image_ratio` of the requests carry pictures."""
    both = ((text, 1 - image_ratio), (image, image_ratio))
    return SyntheticWorkload(
        name,
        tuple(
            Stream(sizes, RateProfile.constant(rate_per_s * share, duration_s))
            for sizes, share in both
        ),
    )


def sharegpt4o(rate_per_s: float, duration_s: float, image_ratio: float = 0.5) -> SyntheticWorkload:
    """High-resolution pictures with short questions, beside text chat."""
    return _mixture("sharegpt4o", SHAREGPT4O_IMAGE, CHAT, rate_per_s, duration_s, image_ratio)


def visualwebinstruct(
    rate_per_s: float, duration_s: float, image_ratio: float = 0.5
) -> SyntheticWorkload:
    """Smaller pictures with longer texts, beside text chat."""
    image = VISUAL_WEB_INSTRUCT_IMAGE
    return _mixture("visualwebinstruct", image, CHAT, rate_per_s, duration_s, image_ratio)


def servegen(rate_per_s: float, duration_s: float, image_ratio: float = 0.99) -> SyntheticWorkload:
    """The four largest clients of ServeGen mm-image by share and burstiness, and the rest."""
    clients = ((0.15, 0.97), (0.13, 1.07), (0.11, 4.77), (0.10, 4.34), (0.51, 1.5))
    streams = [
        Stream(
            SERVEGEN_IMAGE,
            RateProfile.constant(rate_per_s * image_ratio * share, duration_s),
            cv,
            f"client-{number}",
        )
        for number, (share, cv) in enumerate(clients)
    ]
    text = RateProfile.constant(rate_per_s * (1 - image_ratio), duration_s)
    return SyntheticWorkload("servegen", (*streams, Stream(CHAT, text)))


def azure_lmm(rate_per_s: float, duration_s: float, image_ratio: float = 0.5) -> SyntheticWorkload:
    """Smooth text beside pictures that come in bursts of minutes.

    The trace shows text between 20 and 170 requests a minute and picture requests between 0 and
    450 with peaks ten times the mean: a minute's rate is drawn from a Gamma of shape 0.3.
    """
    num_minutes = max(1, int(np.ceil(duration_s / 60)))
    lengths = [min(60.0, duration_s - 60 * minute) for minute in range(num_minutes)]
    draws = np.random.default_rng(2025).gamma(0.3, 1 / 0.3, num_minutes)
    weights = draws / max(float(np.average(draws, weights=lengths)), 1e-9)
    image = RateProfile(
        tuple(
            (length, rate_per_s * image_ratio * float(weight))
            for length, weight in zip(lengths, weights, strict=True)
        )
    )
    text = RateProfile.constant(rate_per_s * (1 - image_ratio), duration_s)
    streams = (Stream(AZURE_LMM_TEXT, text), Stream(AZURE_LMM_IMAGE, image))
    return SyntheticWorkload("azure-lmm", streams)


def _burst(
    name: str, rates_per_s: tuple[float, float], duration_s: float, which: int, factor: float
) -> SyntheticWorkload:
    """A step: the middle fifth of the time at `factor` times the rate of one modality."""
    streams = []
    for number, (sizes, rate) in enumerate(zip((CHAT, SHAREGPT4O_IMAGE), rates_per_s, strict=True)):
        peak = rate * (factor if number == which else 1)
        segments = ((0.4 * duration_s, rate), (0.2 * duration_s, peak), (0.4 * duration_s, rate))
        streams.append(Stream(sizes, RateProfile(segments)))
    return SyntheticWorkload(name, tuple(streams))


def image_burst(
    rate_per_s: float, duration_s: float, image_ratio: float = 0.2, factor: float = 8.0
) -> SyntheticWorkload:
    """Pictures jump to eight times their rate for the middle fifth of the time."""
    rates = (rate_per_s * (1 - image_ratio), rate_per_s * image_ratio)
    return _burst("image-burst", rates, duration_s, 1, factor)


def text_burst(
    rate_per_s: float, duration_s: float, image_ratio: float = 0.3, factor: float = 6.0
) -> SyntheticWorkload:
    """Text jumps to six times its rate for the middle fifth of the time."""
    rates = (rate_per_s * (1 - image_ratio), rate_per_s * image_ratio)
    return _burst("text-burst", rates, duration_s, 0, factor)


def antiphase(rate_per_s: float, duration_s: float, image_ratio: float = 0.4) -> SyntheticWorkload:
    """Two days in `duration_s`: text and pictures peak half a day apart."""
    period_s = duration_s / 2
    streams = (
        Stream(sizes, RateProfile.diurnal(rate_per_s * share, duration_s, period_s=period_s,
                                          swing=0.85, phase=phase))
        for sizes, share, phase in (
            (CHAT, 1 - image_ratio, 0.0),
            (SHAREGPT4O_IMAGE, image_ratio, 0.5),
        )
    )  # fmt: skip
    return SyntheticWorkload("antiphase", tuple(streams))
