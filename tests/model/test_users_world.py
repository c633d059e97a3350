"""Two users of one scope: what is refused to one changes nothing for the other one, and mistakes are noticed."""

from __future__ import annotations

import pytest

from bluegreen.config.settings import Settings
from selfcheck.explore.breadth_first import Bounds
from selfcheck.model.users import USERS_PROPERTIES, examine_users
from selfcheck.mutation.known_runtime_bugs import RuntimeBug
from selfcheck.mutation.known_user_bugs import USERS_BUGS


@pytest.mark.parametrize("commit_when", ["drained", "first_safe_point"])
def test_nothing_is_wrong_with_two_users_and_everything_that_ought_to_happens(commit_when: str) -> None:
    found = examine_users(1, settings=Settings(commit_when=commit_when))
    assert (found.violations, found.unreached, found.ok) == ((), (), True)
    assert found.searched.states == {"drained": 29_202, "first_safe_point": 28_914}[commit_when]


def test_a_cluster_that_stands_still_has_nobody_who_is_alone() -> None:
    found = examine_users(0)
    assert (found.searched.states, found.violations, found.unreached) == (56, (), ("S alone",))


NOTICED = {
    "an engine's text taken for a refusal, beside the table": "I13 scoped in the world",
    "a detection hears of a stack on which one user is alone": "I13 scoped in the world",
    "whoever was served once vouches for a stack for ever": "L5 left",
    "whoever is refused alone is left": "S alone",
    "one user's refusal moves everybody": "I13 scoped in the world",
    "whoever is alone begins where all do": "I3 routed",
    "a transition that only a timer ends": "L1 progress with users",
    "a refusal never leads elsewhere": "S given way",
}


@pytest.mark.parametrize("bug", USERS_BUGS, ids=lambda bug: bug.name)
def test_each_mistake_about_users_is_noticed(bug: RuntimeBug) -> None:
    verdict = bug.verdict()
    assert NOTICED[bug.name] in verdict.killers
    assert {*NOTICED} == {one.name for one in USERS_BUGS}


def test_a_counterexample_says_who_was_refused_where_and_what_was_sent() -> None:
    bug = next(one for one in USERS_BUGS if one.name.startswith("an engine's text"))
    verdict = bug.verdict()
    assert verdict.path[-1].endswith("the engine's error says 'status: 456'")
    assert [event.name for event in verdict.events][-2:] == ["error_456", "query_failed"]


def test_a_bound_ends_the_search_and_nothing_is_said_of_what_was_not_seen() -> None:
    found = examine_users(1, bounds=Bounds(states=100))
    assert not found.ok
    assert found.unreached == ()


def test_the_properties_have_names_of_their_own() -> None:
    names = [one.name for one in USERS_PROPERTIES]
    assert len(set(names)) == len(names)
