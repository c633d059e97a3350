"""A manager's side of the store that it shares with other processes. Whose word counts is decided by `SHARING`.

Nothing here runs in the background: the store is looked at when a query starts and when a detection waits, and
written when the strategy machine publishes. A store that fails costs a comparison of two numbers.
"""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable
from typing import Final

from bluegreen.errors import StoreError, unreachable
from bluegreen.machines.store_sync import (
    SHARING,
    Adopt,
    RecordRead,
    ReportOutage,
    ReportRecovery,
    Reread,
    Shared,
    SharingEvent,
    StoreFailed,
    StrategyDecided,
    Write,
    WriteAccepted,
    WriteRefused,
)
from bluegreen.runtime.host import stamp, who
from bluegreen.store import Stamp, Store, StoreRecord
from bluegreen.table.step import step
from bluegreen.types import Scope, Strategy

LEASE_S: Final = 1.0
"""How long a process may detect for all. A detection takes milliseconds; who is silent for longer may be dead."""
LOOK_AGAIN_S: Final = 0.005
"""How often a process that waits for another one's detection looks at the store."""
PATIENCE: Final = 3
"""How often a detection asks a store that cannot say who leads. On a busy host it may only have been late."""
SETTLED_S: Final = 1.0
"""After how long what was said is no longer on its way."""
RETRY_S: Final = 1.0
"""Seconds after which a store is looked at again that has failed and says nothing new."""
_NEVER: Final = -1
_TURNS: Final = 6


class StoreSynchroniser:
    """What one manager knows of its store.

    Args:
        scope: the manager's.
        store: what is shared.
        hear: called with a strategy that the store names.
        report: called with a reason when the store fails, and with none when it is back.
        clock: monotonic seconds.

    Attributes:
        answered_s: when the store was last read or written, by that clock; if it never was, when it was joined. A store
            without news is not read, so this is the age of what is known, and no fault.
    """

    def __init__(
        self,
        scope: Scope,
        store: Store,
        hear: Callable[[Strategy], object],
        report: Callable[[str | None], object],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.store = store
        self.watch = store.watch(scope)
        self.seen = _NEVER
        self._scope, self._hear, self._report, self._clock = scope, hear, report, clock
        self.answered_s = self._decided_s = clock()
        self._lock = threading.Lock()
        self._state, self._shared = SHARING.initial, Shared()
        self._route: Strategy | None = None
        self._verified = False
        self._leased = False
        # When the store is to be looked at again since an operation failed; None: it has not, or a read followed.
        # A store says when others have written, but not that a write of ours would succeed by now.
        self._retry_s: float | None = None
        self._named()

    def _named(self) -> None:
        self.who = who()
        self._holder = f"{self.who}:{secrets.token_hex(4)}"

    @property
    def state(self) -> str:
        """Whether the store answers: a state of `SHARING`."""
        return self._state

    @property
    def known(self) -> StoreRecord:
        """The record that was read or written last."""
        return self._shared.known

    def store_route(self, now_s: float) -> Strategy | None:
        """Return where the store sends new queries, if all that it says was read, and more than a second ago."""
        answers = "answers" in SHARING.state(self._state).tags
        if not answers or now_s - self.answered_s < SETTLED_S or self.watch() != self.seen:
            return None
        return self.known.announced

    def own_route(self, now_s: float) -> Strategy | None:
        """Return where this process has told others that its queries go, if that is more than a second ago."""
        return None if now_s - self._decided_s < SETTLED_S else self._route

    @property
    def is_due(self) -> bool:
        """True if there may be something to read, or an operation has failed `RETRY_S` ago."""
        retry_s = self._retry_s
        return self.watch() != self.seen or (retry_s is not None and self._clock() >= retry_s)

    def attend(self) -> None:
        """Look at the store, if that is due."""
        if self.is_due:
            self.seen = self.watch()  # before the store is read: what moves meanwhile is seen the next time
            self._read()

    def decided(self, strategy: Strategy, *, verified: bool, at: Stamp | None = None) -> None:
        """Take note that new queries of this process go to `strategy`, and tell others.

        Args:
            strategy: where they go.
            verified: whether it was found to serve.
            at: when that was decided; now by default.
        """
        self._route, self._verified, self._decided_s = strategy, verified, self._clock()
        self._send(StrategyDecided(strategy, verified, at or stamp()))

    def undecided(self) -> None:
        """Take note that this process does not know where its queries go."""
        self._route = None

    def leads(self) -> bool | None:
        """Whether this process may detect for all, since it has the lease; none: the store cannot say who has."""
        try:
            self._leased = self.store.lease(self._scope, self._holder, LEASE_S)
        except StoreError as error:
            self._send(StoreFailed(error.reason))
            return None
        return self._leased

    def done(self) -> None:
        """Give the lease back, if this process has it."""
        if not self._leased:
            return
        self._leased = False
        try:
            self.store.release(self._scope, self._holder)
        except StoreError as error:
            self._send(StoreFailed(error.reason))

    def after_fork(self) -> None:
        """In a forked child: a process of its own, that looks for itself."""
        self._lock = threading.Lock()
        self.seen, self._leased = _NEVER, False
        self._named()

    def _read(self, turns: int = _TURNS) -> None:
        self._retry_s = None
        try:
            event: SharingEvent = RecordRead(self.store.read(self._scope), self._route)
            self.answered_s = self._clock()
        except StoreError as error:
            event = StoreFailed(error.reason)
        self._send(event, turns)

    def _send(self, event: SharingEvent, turns: int = _TURNS) -> None:
        """Take a step, and carry out its effects.

        Args:
            turns: how often a read may still follow a write, and a write a read. After that it is the next look's turn.
        """
        if isinstance(event, StoreFailed):
            self._retry_s = self._clock() + RETRY_S
        with self._lock:
            taken = step(SHARING, self._state, self._shared, event)
            self._state, self._shared = taken.state, taken.context
        for effect in taken.effects:
            match effect:
                case Adopt():
                    self._hear(effect.strategy)
                case Write() | Reread() if not turns:
                    self.seen = _NEVER
                case Write():
                    self._write(effect, turns - 1)
                case Reread():
                    self._read(turns - 1)
                case ReportOutage():
                    self._report(effect.reason)
                case ReportRecovery():
                    self._report(None)
                case _:
                    unreachable(effect)

    def _write(self, behind: Write, turns: int) -> None:
        route = self._route
        if route is None:  # another thread has found out meanwhile that it does not know
            return
        record = StoreRecord(
            store_epoch=behind.store_epoch + 1,
            incarnation=behind.incarnation,
            announced=route,
            verified=route if self._verified else None,
            at=self._shared.decided or Stamp(),
            who=self.who,
        )
        try:
            written = self.store.write(self._scope, record)
        except StoreError as error:
            self._send(StoreFailed(error.reason), turns)
            return
        self.answered_s = self._clock()
        self._send(WriteRefused() if written is None else WriteAccepted(written), turns)
