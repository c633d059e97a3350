"""A store in a file, for all processes of a host: `lmdb:///run/user/1000/bluegreen`. No daemon; a crash harms nothing.

LMDB keeps one consistent state whoever dies when. It is not told to wait for the disk: after a power failure the file
may be older than it was, or damaged; then it is set aside, and begun anew. `/run` is in memory in any case.

Options: `wait_ms` (5), how long a query waits at most; `size_kib` (16384), how large the file may become.

Source: spec, sections 2 and 4.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import os
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Generator
from functools import partial
from pathlib import Path
from typing import Final, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

import attrs
import lmdb

from bluegreen.errors import SettingsError, StoreError
from bluegreen.machines.lease import Lease, leased, released
from bluegreen.runtime.fork_safety import reborn_in_children
from bluegreen.runtime.host import stamp
from bluegreen.store import Store, StoreRecord
from bluegreen.types import Scope
from bluegreen_adapters.stores.bounded_executor import Bounded
from bluegreen_adapters.stores.paths import checked, secured
from bluegreen_adapters.stores.url_options import WAIT_MS, Range, numbers

T = TypeVar("T")

_LOOK_S: Final = 0.25
"""How often it is seen whether the file is still the one that was opened, and how often an absent one is tried."""
_OPEN_S: Final = 1.0
"""How long the first opening in a process may take, which is no query's."""
_READERS: Final = 1024
_LOCK_BYTES: Final = 128 * _READERS
"""More than LMDB needs for its locks, of which a reader has 64 bytes."""
_CHECK_READERS: Final = 64
"""After how many writes it is seen whether readers have died, who would keep old pages from being used again."""
_BORN: Final = b"incarnation"
_WRITTEN: Final = b"written"
_COUNT_BITS: Final = 40


@attrs.frozen(eq=False)
class _Opened:
    """A file that is open in this process.

    Args:
        moves: descriptor of a small file that says how many records were written: to look there is safe, whatever
            happens to files, which memory that is mapped from one is not.
    """

    environment: lmdb.Environment
    identity: tuple[int, int]
    incarnation: str
    moves: int

    @property
    def written(self) -> int:
        """How many records were written, as writers have told it."""
        return int.from_bytes(os.pread(self.moves, 8, 0), "little")

    def tell(self, written: int) -> None:
        """Tell who looks."""
        os.pwrite(self.moves, written.to_bytes(8, "little"), 0)

    def __del__(self) -> None:
        os.close(self.moves)


_open: dict[Path, _Opened] = {}
"""What this process has open: LMDB must not open a file twice in one."""
_writing: set[lmdb.Environment] = set()
"""What is being written, or closed, in this process now."""
_leaving: set[lmdb.Environment] = set()
"""What is to be closed."""
_abandoned: list[lmdb.Environment] = []
"""What a child has from its parent and cannot close: it was being written, or closed, when the child was forked."""
_guards: set[int] = set()
"""Descriptors of locks of files that this process has. A child that kept one open would keep its lock for life."""
_lock = threading.Lock()
_busy = threading.Lock()
"""Held while LMDB opens, writes or closes. A fork waits for it: a child that gets one of these half done can neither go
on with it nor close it, and LMDB refuses to open a file that is open."""
_FORK_S: Final = 1.0
"""How long a fork waits at most."""


@contextlib.contextmanager
def _at_work(environment: lmdb.Environment) -> Generator[None, None, None]:
    """Write to `environment`, or close it, while this context is open."""
    with _busy:
        _writing.add(environment)
        try:
            yield
        finally:
            _writing.discard(environment)


@contextlib.contextmanager
def _write_in(opened: _Opened) -> Generator[lmdb.Transaction, None, None]:
    """Write while this context is open."""
    with _at_work(opened.environment), opened.environment.begin(write=True) as taken:
        yield taken


@contextlib.contextmanager
def _guarded(folder: Path, flags: int = 0) -> Generator[int, None, None]:
    """Be the only process that opens, or sets aside, what is in `folder`; yields the descriptor of the lock's file.

    It is no file object: a child would close one at any time, or wait for a lock inside of it.
    """
    guard = os.open(folder / "open.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    _guards.add(guard)
    try:
        fcntl.flock(guard, fcntl.LOCK_EX | flags)
        yield guard
    finally:
        fcntl.flock(guard, fcntl.LOCK_UN)  # before a child could get it without knowing of it
        _guards.discard(guard)
        os.close(guard)


class LmdbStore:
    """A store in a file. It opens by itself, again in a forked child, and again where the file was replaced.

    Args:
        folder: the directory; made if it is not there.
        wait_s: seconds that a caller waits at most.
        size: bytes that the file may have.
    """

    def __init__(self, folder: Path, wait_s: float = WAIT_MS.default / 1000, size: int = 1 << 24) -> None:
        self.name = f"lmdb://{folder}"
        self.folder, self._file, self._size = folder, folder / "data.mdb", size
        self._worker = Bounded(self.name, wait_s, self._moved)
        self._opened: _Opened | None = None
        self._closed = False
        self._turns = 0
        self._look_s = 0.0
        _stores.add(self)
        reborn_in_children(self)
        with contextlib.suppress(StoreError):  # it may come later; whoever reads it then is told
            self._worker.do(self._open_file, _OPEN_S)

    def watch(self, scope: Scope) -> Callable[[], int]:  # noqa: ARG002  one number is for all scopes
        """As `Store.watch`: how many records were written, of all scopes. It takes no lock."""

        def look() -> int:
            opened = self._opened
            now_s = time.monotonic()
            if now_s >= self._look_s:
                opened = self._seen_to(now_s)
            if opened is not None:
                return (self._turns << _COUNT_BITS) + opened.written
            return (self._turns << _COUNT_BITS) - 1 - int(now_s / _LOOK_S)

        return look

    def read(self, scope: Scope) -> StoreRecord:
        """As `Store.read`. It takes no lock."""
        opened = self._ready(lambda: self._worker.do(self._open_file))
        try:
            with opened.environment.begin() as taken:
                line = _line(taken, _key(scope))
        except lmdb.Error as error:
            raise self._failed(error) from None
        if line is None:
            return StoreRecord(incarnation=opened.incarnation)
        try:
            record = StoreRecord.from_json(line)
        except StoreError as error:
            self._worker.do(lambda: self._clear(opened, scope, line))
            raise StoreError(self.name, error.reason) from None
        return attrs.evolve(record, incarnation=opened.incarnation)

    def write(self, scope: Scope, record: StoreRecord) -> StoreRecord | None:
        """As `Store.write`. LMDB lets one process write at a time."""

        def put() -> StoreRecord | None:
            opened = self._ready(self._open_file)
            with _write_in(opened) as taken:
                there = _line(taken, _key(scope))
                epoch = StoreRecord.from_json(there).store_epoch if there is not None else 0
                if (record.incarnation, record.store_epoch) != (opened.incarnation, epoch + 1):
                    return None
                taken.put(_key(scope), record.to_json())
                written = int(_line(taken, _WRITTEN) or b"0") + 1
                taken.put(_WRITTEN, str(written).encode())
            opened.tell(written)
            if not written % _CHECK_READERS:
                opened.environment.reader_check()
            return record

        return self._do(put)

    def lease(self, scope: Scope, holder: str, ttl_s: float) -> bool:
        """As `Store.lease`."""

        def take() -> bool:
            with _write_in(self._ready(self._open_file)) as taken:
                after = leased(_lease(_line(taken, _lease_key(scope))), holder, ttl_s, stamp())
                if after is not None:
                    taken.put(_lease_key(scope), json.dumps(attrs.asdict(after)).encode())
            return after is not None

        return self._do(take)

    def release(self, scope: Scope, holder: str) -> None:
        """As `Store.release`."""

        def give() -> None:
            with _write_in(self._ready(self._open_file)) as taken:
                if released(_lease(_line(taken, _lease_key(scope))), holder, stamp()) is None:
                    taken.delete(_lease_key(scope))

        self._do(give)

    def close(self) -> None:
        """As `Store.close`. The file stays open for other stores of this process that use it."""
        opened, self._closed = self._opened, True
        others = (one for one in tuple(_stores) if one.folder == self.folder and not one._closed)
        if opened is not None and not any(others):
            self._forget(opened)
        self._opened = None
        self._worker.end()
        self._moved()

    def after_fork(self) -> None:
        """In a forked child: what was open is the parent's."""
        self._opened = None
        self._look_s = 0.0
        self._moved()

    # Inside.

    def _moved(self) -> None:
        self._turns += 1

    def _do(self, job: Callable[[], T]) -> T:
        def doing() -> T:
            try:
                return job()
            except lmdb.MapFullError:
                # Readers that were killed keep what they read from being used again, until somebody looks for them.
                if self._opened is None:
                    raise
                self._opened.environment.reader_check()
            return job()

        try:
            return self._worker.do(doing)
        except lmdb.Error as error:
            raise self._failed(error) from None

    def _ready(self, open_it: Callable[[], _Opened]) -> _Opened:
        """Return what is open; open it if it is not.

        Raises:
            StoreError: it cannot be opened, or the file is not what it was.
        """
        if self._closed:
            raise StoreError(self.name, "it is closed")
        opened = self._opened or open_it()
        if _identity(checked(self.name, self._file)) != opened.identity:
            self._forget(opened)
            raise StoreError(self.name, "its file was replaced, removed or emptied")
        return opened

    def _seen_to(self, now_s: float) -> _Opened | None:
        """See whether the file is still the one that was opened."""
        self._look_s = now_s + _LOOK_S
        opened = self._opened
        if opened is None:
            return None
        try:
            identity = _identity(os.stat(self._file))
        except OSError:
            identity = None
        if identity != opened.identity:
            self._forget(opened)
            return None
        with contextlib.suppress(lmdb.Error), opened.environment.begin() as taken:
            written = int(_line(taken, _WRITTEN) or b"0")
            if written > opened.written:  # a writer has died before it could tell
                opened.tell(written)
        return opened

    def _forget(self, opened: _Opened) -> None:
        """Let go of what is open. It is closed where that keeps no query."""
        with _lock:
            if _open.get(self.folder) is opened:
                del _open[self.folder]
        self._opened = None
        _leaving.add(opened.environment)
        self._worker.begin(partial(_leave, opened.environment))
        self._moved()

    def _failed(self, error: lmdb.Error) -> StoreError:
        opened = self._opened
        if opened is not None and not isinstance(error, lmdb.MapFullError):
            if isinstance(error, (lmdb.CorruptedError, lmdb.PageNotFoundError, lmdb.InvalidError)):
                self._discard(opened)
            self._forget(opened)
        return StoreError(self.name, f"{type(error).__name__}: {error}")

    def _discard(self, opened: _Opened) -> None:
        """Set a damaged file aside, if it is still there: of several processes one does it."""
        with contextlib.suppress(OSError), _guarded(self.folder, fcntl.LOCK_NB):
            if _identity(os.stat(self._file)) == opened.identity:
                self._set_aside()

    def _open_file(self) -> _Opened:
        secured(self.name, self.folder)
        with _lock:
            known = _open.get(self.folder)
            if known is None:
                known = _open[self.folder] = self._opening()
            self._opened = known
        self._moved()
        return known

    def _opening(self) -> _Opened:
        """Open the file; one process at a time does, since some of it may have to be put in order."""
        try:
            with _guarded(self.folder) as guard:
                self._put_in_order(guard)
                try:
                    opened = self._environment()
                except (lmdb.InvalidError, lmdb.CorruptedError, lmdb.VersionMismatchError):
                    self._set_aside()
                    opened = self._environment()
                identity = repr(opened.identity).encode()
                if _text(guard) != identity:
                    os.ftruncate(guard, 0)
                    os.pwrite(guard, identity, 0)
            return opened
        except lmdb.Error as error:
            raise StoreError(self.name, f"{type(error).__name__}: {error}") from None
        except OSError as error:
            raise StoreError(self.name, f"{self.folder}: {error.strerror}") from None

    def _put_in_order(self, guard: int) -> None:
        """Take away the locks of another file than the one that is there: what they say of it would be wrong."""
        identity = _identity(checked(self.name, self._file))
        there = checked(self.name, self.folder / "lock.mdb") is not None
        if there and _text(guard) != repr(identity).encode():
            (self.folder / "lock.mdb").unlink()
        # LMDB maps it: on a full disk a part that is not there yet would end the process instead of raising.
        locks = os.open(
            self.folder / "lock.mdb", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600
        )
        try:
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(locks, 0, _LOCK_BYTES)
        finally:
            os.close(locks)

    def _environment(self) -> _Opened:
        with _busy:
            return self._open_environment()

    def _open_environment(self) -> _Opened:
        environment = lmdb.open(
            str(self.folder), map_size=self._size, mode=0o600, max_readers=_READERS, sync=False, metasync=False,
            readahead=False,
        )  # fmt: skip
        with environment.begin() as taken:
            born = _line(taken, _BORN)
        if born is None:
            born = secrets.token_hex(8).encode()
            with environment.begin(write=True) as taken:
                taken.put(_BORN, born)
        environment.reader_check()  # those of processes that were killed
        found = os.stat(self._file)
        # A copy that is put back is another file, and so another incarnation.
        incarnation = f"{born.decode()}-{found.st_dev:x}-{found.st_ino:x}"
        moves = os.open(self.folder / "moves", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        return _Opened(environment, (found.st_dev, found.st_ino), incarnation, moves)

    def _set_aside(self) -> None:
        """Rename a file that is damaged. The caller holds the guard."""
        os.replace(self._file, self._file.with_suffix(".damaged"))
        (self.folder / "lock.mdb").unlink(missing_ok=True)

    def _clear(self, opened: _Opened, scope: Scope, line: bytes) -> None:
        """Take away what is no record, so that the next process to look fills the store again."""
        with _write_in(opened) as taken:
            if taken.get(_key(scope)) == line:
                taken.delete(_key(scope))


def opened(url: str) -> Store:
    """Return the store of a URL.

    Raises:
        SettingsError: the URL names no directory, or an option is wrong.
    """
    parts = urlsplit(url)
    values = numbers(url, {"wait_ms": WAIT_MS, "size_kib": Range(16_384, 64, 1 << 20)}, ("behind",))
    if parts.netloc or not parts.path.strip("/"):
        raise SettingsError([f"store is {url!r}; accepted: lmdb:///path/of/a/directory"])
    folder = Path(unquote(parts.path))
    store = LmdbStore(folder, values["wait_ms"] / 1000, int(values["size_kib"]) * 1024)
    behind = parse_qs(parts.query).get("behind")
    if behind:
        from bluegreen_adapters.stores.layered import LayeredStore

        return LayeredStore(store, behind[-1])
    return store


def _leave(environment: lmdb.Environment) -> None:
    with _at_work(environment):
        environment.close()
        _leaving.discard(environment)


def _identity(found: os.stat_result | None) -> tuple[int, int] | None:
    """Return what tells a file from others; none for one that is empty, since there is no store in it."""
    return (found.st_dev, found.st_ino) if found is not None and found.st_size else None


def _text(guard: int) -> bytes:
    return os.pread(guard, 100, 0)


def _key(scope: Scope) -> bytes:
    """Return the key of a scope: LMDB's are short, and names may be long."""
    return b"r" + hashlib.blake2b(json.dumps([scope.target, scope.cluster]).encode(), digest_size=24).digest()


def _lease_key(scope: Scope) -> bytes:
    return b"l" + _key(scope)[1:]


def _line(taken: lmdb.Transaction, key: bytes) -> bytes | None:
    found = taken.get(key)
    return None if found is None else bytes(found)


def _lease(line: bytes | None) -> Lease | None:
    """Return a lease; what is none is none."""
    if line is None:
        return None
    try:
        return Lease(**json.loads(line))
    except (ValueError, TypeError):
        return None


_stores: weakref.WeakSet[LmdbStore] = weakref.WeakSet()
_waited = False


def _before_fork() -> None:
    global _waited  # noqa: PLW0603  forks come one after the other
    _waited = _busy.acquire(timeout=_FORK_S)


def _after_fork_in_parent() -> None:
    if _waited:
        _busy.release()


def _after_fork_in_child() -> None:
    global _lock, _busy
    _lock, _busy = threading.Lock(), threading.Lock()
    for environment in (*(one.environment for one in _open.values()), *_leaving):
        if environment in _writing:  # to close it would wait for a thread that is not here
            _abandoned.append(environment)
        else:
            environment.close()  # this process's part of it; the parent's goes on
    for guard in _guards:
        os.close(guard)  # this process's descriptor; the parent's lock stays
    _guards.clear()
    _writing.clear()
    _leaving.clear()
    _open.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child
    )
