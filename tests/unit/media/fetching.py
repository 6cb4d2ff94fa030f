"""What the tests of fetching share."""

import pytest

from saccade.serving.config.media import MediaConfig
from saccade.serving.errors import ClientError
from saccade.serving.media.fetch import ByteBudget, MediaFetcher

BODY = bytes(range(256)) * 16
PARAM = "messages[0].content[0]"
ON_LOOPBACK = ["127.0.0.1"]


def limits(**options: object) -> MediaConfig:
    values: dict[str, object] = {
        "allowed_private_hosts": ON_LOOPBACK,
        "max_bytes": 5000,
        "fetch_timeout_s": 20,
        **options,
    }
    return MediaConfig.model_validate(values)


async def fetch(fetcher: MediaFetcher, url: str, total_bytes: int = 10**9) -> bytes:
    return await fetcher.fetch(url, param=PARAM, budget=ByteBudget(total_bytes))


async def refusal(fetcher: MediaFetcher, url: str, total_bytes: int = 10**9) -> ClientError:
    with pytest.raises(ClientError) as caught:
        await fetch(fetcher, url, total_bytes)
    assert caught.value.param == PARAM
    return caught.value
