"""Numbers that a far side sent, taken only where they are usable."""

from __future__ import annotations

import math


def finite(value: object) -> float | None:
    """The value as a finite float, if it is a number; a bool is none."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        number = float(value)
    except OverflowError:  # an int beyond all floats
        return None
    return number if math.isfinite(number) else None


def seconds_in(text: str | None) -> float | None:
    """The seconds that a header holds as a number; None for anything else, and below 0."""
    try:
        seconds = finite(float(text or ""))
    except ValueError:
        return None
    return seconds if seconds is not None and seconds >= 0 else None
