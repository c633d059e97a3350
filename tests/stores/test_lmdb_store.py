"""The store in a file, by the suite of all stores; and what can happen to a file."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import stat
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bluegreen.errors import SettingsError, StoreError
from bluegreen.store import Store
from bluegreen.types import Scope
from bluegreen_adapters.stores import open_store
from bluegreen_adapters.stores.paths import file_system
from support.store_suite import BLUE, GREEN, OTHER, SCOPE, Open, StoreSuite, following, until

lmdb = pytest.importorskip("lmdb")
lmdb_file = pytest.importorskip("bluegreen_adapters.stores.lmdb")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "shared"


@pytest.fixture
def opening(folder: Path) -> Iterator[Open]:
    made: list[Store] = []

    def open_it() -> Store:
        # A busy machine may put a thread aside for longer than a query would wait.
        made.append(open_store(f"lmdb://{folder}?wait_ms=1000"))
        return made[-1]

    yield open_it
    for store in made:
        store.close()


class TestLmdbStore(StoreSuite):
    pass


@pytest.fixture
def store(opening: Open) -> Store:
    return opening()


def answer_of(child: Callable[[], bool]) -> bool:
    """Whether `child` returns true in a forked process."""
    pid = os.fork()
    if pid == 0:
        code = 2
        try:
            code = 0 if child() else 1
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0


def test_the_file_is_for_its_user_alone(store: Store, folder: Path) -> None:
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    modes = {
        name: stat.S_IMODE((folder / name).stat().st_mode) for name in ("data.mdb", "lock.mdb", "open.lock")
    }
    assert modes == dict.fromkeys(modes, 0o600)


def test_a_child_that_is_forked_while_its_parent_opens_keeps_no_other_process_from_opening(
    tmp_path: Path,
) -> None:
    reading, writing = os.pipe()
    with lmdb_file._guarded(tmp_path):
        child = os.fork()
        if child == 0:
            os.close(writing)
            os.read(reading, 1)  # until the parent lets it end
            os._exit(0)
    try:
        with lmdb_file._guarded(tmp_path, fcntl.LOCK_NB):
            pass
    finally:
        os.close(writing)
        os.waitpid(child, 0)
        os.close(reading)


def test_a_child_that_is_forked_while_its_parent_writes_reads_for_itself(tmp_path: Path) -> None:
    store = lmdb_file.LmdbStore(tmp_path, 1.0)
    store.read(SCOPE)
    begun, over = threading.Event(), threading.Event()

    def write() -> None:
        with lmdb_file._write_in(store._opened):
            begun.set()
            over.wait(60)

    writing = threading.Thread(target=write)
    writing.start()
    begun.wait(60)
    ending = threading.Timer(0.05, over.set)
    ending.start()
    try:
        assert answer_of(lambda: store.read(SCOPE).store_epoch == 0)
    finally:
        writing.join()
        ending.join()
        store.close()


def test_a_forked_child_reads_and_writes_for_itself(store: Store) -> None:
    assert store.write(SCOPE, following(store, BLUE)) is not None
    look = store.watch(SCOPE)
    before = look()
    assert answer_of(
        lambda: store.read(SCOPE).store_epoch == 1 and store.write(SCOPE, following(store)) is not None
    )
    assert look() != before
    assert store.read(SCOPE).announced is GREEN
    assert store.write(SCOPE, following(store, BLUE)) is not None


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda folder: folder.symlink_to("/tmp"), "is a symbolic link; accepted: a directory"),
        (lambda folder: folder.write_text("x"), "File exists"),
        (
            lambda folder: (folder.mkdir(), os.chown(folder, 12345, -1)),
            "belongs to user 12345; accepted: user",
        ),
        (lambda folder: (folder.mkdir(), folder.chmod(0o777)), "has mode 0777: others may write"),
        (lambda folder: (folder.mkdir(), (folder / "data.mdb").symlink_to("/tmp/x")), "is a symbolic link"),
        (lambda folder: (folder.mkdir(), (folder / "data.mdb").mkdir()), "is no file; accepted: a file"),
    ],
)
def test_a_place_that_others_could_write_to_is_refused(
    folder: Path, spoil: Callable[[Path], object], reason: str
) -> None:
    if os.geteuid() != 0 and "12345" in reason:
        pytest.skip("only root can give a directory away")
    spoil(folder)
    with pytest.raises(StoreError, match=reason):
        open_store(f"lmdb://{folder}?wait_ms=1000").read(SCOPE)


def test_a_directory_whose_parent_is_missing_is_named(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="nowhere/shared: No such file or directory"):
        open_store(f"lmdb://{tmp_path}/nowhere/shared").read(SCOPE)


def test_the_file_system_is_that_of_the_nearest_mount_whatever_it_is_called() -> None:
    mounts = [
        "1 0 8:1 / / rw - ext4 /dev/x rw",
        "2 1 0:9 / /srv/with\\040space rw shared:1 - nfs4 host:/x rw",
        "3 1 0:9 / /srv/\udcff rw - cifs //host/x rw",
        "4 1 0:9 / /srv/local rw - tmpfs tmpfs rw",
        "torn",
    ]
    kinds = {
        "/srv/with space/a": "nfs4", "/srv/\udcff/a": "cifs", "/srv/local/a/b": "tmpfs", "/srv/locally": "ext4",
    }  # fmt: skip
    assert {name: file_system(Path(name), mounts) for name in kinds} == kinds


def test_a_network_file_system_is_refused(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bluegreen_adapters.stores.paths.file_system", lambda folder: "nfs4")
    with pytest.raises(StoreError, match="is on nfs4; accepted: a file system of this host"):
        open_store(f"lmdb://{folder}?wait_ms=1000").read(SCOPE)


def read_again(store: Store) -> int:
    """The epoch that is read once the store has got over what has happened to its file."""
    found: list[int] = []

    def reads() -> bool:
        try:
            found.append(store.read(SCOPE).store_epoch)
        except StoreError:
            return False
        return True

    assert until(reads)
    return found[-1]


def filled(store: Store, times: int = 3) -> str:
    for _ in range(times):
        assert store.write(SCOPE, following(store)) is not None
    return store.read(SCOPE).incarnation


@pytest.mark.parametrize("spoil", ["removed", "emptied", "overwritten"])
def test_a_file_that_is_lost_is_noticed_and_begun_anew(store: Store, folder: Path, spoil: str) -> None:
    before = filled(store)
    look = store.watch(SCOPE)
    seen = look()
    match spoil:
        case "removed":
            shutil.rmtree(folder)
        case "emptied":
            os.truncate(folder / "data.mdb", 0)
        case _:
            (folder / "data.mdb").write_bytes(b"\x17" * 40_000)
    if spoil != "overwritten":  # its size is as it was: that shows when it is read
        assert until(lambda: look() != seen)
    assert read_again(store) == 0
    assert store.read(SCOPE).incarnation != before
    assert store.write(SCOPE, following(store)) is not None


def test_an_older_copy_that_is_put_back_is_another_incarnation(
    store: Store, folder: Path, tmp_path: Path
) -> None:
    before = filled(store)
    shutil.copytree(folder, tmp_path / "copy")
    filled(store)
    look = store.watch(SCOPE)
    seen = look()
    shutil.rmtree(folder)
    shutil.copytree(tmp_path / "copy", folder)
    assert until(lambda: look() != seen)
    assert read_again(store) == 3
    assert store.read(SCOPE).incarnation != before


def test_what_is_no_record_is_taken_away(store: Store, folder: Path) -> None:
    filled(store)
    opened = lmdb_file._open[folder]
    with opened.environment.begin(write=True) as taken:
        taken.put(lmdb_file._key(SCOPE), b'{"store_epoch":')
    with pytest.raises(StoreError, match="no record of a scope"):
        store.read(SCOPE)
    assert store.read(SCOPE).store_epoch == 0


def test_a_full_store_says_so_and_what_is_there_stays(folder: Path) -> None:
    store = open_store(f"lmdb://{folder}?wait_ms=1000&size_kib=64")
    assert store.write(SCOPE, following(store)) is not None

    def fill() -> None:
        for number in range(1000):
            scope = Scope(f"host-{number}.example:443")
            store.write(scope, following(store, scope=scope))

    with pytest.raises(StoreError, match="MapFullError"):
        fill()
    assert store.read(SCOPE).store_epoch == 1
    assert store.read(OTHER).store_epoch == 0
    store.close()


def test_a_full_disk_is_an_error_of_the_store(store: Store, folder: Path) -> None:
    filled(store)

    def fill() -> bool:
        assert store.read(SCOPE).store_epoch == 3
        resource.setrlimit(resource.RLIMIT_FSIZE, (1, 1))
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        try:
            store.write(SCOPE, following(store))
        except StoreError:
            return store.read(SCOPE).store_epoch == 3
        return False

    assert answer_of(fill)
    assert read_again(store) == 3
    assert store.write(SCOPE, following(store)) is not None


@pytest.mark.parametrize("size", ["16k", "100k", "300k"])
def test_a_disk_that_is_full_from_the_beginning_ends_no_process(tmp_path: Path, size: str) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size},mode=0700", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode != 0:
        pytest.skip("a small disk cannot be mounted here")

    def asks() -> bool:
        full = open_store(f"lmdb://{disk}/shared?wait_ms=1000")
        with suppress(StoreError):
            for _ in range(200):
                full.write(SCOPE, following(full))
        with suppress(StoreError):
            full.lease(SCOPE, "one", 1)
        return True

    try:
        assert answer_of(asks)
    finally:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_stopped_writer_keeps_nobody_waiting(folder: Path, store: Store) -> None:
    filled(store)
    reading, writing = os.pipe()
    pid = os.fork()
    if pid == 0:
        with lmdb.open(str(folder)).begin(write=True):
            os.write(writing, b"x")
            time.sleep(60)
        os._exit(0)
    try:
        assert os.read(reading, 1) == b"x"
        os.kill(pid, signal.SIGSTOP)
        quick = lmdb_file.LmdbStore(folder, 0.02)

        def refused() -> str:
            with pytest.raises(StoreError, match=r"no answer within 20 ms|still busy") as error:
                quick.write(SCOPE, following(quick))
            return str(error.value)

        assert "no answer within 20 ms" in refused()
        assert until(lambda: "still busy" in refused())  # once the thread that writes has begun
        for _ in range(10):
            assert "still busy" in refused(), "while one is stuck, the others do not even wait"
            assert quick.read(SCOPE).store_epoch == 3  # reading takes no lock
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        os.close(reading)
        os.close(writing)
    assert until(lambda: quick.read(SCOPE).store_epoch == 4)  # what was asked first is done now

    def writes() -> bool:
        with suppress(StoreError):
            return quick.write(SCOPE, following(quick)) is not None
        return False

    assert until(writes)


def test_every_option_that_is_wrong_is_named_at_once() -> None:
    with pytest.raises(SettingsError) as refused:
        open_store("lmdb:///run/x?wait_ms=soon&colour=red")
    assert refused.value.findings == (
        "store: wait_ms is 'soon'; accepted: 1 to 1000",
        "store: colour is no option of it; accepted: wait_ms, size_kib, behind",
    )
