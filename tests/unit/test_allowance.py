"""What may happen so often at once, and later at a steady pace."""

from __future__ import annotations

from itertools import accumulate

from hypothesis import given
from hypothesis import strategies as st

from bluegreen.runtime.rate_limit import TokenBucket

PAUSES = st.lists(st.sampled_from([0.0, 0.0, 0.0, 0.25, 0.5, 1.0, 7.0]), max_size=60)


@given(PAUSES, st.integers(1, 5), st.sampled_from([0.5, 1.0, 2.0]))
def test_in_no_time_more_happens_than_the_burst_and_what_has_come_back(
    pauses: list[float], burst: int, each_s: float
) -> None:
    allowance = TokenBucket(burst)
    times = list(accumulate(pauses))
    happened = [at_s for at_s in times if allowance.use(at_s, each_s) is not None]
    for first, begin_s in enumerate(happened):
        for last, end_s in enumerate(happened[first:], first):
            assert last - first + 1 <= burst + (end_s - begin_s) / each_s


@given(PAUSES, st.integers(1, 5))
def test_whatever_is_refused_is_counted_once(pauses: list[float], burst: int) -> None:
    allowance = TokenBucket(burst)
    told = [allowance.use(at_s, 1.0) for at_s in accumulate(pauses)]
    counted = [left_out for left_out in told if left_out is not None]
    since = len(told) - 1 - max((index for index, one in enumerate(told) if one is not None), default=-1)
    assert sum(counted) + since == told.count(None)


@given(st.integers(1, 5), st.floats(0, 1e9))
def test_after_a_long_while_as_much_is_there_as_at_the_beginning(burst: int, at_s: float) -> None:
    allowance = TokenBucket(burst)
    for moment_s in (at_s, at_s + 1000.0):
        told = [allowance.use(moment_s, 1.0) for _ in range(burst + 1)]
        assert [one is None for one in told] == [False] * burst + [True]
