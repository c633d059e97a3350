"""Peers: processes of one host that answer together, as the workers of a server do.

Each listens on a socket of its own in a folder that they share. Who is asked something that only all of them know
asks the others, at that moment: nothing is kept that could be out of date.

>>> import tempfile
>>> folder = tempfile.TemporaryDirectory()
>>> peers = Peers(folder.name)
>>> peers.answers("double", lambda argument: 2 * argument)
>>> ask_all(folder.name, "double", "ab")
PeerAnswers(answers=['abab'], silent=[])
>>> peers.ask("double", "ab")  # the others: there are none
PeerAnswers(answers=[], silent=[])
>>> peers.close(); folder.cleanup()
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final, NamedTuple

from bluegreen.runtime.fork_safety import reborn_in_children
from bluegreen.runtime.telemetry import TelemetryEvent
from bluegreen_adapters.observe.status.snapshot import named, status
from bluegreen_adapters.observe.subscribe_all import follow_all

WAIT_S: Final = 2.0
"""For how long all others together may take to answer."""

_SUFFIX: Final = ".sock"
_QUESTION_BYTES: Final = 1 << 10
_ANSWER_BYTES: Final = 1 << 24
_log = logging.getLogger("bluegreen.observe")

Answering = Callable[[str], object]
"""Gets the argument of a question, and returns what JSON can hold."""


class PeerAnswers(NamedTuple):
    """What processes have answered, and of each that has not, which it is and why."""

    answers: list[Any]
    silent: list[str]


class Peers:
    """This process among those that share a folder. Each answers `status`, and what it is told to.

    A forked child listens as soon as something happens in it; until then it has nothing to tell.

    Args:
        folder: where the sockets are, made if it is not there; only processes of one user can share it, so that nobody
            else answers for them.
        wait_s: for how long all others together may take to answer, in seconds.

    Raises:
        OSError: nobody can listen there: others may write to it, the path is too long for a socket, or the system has
            no such sockets.
    """

    def __init__(self, folder: str | os.PathLike[str], *, wait_s: float = WAIT_S) -> None:
        if not hasattr(socket, "AF_UNIX"):
            raise OSError("this system has no sockets in folders")
        self._folder, self._wait_s = Path(folder), wait_s
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = self._folder.stat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o022:
            told = f"{self._folder} is of user {found.st_uid}, mode {found.st_mode & 0o777:o}"
            raise PermissionError(
                f"{told}; accepted: a folder of user {os.geteuid()} that only they may write to"
            )
        self._known: dict[str, Answering] = {"status": lambda strategy: status(named(strategy))}
        self._closed = False
        self._begin()
        self.listen()
        reborn_in_children(self)
        self._unfollow = follow_all(self._happened)

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._socket: socket.socket | None = None
        self._path: Path | None = None

    def answers(self, question: str, answering: Answering) -> None:
        """Answer this question from now on."""
        self._known[question] = answering

    def ask(self, question: str, argument: str = "") -> PeerAnswers:
        """Ask all others; what this process knows is not among the answers."""
        return ask_all(self._folder, question, argument, wait_s=self._wait_s, but=self._path)

    def listen(self) -> None:
        """Begin to listen, unless this process does."""
        with self._lock:
            if self._closed or self._socket is not None:
                return
            path = self._folder / f"{os.getpid()}-{secrets.token_hex(4)}{_SUFFIX}"
            hidden = path.with_suffix("")  # nobody asks there before anybody listens
            listening = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            try:
                listening.bind(str(hidden))
                listening.listen()
                hidden.rename(path)
            except OSError:
                listening.close()
                hidden.unlink(missing_ok=True)
                raise
            self._socket, self._path = listening, path
            threading.Thread(
                target=self._serve, args=(listening,), name="bluegreen peers", daemon=True
            ).start()

    def close(self) -> None:
        """Listen no more."""
        self._unfollow()
        with self._lock:
            self._closed = True
            listening, path, self._socket, self._path = self._socket, self._path, None, None
        if listening is not None and path is not None:
            path.unlink(missing_ok=True)
            with contextlib.suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)  # wakes who waits in `accept`
            listening.close()

    def after_fork(self) -> None:
        """In a forked child: the socket is its parent's."""
        if self._socket is not None:
            self._socket.close()
        self._begin()

    def _happened(self, _: TelemetryEvent) -> None:
        if self._socket is None and not self._closed:
            try:
                self.listen()
            except OSError as error:
                self._closed = True  # once is enough
                _log.error("nobody can ask this process in %s: %s", self._folder, error)

    def _serve(self, listening: socket.socket) -> None:
        while True:
            try:
                connection, _ = listening.accept()
            except OSError:
                return  # it is closed
            with connection, contextlib.suppress(OSError):
                connection.settimeout(self._wait_s)
                data = connection.recv(_QUESTION_BYTES)
                connection.sendall(self._answer(data))

    def _answer(self, data: bytes) -> bytes:
        try:
            question, argument = json.loads(data)
            answering = self._known.get(question)
            if answering is None:
                wrong = f"question is {question!r}; accepted: {', '.join(sorted(self._known))}"
                return json.dumps({"error": wrong}).encode()
            return json.dumps({"answer": answering(str(argument))}).encode()
        except Exception as error:  # noqa: BLE001  whatever is asked must not end the thread
            return json.dumps({"error": f"{type(error).__name__}: {error}"}).encode()


def ask_all(
    folder: str | os.PathLike[str],
    question: str,
    argument: str = "",
    *,
    wait_s: float = WAIT_S,
    but: Path | None = None,
) -> PeerAnswers:
    """Ask all processes that listen in a folder. Never raises because of one that does not answer.

    The socket of a process that was killed is removed.

    Args:
        folder: where they listen.
        question: one that they know.
        argument: what goes with it.
        wait_s: for how long all of them together may take, in seconds.
        but: a socket that is left out.
    """
    over_s = time.monotonic() + wait_s
    data = json.dumps([question, argument]).encode()
    told = PeerAnswers([], [])
    with contextlib.ExitStack() as stack:
        opened: list[tuple[Path, socket.socket]] = []
        for path in sorted(Path(folder).glob(f"*{_SUFFIX}")):
            one = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM))
            if path != but and _send_question(one, path, data, over_s, told.silent):
                opened.append((path, one))
        for path, one in opened:
            try:
                found = json.loads(b"".join(_read(one, over_s)))
                if "error" in found:
                    raise ValueError(found["error"])
                told.answers.append(found["answer"])
            except (OSError, ValueError, KeyError, TypeError) as error:
                told.silent.append(f"{_named(path)}: {error}")
    return told


def _send_question(one: socket.socket, path: Path, data: bytes, over_s: float, silent: list[str]) -> bool:
    """Send a question; return whether an answer can come."""
    one.settimeout(max(over_s - time.monotonic(), 0.001))
    try:
        one.connect(str(path))
        one.sendall(data)
    except ConnectionRefusedError:  # its process was killed
        path.unlink(missing_ok=True)
    except FileNotFoundError:  # it has just been closed
        pass
    except OSError as error:
        silent.append(f"{_named(path)}: {error}")
    else:
        return True
    return False


def _read(one: socket.socket, over_s: float) -> Iterator[bytes]:
    left = _ANSWER_BYTES
    while left > 0:
        one.settimeout(max(over_s - time.monotonic(), 0.001))
        data = one.recv(min(left, 1 << 16))
        if not data:
            return
        left -= len(data)
        yield data
    raise ValueError(f"it answers with more than {_ANSWER_BYTES} bytes")


def _named(path: Path) -> str:
    return f"process {path.name.partition('-')[0]}"
