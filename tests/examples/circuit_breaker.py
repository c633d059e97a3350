"""A circuit breaker: three failures in a row open it; it may be tried after a cool-down, and one success closes it."""

import attrs

from bluegreen import Fact, Machine, State, Table, events, forbid, go, ignore, stay
from bluegreen.diagram.renderers.mermaid import state_diagram
from bluegreen.verify import Always, Eventually, Sometimes, Verification

CallStarted, CallSucceeded, CallFailed, CoolDownEnded = events(
    "call_started", "call_succeeded", "call_failed", "cool_down_ended"
)


@attrs.frozen
class Calls:
    failures: int = 0


def count(calls, event):
    return Calls(calls.failures + 1)


def forget(calls, event):
    return Calls()


third = Fact("third", (True, False), lambda calls, _: calls.failures == 2).is_(True).named("third in a row")

BREAKER = Table(
    name="circuit breaker",
    initial="Closed",
    states=(State("Closed"), State("Open"), State("HalfOpen")),
    events=(CallStarted, CallSucceeded, CallFailed, CoolDownEnded),
    rows=(
        stay("Closed", CallSucceeded, update=forget, why="only failures in a row count"),
        stay("Closed", CallFailed, update=count, guard=~third, why="a few may fail"),
        go("Closed", CallFailed, "Open", update=forget, guard=third, why="the service is down"),
        forbid("Open", CallStarted, why="the service is left alone"),
        ignore("Open", (CallSucceeded, CallFailed), why="that call went out before"),
        go("Open", CoolDownEnded, "HalfOpen", why="somebody may try"),
        go("HalfOpen", CallSucceeded, "Closed", why="the service is back"),
        go("HalfOpen", CallFailed, "Open", why="it is still down"),
        ignore(("Closed", "HalfOpen"), CallStarted, why="calls go out"),
        ignore(("Closed", "HalfOpen"), CoolDownEnded, why="no cool-down is running"),
    ),
)


def opens(taken):
    due = taken.event == CallFailed() and (taken.state == "HalfOpen" or taken.context.failures == 2)
    return taken.state == "Open" or (taken.step.state == "Open") == due


def counts(taken):
    wanted = {CallSucceeded(): Calls(), CallFailed(): Calls(taken.context.failures + 1)}
    return taken.step.state != "Closed" or taken.step.context == wanted.get(taken.event, taken.context)


def into(state):
    return lambda taken: taken.step.state == state


VERIFICATION = Verification(
    BREAKER,
    Calls(),
    properties=(
        Always("opens", "the third failure in a row opens it, or a failed try; nothing else does", opens),
        Always("counts", "failures in a row are counted one by one", counts),
        Always("rests", "no call starts in Open", lambda t: (t.state, t.event) != ("Open", CallStarted())),
        Sometimes("recovers", "it closes again", lambda t: t.step.row.target == "Closed"),
        Eventually("tries", "it does not stay open", into("Open"), into("HalfOpen"), of="step"),
    ),
)

if __name__ == "__main__":
    print(VERIFICATION.explore(), VERIFICATION.mutate(), state_diagram(BREAKER), sep="\n")
    breaker = Machine(BREAKER, Calls(failures=2))
    breaker.call_failed()
    print(breaker.state, breaker.may_call_started())
