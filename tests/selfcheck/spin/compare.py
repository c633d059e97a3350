"""Two searches of one composition, ours and SPIN's, side by side.

Source: spec, section 7.
"""

from __future__ import annotations

import attrs

from selfcheck.model.composition import Composition
from selfcheck.spin.promela import FORMULAS
from selfcheck.spin.reference_search import Surveyed, survey
from selfcheck.spin.runner import Judgement, judge


@attrs.frozen
class Agreement:
    """What both found.

    Args:
        ours: what our search found.
        spin: what SPIN found.
    """

    ours: Surveyed
    spin: Judgement

    @property
    def same(self) -> bool:
        """Whether both say the same of each formula and of the assertions; if these hold, both saw the same states."""
        if (self._safe(self.ours.broken), self._lasting(self.ours.broken)) != (
            self._safe(self.spin.broken),
            self._lasting(self.spin.broken),
        ):
            return False
        seen = (self.ours.states, self.ours.reached) == (self.spin.states, self.spin.reached)
        return seen or not self._safe(self.ours.broken)

    @staticmethod
    def _safe(broken: frozenset[str] | tuple[str, ...]) -> bool:
        return not set(broken) - set(FORMULAS)

    @staticmethod
    def _lasting(broken: frozenset[str] | tuple[str, ...]) -> set[str]:
        return set(broken) & set(FORMULAS)

    def __str__(self) -> str:
        verdicts = "; ".join(
            f"{who}: {', '.join(sorted(broken)) or 'nothing'} broken"
            for who, broken in (("ours", self.ours.broken), ("SPIN", self.spin.broken))
        )
        return (
            f"states: ours {self.ours.states:,}, SPIN {self.spin.states:,}; control states compared: "
            f"{len(self.ours.reached | self.spin.reached)}, in both: {len(self.ours.reached & self.spin.reached)}; "
            f"{verdicts}; {'the same' if self.same else 'NOT the same'}"
        )


def compare(composition: Composition) -> Agreement:
    """Search a composition, and let SPIN search it.

    Raises:
        SpinError: SPIN cannot be asked.
    """
    spin = judge(composition)
    return Agreement(survey(composition), spin)
