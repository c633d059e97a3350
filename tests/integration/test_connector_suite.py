"""The connector's own tests have the same outcomes whether the connector is covered or not."""

from __future__ import annotations

from collections import Counter

import pytest

from bluegreen.verify.hypothesis.profiles import chosen
from support.connector_suite import Outcome, differences, run_suite
from support.telling import tell

pytestmark = [pytest.mark.integration, pytest.mark.slow, pytest.mark.timeout(900)]

ASSERTS_456 = frozenset(
    f"test_oauth_resume_integration.py::test_real_grpc_resume_authenticates_each_call_and_never_replays"
    f"[post_prepare_error2-{catalog}]"
    for catalog in ("None", "catalog")
)
"""Tests which assert that a refusal of the strategy reaches the application. Hiding it is what `install` is for."""

AT_LEAST = 200
"""How many of them pass without us; fewer mean that the suite was not found or cannot run here."""


def test_connector_suite_runs_the_same_with_install() -> None:
    """A test whose outcome differs is repeated; it counts if no repetition has the outcome of the other arm."""
    pools = chosen().name != "dev"  # they load both cores for most of a minute
    without = run_suite(install=False, pools=pools)
    covered = run_suite(install=True, pools=pools)
    results = Counter(outcome.result for outcome in without.values())
    assert results["passed"] >= AT_LEAST, results
    assert set(without) == set(covered), "both arms collect the same tests"
    found = differences(without, covered, pools=pools, allowed=ASSERTS_456)
    tell(
        f"connector's own tests: {len(without)}, of which {results['passed']} pass without install();"
        f" {len(found)} differ with it, {len(ASSERTS_456)} are allowed to"
    )
    unexpected = [difference for difference in found if difference.test not in ASSERTS_456]
    assert not unexpected, "\n\n".join(map(str, unexpected))


def test_connector_suite_difference_is_noticed_and_named() -> None:
    """The comparison can fail: another outcome, a test that only one arm has, and none for equal outcomes."""
    passed, failed = Outcome("passed"), Outcome("failed", "E  boom")
    without = {"same": passed, "other": passed, "gone": passed, "flaky": failed}
    covered = {"same": passed, "other": failed, "flaky": failed}
    found = differences(without, covered, pools=False, repetitions=0)
    assert [difference.test for difference in found] == ["gone", "other"]
    assert "passed without, failed with install():\nE  boom" in str(found[1])
