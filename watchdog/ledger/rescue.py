"""The last resort: records that could not be written before the end go into a file beside the ledger, and from there
into the ledger at the next start."""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import msgspec

from watchdog.domain.decision import Abort
from watchdog.domain.ports import Ledger
from watchdog.errors import LedgerError

_MARK = ".rescued-"


def write_rescue(ledger: Path, aborts: Sequence[Abort], now: datetime) -> Path:
    """Write the records, one JSON object a line; OSError if even that cannot be done. Never overwrites a file."""
    path = ledger.with_name(f"{ledger.name}{_MARK}{now:%Y%m%dT%H%M%S%f}.jsonl")
    lines = b"".join(msgspec.json.encode(abort) + b"\n" for abort in aborts)
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with os.fdopen(fd, "wb") as file:
        file.write(lines)
        file.flush()
        os.fsync(file.fileno())
    return path


async def take_in_rescues(path: Path, store: Ledger) -> list[str]:
    """Write what was rescued into the ledger, unless it knows the record in a later version already; one sentence for
    each file. A file that cannot be read stays where it is."""
    said = []
    for file in sorted(path.parent.glob(f"{path.name}{_MARK}*.jsonl")):
        try:
            aborts = [msgspec.json.decode(line, type=Abort) for line in file.read_bytes().splitlines() if line.strip()]
        except (OSError, msgspec.DecodeError) as error:
            said.append(f"{file}: rescued records cannot be read ({error}); they are not in the ledger")
            continue
        known = {abort.id: abort for abort in await store.aborts()}
        for abort in aborts:
            if abort.id not in known or len(known[abort.id].history) < len(abort.history):
                await store.save(abort)
        try:
            file.rename(file.with_suffix(".imported"))
        except OSError as error:
            text = f"{file}: its records are in the ledger now, but it cannot be renamed ({error}); move it away"
            raise LedgerError(text) from error
        said.append(f"{file}: {len(aborts)} rescued records are in the ledger now")
    return said
