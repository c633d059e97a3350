"""The phases of the test engine say what the specification of a switch says."""

from __future__ import annotations

import pytest

from bluegreen_adapters.testing.engine.phases import PHASES, Conduct, Phase, Strategy, named, other
from bluegreen_adapters.testing.engine.scenarios import SCRIPTS, ends_on, script

# phase -> (new, prepared, running, announces) of the origin, then of the target, in a switch blue -> green
EXPECTED = {
    "steady": (("serve", "serve", "serve", None), ("refuse", "refuse", "refuse", None)),
    "announce": (("serve", "serve", "serve", "green"), ("serve", "serve", "serve", None)),
    "not_ready": (("serve", "serve", "serve", "green"), ("refuse", "refuse", "refuse", None)),
    "cutover": (("refuse", "serve", "serve", "green"), ("serve", "serve", "serve", None)),
    "drain": (("refuse", "refuse", "serve", "green"), ("serve", "serve", "serve", None)),
    "retire": (("refuse", "refuse", "refuse", None), ("serve", "serve", "serve", None)),
    "abrupt": (("refuse", "refuse", "refuse", None), ("serve", "serve", "serve", None)),
    "rollback": (("serve", "serve", "serve", None), ("refuse", "serve", "serve", "blue")),
    "withdraw": (("serve", "serve", "serve", "blue"), ("refuse", "serve", "serve", None)),
    "both_down": (("refuse", "refuse", "refuse", None), ("refuse", "refuse", "refuse", None)),
    "silent": (("serve", "serve", "serve", None), ("silent", "silent", "silent", None)),
    "hung": (("silent", "silent", "silent", None), ("serve", "serve", "serve", None)),
    "suspended": (("suspended", "suspended", "suspended", None), ("refuse", "refuse", "refuse", None)),
}


def told(conduct: Conduct) -> tuple[str, str, str, str | None]:
    return conduct.new, conduct.prepared, conduct.running, conduct.announces


def test_every_preset_is_in_the_table_of_expectations() -> None:
    assert set(PHASES) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_preset_behaves_as_the_table_says(name: str) -> None:
    phase = named(name, target="green")
    assert (told(phase.blue), told(phase.green)) == EXPECTED[name]


@pytest.mark.parametrize("name", EXPECTED)
def test_a_preset_for_the_other_direction_is_the_mirror_image(name: str) -> None:
    swap: dict[str | None, str | None] = {"blue": "green", "green": "blue", None: None}
    there, back = named(name, target="green"), named(name, target="blue")
    for strategy in ("blue", "green"):
        mirrored = (*told(there.conduct(strategy))[:3], swap[there.conduct(strategy).announces])
        assert told(back.conduct(other(strategy))) == mirrored
    assert back.active == other(there.active)


@pytest.mark.parametrize("name", ["steady", "retire", "abrupt"])
def test_only_a_stack_that_is_taken_down_forgets(name: str) -> None:
    for known in PHASES:
        phase = named(known, target="green")
        expected = known in ("steady", "retire", "abrupt")
        assert (phase.blue.forgets or phase.green.forgets) is expected
    phase = named(name, target="green")
    assert phase.conduct(other(phase.active)).forgets


def test_variants_change_what_they_say() -> None:
    assert named("abrupt", target="green", unavailable=True).blue.running == "unavailable"
    assert named("both_down", unavailable=True).green.new == "unavailable"
    assert named("cutover", target="green", announces=False).blue.announces is None
    assert named("drain", target="green", announces=False).blue.announces is None
    assert named("withdraw", target="green", target_refuses=False).green.new == "serve"
    assert named("silent", target="green", announces=True).blue.announces == "green"


def test_a_phase_without_stacks_continues_the_switch_that_is_under_way() -> None:
    phase = named("announce", target="blue")
    for name in ("cutover", "drain", "retire"):
        phase = named(name, before=phase)
        assert (phase.origin, phase.target, phase.active) == ("green", "blue", "blue")
    assert named("steady", before=phase).active == "blue"
    assert named("steady", before=named("rollback", before=phase)).active == "green"


def test_single_answers_can_be_replaced() -> None:
    phase = named("steady", active="blue").altered({"blue": {"running": "silent"}})
    assert told(phase.blue) == ("serve", "serve", "silent", None)
    assert phase.green == named("steady", active="blue").green


def test_resuming_wakes_what_is_suspended_and_nothing_else() -> None:
    phase = named("suspended", active="green").resumed()
    assert told(phase.green) == ("serve", "serve", "serve", None)
    assert phase.blue.new == "refuse"


@pytest.mark.parametrize(
    "arguments",
    [
        {"name": "dusk"},
        {"name": "steady", "active": "red"},
        {"name": "drain", "active": "blue", "target": "blue"},
    ],
)
def test_an_unknown_phase_or_stack_is_refused_with_what_is_accepted(arguments: dict[str, str]) -> None:
    with pytest.raises(ValueError, match=r"accepted|different"):
        named(**arguments)  # type: ignore[arg-type]


@pytest.mark.parametrize("fields", [{"new": "maybe"}, {"announces": "red"}])
def test_a_conduct_with_an_unknown_answer_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="accepted"):
        Conduct(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", SCRIPTS)
@pytest.mark.parametrize("origin", ["blue", "green"])
def test_a_script_consists_of_phases_and_ends_where_it_says(kind: str, origin: Strategy) -> None:
    phase: Phase | None = None
    for step in script(kind):
        old, new = (other(origin), origin) if step.back else (origin, other(origin))
        phase = named(step.phase, active=old, target=new, **step.variant)
    assert phase is not None
    assert phase.active == ends_on(kind, origin)
    serving = {name for name in ("blue", "green") if phase.conduct(name).new == "serve"}
    assert serving == {phase.active}


def test_a_gentle_script_never_takes_down_a_stack_that_it_did_not_drain() -> None:
    for kind, steps in SCRIPTS.items():
        if "abrupt" in kind or kind in ("outage", "down", "unanswered", "hung"):
            continue
        assert steps[-2].drains is not None, kind


def test_an_unknown_script_is_refused_with_what_is_accepted() -> None:
    with pytest.raises(ValueError, match="graceful"):
        script("sudden")
