"""Verification: properties, and what holds them against tables, runs and logs.

What a user needs for a machine of their own is here, and is imported when it is asked for.

>>> from bluegreen.verify import Always, Verification
>>> Verification.__module__
'bluegreen.verify.verification'
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from bluegreen.verify.coverage.counter import Tally
    from bluegreen.verify.exploration.single_table import explore
    from bluegreen.verify.export.from_transitions import from_transitions
    from bluegreen.verify.properties.base import Always, Eventually, Sometimes, Taken
    from bluegreen.verify.verification import Verification

__all__ = [
    "Always",
    "Eventually",
    "Sometimes",
    "Taken",
    "Tally",
    "Verification",
    "explore",
    "from_transitions",
]

_MODULES: Final = {
    "Tally": "coverage.counter",
    "Verification": "verification",
    "explore": "exploration.single_table",
    "from_transitions": "export.from_transitions",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES.get(name, 'properties.base')}"), name)
