"""Stop a function at a given line of a module: to interrupt it there, or to let somebody else in.

Thread switches and signals come between any two lines, but a test that waits for them to come in the right
place waits long. Here they come in every place, one after the other, and always in the same.
"""

from __future__ import annotations

import itertools
import linecache
import sys
from collections.abc import Callable, Iterator
from types import FrameType, ModuleType
from typing import Any

import attrs


@attrs.frozen
class Outcome:
    """How the function ended.

    Args:
        reached: whether the function came to that line at all.
        where: the line, `line number in function`.
        value: what it returned.
        error: what it raised.
    """

    reached: bool
    where: str | None
    value: Any
    error: BaseException | None


Work = Callable[[], Any]


def at_line(number: int, action: Work, function: Work, module: ModuleType, *, calls: bool = False) -> Outcome:
    """Call `function`, and `action` in the same thread before its `number`-th line in `module`.

    Whatever `action` raises is raised there, as a signal handler's exception would be.

    Args:
        calls: count only lines that call something, since signals come at calls.
    """
    left, where = number, None
    value: Any = None
    error: BaseException | None = None
    entered: set[tuple[int, int]] = set()

    source = str(module.__file__)
    lines = linecache.getlines(source)

    def counts(frame: FrameType) -> bool:
        text = lines[frame.f_lineno - 1].lstrip()
        if text.startswith("with "):  # shown a second time before its `__exit__`, where no signal can come
            place = (id(frame), frame.f_lineno)
            if place in entered:
                return False
            entered.add(place)
        return not calls or "(" in text

    def trace(frame: FrameType, kind: str, _: Any) -> Any:
        nonlocal left, where
        if frame.f_code.co_filename != source:
            return None
        if kind == "line" and counts(frame):
            left -= 1
            if left == 0:
                where = f"line {frame.f_lineno} in {frame.f_code.co_name}"
                sys.settrace(None)
                action()
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        value = function()
    except BaseException as raised:  # noqa: BLE001  the caller looks at it
        error = raised
    finally:
        sys.settrace(before)
    return Outcome(where is not None, where, value, error)


def every_line(
    prepare: Callable[[], tuple[Work, Work]], module: ModuleType, *, calls: bool = False
) -> Iterator[Outcome]:
    """Yield how `function` ended with `action` before its first line, its second one, and so on.

    Args:
        prepare: makes (action, function) anew for each line.
        calls: as in `at_line`.
    """
    for number in itertools.count(1):
        action, function = prepare()
        outcome = at_line(number, action, function, module, calls=calls)
        if not outcome.reached:
            return
        yield outcome
