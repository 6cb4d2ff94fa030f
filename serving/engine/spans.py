"""Where in a prompt pictures stand, once it is known how many tokens each became."""

from collections.abc import Sequence


def settled(
    token_ids: Sequence[int], places: Sequence[tuple[int, int]], counts: Sequence[int]
) -> tuple[list[int], list[tuple[int, int]]]:
    """A prompt with only `counts` tokens in `places` (offset, length), in rising order; and where
    they are then.

    A place was reserved for the most that there may be; its last tokens go.
    """
    ids: list[int] = []
    settled_places: list[tuple[int, int]] = []
    done = 0
    for (offset, length), count in zip(places, counts, strict=True):
        assert done <= offset, "places rise"
        assert 0 < count <= length, "places have room"
        ids += token_ids[done:offset]
        settled_places.append((len(ids), count))
        ids += token_ids[offset : offset + count]
        done = offset + length
    return [*ids, *token_ids[done:]], settled_places
