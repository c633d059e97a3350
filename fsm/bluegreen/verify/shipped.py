"""The tables of this library, for `pytest --bluegreen-verify`: `bluegreen_tables = ["bluegreen.verify.shipped"]`.

>>> STRATEGY_VERIFICATION.explore().states
1037
"""

from __future__ import annotations

from typing import Final

from bluegreen.query import QUERY, QueryContext
from bluegreen.recovery import RECOVERY, Attempts
from bluegreen.strategy import STRATEGY, Context
from bluegreen.verify.alone import strategy_events
from bluegreen.verify.findings import STEPS
from bluegreen.verify.process import NOW, rebased
from bluegreen.verify.promises import QUERY_ALWAYS
from bluegreen.verify.subjects import ManagerSubject
from bluegreen.verify.verification import Verification
from bluegreen.vocabulary import Strategy, Ticket

STRATEGY_VERIFICATION: Final = Verification(
    STRATEGY, rebased(Context.initial()), strategy_events, STEPS, plain=rebased, subject=ManagerSubject
)
QUERY_VERIFICATION: Final = Verification(
    QUERY, QueryContext(Ticket(1, Strategy.BLUE, NOW), reads=True), properties=QUERY_ALWAYS
)
RECOVERY_VERIFICATION: Final = Verification(RECOVERY, Attempts())
