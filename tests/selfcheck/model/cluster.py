"""The cluster in the world model: what its two stacks answer, phase by phase, and how phases follow each other.

The phases are those of a redeployment as a client can meet them: announced or not, with or without a drain,
taken back half-way, onto a target that is not ready, or into an outage of both stacks.

    >>> first, = (phase for phase in beginnings(switches=1) if phase.origin is Strategy.BLUE)
    >>> sorted({after.name for after in first.followers(switches=1)})[:3]
    ['abrupt', 'announce', 'both_down']
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final, Literal

import attrs

from bluegreen.types import Strategy

Answer = Literal["serve", "refuse", "unavailable"]
"""`serve` does the work, `refuse` is status 456, `unavailable` is a host that does not answer."""


@attrs.frozen
class Conduct:
    """How one stack answers.

    Args:
        new: new work: authenticate, prepare.
        prepared: a query that is prepared and not executed.
        running: a query that is executed.
        announces: whether its answers announce the other stack (`other`), itself (`itself`) or nothing.
        forgets: whether it loses its queries when the phase begins.
    """

    new: Answer = "serve"
    prepared: Answer = "serve"
    running: Answer = "serve"
    announces: Literal["nothing", "other", "itself"] = "nothing"
    forgets: bool = False


def _every(answer: Answer, *, forgets: bool = False) -> Conduct:
    return Conduct(answer, answer, answer, forgets=forgets)


_GONE: Final = _every("refuse", forgets=True)
_ANNOUNCING: Final = Conduct(announces="other")

CONDUCTS: Final[Mapping[str, tuple[Conduct, Conduct]]] = {
    "steady": (Conduct(), _GONE),
    "announce": (_ANNOUNCING, Conduct()),
    "not_ready": (_ANNOUNCING, _every("refuse")),
    "cutover": (Conduct(new="refuse", announces="other"), Conduct()),
    "drain": (Conduct(new="refuse", prepared="refuse", announces="other"), Conduct()),
    "abrupt": (_every("unavailable", forgets=True), Conduct()),
    "rollback": (Conduct(), Conduct(new="refuse", announces="other")),
    "withdraw": (Conduct(announces="itself"), Conduct(new="refuse")),
    "both_down": (_every("refuse"), _every("refuse")),
}
"""What the origin and the target of a switch do in each phase. `retire` is `steady` with both exchanged."""

_FOLLOWERS: Final[Mapping[str, tuple[tuple[str, bool], ...]]] = {
    "announce": (("cutover", False), ("withdraw", False), ("not_ready", False), ("abrupt", False)),
    "not_ready": (("announce", False), ("withdraw", False)),
    "cutover": (("drain", False), ("rollback", False)),
    "drain": (("steady", True),),
    "abrupt": (("steady", True),),
    "rollback": (("steady", False),),
    "withdraw": (("steady", False),),
    "both_down": (("steady", False),),
}
"""What may follow each phase of a switch; the flag says whether origin and target are exchanged there."""

_SWITCHES: Final = (
    ("announce", False),
    ("not_ready", False),
    ("cutover", False),
    ("abrupt", False),
    ("steady", True),
    ("both_down", False),
)
"""How a switch may begin; `steady` at once is an abrupt one whose origin refuses."""


@attrs.frozen
class Phase:
    """One moment of a cluster: the phase, the stack from which the switch starts, and how many have begun."""

    name: str
    origin: Strategy
    begun: int = 0

    def conduct(self, strategy: Strategy) -> Conduct:
        """Return the conduct of one stack."""
        origin, target = CONDUCTS[self.name]
        return origin if strategy is self.origin else target

    def announced(self, strategy: Strategy) -> Strategy | None:
        """Return what answers of this stack announce, if anything."""
        announces = self.conduct(strategy).announces
        return {"nothing": None, "other": strategy.other, "itself": strategy}[announces]

    def followers(self, switches: int) -> tuple[Phase, ...]:
        """Return the phases that may come next; none once all `switches` are over."""
        if self.name == "steady":
            begun = self.begun + 1
            leads: tuple[tuple[str, bool], ...] = _SWITCHES if begun <= switches else ()
        else:
            begun, leads = self.begun, _FOLLOWERS[self.name]
        return tuple(
            Phase(name, self.origin.other if crossed else self.origin, begun) for name, crossed in leads
        )

    def settled(self, switches: int) -> bool:
        """Whether this is the last phase."""
        return not self.followers(switches)


def beginnings(switches: int) -> tuple[Phase, ...]:
    """Return the phases in which a cluster can be found at first; `switches` of 0 and more are still to come."""
    return tuple(Phase("steady", origin) for origin in Strategy) if switches >= 0 else ()
