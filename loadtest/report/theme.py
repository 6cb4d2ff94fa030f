"""Colours of the plots: for a light page, a dark one, and one that follows its reader's wish."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

ThemeName = Literal["light", "dark", "page"]

# Hues that are told apart with every common kind of colour blindness (after Okabe & Ito), and by
# lightness in grey.
COLOURS: Mapping[str, tuple[str, str]] = {
    "paper": ("#ffffff", "#15191f"),
    "ink": ("#1b2430", "#e8ecf1"),
    "muted": ("#5d6877", "#98a4b3"),
    "grid": ("#e3e7ec", "#2b323c"),
    "text": ("#0b6fb8", "#5ab4f0"),
    "image": ("#d1560b", "#ff9a57"),
    "video": ("#0a8a66", "#3fd0a4"),
    "all": ("#4a5463", "#c3ccd8"),
    "a": ("#0b6fb8", "#5ab4f0"),
    "b": ("#d1560b", "#ff9a57"),
    "good": ("#0a8a66", "#3fd0a4"),
    "bad": ("#c2263a", "#ff7082"),
    "wait": ("#d99a00", "#f2c14e"),
    "serve": ("#6c8ebf", "#7fa3d6"),
}


@dataclass(frozen=True, slots=True)
class Theme:
    """What to draw with; a name gives a colour that matplotlib understands."""

    name: ThemeName

    def __getitem__(self, colour: str) -> str:
        if self.name == "page":
            return _placeholder(colour)
        return COLOURS[colour][0 if self.name == "light" else 1]


LIGHT = Theme("light")
DARK = Theme("dark")
PAGE = Theme("page")
"""Draws with placeholders, which `follow_page` turns into the page's CSS variables."""


def follow_page(svg: str) -> str:
    """Let the page's style sheet decide the colours of a plot drawn with `PAGE`."""
    for colour in COLOURS:
        svg = svg.replace(_placeholder(colour), f"var(--{colour})")
    return svg


def variables(name: Literal["light", "dark"]) -> str:
    """The CSS variables of one scheme."""
    index = 0 if name == "light" else 1
    return " ".join(f"--{colour}: {shades[index]};" for colour, shades in COLOURS.items())


def _placeholder(colour: str) -> str:
    """A colour that no plot has otherwise."""
    return f"#fe01{list(COLOURS).index(colour):02x}"
