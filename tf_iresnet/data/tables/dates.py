"""Dates and times of day that are written as text, as numbers of days."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np

_DAYS = (
    *("%d.%m.%Y", "%d/%m/%Y", "%m/%d/%Y", "%Y/%m/%d", "%Y.%m.%d", "%d-%m-%Y", "%m-%d-%Y"),
    *("%d.%m.%y", "%d/%m/%y", "%m/%d/%y"),
    *("%d %b %Y", "%d %B %Y", "%d-%b-%Y", "%d-%b-%y", "%b %d, %Y", "%B %d, %Y", "%b %d %Y"),
)
_TIMES = ("", " %H:%M", " %H:%M:%S", " %H:%M:%S.%f", " %I:%M %p", " %I:%M:%S %p")
_FORMATS = (
    "ISO8601",
    *(day + time for day in _DAYS for time in _TIMES),
    *(time.strip() for time in _TIMES[1:]),
)
_LIKELY = re.compile(r"\d{1,4}\s*[-/.: ].*\d|[A-Za-z]{3,9} \d{1,2},? \d{4}")


def parse_dates(texts: Sequence[str]) -> tuple[np.ndarray, tuple[str, ...]] | None:
    """Returns the days since 1970-01-01 in UTC, float64 [n], and every format that reads all texts.

    Times of day are fractions of a day. None if no format reads all texts.
    """
    if not all(_LIKELY.match(text) for text in texts):
        return None
    import pandas as pd

    read = {}
    for form in _FORMATS:
        if not _stamps(pd, texts[:1], form).isna().any():
            stamps = _stamps(pd, texts, form)
            if not stamps.isna().any():
                read[form] = (stamps - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
    if not read:
        return None
    form, days = next(iter(read.items()))
    numbers = days.to_numpy(np.float64)
    return numbers if "%d" in form or form == "ISO8601" else numbers % 1, tuple(read)


def _stamps(pd: Any, texts: Sequence[str], form: str) -> Any:
    return pd.to_datetime(list(texts), format=form, errors="coerce", utc=True)
