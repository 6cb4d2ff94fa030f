import pytest
from pydantic import ValidationError

from saccade.serving.config.media import MediaConfig


def test_every_field_says_what_it_is_for() -> None:
    assert all(field.description for field in MediaConfig.model_fields.values())


def test_nothing_private_may_be_fetched_unless_told() -> None:
    assert MediaConfig().allowed_private_hosts == []


def test_hosts_are_written_in_one_way() -> None:
    config = MediaConfig(
        allowed_private_hosts=["LocalHost.", "127.0.0.1", "::1", "10.0.0.0/8"],
        allowed_domains=["Example.COM"],
    )
    assert config.allowed_private_hosts == ["localhost", "127.0.0.1/32", "::1/128", "10.0.0.0/8"]
    assert config.allowed_domains == ["example.com"]


@pytest.mark.parametrize(
    "entry", ["http://localhost", "localhost:8000", "10.0.0.1/8", "*.internal", "", "a/b", "-x"]
)
def test_an_entry_that_could_never_match_is_an_error(entry: str) -> None:
    with pytest.raises(ValidationError, match=r"is n(ot|either) a host name"):
        MediaConfig(allowed_private_hosts=[entry])


def test_limits_that_contradict_each_other_are_named() -> None:
    with pytest.raises(ValidationError, match=r"max_bytes \(3000\).*max_total_bytes \(2000\)"):
        MediaConfig(max_bytes=3000, max_total_bytes=2000)


def test_unknown_keys_are_errors() -> None:
    with pytest.raises(ValidationError, match="extra_forbidden"):
        MediaConfig.model_validate({"max_byte": 5000})
