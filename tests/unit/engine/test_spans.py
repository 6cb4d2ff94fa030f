from hypothesis import given
from hypothesis import strategies as st

from saccade.serving.engine.spans import settled

PICTURE = -1


@given(
    st.lists(
        st.tuples(
            st.integers(0, 4),
            st.integers(1, 6).flatmap(lambda n: st.tuples(st.just(n), st.integers(1, n))),
        ),
        max_size=5,
    ),
    st.integers(0, 4),
)
def test_text_stays_and_pictures_shrink(
    pictures: list[tuple[int, tuple[int, int]]], num_last: int
) -> None:
    """Against a prompt that is put together with the right counts from the beginning."""
    reserved, wanted = [], []
    places, expected_places = [], []
    number = 0
    for num_text, (length, count) in pictures:
        text = list(range(number, number + num_text))
        number += num_text
        reserved += text
        wanted += text
        places.append((len(reserved), length))
        expected_places.append((len(wanted), count))
        reserved += [PICTURE] * length
        wanted += [PICTURE] * count
    last = list(range(number, number + num_last))
    counts = [count for _, (_, count) in pictures]
    assert settled(reserved + last, places, counts) == (wanted + last, expected_places)
