"""Distributions in bounded memory."""

import math

_LOWEST = 1e-6
_GROWTH = 1.01
_LOG_GROWTH = math.log(_GROWTH)
_NUM_BUCKETS = int(math.log(1e12) / _LOG_GROWTH) + 1


class Histogram:
    """Counts in buckets that grow by 1 %: a quantile is off by 0.5 % at most, the mean exact.

    Values from 1e-6 to 1e6; what lies outside counts in the nearest bucket. A million requests take
    the memory of a hundred.
    """

    __slots__ = ("_counts", "count", "largest", "total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.largest = 0.0

    def add(self, value: float) -> None:
        bucket = 0
        if value > _LOWEST:
            bucket = min(_NUM_BUCKETS, int(math.log(value / _LOWEST) / _LOG_GROWTH))
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.count += 1
        self.total += value
        self.largest = max(self.largest, value)

    @property
    def mean(self) -> float:
        """NaN when nothing was counted."""
        return self.total / self.count if self.count else math.nan

    def quantile(self, probability: float) -> float:
        """The middle (geometric) of the bucket that holds it; NaN when nothing was counted."""
        if not self.count:
            return math.nan
        rank = max(1, math.ceil(probability * self.count))
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            if seen >= rank:
                return min(self.largest, _LOWEST * math.pow(_GROWTH, bucket + 0.5))
        raise AssertionError("unreachable: the buckets sum up to the count")

    def share_up_to(self, value: float) -> float:
        """Share of what was counted that is not above `value`; NaN when nothing was counted."""
        if not self.count:
            return math.nan
        if value < _LOWEST:
            return 0.0
        last = int(math.log(value / _LOWEST) / _LOG_GROWTH)
        return sum(n for bucket, n in self._counts.items() if bucket <= last) / self.count

    def merge(self, other: "Histogram") -> None:
        for bucket, count in other._counts.items():
            self._counts[bucket] = self._counts.get(bucket, 0) + count
        self.count += other.count
        self.total += other.total
        self.largest = max(self.largest, other.largest)
