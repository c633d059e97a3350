"""The strategy machine once more, as plain fields and ifs: what the real manager is compared with.

It was written from the specification's table alone (section 2), column by column, and shares nothing with
the library: no table, no guards, no reducers, and strategies are plain words. Where the specification leaves
something open, what the rows' `why` texts say about it counts, and a comment here says so.
"""

from __future__ import annotations

from collections.abc import Callable

BLUE, GREEN = "blue", "green"
DETECTING, STABLE, PENDING, FAILED = "Detecting", "Stable", "PendingTransition", "Failed"

Answer = str
"""What a strategy says to a caller: `accept`, `456`, `refuse` or `silent`; `crash`: the caller itself fails."""


def other(strategy: str) -> str:
    return GREEN if strategy == BLUE else BLUE


class Forbidden(Exception):
    """The state does not accept the event."""


class Unavailable(Exception):
    """Both strategies failed, or none was found in time; the caller gets an error."""


class Crashed(Exception):
    """The caller's own attempt to detect ended with an exception of its own."""


class NaiveManager:
    """One scope. Every method is one event; `now` is moved by the test."""

    def __init__(
        self,
        *,
        commit_when: str = "drained",
        default: str | None = None,
        cache_ttl_s: float = 300,
        detection_timeout_s: float = 30,
        drain_timeout_s: float = 3600,
        failed_cooldown_s: float = 1,
    ) -> None:
        self.commit_when = commit_when
        self.default = default
        self.cache_ttl_s = cache_ttl_s
        self.detection_timeout_s = detection_timeout_s
        self.drain_timeout_s = drain_timeout_s
        self.failed_cooldown_s = failed_cooldown_s

        self.now = 0.0
        self.state = DETECTING
        self.active: str | None = None
        self.pending: str | None = None
        self.previous: str | None = None
        self.untried = self._both(None)
        self.held_down: str | None = None
        self.failed_in_a_row = 0
        self.refused_in_a_row = {BLUE: 0, GREEN: 0}
        self.rolled_back = False
        self.state_version = 0
        self.verified = False  # active has accepted a connection
        self.pending_proved = False  # pending has
        self.tickets: dict[int, str] = {}

        self.good_since = 0.0  # when the active strategy was last proved
        self.pending_since = 0.0
        self.failed_since = 0.0
        self.held_since: float | None = None

    # Reading.

    def open_on(self, strategy: str | None) -> int:
        return sum(1 for held in self.tickets.values() if held == strategy)

    def view(self) -> dict[str, object]:
        """Everything that can be compared."""
        return {
            "state": self.state,
            "active": self.active,
            "pending": self.pending,
            "previous": self.previous,
            "untried": tuple(self.untried),
            "held_down": self.held_down,
            "state_version": self.state_version,
            "verified": self.verified,
            "proved": self.pending_proved,
            "failed_in_a_row": self.failed_in_a_row,
            "refused_in_a_row": self.refused_in_a_row,
            "rolled_back": self.rolled_back,
            "open": (self.open_on(BLUE), self.open_on(GREEN)),
        }

    def hold_down_s(self) -> float:
        """Doubled for each further refusal in a row."""
        assert self.held_down is not None
        seconds = self.failed_cooldown_s
        for _ in range(self.refused_in_a_row[self.held_down] - 1):
            seconds *= 2
        return seconds

    def cool_down_s(self) -> float:
        """50 ms, doubled for each further failure in a row as long as that is not longer than the setting."""
        seconds = min(0.05, self.failed_cooldown_s)
        for _ in range(self.failed_in_a_row - 1):
            if 2 * seconds > self.failed_cooldown_s:
                break
            seconds *= 2
        return seconds

    # Moving from state to state.

    def _both(self, first: str | None) -> list[str]:
        first = first or self.default or BLUE
        return [first, other(first)]

    def _enter(self, state: str) -> None:
        self.state = state
        if state == STABLE:
            self.good_since = self.now
        if state == PENDING:
            self.pending_since = self.now
        if state == FAILED:
            self.failed_since = self.now
        self._mind_the_hold()

    def _mind_the_hold(self) -> None:
        """The hold-down's time runs in Stable and Detecting only; the timers' declaration says so.

        A rollback has none.
        """
        if self.held_down is None or self.rolled_back or self.state in (PENDING, FAILED):
            self.held_since = None
        elif self.held_since is None:
            self.held_since = self.now

    def _detect(self, first: str | None) -> None:
        self.pending, self.pending_proved = None, False
        self.untried = self._both(first)
        self.state_version += 1
        self._enter(DETECTING)

    def _commit(self) -> None:
        self.previous, self.active, self.pending = self.active, self.pending, None
        self.verified, self.pending_proved = self.pending_proved, False
        self.state_version += 1
        self._enter(STABLE)

    def _adopt(self, strategy: str, *, verified: bool) -> None:
        if self.active is not None and self.active != strategy:
            self.previous = self.active
        self.active = strategy
        self.untried = []
        self.verified = verified
        if verified:
            self._serves(strategy)
        elif self.rolled_back and self.held_down == strategy:  # the wish cannot be kept
            self.held_down, self.rolled_back = None, False
        self.state_version += 1
        self._enter(STABLE)

    def _serves(self, strategy: str) -> None:
        """It answers: there is nothing left to hold down, and nothing is counted any more."""
        self.failed_in_a_row = self.refused_in_a_row[strategy] = 0
        if self.held_down == strategy:
            self.held_down, self.rolled_back = None, False

    def _hold_down(self, strategy: str) -> None:
        self.held_down, self.rolled_back = strategy, False
        self.refused_in_a_row[strategy] = min(self.refused_in_a_row[strategy] + 1, 7)

    def _fail(self) -> None:
        self.untried = []
        self.failed_in_a_row = min(self.failed_in_a_row + 1, 12)
        self.state_version += 1
        self._enter(FAILED)
        raise Unavailable

    def _safe_point(self) -> None:
        if self.state == PENDING and (
            self.commit_when == "first_safe_point" or self.open_on(self.active) == 0
        ):
            self._commit()

    def _refused(self, strategy: str, version: int) -> None:
        """A fresh refusal of the strategy that is in use or being tried, whatever kind it is."""
        if self.state == STABLE and strategy == self.active and version == self.state_version:
            if not self.verified:  # announced, committed, and then refused
                self._hold_down(strategy)
            self._detect(other(strategy))
        elif self.state == PENDING and strategy == self.pending and version == self.state_version:
            self._hold_down(strategy)
            self._detect(self.active)

    # Events.

    def connection_opened(self) -> None:
        if self.state == FAILED:
            self._detect(self.active)
        else:
            self._safe_point()

    def query_started(self, number: int, alone: str | None = None) -> str:
        if self.state == FAILED or (self.state == DETECTING and alone is None):
            raise Forbidden
        strategy = alone or (self.pending if self.state == PENDING else self.active)
        assert strategy is not None
        self.tickets[number] = strategy
        return strategy

    def query_ended(self, number: int) -> bool:
        if number not in self.tickets:
            return False
        del self.tickets[number]
        self._safe_point()
        return True

    def strategy_announced(self, strategy: str, version: int) -> None:
        if self.state == DETECTING:
            # One that this detection has tried is not tried again.
            if version == self.state_version and strategy in self.untried and strategy != self.held_down:
                self.untried.sort(key=lambda one: one != strategy)
        elif self.state == STABLE:
            if version == self.state_version and strategy != self.active and strategy != self.held_down:
                self.pending = strategy
                self.state_version += 1
                self._enter(PENDING)
        elif self.state == PENDING and version == self.state_version and strategy == self.active:
            self._withdraw_unless_rolled_back()

    def _withdraw_unless_rolled_back(self) -> None:
        if not self.rolled_back:  # a person's wish is worth more than what the server goes on announcing
            self._withdraw()

    def _withdraw(self) -> None:
        self.pending, self.pending_proved = None, False
        self.state_version += 1
        self._enter(STABLE)

    def error_456(self, strategy: str, version: int) -> None:
        if self.state == DETECTING:
            if version == self.state_version and strategy in self.untried:
                if len(self.untried) == 1:
                    self._fail()
                self.untried.remove(strategy)
        else:
            self._refused(strategy, version)

    def auth_failure(self, strategy: str, version: int, others_served: bool = False) -> None:
        if not others_served:
            self.error_456(strategy, version)

    def persistent_failure(self, strategy: str, version: int, others_served: bool = False) -> None:
        if not others_served:
            self._refused(strategy, version)

    def auth_success(self, strategy: str, version: int) -> None:
        if self.state == DETECTING and version == self.state_version:
            self._adopt(strategy, verified=True)
        elif self.state == STABLE and strategy == self.active and version == self.state_version:
            if not self.verified:
                self._serves(strategy)
            self.verified = True
            self.good_since = self.now
        elif self.state == PENDING and strategy == self.pending and version == self.state_version:
            if not self.pending_proved:
                self._serves(strategy)
            self.pending_proved = True

    def cache_expired(self) -> None:
        if self.state == STABLE:
            self._detect(self.active)

    def cache_invalidated(self) -> None:
        if self.state != DETECTING:
            self._detect(self.pending if self.state == PENDING else self.active)

    def detection_timed_out(self) -> None:
        if self.state == DETECTING:
            known = [
                one for one in (self.default, self.active) if one in self.untried
            ]  # the others have refused
            fallback = known[0] if known else None
            if fallback is None:
                self._fail()
            else:
                self._adopt(fallback, verified=False)

    def cooldown_ended(self) -> None:
        if self.state in (DETECTING, STABLE) and not self.rolled_back:
            self.held_down = None
            self._mind_the_hold()

    def drain_timed_out(self) -> None:
        if self.state == PENDING:
            self._commit()

    def rollback_requested(self) -> None:
        if self.state == PENDING:
            self.held_down, self.rolled_back = self.pending, True
            self._withdraw()
        elif self.state == STABLE and self.previous not in (None, self.active):
            self.pending = self.previous
            # Somebody wants it: that is worth more than what it once answered, and than what the server announces.
            self.held_down, self.rolled_back = self.active, True
            self.state_version += 1
            self._enter(PENDING)
        else:
            raise Forbidden

    def reset(self) -> None:
        if self.state in (STABLE, PENDING) and self.rolled_back:
            self.held_down, self.rolled_back = None, False
        if self.state != DETECTING:
            self._detect(self.active)

    # What the runtime adds.

    def proved(self, strategy: str) -> None:
        if strategy == self.active:
            self.good_since = max(self.good_since, self.now)

    def tick(self) -> None:
        """What is due when a query starts."""
        if self.state == STABLE and self.now >= self.good_since + self.cache_ttl_s:
            self.cache_expired()
        if self.state == PENDING and self.now >= self.pending_since + self.drain_timeout_s:
            self.drain_timed_out()
        if self.held_since is not None and self.now >= self.held_since + self.hold_down_s():
            self.cooldown_ended()
        if self.state == FAILED and self.now >= self.failed_since + self.cool_down_s():
            self.reset()

    def start(self, number: int, prove: Callable[[str], Answer]) -> str:
        """A whole start of a query by a caller who is alone; `prove` moves `now` and may send events."""
        deadline = self.now + self.detection_timeout_s
        while True:
            self.tick()
            if self.state in (STABLE, PENDING):
                return self.query_started(number)
            if self.state == FAILED or self.now >= deadline:
                raise Unavailable
            self._lead(deadline, prove)

    def _lead(self, deadline: float, prove: Callable[[str], Answer]) -> None:
        silent: set[tuple[str, int]] = set()
        while self.state == DETECTING:
            untried = [one for one in self.untried if (one, self.state_version) not in silent]
            if self.now >= deadline or not untried:
                self.detection_timed_out()
                return
            strategy, version = untried[0], self.state_version
            answer = prove(strategy)
            if answer == "crash":
                raise Crashed
            if answer == "accept":
                self.auth_success(strategy, version)
            elif answer == "456":
                self.error_456(strategy, version)
            elif answer == "silent":
                silent.add((strategy, version))
            else:
                self.auth_failure(strategy, version)
