"""Datetimes for projects without ``USE_TZ``: naive, but exact.

When daylight saving time ends, an hour is repeated, and when it begins, an hour is skipped. Adding
and comparing naive datetimes is then wrong by an hour, and an expired token would seem valid.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Self, overload

from django.utils.timezone import get_default_timezone


class LocalTime(datetime):
    """A naive datetime in the site's time zone that is added and compared as an absolute time.

    ``fold=1`` marks the second of two repeated hours (PEP 495). Other naive datetimes are assumed
    to be in the same time zone.
    """

    @classmethod
    def of(cls, moment: datetime) -> Self:
        """Return a datetime in the site's time zone.

        Args:
            moment: aware, or naive in that time zone.
        """
        local = to_utc(moment).astimezone(get_default_timezone())
        return cls(*local.timetuple()[:6], local.microsecond, fold=local.fold)

    def __add__(self, other: timedelta) -> Self:
        return type(self).of(to_utc(self) + other)

    __radd__ = __add__

    @overload  # type: ignore[override]
    def __sub__(self, other: timedelta) -> Self: ...
    @overload
    def __sub__(self, other: datetime) -> timedelta: ...
    def __sub__(self, other: datetime | timedelta) -> Self | timedelta:
        if isinstance(other, timedelta):
            return type(self).of(to_utc(self) - other)
        return to_utc(self) - to_utc(other)

    def __rsub__(self, other: datetime) -> timedelta:
        return to_utc(other) - to_utc(self)

    def __eq__(self, other: object) -> bool:
        return to_utc(self) == to_utc(other) if isinstance(other, datetime) else NotImplemented

    __hash__ = datetime.__hash__

    def __lt__(self, other: datetime) -> bool:  # type: ignore[override]
        return to_utc(self) < to_utc(other)

    def __le__(self, other: datetime) -> bool:  # type: ignore[override]
        return to_utc(self) <= to_utc(other)

    def __gt__(self, other: datetime) -> bool:  # type: ignore[override]
        return to_utc(self) > to_utc(other)

    def __ge__(self, other: datetime) -> bool:  # type: ignore[override]
        return to_utc(self) >= to_utc(other)

    def astimezone(self, tz: Any = None) -> datetime:  # type: ignore[override]
        """Return the same time as an aware datetime in another time zone."""
        return to_utc(self).astimezone(tz)

    def timestamp(self) -> float:
        """Return the Unix time in seconds."""
        return to_utc(self).timestamp()


def to_utc(moment: datetime) -> datetime:
    """Return an aware datetime in UTC.

    Args:
        moment: aware, or naive in the site's time zone.
    """
    plain = datetime(
        *moment.timetuple()[:6],
        moment.microsecond,
        tzinfo=moment.tzinfo or get_default_timezone(),
        fold=moment.fold,
    )
    return plain.astimezone(UTC)
