"""What stands behind the question mark of a store's URL: numbers within ranges, and words.

>>> numbers("lmdb:///run/x?wait_ms=20", {"wait_ms": Range(5, 1, 1000)})
{'wait_ms': 20.0}
>>> numbers("lmdb:///run/x?wait_ms=soon&size=3", {"wait_ms": Range(5, 1, 1000)})
Traceback (most recent call last):
bluegreen.errors.SettingsError: store: wait_ms is 'soon'; accepted: 1 to 1000
store: size is no option of it; accepted: wait_ms
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import attrs

from bluegreen.errors import SettingsError


@attrs.frozen
class Range:
    """A number: its default, the least and the most that it may be."""

    default: float
    least: float
    most: float


WAIT_MS: Final = Range(5, 1, 1000)
"""How long a query waits for a store at most, in milliseconds."""


def numbers(url: str, known: Mapping[str, Range], words: tuple[str, ...] = ()) -> dict[str, float]:
    """Return the numbers of a URL, or their defaults.

    Args:
        url: the whole URL.
        known: the numbers that it may name.
        words: other options, which somebody else reads.

    Raises:
        SettingsError: with one finding for each option that is unknown or wrong.
    """
    values = {name: one.default for name, one in known.items()}
    findings: list[str] = []
    for name, text in parse_qsl(urlsplit(url).query, keep_blank_values=True):
        if name in words:
            continue
        if name not in known:
            findings.append(
                f"store: {name} is no option of it; accepted: {', '.join((*known, *words)) or 'none'}"
            )
            continue
        one = known[name]
        try:
            values[name] = float(text)
        except ValueError:
            values[name] = float("nan")
        if not one.least <= values[name] <= one.most:
            findings.append(f"store: {name} is {text!r}; accepted: {one.least:g} to {one.most:g}")
    if findings:
        raise SettingsError(findings)
    return values
