from hypothesis import given
from hypothesis import strategies as st

from saccade.serving.engine.spans import settled, visual_span
from saccade.serving.transport.instance_pb2 import StepPlace

PICTURE = -1

# Words before a place, how many tokens are reserved there, and how many there are.
place = st.tuples(st.integers(0, 4), st.integers(1, 6), st.integers(0, 8))


@given(st.lists(st.lists(place, min_size=1, max_size=4), max_size=4), st.integers(0, 4))
def test_text_stays_and_pictures_take_as_much_as_they_need(
    pictures: list[list[tuple[int, int, int]]], num_last: int
) -> None:
    """Against a prompt that is put together with the right counts from the beginning."""
    reserved: list[int] = []
    wanted: list[int] = []
    places: list[list[tuple[int, int]]] = []
    expected_places: list[list[tuple[int, int]]] = []
    for picture in pictures:
        places.append([])
        expected_places.append([])
        for num_text, length, count in picture:
            text = list(range(len(reserved), len(reserved) + num_text))
            places[-1].append((len(reserved) + num_text, length))
            expected_places[-1].append((len(wanted) + num_text, count))
            reserved += text + [PICTURE] * length
            wanted += text + [PICTURE] * count
    last = list(range(1000, 1000 + num_last))
    counts = [[count for _, _, count in picture] for picture in pictures]
    assert settled(reserved + last, places, counts) == (wanted + last, expected_places)


def test_a_picture_is_a_span_of_visual_tokens_alone() -> None:
    span = visual_span([(7, 30)], "key")
    assert (span.offset, span.num_tokens, span.key) == (7, 30, "key")
    assert not span.steps


def test_a_clip_with_words_between_its_steps_is_a_span_with_their_places() -> None:
    span = visual_span([(7, 4), (20, 0), (25, 6)], "key")
    assert (span.offset, span.num_tokens) == (7, 24)
    assert list(span.steps) == [
        StepPlace(offset=0, num_tokens=4),
        StepPlace(offset=13, num_tokens=0),
        StepPlace(offset=18, num_tokens=6),
    ]
