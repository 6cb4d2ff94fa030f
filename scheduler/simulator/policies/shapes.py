"""A simulated request in the scheduler's terms."""

from dataclasses import replace

from saccade.scheduler.requests import PrefixKey, RequestShape, VisualItem
from saccade.scheduler.simulator.caches import prefix_blocks
from saccade.scheduler.simulator.job import Job
from saccade.scheduler.simulator.workloads.base import PIXELS_PER_TOKEN


def shape_of(job: Job) -> RequestShape:
    """Output lengths are the true ones: the simulator does not model their prediction."""
    request = job.request
    keys = request.image_keys or tuple(range(len(request.image_tokens)))
    known = bool(request.image_keys)
    return RequestShape(
        key=str(job.key),
        modality=job.modality,
        text_tokens=request.text_tokens,
        visual=tuple(
            VisualItem(f"{key}" if known else f"{job.key}/{key}", tokens, tokens * PIXELS_PER_TOKEN)
            for key, tokens in zip(keys, request.image_tokens, strict=True)
        ),
        output_tokens=request.output_tokens,
        tenant=request.tenant,
        arrival_s=request.arrival_s,
        prefix=tuple(PrefixKey(str(key), length) for key, length in prefix_blocks(request)),
    )


def picture_of(shape: RequestShape, number: int) -> RequestShape:
    """The request as if it had this picture alone, and no text to look up in a cache."""
    return replace(shape, visual=(shape.visual[number],), prefix=())
