"""The last resort: records that could not be written before the end go into a file, and from there into the ledger at
the next start.

A full disk is what most often keeps records from being written, and would keep the file from it as well. So there is a
reserve beside the ledger: a file whose room was allocated while there still was some. Records are written over it. What
does not fit goes into a new file beside the ledger, and what does not fit there to a place for temporary files.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import hashlib
import os
import stat
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import datetime
from functools import partial
from pathlib import Path

import msgspec

from watchdog.domain.decision import Abort
from watchdog.domain.ports import AbortFilter, AbortLedger
from watchdog.errors import LedgerError

#: Room for some hundred records; but no more than this share of what is free, and none if that is less than the least.
RESERVE_BYTES = 1024 * 1024
_SHARE_OF_FREE = 8
_RESERVE_MIN_BYTES = 16 * 1024

_MARK = ".rescued-"
_RESERVE = ".reserve"
_NO_FALLOCATE = (errno.EOPNOTSUPP, errno.EINVAL, errno.ENOSYS)
_SAFELY = os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_Lines = Sequence[tuple[str, bytes]]


# --- before ----------------------------------------------------------------------------------------------------------


def reserve_room(ledger: Path) -> None:
    """Allocate the reserve beside this ledger, if it is not there; OSError if there is no room for it."""
    path = _reserve_of(ledger)
    fd = os.open(path, os.O_RDWR | os.O_CREAT | _SAFELY, 0o600)
    try:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.EINVAL, "this is no file", str(path))
        free = os.fstatvfs(fd)
        size = min(RESERVE_BYTES, (free.f_bavail * free.f_frsize + found.st_blocks * 512) // _SHARE_OF_FREE)
        if size < _RESERVE_MIN_BYTES:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        _allocate(fd, max(size, found.st_size))
    except OSError:
        with contextlib.suppress(OSError):
            path.unlink()
        raise
    finally:
        os.close(fd)


def _allocate(fd: int, size: int) -> None:
    try:
        os.posix_fallocate(fd, 0, size)
    except OSError as error:
        if error.errno not in _NO_FALLOCATE:
            raise
        start = os.fstat(fd).st_size
        os.pwrite(fd, bytes(max(0, size - start)), start)
    os.fsync(fd)


def _reserve_of(ledger: Path) -> Path:
    return ledger.with_name(ledger.name + _RESERVE)


# --- at the end ------------------------------------------------------------------------------------------------------


def write_rescue(
    ledger: Path, aborts: Sequence[Abort], now: datetime, environ: Mapping[str, str] = os.environ
) -> dict[str, Path]:
    """Write the records, one JSON object a line, into the first places that have room; where each is, by its id.
    OSError if not one could be written. Never overwrites a file, nor follows a link."""
    left = [(abort.id, line) for abort in aborts if (line := _line(abort))]
    stamp = f"{_MARK}{now:%Y%m%dT%H%M%S%f}"
    beside = ledger.with_name(ledger.name + stamp)
    writers: list[Callable[[_Lines], tuple[Path, int]]] = [
        partial(_into_reserve, _reserve_of(ledger), beside.with_name(f"{beside.name}.jsonl")),
        partial(_into_new, beside.with_name(f"{beside.name}-2.jsonl")),
        *(partial(_into_new, folder / f"{_name_elsewhere(ledger)}{stamp}.jsonl") for folder in _elsewhere(environ)),
    ]
    where: dict[str, Path] = {}
    errors: list[OSError] = []
    for write in writers:
        if left:
            try:
                place, count = write(left)
            except OSError as error:
                errors.append(error)
                continue
            where.update((abort_id, place) for abort_id, _ in left[:count])
            left = left[count:]
    if not where and errors:
        raise errors[-1]
    return where


def _line(abort: Abort) -> bytes:
    """The record on a line; nothing if it cannot be written down, which must not cost the others."""
    try:
        return msgspec.json.encode(abort) + b"\n"
    except (ValueError, msgspec.MsgspecError):
        return b""


def _into_reserve(reserve: Path, place: Path, lines: _Lines) -> tuple[Path, int]:
    """Over the reserve, which then is the rescue file. Should that not work (where files are never overwritten in
    place), the reserve is given up: its room is free for a new file."""
    fd = os.open(reserve, os.O_WRONLY | _SAFELY)
    try:
        count = _write(fd, lines)
        if not count:
            reserve.unlink()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(reserve))
        reserve.rename(place)
        return place, count
    finally:
        os.close(fd)


def _into_new(place: Path, lines: _Lines) -> tuple[Path, int]:
    fd = os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _SAFELY, 0o600)
    try:
        count = _write(fd, lines)
        if not count:
            place.unlink()
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(place))
        return place, count
    finally:
        os.close(fd)


def _write(fd: int, lines: _Lines) -> int:
    """Write from the start, as many whole lines as there is room for; how many are on the disk."""
    count = end = 0
    for _, line in lines:
        try:
            _write_all(fd, line)
        except OSError:
            break
        count, end = count + 1, end + len(line)
    if count:
        os.fsync(fd)
    os.ftruncate(fd, end)
    return count


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def _elsewhere(environ: Mapping[str, str]) -> list[Path]:
    """Folders for what need not last, which are on other disks as a rule, and there until the next start."""
    own = environ.get("RUNTIME_DIRECTORY", "").partition(":")[0]  # systemd's; there may be several
    named = (own, environ.get("XDG_RUNTIME_DIR", ""), environ.get("TMPDIR", ""))
    folders = [Path(folder) for folder in (*named, "/tmp", "/var/tmp") if folder.startswith("/")]  # noqa: S108  # created anew, links not followed
    return [folder for folder in dict.fromkeys(folders) if folder.is_dir()]


def _name_elsewhere(ledger: Path) -> str:
    """Many ledgers may share such a folder."""
    return f"budget-watchdog-{hashlib.sha256(os.fsencode(os.path.realpath(ledger))).hexdigest()[:16]}"


# --- at the next start -----------------------------------------------------------------------------------------------

Keep = Callable[[Abort], Awaitable[None]]


async def take_in_rescues(
    path: Path, store: AbortLedger, keep: Keep | None = None, environ: Mapping[str, str] = os.environ
) -> list[str]:
    """Write what was rescued into the ledger, unless it knows the record in a later version already; sentences on what
    became of each file. A line that cannot be read hurts only itself. Records that cannot be written now either are
    handed to `keep`, and their file stays; so does one that cannot be read."""
    said: list[str] = []
    _free_written_reserve(path)
    files = [*_rescued(path.parent, path.name), *_files_elsewhere(path, environ)]
    for file, is_ours in files:
        try:
            content = _read(file, must_be_ours=not is_ours)
        except OSError as error:
            said.append(
                f"{file}: rescued records cannot be read ({error.strerror or error}); they are not in the ledger"
            )
            continue
        aborts, faults = _records(content)
        said += [
            f"{file}:{number}: this record cannot be read ({fault}) and is not in the ledger"
            for number, fault in faults
        ]
        written = True
        for abort in aborts:
            known = await store.aborts(AbortFilter(abort_id=abort.id))
            if any(_version(each) >= _version(abort) for each in known):
                continue
            try:
                await store.save(abort)
            except LedgerError as error:
                written = False
                said.append(f"{file}: the record of abort {abort.id} cannot be written into the ledger yet ({error})")
                if keep is not None:
                    await keep(abort)
        if written:
            said.append(_put_away(file, len(aborts), damaged=bool(faults)))
    return said


async def prepare_rescue(path: Path, store: AbortLedger, keep: Keep, environ: Mapping[str, str]) -> list[str]:
    """Take in what was rescued at the last end, as `take_in_rescues` does, and reserve the room for the next; what
    people should know of it."""
    said = await take_in_rescues(path, store, keep, environ)
    try:
        reserve_room(path)
    except OSError as error:
        said.append(
            f"no room could be reserved beside {path} for records that cannot be written before the end "
            f"({error.strerror or error}); free some space"
        )
    return said


def _free_written_reserve(path: Path) -> None:
    """Records in the reserve itself: the process ended before it could give the file its name."""
    reserve = _reserve_of(path)
    with contextlib.suppress(OSError):
        if _read(reserve, must_be_ours=False, most=1).strip(b"\0"):
            reserve.rename(path.with_name(f"{path.name}{_MARK}reserve.jsonl"))


def _rescued(folder: Path, name: str) -> list[tuple[Path, bool]]:
    return [(file, True) for file in sorted(folder.glob(f"{glob.escape(name)}{_MARK}*.jsonl"))]


def _files_elsewhere(path: Path, environ: Mapping[str, str]) -> list[tuple[Path, bool]]:
    found = [_rescued(folder, _name_elsewhere(path)) for folder in _elsewhere(environ)]
    return [(file, False) for files in found for file, _ in files]


def _read(file: Path, *, must_be_ours: bool, most: int | None = None) -> bytes:
    """What is in the file. Where everybody may write (`must_be_ours`), only a file that nobody else can have made or
    changed."""
    fd = os.open(file, os.O_RDONLY | _SAFELY)
    with os.fdopen(fd, "rb") as opened:
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            raise OSError("this is no file")
        if must_be_ours and (found.st_uid != os.geteuid() or found.st_mode & 0o077 or found.st_nlink != 1):
            raise OSError("somebody else may have written it")
        return opened.read(-1 if most is None else most)


def _records(content: bytes) -> tuple[list[Abort], list[tuple[int, str]]]:
    """The records of a file, and what is wrong with each line that is none. The room that was reserved and not used
    reads as zeros."""
    aborts, faults = [], []
    for number, line in enumerate(content.split(b"\n"), 1):
        text = line.strip(b"\0 \t\r")
        if not text:
            continue
        try:
            aborts.append(msgspec.json.decode(text, type=Abort))
        except (ValueError, msgspec.MsgspecError) as error:
            faults.append((number, str(error)))
    return aborts, faults


def _version(abort: Abort) -> tuple[int, int, bool, bool]:
    """Which of two versions of a record is the later one."""
    saving = abort.saving
    revised = saving is not None and (saving.booked_usd is not None or saving.booked_credits is not None)
    return len(abort.history), abort.requests, abort.settled, revised


def _put_away(file: Path, records: int, *, damaged: bool) -> str:
    """Give the file a name by which it is not taken in again."""
    there = f"{records} rescued record{' is' if records == 1 else 's are'} in the ledger now"
    try:
        file.rename(file.with_suffix(".damaged" if damaged else ".imported"))
    except OSError as error:
        return f"{file}: {there}, but the file cannot be renamed ({error.strerror}); move it away"
    return f"{file}: {there}"
