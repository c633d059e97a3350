"""Commands of the flows of a connection, and the answers of their drivers. `bluegreen.runtime.sansio` has the rest.

An answer is a `Reply` or a `Failure`, never an exception: what a status means is for the flow to say.
"""

from __future__ import annotations

from concurrent.futures import Future
from typing import Any

import attrs

from bluegreen_adapters.connection.evidence import Evidence, Fault, Then
from bluegreen_adapters.connection.protocol import Metadata


@attrs.frozen
class Send:
    """Send one RPC. The answer is a `Reply` or a `Failure`.

    Args:
        method: bare name of the method.
        request: the message.
        metadata: pairs of key and value.
        timeout_s: seconds, or none for no limit.
        options: whatever else the application gave to the call.
    """

    method: str
    request: Any = attrs.field(repr=False)
    metadata: Metadata = attrs.field(repr=False)
    timeout_s: float | None = None
    options: dict[str, Any] = attrs.field(factory=dict[str, Any], repr=False)


@attrs.frozen
class Launch:
    """Begin to send an RPC and do not wait: the answer is a future of what `Send` would answer, or None if the channel
    is closed."""

    send: Send


@attrs.frozen
class Blank:
    """Make an empty response of a method. The answer is none if the driver cannot."""

    method: str


@attrs.frozen
class Reply:
    """The server's message, and the call that brought it."""

    message: Any
    call: Any = None


@attrs.frozen
class Failure:
    """A status other than OK.

    Args:
        code: name of the status.
        details: its message.
        cause: the error that the driver got.
        evidence: the row that says what follows; None until the connection has judged it.
        of_login: whether it is that of a login on behalf of the RPC, which itself has no answer.
        may_resend: whether the request of the application may be sent again; false once `RETRY` has given it up.
    """

    code: str
    details: str
    cause: BaseException
    evidence: Evidence | None = attrs.field(default=None, repr=False)
    of_login: bool = False
    may_resend: bool = True

    @property
    def fault(self) -> Fault:
        """Meaning of the status."""
        return Fault.ANSWER if self.evidence is None else self.evidence.fault

    @property
    def then(self) -> Then:
        """Consequence for the query; `answer` until the connection has judged the failure."""
        return "answer" if self.evidence is None else self.evidence.then


Outcome = Reply | Failure


def launched_outcome(launched: Future[Outcome]) -> Outcome | None:
    """Return what a launched RPC has been answered, or None if it was not.

    The call that brought the answer is let go: it may hold its request.
    """
    if launched.cancelled() or launched.exception():
        return None
    outcome = launched.result()
    return Reply(outcome.message) if isinstance(outcome, Reply) else outcome
