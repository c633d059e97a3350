"""Where a store of files may be: in a directory of the user's own, on a disk of this host.

Whoever else could write there could send this user's queries elsewhere.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from bluegreen.errors import StoreError

NETWORKED: Final = frozenset(
    ("nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "gpfs", "beegfs", "ocfs2",
     "gfs2", "ncpfs", "coda", "orangefs", "fuse.sshfs", "fuse.glusterfs", "fuse.cephfs", "fuse.s3fs", "fuse.gcsfuse",
     "fuse.rclone")
)  # fmt: skip
"""File systems on which locks and shared memory do not hold what LMDB needs of them."""
_ESCAPED: Final = re.compile(r"\\([0-7]{3})")
"""How that file writes a space, a tab, a line's end and a backslash."""
_MOUNTS: Final = Path("/proc/self/mountinfo")


def secured(store: str, folder: Path) -> None:
    """Make `folder` if need be, and see that nobody else can write there.

    Raises:
        StoreError: it cannot be made, is none, is somebody else's, or is on a file system that is not local.
    """
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        found = folder.lstat()
        kind = file_system(folder)
    except OSError as error:
        raise StoreError(store, f"{folder}: {error.strerror}") from None
    if not stat.S_ISDIR(found.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no directory"
        raise StoreError(store, f"{folder} is {what}; accepted: a directory")
    _owned(store, folder, found)
    if kind in NETWORKED:
        raise StoreError(store, f"{folder} is on {kind}; accepted: a file system of this host")


def checked(store: str, file: Path) -> os.stat_result | None:
    """Return what the file is, or none if it is not there.

    Raises:
        StoreError: it is no file, or not only this user's.
    """
    try:
        found = file.lstat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StoreError(store, f"{file}: {error.strerror}") from None
    if not stat.S_ISREG(found.st_mode):
        what = "a symbolic link" if stat.S_ISLNK(found.st_mode) else "no file"
        raise StoreError(store, f"{file} is {what}; accepted: a file")
    _owned(store, file, found)
    return found


def _owned(store: str, path: Path, found: os.stat_result) -> None:
    if found.st_uid != os.geteuid():
        raise StoreError(store, f"{path} belongs to user {found.st_uid}; accepted: user {os.geteuid()}")
    if found.st_mode & 0o022:
        mode = stat.S_IMODE(found.st_mode)
        raise StoreError(
            store, f"{path} has mode {mode:04o}: others may write; accepted: 0700, or 0600 for a file"
        )


def file_system(folder: Path, mounts: Iterable[str] | None = None) -> str:
    """Return the kind of file system that `folder` is on; empty where the host does not tell.

    Args:
        mounts: lines as of `/proc/self/mountinfo`.

    >>> file_system(Path("/srv/x"), ["1 0 8:1 / / rw - ext4 d rw", "2 1 0:9 / /srv rw shared:1 - nfs4 h:/srv rw"])
    'nfs4'
    """
    if mounts is None:
        if not _MOUNTS.exists():
            return ""
        mounts = _MOUNTS.read_text(encoding="utf-8", errors="surrogateescape").splitlines()
    where = Path(os.path.realpath(folder))
    best, kind = -1, ""
    for line in mounts:
        before, _, after = line.partition(" - ")
        fields, told = before.split(" "), after.split(" ")
        if len(fields) < 5 or not told[0]:
            continue
        point = Path(_ESCAPED.sub(lambda found: chr(int(found[1], 8)), fields[4]))
        if (where == point or point in where.parents) and len(point.parts) >= best:
            best, kind = len(point.parts), told[0]
    return kind
