from hypothesis import assume, given
from hypothesis import strategies as st

from saccade.serving.caches.keys import (
    PictureId,
    bytes_key,
    cache_salt,
    pixels_key,
    visual_key,
)

# Few characters, so that moving one over a boundary between parts is likely.
texts = st.text("ab\0", max_size=3)
parts = st.tuples(texts, texts, texts, st.integers(0, 99), texts)


def key(
    tenant: str, model: str, content_hash: str, num_visual_tokens: int, pruning: str = ""
) -> str:
    return visual_key(
        tenant=tenant,
        model=model,
        content_hash=content_hash,
        num_visual_tokens=num_visual_tokens,
        pruning=pruning,
    )


@given(parts, parts)
def test_different_pictures_have_different_keys(
    one: tuple[str, str, str, int, str], other: tuple[str, str, str, int, str]
) -> None:
    assume(one != other)
    assert key(*one) != key(*other)


def test_nothing_collides_over_the_boundary_between_two_parts() -> None:
    splits = [("ab", "c", ""), ("a", "bc", ""), ("", "abc", ""), ("abc", "", ""), ("a", "b", "c")]
    assert len({key(*split, 1) for split in splits}) == len(splits)
    assert key("a", "b", "c1", 1) != key("a", "b", "c", 11)


def test_the_same_picture_has_the_same_key_in_every_process() -> None:
    # A key that depends on the process would never hit a cache on another instance.
    assert key("default", "model", "hash", 64) == "96317d631c5075233802ad30565323a6"


@given(texts, texts)
def test_tenants_have_different_salts(one: str, other: str) -> None:
    assert (cache_salt(one) == cache_salt(other)) == (one == other)


def test_a_salt_is_not_the_name_of_the_tenant() -> None:
    assert "default" not in cache_salt("default")
    assert cache_salt("default")


@given(texts, texts, texts, texts)
def test_what_is_kept_by_bytes_has_one_key_for_each_tenant_encoder_and_content(
    one: str, other: str, revision: str, content: str
) -> None:
    def of(owner: str) -> set[str]:
        return {
            bytes_key(PictureId(cache_salt(owner), content), revision),
            pixels_key(cache_salt(owner), revision, content),
        }

    assert len(of(one)) == 2
    assert (of(one) == of(other)) == (one == other)
    assert of(one).isdisjoint(of(other)) == (one != other)


def test_another_encoder_or_another_content_is_another_key() -> None:
    keys = {
        bytes_key(PictureId("owner", "content"), "revision"),
        bytes_key(PictureId("owner", "content"), "another"),
        bytes_key(PictureId("owner", "another"), "revision"),
        pixels_key("owner", "revision", "content"),
        pixels_key("owner", "another", "content"),
        pixels_key("owner", "revision", "another"),
    }
    assert len(keys) == 6
