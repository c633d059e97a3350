"""The calls that applications with threads get: futures and streams that are under way, and calls that have ended.

Theory of operation. An application gets a `FutureCall` or a `StreamCall` at once, as from gRPC. Behind it a
`CallState` drives the flow of the RPC. A flow waits for something at each of its commands; the state never lets the
application's thread wait for that:

- An RPC is sent without waiting (`Driver.begin`). The flow is *parked* until gRPC reports the outcome.
- Whatever else takes time (a pause, a future of somebody else) is carried out by a thread of ours. There is none as
  long as nothing goes wrong.

One thread at a time drives the flow. A thread that parks the flow gets a *turn*, a number; whoever wants to go on
with the flow has to claim that turn, and the first one wins. So `cancel` can claim a parked flow and close it at once
in its own thread, and the outcome that comes in later finds that its turn is gone.

Threads that come here:

- the caller: makes the call, and drives the flow up to the first command that takes time;
- gRPC's thread: reports that an RPC has ended. It must wait for nothing, and runs no repair, since a repair tells
  subscribers, who may use the same channel. It goes on with the flow only after a success;
- a thread of ours, `bluegreen-repair`: goes on after a failure, and carries out what takes time;
- a reader: a thread of the application that asks a stream for the next message. It may wait, so it does what a
  thread of ours would do. If a stream fails while nobody reads, a thread of ours repairs it.

A stream can begin anew elsewhere until its first message has been read. Nothing is read before the application asks.
"""

# ruff: noqa: ARG002, D102 - the methods of a call are those of `grpc.Future` and `grpc.Call`

from __future__ import annotations

import concurrent.futures
import contextvars
import functools
import logging
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future
from typing import Any, Final

import attrs
import grpc

from bluegreen.runtime.sansio import Call, Flow, Sleep, Wait
from bluegreen_adapters.connection.connection import Connection
from bluegreen_adapters.connection.query import Rpc
from bluegreen_adapters.connection.requests import Blank, Failure, Launch, Outcome, Reply, Send
from bluegreen_adapters.grpc.base_types import FutureBase
from bluegreen_adapters.grpc.driver import Driver, failure_of, outcome_of, time_remaining
from bluegreen_adapters.grpc.errors import CallError, as_call_error, raising, traceback_of

_log = logging.getLogger("bluegreen.grpc")

LOCALLY_CANCELLED: Final = "Locally cancelled by application!"
"""What gRPC says of a call that its application has cancelled."""

_CLOSING_STEPS: Final = 10
"""How many commands a cancelled flow may still give; it is closed by force then."""


class CallCancelled(BaseException):
    """Raised in a flow whose call has been cancelled, as asyncio raises `CancelledError`. It never leaves here."""


@attrs.frozen
class End:
    """How a call has ended, as the application sees it.

    Args:
        message: the message for the application, if the call has ended well.
        real: the real call that brought it; None if it was answered without one.
        error: the error, if it has failed; one of gRPC's has code and details.
        cancelled: whether the application has cancelled it.
    """

    message: Any = None
    real: Any = None
    error: BaseException | None = None
    cancelled: bool = False

    def _ask_call(self, name: str, without: Any) -> Any:
        """Ask the error, else the real call, for one of its facts; if neither has it, return `without`."""
        asked = getattr(self.real if self.error is None else self.error, name, None)
        return without if asked is None else asked()

    def code(self) -> Any:
        return grpc.StatusCode.OK if self.error is None else self._ask_call("code", grpc.StatusCode.UNKNOWN)

    def details(self) -> Any:
        return self._ask_call("details", "" if self.error is None else str(self.error))

    def debug_error_string(self) -> Any:
        return self._ask_call("debug_error_string", "" if self.error is None else str(self.error))

    def initial_metadata(self) -> Any:
        # Those that had come before the application cancelled a stream are still known.
        return self._ask_call("initial_metadata", ()) if self.real is None else self.real.initial_metadata()

    def trailing_metadata(self) -> Any:
        return self._ask_call("trailing_metadata", ())


class CallState:
    """State of one call that is under way: it drives the flow, and knows how the call has ended.

    Args:
        port: carries out commands.
        link: the link that made the flow.
        rpc: the call of the application; `rpc.stream` says whether a stream answers it.
        begin: sends an RPC of the application's method without waiting, and returns the real call.

    Attributes:
        end: how the call has ended for the application; None until then.
        real: the real call of the application's own RPC; of the last one, if it was sent again.
        dropped: whether the application has let the call go. Written by a finalizer, hence without the lock.
    """

    def __init__(
        self, port: Driver, link: Connection, rpc: Rpc, begin: Callable[[Send], Any] | None = None
    ) -> None:
        self.port, self.link, self.rpc = port, link, rpc
        self.end: End | None = None
        self.real: Any = None
        self.dropped = False
        # Protects every field but `dropped`; notified when `end`, `real` or `_readable` changes. Reentrant, since a
        # finalizer of the application may ask a call at any point.
        self.condition = threading.Condition()
        self._begin_own = begin or port.begin
        self._context = contextvars.copy_context()
        self._flow: Flow[Any] | None = None
        # Who may go on with the flow: a thread that drives it, or whoever claims the turn first.
        self._driven = True
        self._turn = 0
        # The thread that makes the call, until that is made, and the error that it gets instead of a call: the channel
        # is closed, or the thread was interrupted.
        self._caller: int | None = None
        self._at_once: BaseException | None = None
        # The real call for whose outcome the flow waits; of a stream, the real stream.
        self._sent: Any = None
        # Ends the wait of a thread of ours when the call is cancelled.
        self._woken: Future[None] | None = None
        # The call of the last success, which is the one that brought the result.
        self._brought: Any = None
        # What the application wants to be called at the end; None once that has been done.
        self._callbacks: list[Callable[[], None]] | None = []
        # Of a stream: the real stream that a reader may ask, whether one does at this moment, whether the real stream
        # has ended in the meantime, and a message that was brought by the flow.
        self._readable: Any = None
        self._is_read = False
        self._has_ended: Any = None
        self._head: list[Any] = []
        # One reader at a time, since a real stream must not be asked by two. Reentrant, since a callback that the
        # reader runs at the end may ask once more.
        self._readers = threading.RLock()

    # What the calls of the application ask for.

    def start(self) -> None:
        """Drive the flow up to the first command that takes time. The caller's thread comes here."""
        self._flow = raising(self.link.call(self.rpc), as_call_error)
        self._caller = threading.get_ident()
        self._drive(waits=False)
        self._caller = None
        if self._at_once is not None:
            raise self._at_once

    def wait(self, timeout: float | None = None) -> End:
        """Wait until the call has ended.

        Raises:
            grpc.FutureTimeoutError: it has not within `timeout` seconds.
        """
        with self.condition:
            if not self.condition.wait_for(lambda: self.end is not None, timeout):
                raise grpc.FutureTimeoutError
            assert self.end is not None
            return self.end

    def initial_metadata(self) -> Any:
        """Wait for the initial metadata. The server of a stream may send them before its first message."""
        if self.rpc.stream is None:
            return self.wait().initial_metadata()
        real: Any = None
        while True:
            with self.condition:
                self.condition.wait_for(functools.partial(self._is_sent_since, real))
                if self.end is not None:
                    return self.end.initial_metadata()
                real = self.real
            metadata = real.initial_metadata()
            if metadata:
                return metadata
            # Without any, it may be a refusal: wait for the first message, or for what comes of the failure.
            with self.condition:
                self.condition.wait_for(functools.partial(self._is_answered_or_sent_since, real))
                if not self._is_sent_since(real):
                    return metadata

    def _is_sent_since(self, real: Any) -> bool:
        return self.end is not None or self.real is not real

    def _is_answered_or_sent_since(self, real: Any) -> bool:
        return self._is_sent_since(real) or (self._readable is real and self._flow is None)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        """Call `callback` when gRPC has reported the end; return False if it has done so."""
        with self.condition:
            if self._callbacks is None:
                return False
            self._callbacks.append(callback)
            return True

    def add_done_callback(self, callback: Callable[[], None]) -> None:
        """Call `callback` at the end: at once, if the call has ended."""
        with self.condition:
            if self.end is None and self._callbacks is not None:
                self._callbacks.append(callback)
                return
        callback()

    def cancel(self) -> bool:
        """Cancel the call; return False if it has ended. When this returns, tickets of a parked flow have ended."""
        return self._stop(_cancelled_end())

    def close(self) -> None:
        """End the call since its channel is closed."""
        self._stop(End(error=CallError(grpc.StatusCode.CANCELLED, "Channel closed!")))

    def drop(self) -> None:
        """Cancel the call since the application has let it go. Runs in a finalizer, so it takes no lock of ours."""
        if self.end is None:
            self.dropped = True
            sent = self._sent
            if sent is not None:
                _cancel(sent)  # as gRPC does in the finalizers of its own calls; it reports the end later
            self.link.let_go(self.rpc)

    def _stop(self, end: End) -> bool:
        with self.condition:
            if self.end is not None:
                return False
            self.end = attrs.evolve(end, real=self.real)
            sent, woken = self._sent, self._woken
            # A flow that is parked is closed here and now. One that a thread drives is closed by that thread: it
            # looks at `end` before each command.
            claimed = self._flow is not None and self._claim(self._turn)
            self._readable = None
            self.condition.notify_all()
        if sent is not None:
            _cancel(sent)
        if claimed:
            self._close_flow()
        self.link.ended(self.rpc)
        # Callbacks are run by the thread that waits for the outcome: as with gRPC, not by the one that cancels, which
        # may hold a lock of the application.
        if woken is not None and not woken.done():
            woken.set_result(None)
        if sent is not None and not hasattr(sent, "add_done_callback"):
            self._run_callbacks()  # what an interceptor has made of a stream will not report its end
        return True

    # Driving the flow.

    def _claim(self, turn: int) -> bool:
        """Claim a parked flow; return False if somebody else has."""
        with self.condition:
            if self._driven or turn != self._turn:
                return False
            self._driven = True
            self._turn += 1
            return True

    def _is_over(self) -> bool:
        return self.end is not None or self.dropped

    def _drive(
        self,
        *,
        command: Any = None,
        answer: Any = None,
        error: BaseException | None = None,
        begins: bool = True,
        waits: bool = True,
    ) -> None:
        """Drive the flow until it is parked, handed over to another thread, or has ended. The thread has claimed it.

        Args:
            command: what the flow waits for, if not for an answer.
            answer: the answer to its last command.
            error: what its last command has raised.
            begins: whether this thread may send an RPC even if the port waits for the answer.
            waits: whether this thread may wait.
        """
        while True:
            if command is None:
                if isinstance(answer, Reply):
                    self._brought = answer.call
                command = self._next_command(answer, error)
                if command is None:
                    return
                answer = error = None
            own = isinstance(command, Send) and command.method == self.rpc.name
            if isinstance(command, (Launch, Blank)):
                answer, error = _attempt(self.port.perform, command)
            elif isinstance(command, Wait) and command.future.done():
                answer = True
            elif (
                isinstance(command, Send)
                and self.port.can_begin(command, own)
                and (begins or not self.port.waits_to_begin)
            ):
                error = self._begin(command, own)
                if error is None:
                    return  # parked
            elif waits:
                turn, woken = self._about_to_wait()
                answer, error = _attempt(self._run_effects, command, woken)
                if not self._claim(turn):  # cancelled in the meantime, and closed by whoever did that
                    self._run_callbacks()
                    return
            else:
                self._in_thread(self._repair, command=command)
                return
            command = None

    def _next_command(self, answer: Any, error: BaseException | None) -> Any:
        """Resume the flow; return its next command, or None if it has ended."""
        flow = self._flow
        assert flow is not None
        if self._is_over():
            self._close_flow()
            self._finish(_cancelled_end())
            return None
        try:
            return flow.send(answer) if error is None else flow.throw(error)
        except StopIteration as stop:
            self._returned(stop.value)
        except BaseException as raised:  # noqa: BLE001  whatever it is belongs to the application
            self._failed(raised)
        return None

    def _begin(self, send: Send, own: bool) -> BaseException | None:
        """Send an RPC and park the flow; return the error if that is not possible."""
        real, error = _attempt(self._begin_own if own else self.port.begin, send)
        if error is not None:
            return error
        is_stream = own and self.rpc.stream is not None
        with self.condition:
            if is_over := self._is_over():  # cancelled while it was sent
                turn = 0
            else:
                turn, self._driven, self._sent = self._turn, False, real
                if own:
                    self.real = real
                if is_stream:
                    self._readable = real
                self.condition.notify_all()
        if is_over:
            _cancel(real)
            return CallCancelled()
        # From here on another thread may drive the flow: touch nothing of it any more.
        if is_stream:
            _watch(real, self._stream_ended)
        else:
            _watch(real, lambda ended: self._answered(turn, ended))
        return None

    def _answered(self, turn: int, real: Any) -> None:
        """Go on with the flow since an RPC has ended. gRPC's thread comes here, or the one that has sent the RPC."""
        if self._claim(turn):
            self._go_on(real, *_attempt(outcome_of, real))
        else:
            self._run_callbacks()

    def _go_on(self, real: Any, answer: Outcome | None, error: BaseException | None) -> None:
        """Go on with a claimed flow in this thread after a success, in a thread of ours otherwise."""
        if isinstance(answer, Reply) and not self.dropped:
            self._in_context(self._drive, answer=answer, begins=False, waits=False)
        elif isinstance(answer, Failure) and self.port.closed:
            self._in_thread(self._end_with, error=answer.cause)
        else:
            self._in_thread(self._repair, answer=answer, error=error)

    def _repair(self, **named: Any) -> None:
        """Drive the flow in a thread of ours, unless the channel was closed before `Driver.close` could know of it."""
        if self.port.closed:
            self.close()
        self._drive(**named)

    def _end_with(self, error: BaseException) -> None:
        """End the call with what gRPC says: its channel is closed, so that nothing can be repaired."""
        self._close_flow()
        self._failed(error)

    def _about_to_wait(self) -> tuple[int, Future[None]]:
        """Park the flow while this thread carries out a command; return the turn, and what ends the wait early."""
        with self.condition:
            self._driven, self._sent = False, None
            self._woken = Future()
            if self.end is not None:  # cancelled since the command was given: do not begin to wait
                self._woken.set_result(None)
            return self._turn, self._woken

    def _run_effects(self, command: Any, woken: Future[None]) -> Any:
        if isinstance(command, Wait):
            left_s = max(command.timeout_s, 0)
            concurrent.futures.wait([command.future, woken], left_s, FIRST_COMPLETED)
            return command.future.done()
        if isinstance(command, Sleep):
            concurrent.futures.wait([woken], command.delay_s)
            return None
        if isinstance(command, Call):
            return command.function(*command.args)
        return self.port.perform(command)

    def _close_flow(self) -> None:
        """Raise `CallCancelled` in a claimed flow, so that it ends its tickets."""
        flow, self._flow = self._flow, None
        if flow is not None:
            self._in_context(_close, flow, self.port)

    def _returned(self, value: Any) -> None:
        """Take note of the result of the flow."""
        self._flow = None
        if self.rpc.stream is None:
            self._finish(End(value, self._brought))
            return
        with self.condition:
            self._driven = False
            # If the call was cancelled while the flow took its last steps, the stream must not go on.
            if value is not None and not self._is_over():
                self._head.append(value)
                if self._brought is not None and self._brought is self.real:
                    self._readable = self.real
                    if getattr(self.real, "done", bool)():  # gRPC may have said so while the flow was driven
                        self._has_ended = self.real
            goes_on = self._readable is not None
            self.condition.notify_all()
        if not goes_on:  # cancelled, or a stream without messages, or an answer that needed no RPC
            self.link.ended(self.rpc)
            self._finish(_cancelled_end() if self.dropped else End(real=self._brought))

    def _failed(self, error: BaseException) -> None:
        """Take note of the error of the flow."""
        self._flow = None
        self.link.ended(self.rpc)
        if isinstance(error, grpc.FutureCancelledError):  # an interceptor behind us has cancelled the RPC
            self._finish(_cancelled_end())
            return
        if isinstance(error, grpc.RpcError):  # its frames would live as long as the call
            error.with_traceback(None)
        elif self._caller == threading.get_ident():
            self._at_once = error
        self._finish(End(error=error))

    def _finish(self, end: End) -> None:
        """Show the end to the application, unless it has seen another one."""
        with self.condition:
            if self.end is None:
                self.end = end
            self._driven, self._readable, self._sent, self._brought = False, None, None, None
            self.condition.notify_all()
        self._run_callbacks()

    def _run_callbacks(self) -> None:
        """Call what the application wants to be called at the end, once."""
        with self.condition:
            callbacks, self._callbacks = self._callbacks, None
        for callback in callbacks or ():
            try:
                callback()
            except Exception:  # noqa: BLE001  as gRPC does: the other ones are called nevertheless
                _log.exception("exception in callback %r", callback)

    def _in_context(self, function: Callable[..., None], *args: Any, **named: Any) -> None:
        """Call `function` with the context variables of whoever made the call."""
        # A copy, since a context cannot be entered twice, and what is called here may come here again.
        self._context.copy().run(function, *args, **named)

    def _in_thread(self, function: Callable[..., None], *args: Any, **named: Any) -> None:
        """Call `function` in a thread of ours."""

        def work() -> None:
            self.port.repairing.add(self)
            try:
                self._in_context(function, *args, **named)
            finally:
                self.port.repairing.discard(self)

        threading.Thread(target=work, name="bluegreen-repair", daemon=True).start()

    # Streams.

    def read(self) -> Any:
        """Return the next message of a stream, and wait for it.

        Raises:
            StopIteration: the stream has ended well.
        """
        with self._readers:
            while True:
                with self.condition:
                    self.condition.wait_for(lambda: self._head or self.end or self._readable is not None)
                    if self._head:
                        message = self._head.pop()
                        break
                    if self.end is not None:
                        raise StopIteration if self.end.error is None else self.end.error
                    real, self._is_read = self._readable, True
                try:
                    outcome, error = self._ask_call(real)
                finally:
                    with self.condition:
                        self._is_read = False
                message = self._learn(real, outcome, error)
                if message is not None:
                    break
            # The real stream may have ended while it was read. Its end counts after the last message.
            ended, self._has_ended = self._has_ended, None
            if ended is not None:
                self._stream_ended(ended)
            return message

    def _ask_call(self, real: Any) -> tuple[Outcome | None, BaseException | None]:
        """Ask a real stream for its next message. No lock is held, so that another thread can cancel."""
        try:
            return Reply(next(real, None), real), None
        except grpc.RpcError as error:
            return failure_of(error), None
        except Exception as error:  # noqa: BLE001  of an interceptor behind us: it belongs to the flow
            return None, error

    def _learn(self, real: Any, outcome: Outcome | None, error: BaseException | None) -> Any:
        """Take note of what a real stream has brought; return a message for the reader, or None: look again."""
        with self.condition:
            if self._readable is not real:
                return None
            is_first = self._flow is not None
            if is_first or not isinstance(outcome, Reply) or outcome.message is None:
                self._readable = None
            if is_first:
                self._claim(self._turn)
        if is_first and isinstance(outcome, Failure) and self.port.closed:
            self._end_with(outcome.cause)
        elif is_first:
            self._in_context(self._drive, answer=outcome, error=error)
        elif isinstance(outcome, Reply) and outcome.message is not None:
            return self.link.streamed(self.rpc, outcome.message)
        else:
            self._end_or_repair(real, outcome, error)
        return None

    def _stream_ended(self, real: Any) -> None:
        """Take note that a real stream has ended. gRPC's thread comes here, or a reader."""
        with self.condition:
            current = self._readable is real
            if current and (self._is_read or self._head):
                self._has_ended = real  # the reader comes here when it has taken its message
                return
            is_first = self._flow is not None
            if current:
                self._readable = None
                if is_first:
                    self._claim(self._turn)
        if not current:
            if self.end is not None:
                self._run_callbacks()
            return
        outcome, error = _attempt(outcome_of, real)
        if isinstance(outcome, Reply):
            outcome = Reply(None, real)  # every message of a stream that has ended well has been read
        if is_first:
            self._go_on(real, outcome, error)
        elif isinstance(outcome, Reply) or self.port.closed or self.dropped:
            self._end_or_repair(real, outcome, error)
        else:
            self._in_thread(self._end_or_repair, real, outcome, error)

    def _end_or_repair(self, real: Any, outcome: Outcome | None, error: BaseException | None) -> None:
        """Do what is to be done when a stream has ended after its first message: well, or by a failure."""
        if self.dropped:
            self.link.ended(self.rpc)
            self._finish(_cancelled_end())
        elif isinstance(outcome, Reply):
            self.link.ended(self.rpc)
            self._finish(End(real=real))
        elif not isinstance(outcome, Failure):
            assert error is not None
            self._failed(error)
        elif self.port.closed:
            self._failed(outcome.cause)
        else:
            flow = raising(self.link.broken(self.rpc, outcome), as_call_error)
            with self.condition:
                self._flow, self._driven = flow, True
            self._in_context(self._drive)


def _cancelled_end() -> End:
    return End(error=CallError(grpc.StatusCode.CANCELLED, LOCALLY_CANCELLED), cancelled=True)


def _attempt(function: Callable[..., Any], *args: Any) -> tuple[Any, BaseException | None]:
    """Call `function`; return its result and None, or None and what it has raised."""
    try:
        return function(*args), None
    except BaseException as error:  # noqa: BLE001  whatever it is belongs to the flow
        return None, error


def _close(flow: Flow[Any], port: Driver) -> None:
    """Raise `CallCancelled` in a flow, and let it clean up as long as that takes no time."""
    try:
        command = flow.throw(CallCancelled())
        for _ in range(_CLOSING_STEPS):
            if isinstance(command, (Launch, Blank)):
                answer, error = _attempt(port.perform, command)
                command = flow.send(answer) if error is None else flow.throw(error)
            else:
                command = flow.throw(CallCancelled())
        flow.close()
    except (CallCancelled, StopIteration):
        pass
    except Exception as error:  # noqa: BLE001  nobody waits for the result of a cancelled call
        _log.debug("a cancelled call has ended with %r", type(error))


def _watch(real: Any, callback: Callable[[Any], None]) -> None:
    """Call `callback` with a real call when that has ended. What an interceptor makes of a stream may not say."""
    add = getattr(real, "add_done_callback", None)
    if add is not None:
        add(callback)


def _cancel(real: Any) -> None:
    cancel = getattr(real, "cancel", None)
    if cancel is not None:
        cancel()


class _UnderWay(FutureBase, grpc.Call):
    """A call of the application that is under way.

    It is apart from its state, which gRPC holds as long as the RPC is under way: so it notices when the application
    has let it go, and cancels the RPC then, as gRPC's own calls do.
    """

    def __init__(
        self, port: Driver, link: Connection, rpc: Rpc, begin: Callable[[Send], Any] | None = None
    ) -> None:
        self._state = CallState(port, link, rpc, begin)
        self._state.start()

    def __del__(self) -> None:
        state = getattr(self, "_state", None)
        if state is not None and not sys.is_finalizing():
            state.drop()

    def result(self, timeout: float | None = None) -> Any:
        end = self._settle(timeout)
        if end.error is not None:
            raise end.error
        return end.message

    def exception(self, timeout: float | None = None) -> Any:
        return self._settle(timeout).error

    def traceback(self, timeout: float | None = None) -> Any:
        error = self._settle(timeout).error
        return None if error is None else traceback_of(error)

    def _settle(self, timeout: float | None) -> End:
        end = self._state.wait(timeout)
        if end.cancelled:
            raise grpc.FutureCancelledError
        return end

    def cancel(self) -> bool:
        return self._state.cancel()

    def cancelled(self) -> bool:
        end = self._state.end
        return end is not None and end.cancelled

    def running(self) -> bool:
        return self._state.end is None

    def done(self) -> bool:
        return self._state.end is not None

    def is_active(self) -> bool:
        return self._state.end is None

    def time_remaining(self) -> Any:
        return time_remaining(self._state.rpc)

    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        self._state.add_done_callback(lambda: fn(self))

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return self._state.add_callback(callback)

    def initial_metadata(self) -> Any:
        return self._state.initial_metadata()

    def trailing_metadata(self) -> Any:
        return self._state.wait().trailing_metadata()

    def code(self) -> Any:
        return self._state.wait().code()

    def details(self) -> Any:
        return self._state.wait().details()

    def debug_error_string(self) -> Any:
        return self._state.wait().debug_error_string()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        return self._state.read()

    def next(self) -> Any:
        return self._state.read()


class FutureCall(_UnderWay):
    """A unary call of the application that is under way."""


class StreamCall(_UnderWay):
    """A stream of the application. Until its first message is read it can begin anew elsewhere.

    The ticket of a stream that belongs to no query ends with the stream.
    """


class Ended(FutureBase, grpc.Call):
    """A unary call that has ended well, with the message that the application is to see.

    Args:
        message: the message.
        real: the real call that brought it, or None if it was answered without one.
    """

    def __init__(self, message: Any, real: Any) -> None:
        self._end = End(message, real)

    def result(self, timeout: float | None = None) -> Any:
        return self._end.message

    def exception(self, timeout: float | None = None) -> None:
        return None

    def traceback(self, timeout: float | None = None) -> None:
        return None

    def cancel(self) -> bool:
        return False

    def cancelled(self) -> bool:
        return False

    def running(self) -> bool:
        return False

    def done(self) -> bool:
        return True

    def is_active(self) -> bool:
        return False

    def time_remaining(self) -> Any:
        return None

    def add_done_callback(self, fn: Callable[[Any], Any]) -> None:
        fn(self)

    def add_callback(self, callback: Callable[[], None]) -> bool:
        return False

    def initial_metadata(self) -> Any:
        return self._end.initial_metadata()

    def trailing_metadata(self) -> Any:
        return self._end.trailing_metadata()

    def code(self) -> grpc.StatusCode:
        return grpc.StatusCode.OK

    def details(self) -> Any:
        return self._end.details()

    def debug_error_string(self) -> Any:
        return self._end.debug_error_string()

    def __iter__(self) -> Iterator[Any]:
        return self

    def __next__(self) -> Any:
        raise StopIteration

    def next(self) -> Any:
        raise StopIteration
