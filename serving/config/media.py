"""Section `media`: what is fetched for a request, from where, and how much of it."""

import ipaddress
import re
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from saccade.serving.config.section import Section

MediaKind = Literal["image", "video"]

_LONGEST_HOST_NAME = 253
_HOST_NAME = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*")


def _host(entry: str) -> str:
    name = entry.lower().rstrip(".")
    if len(name) > _LONGEST_HOST_NAME or not _HOST_NAME.fullmatch(name):
        raise ValueError(f"{entry!r} is not a host name; give the bare name, as in 'example.com'")
    return name


def _host_or_network(entry: str) -> str:
    try:
        return str(ipaddress.ip_network(entry))
    except ValueError:
        pass
    if "/" in entry or ":" in entry:
        raise ValueError(
            f"{entry!r} is neither a host name, an IP address nor a network such as '10.0.0.0/8'; "
            "ports, schemes and paths do not belong here"
        )
    return _host(entry)


class MediaConfig(Section):
    """Pictures and video: limits, and the hosts that they may come from."""

    max_images: int = Field(
        default=16, ge=1, le=1024, description="Most pictures in one request; 400 above it."
    )
    max_bytes: int = Field(
        default=20 * 2**20,
        ge=2**10,
        le=2**30,
        description="Largest picture as a file (decoded from base64); 413 above it.",
    )
    max_total_bytes: int = Field(
        default=64 * 2**20,
        ge=2**10,
        le=2**32,
        description="All pictures and clips of one request together, as files; 413 above it.",
    )
    # Pillow warns of a decompression bomb above the upper bound.
    max_pixels: int = Field(
        default=50_000_000,
        ge=1,
        le=89_478_485,
        description="Width times height, from the header; 400 above it. Decoding takes 8 bytes "
        "a pixel (WebP: 16).",
    )
    max_side: int = Field(
        default=16_384, ge=1, le=65_535, description="Longest side in pixels; 400 above it."
    )
    max_videos: int = Field(
        default=2, ge=0, le=64, description="Most clips in one request; 400 above it."
    )
    max_video_bytes: int = Field(
        default=48 * 2**20,
        ge=2**10,
        le=2**32,
        description="Largest clip as a file (decoded from base64); 413 above it.",
    )
    max_video_duration_s: float = Field(
        default=600.0, gt=0, le=36_000, description="Longest clip, from the header; 400 above it."
    )
    max_video_pixels: int = Field(
        default=3840 * 2160,
        ge=1,
        le=89_478_485,
        description="Width times height of a clip's frames, from the header; 400 above it.",
    )
    video_fps: float = Field(
        default=2.0,
        gt=0,
        le=60,
        description="Frames taken from a second of a clip, if the request does not say.",
    )
    max_video_frames: int = Field(
        default=32,
        ge=1,
        le=1024,
        description="Most frames taken from one clip; a longer one is sampled more thinly.",
    )
    accept_image_embeds: bool = Field(
        default=False,
        description="Take parts of type `image_embeds`: visual tokens that a client has computed. "
        "Whoever may send them decides, number by number, what the language model sees.",
    )
    max_embeds_bytes: int = Field(
        default=48 * 2**20,
        ge=2**10,
        le=2**32,
        description="Largest `image_embeds` of one picture (decoded from base64); 413 above it.",
    )
    fetch_timeout_s: float = Field(
        default=10.0,
        gt=0,
        le=600,
        description="Time for one picture or clip by URL: name look-up, redirects and transfer "
        "together.",
    )
    max_redirects: int = Field(
        default=3, ge=0, le=20, description="Redirects followed for one picture."
    )
    max_concurrent_fetches: int = Field(
        default=32, ge=1, le=1024, description="Pictures fetched at once by one gateway process."
    )
    allowed_private_hosts: list[Annotated[str, AfterValidator(_host_or_network)]] = Field(
        default_factory=list,
        description="Host names, IP addresses and networks (10.0.0.0/8) that may be fetched from "
        "although they are not public.",
    )
    allowed_domains: list[Annotated[str, AfterValidator(_host)]] = Field(
        default_factory=list,
        description="If any are given, pictures come from these hosts and their subdomains only.",
    )

    def max_bytes_of(self, kind: MediaKind) -> int:
        """Of one picture, or one clip, as a file."""
        return self.max_bytes if kind == "image" else self.max_video_bytes

    @model_validator(mode="after")
    def _one_picture_fits(self) -> "MediaConfig":
        if self.max_bytes > self.max_total_bytes:
            raise ValueError(
                f"max_bytes ({self.max_bytes}) is more than max_total_bytes "
                f"({self.max_total_bytes}): a picture of the allowed size would never fit; "
                "lower the first or raise the second"
            )
        return self
