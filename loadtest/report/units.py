"""How numbers are written for people."""

from saccade.loadtest.statistics import Interval

NOTHING = "–"


def seconds(value: float | None) -> str:
    """Three significant digits in the unit that fits: 12.3 ms, 1.23 s."""
    if value is None:
        return NOTHING
    size = abs(value)
    if 0 < size < 0.9995e-3:
        return f"{_three(value * 1e6)} µs"
    if size < 0.9995:
        return f"{_three(value * 1e3)} ms"
    return f"{_three(value)} s"


def number(value: float | None) -> str:
    """Three significant digits, but never fewer than the whole number."""
    return NOTHING if value is None else _three(value)


def count(value: int | None) -> str:
    """A whole number."""
    return NOTHING if value is None else f"{value:,}"


def percent(value: float | None) -> str:
    """A share of one; shares near 1 keep what they lack of it."""
    if value is None:
        return NOTHING
    digits = 2 if 0.99 < value < 1 or 0 < value < 0.01 else 1
    return f"{value:.{digits}%}"


def ratio(value: float | None) -> str:
    """A factor: 0.87×."""
    return NOTHING if value is None else f"{_three(value)}×"


def in_unit(value: float | None, unit: str) -> str:
    """By the unit of the quantity: `s`, a share without a unit, or something by second."""
    if unit == "s":
        return seconds(value)
    return percent(value) if unit == "" else number(value)


def bounds(interval: Interval | None, unit: str) -> str:
    """The bounds, or nothing if there are none: `12 – 15 ms`."""
    if interval is None or (interval.low is None and interval.high is None):
        return ""
    low = in_unit(interval.low, unit) if interval.low is not None else "…"
    high = in_unit(interval.high, unit) if interval.high is not None else "…"
    low_number, _, low_unit = low.rpartition(" ")
    same_unit = low_unit and high.endswith(f" {low_unit}")
    return f"{low_number if same_unit else low} – {high}"


def ratio_bounds(interval: Interval | None) -> str:
    """As `bounds`, of a factor."""
    if interval is None or interval.low is None or interval.high is None:
        return ""
    return f"{_three(interval.low)} – {_three(interval.high)}"


def _three(value: float) -> str:
    if value == 0:
        return "0"
    if abs(value) >= 99.95:
        return f"{value:,.0f}"
    if abs(value) >= 9.995:
        return f"{value:.1f}"
    if abs(value) >= 0.9995:
        return f"{value:.2f}"
    return f"{value:.3g}"
