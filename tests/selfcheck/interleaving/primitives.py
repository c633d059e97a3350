"""What threads meet at, made of points: a lock, a clock, fields, collections and futures that the scheduler watches."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from functools import cache, partial
from typing import Any, Final

from selfcheck.interleaving.scheduler import Access, Scheduler

Key = Callable[[Any], str]


@cache
def access(text: str, what: str, *, writes: bool) -> Access:
    """Return the access that does `text` to one thing, and reads or writes it."""
    names = frozenset({what})
    return Access(f"{text} {what}", writes=names) if writes else Access(f"{text} {what}", reads=names)


_LOOKS_AT_CLOCK: Final = access("looks at", "clock", writes=False)
_MOVES_CLOCK: Final = access("moves", "clock", writes=True)
_ACQUIRES: Final = access("acquires", "lock", writes=True)
_RELEASES: Final = access("releases", "lock", writes=True)._replace(frees=True)


class Clock:
    """Seconds that pass only when a thread of the program lets them; both are points."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._now_s = 0.0

    def __call__(self) -> float:
        """Return the seconds that have passed."""
        self._scheduler.point(_LOOKS_AT_CLOCK)
        return self._now_s

    @property
    def now_s(self) -> float:
        """The time, for whoever only watches."""
        return self._now_s

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._scheduler.point(_MOVES_CLOCK)
        self._now_s += seconds


class Lock:
    """A lock whose acquire and release are points. As in `threading`, its holder would wait for itself."""

    def __init__(self, scheduler: Scheduler) -> None:
        self._scheduler = scheduler
        self._held = False
        self.holder: int | None = None

    def acquire(self) -> bool:
        """Wait until it is free, and take it."""
        self._scheduler.point(_ACQUIRES, self._is_free)
        self._held, self.holder = True, self._scheduler.running
        return True

    def release(self) -> None:
        """Give it back."""
        self._scheduler.point(_RELEASES)
        if not self._held and self._scheduler.running is not None:
            raise RuntimeError("release unlocked lock")
        self._held, self.holder = False, None

    def locked(self) -> bool:
        """Whether somebody holds it."""
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()

    def _is_free(self) -> bool:
        return not self._held


class Shared:
    """A field whose reads and writes are points."""

    def __init__(self, field: str, key: Key) -> None:
        self._field, self._key = field, key

    def __get__(self, one: Any, owner: type) -> Any:
        if one is None:
            return self
        one.scheduler.point(access("looks at", self._key(one), writes=False))
        return one.__dict__[self._field]

    def __set__(self, one: Any, value: Any) -> None:
        one.scheduler.point(access("sets", self._key(one), writes=True))
        if one.__dict__.get(self._field, access) is value:  # whoever reads it does not see that it was set
            one.scheduler.amend(access("sets again", self._key(one), writes=False))
        one.__dict__[self._field] = value


class Collection(dict[Any, Any]):
    """A dictionary that is changed in place, whose reads and writes are points."""

    def __init__(self, scheduler: Scheduler, name: str, values: dict[Any, Any]) -> None:
        super().__init__(values)
        self._looks = partial(scheduler.point, access("looks at", name, writes=False))
        self._changes = partial(scheduler.point, access("changes", name, writes=True))

    def __len__(self) -> int:
        self._looks()
        return super().__len__()

    def __getitem__(self, key: Any) -> Any:
        self._looks()
        return super().__getitem__(key)

    def get(self, key: Any, default: Any = None) -> Any:
        """As in a dictionary."""
        self._looks()
        return super().get(key, default)

    def copy(self) -> dict[Any, Any]:
        """As in a dictionary."""
        self._looks()
        return dict(super().items())

    def __setitem__(self, key: Any, value: Any) -> None:
        self._changes()
        super().__setitem__(key, value)

    def __delitem__(self, key: Any) -> None:
        self._changes()
        super().__delitem__(key)

    def pop(self, key: Any, *default: Any) -> Any:
        """As in a dictionary."""
        self._changes()
        return super().pop(key, *default)


class Landing(Future[None]):
    """What a detection completes: a point, and a name by which those who wait know it."""

    def __init__(self, scheduler: Scheduler, name: str) -> None:
        super().__init__()
        self.scheduler, self.name = scheduler, name

    def set_result(self, result: None) -> None:
        """Complete it."""
        self.scheduler.point(access("completes", self.name, writes=True))
        super().set_result(result)
