"""Where a picture may be fetched from, on the first hop and on all others."""

from collections.abc import Sequence

import pytest

from saccade.serving.config.media import MediaConfig
from saccade.serving.media.fetch import MediaFetcher
from tests.unit.media.fetching import BODY, fetch, limits, refusal
from tests.unit.media.server import Names, Network, PictureServer, redirect, response

# Redirects


async def test_redirects_are_followed_up_to_the_limit(server: PictureServer) -> None:
    server.routes["/0"] = redirect("/1?x=ü", 301)
    server.routes["/1?x=%C3%BC"] = redirect(server.url("/2"), 307)
    server.routes["/2"] = response(BODY)
    async with MediaFetcher(limits(max_redirects=2)) as fetcher:
        assert await fetch(fetcher, server.url("/0")) == BODY
    async with MediaFetcher(limits(max_redirects=1)) as fetcher:
        assert (await refusal(fetcher, server.url("/0"))).code == "image_fetch_failed"


async def test_a_redirect_loop_ends(server: PictureServer) -> None:
    server.routes["/"] = redirect("/")
    async with MediaFetcher(limits(max_redirects=4)) as fetcher:
        assert (await refusal(fetcher, server.url("/"))).code == "image_fetch_failed"
    assert len(server.heads) == 5


@pytest.mark.parametrize(
    ("location", "code"),
    [
        ("file:///etc/passwd", "unsupported_url_scheme"),
        ("data:image/png;base64,AAAA", "unsupported_url_scheme"),
        ("http://user@127.0.0.1/", "image_url_forbidden"),
        ("http://[", "invalid_image_url"),
        ("http://internal.example/", "image_url_forbidden"),
        ("//internal.example/", "image_url_forbidden"),
    ],
)
async def test_every_hop_is_checked(server: PictureServer, location: str, code: str) -> None:
    server.routes["/"] = redirect(location)
    names = Names({"public.example": [["8.8.8.8"]], "internal.example": [["10.1.2.3"]]})
    network = Network(server)
    async with MediaFetcher(MediaConfig(), resolve=names, network=network) as fetcher:
        error = await refusal(fetcher, "http://public.example/")
    assert error.code == code
    assert network.connected == ["8.8.8.8"]
    assert "10.1.2.3" not in error.message
    assert "internal" not in error.message


# Addresses


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.0.0.1.",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "0177.0.0.1",
        "017700000001",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[0:0:0:0:0:ffff:7f00:1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::]",
        "127。0。0。1",
        "169.254.169.254",
        "[fe80::1]",
        "[fd00:ec2::254]",
    ],
)
async def test_no_spelling_of_a_private_address_gets_round_the_check(
    server: PictureServer, host: str
) -> None:
    network = Network(server)
    async with MediaFetcher(MediaConfig(), network=network) as fetcher:
        error = await refusal(fetcher, f"http://{host}:{server.port}/")
    # Octal is already too odd for the URL parser.
    assert error.code == ("invalid_image_url" if host == "0177.0.0.1" else "image_url_forbidden")
    assert network.connected == []


async def test_localhost_is_private_unless_allowed_by_name(server: PictureServer) -> None:
    server.routes["/"] = response(BODY)
    url = server.url("/").replace("127.0.0.1", "localhost")
    async with MediaFetcher(MediaConfig()) as fetcher:
        assert (await refusal(fetcher, url)).code == "image_url_forbidden"
    async with MediaFetcher(limits(allowed_private_hosts=["localhost"])) as fetcher:
        assert await fetch(fetcher, url) == BODY
        assert (await refusal(fetcher, server.url("/"))).code == "image_url_forbidden"


@pytest.mark.parametrize("addresses", [["10.0.0.1"], ["8.8.8.8", "10.0.0.1"], ["::1", "8.8.8.8"]])
async def test_one_private_address_among_several_is_enough(
    server: PictureServer, addresses: Sequence[str]
) -> None:
    network = Network(server)
    names = Names({"mixed.example": [addresses]})
    async with MediaFetcher(MediaConfig(), resolve=names, network=network) as fetcher:
        error = await refusal(fetcher, "http://mixed.example/")
    assert error.code == "image_url_forbidden"
    assert network.connected == []
    assert not any(address in error.message for address in addresses)


async def test_the_connection_goes_to_the_address_that_was_checked(server: PictureServer) -> None:
    server.routes["/"] = response(BODY)
    network = Network(server)
    names = Names({"rebinding.example": [["8.8.8.8"], ["127.0.0.1"]]})
    async with MediaFetcher(MediaConfig(), resolve=names, network=network) as fetcher:
        assert await fetch(fetcher, "http://Rebinding.Example./") == BODY
        assert names.asked == ["rebinding.example"]
        assert network.connected == ["8.8.8.8"]
        assert "\r\nhost: rebinding.example\r\n" in server.heads[0].lower()
        # The next request is a new connection, with a check of its own.
        error = await refusal(fetcher, "http://rebinding.example/")
    assert error.code == "image_url_forbidden"
    assert network.connected == ["8.8.8.8"]


async def test_the_next_address_is_tried_when_one_is_dead(server: PictureServer) -> None:
    server.routes["/"] = response(BODY)
    network = Network(server, unreachable=["2606:4700::1"])
    names = Names({"two.example": [["2606:4700::1", "8.8.8.8"]]})
    async with MediaFetcher(MediaConfig(), resolve=names, network=network) as fetcher:
        assert await fetch(fetcher, "http://two.example/") == BODY
    assert network.connected == ["2606:4700::1", "8.8.8.8"]


async def test_only_allowed_domains_are_asked_for(server: PictureServer) -> None:
    server.routes["/"] = response(BODY)
    server.routes["/away"] = redirect("http://other.org/")
    names = Names({"cdn.example.com": [["8.8.8.8"]] * 2, "other.org": [["8.8.8.8"]]})
    config = MediaConfig(allowed_domains=["example.com"])
    async with MediaFetcher(config, resolve=names, network=Network(server)) as fetcher:
        assert await fetch(fetcher, "http://cdn.example.com/") == BODY
        for url in ("http://other.org/", "http://cdn.example.com/away", server.url("/")):
            assert (await refusal(fetcher, url)).code == "image_url_forbidden"
    assert "other.org" not in names.asked


async def test_proxies_of_the_environment_are_not_used(
    server: PictureServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    server.routes["/"] = response(BODY)
    async with MediaFetcher(limits()) as fetcher:
        assert await fetch(fetcher, server.url("/")) == BODY


async def test_cookies_are_not_kept(server: PictureServer) -> None:
    server.routes["/"] = response(BODY, set_cookie="a=b; Path=/")
    async with MediaFetcher(limits()) as fetcher:
        for _ in range(2):
            await fetch(fetcher, server.url("/"))
    assert "cookie" not in server.heads[1].lower()
