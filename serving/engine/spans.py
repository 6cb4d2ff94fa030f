"""Where in a prompt pictures stand, once it is known how many tokens each became."""

from collections.abc import Sequence

from saccade.serving.transport.instance_pb2 import StepPlace, VisualSpan

Place = tuple[int, int]
"""Offset and length."""


def visual_span(places: Sequence[Place], key: str) -> VisualSpan:
    """From the first to the last visual token of a picture, or of a clip's steps with words between
    them."""
    begin, end = places[0][0], sum(places[-1])
    steps = [StepPlace(offset=offset - begin, num_tokens=count) for offset, count in places]
    return VisualSpan(
        offset=begin, num_tokens=end - begin, key=key, steps=steps if len(steps) > 1 else []
    )


def settled(
    token_ids: Sequence[int],
    places: Sequence[Sequence[Place]],
    counts: Sequence[Sequence[int]],
) -> tuple[list[int], list[list[Place]]]:
    """A prompt with only `counts` tokens in the places of each picture, in rising order; and where
    they are then.

    Places were reserved before the counts were known: their last tokens go, or are repeated.
    """
    ids: list[int] = []
    found: list[list[Place]] = []
    done = 0
    for reserved, wanted in zip(places, counts, strict=True):
        found.append([])
        for (offset, length), count in zip(reserved, wanted, strict=True):
            assert done <= offset, "places rise"
            assert length > 0, "places have a token"
            ids += token_ids[done:offset]
            found[-1].append((len(ids), count))
            ids += [token_ids[offset]] * count
            done = offset + length
    return [*ids, *token_ids[done:]], found
