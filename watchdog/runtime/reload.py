"""Reloading: the rule files are read anew, judged, and put in force or turned down.

Somebody asks for it (a signal, an admin call), or the files change under a watch. What tells a change is one thing
only: a digest of names and contents, taken every few seconds. That is right on every file system and for every way of
writing (in place through a bind mount, a temporary file renamed over, the symbolic link that Kubernetes swaps, a folder
that is away for a moment). Events of the file system only make the next look come sooner; where there are none, as on
NFS, nothing but time is lost.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from watchfiles import Change, watch

from watchdog.domain.notice import AccountInfo, RulesLoaded, RulesRejected, Trigger, Trouble
from watchdog.domain.ports import Clock, Observer
from watchdog.domain.rule import RuleSet
from watchdog.domain.rule_changes import RuleChanges
from watchdog.errors import ConfigurationError
from watchdog.runtime.rulebook import Rulebook

#: Files change in real time, whatever the clock of the daemon: all of these are real seconds.
#: How often the files are compared with what was judged last.
POLL_S = 5.0
#: What changes must hold still for so long before it is judged: files are written one after the other.
SETTLE_S = 1.0
#: ... but not longer than this: a file that never rests must not keep its rules out.
UNREST_S = 15.0
#: A mistake must stay for so long before it is told: it may be half of a file, or a folder on its way.
PATIENCE_S = 5.0
#: Events are gathered for so long; also how often the thread that waits for them looks up, in milliseconds.
_DEBOUNCE_MS = 300
_STEP_MS = 100


class Judged(Protocol):
    """Rules that are in order, with what is doubtful about them."""

    @property
    def rules(self) -> RuleSet: ...

    @property
    def warnings(self) -> Sequence[object]: ...


class Draft(Protocol):
    """The rule files as they were at one moment."""

    @property
    def digest(self) -> str:
        """Tells names and contents from any others."""
        ...

    def judge(self) -> Judged:
        """What they say. Raises ConfigurationError."""
        ...


@dataclass(frozen=True, slots=True)
class Reloaded:
    """How a reload ended: with `error` the last good rules, of which there are `rules`, stay."""

    rules: int
    changes: RuleChanges = field(default_factory=RuleChanges)
    warnings: tuple[str, ...] = ()
    error: ConfigurationError | None = None


@dataclass(frozen=True, slots=True)
class _Rejection:
    error: ConfigurationError
    since: datetime


async def _nothing_beside() -> Sequence[str]:
    return ()


class Reloader:
    """Puts rules in force. `read` reads the files; `digest` is that of the rules in force at the start. `beside` does
    whatever else belongs to a reload, and returns a sentence for each thing that somebody should know."""

    def __init__(
        self,
        read: Callable[[], Draft],
        rulebook: Rulebook,
        observer: Observer,
        clock: Clock,
        accounts: tuple[AccountInfo, ...],
        digest: str,
        beside: Callable[[], Awaitable[Sequence[str]]] = _nothing_beside,
    ) -> None:
        self._read = read
        self._beside = beside
        self._rulebook = rulebook
        self._observer = observer
        self._clock = clock
        self._accounts = accounts
        self._judged = digest
        self._loaded_at = clock.now()
        self._rejection: _Rejection | None = None
        self._turn = asyncio.Lock()

    async def read(self) -> Draft:
        """The files as they are. In a thread: no file system may hold up an abort."""
        return await asyncio.to_thread(self._read)

    def knows(self, draft: Draft) -> bool:
        """Whether these very contents were the last to be judged."""
        return draft.digest == self._judged

    async def reload(self, trigger: Trigger) -> Reloaded:
        """Read the files and act on them now, whatever they are."""
        async with self._turn:
            return await self._take(await self.read(), trigger)

    async def take_change(self, draft: Draft) -> None:
        """Act on what a watch has found, unless somebody else did so meanwhile."""
        async with self._turn:
            if not self.knows(draft):
                await self._take(draft, Trigger.FILE)

    async def _take(self, draft: Draft, trigger: Trigger) -> Reloaded:
        try:
            judged = await asyncio.to_thread(draft.judge)
        except ConfigurationError as error:
            reloaded = self._reject(error, trigger)
        else:
            reloaded = self._put_in_force(judged, trigger)
        self._judged = draft.digest
        warnings = (*reloaded.warnings, *await self._beside())
        for warning in warnings:
            self._observer.notice(Trouble(warning))
        return replace(reloaded, warnings=warnings)

    def _reject(self, error: ConfigurationError, trigger: Trigger) -> Reloaded:
        now = self._clock.now()
        since = self._rejection.since if self._rejection else now
        self._rejection = _Rejection(error, since)
        self._observer.notice(RulesRejected(error, now, trigger))
        return Reloaded(len(self._rulebook.rules.rules), error=error)

    def _put_in_force(self, judged: Judged, trigger: Trigger) -> Reloaded:
        changes = RuleChanges.between(self._rulebook.rules, judged.rules)
        # Also if nothing changed but the lines that the rules stand in.
        if judged.rules != self._rulebook.rules:
            self._rulebook.replace(judged.rules)
        self._rejection = None
        self._loaded_at = self._clock.now()
        self._observer.notice(RulesLoaded(judged.rules, self._accounts, self._loaded_at, trigger, changes))
        return Reloaded(len(judged.rules.rules), changes, tuple(map(str, judged.warnings)))

    def describe(self) -> str:
        """How it stands with the rules, in a sentence for people."""
        count = len(self._rulebook.rules.rules)
        rules = f"{count} rule{'s' if count != 1 else ''}"
        loaded = f"{self._loaded_at:%Y-%m-%dT%H:%M:%SZ}"
        if self._rejection is None:
            return f"{rules}, loaded {loaded}"
        first, *more = self._rejection.error.problems
        others = f" (and {len(more)} more)" if more else ""
        since = f"{self._rejection.since:%Y-%m-%dT%H:%M:%SZ}"
        return f"the files on disk are rejected since {since}; {rules} loaded {loaded} stay in force: {first}{others}"


class RuleWatch:
    """Reloads when the files change; a service of the daemon. All times in real seconds (see the constants)."""

    def __init__(
        self,
        reloader: Reloader,
        path: Path,
        observer: Observer,
        *,
        poll_s: float = POLL_S,
        settle_s: float = SETTLE_S,
        unrest_s: float = UNREST_S,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._reloader = reloader
        self._path = path.absolute()
        self._observer = observer
        self._poll_s = poll_s
        self._settle_s = settle_s
        self._unrest_s = unrest_s
        self._patience_s = patience_s
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()

    async def start(self) -> None:
        """Watch from now on; what changed since the rules were read at the start counts too."""
        self._task = asyncio.create_task(self._run(), name="rule files")

    async def stop(self) -> None:
        """Ends within the step of the thread that waits for events."""
        self._wake.set()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _run(self) -> None:
        while True:
            try:
                await self._look()
            except Exception as error:  # noqa: BLE001  # it must be seen, and must not end the watch
                self._observer.notice(Trouble(f"internal error in the watch of the rules: {error!r}", level="error"))
            await self._pause()

    # ---- what has changed

    async def _look(self) -> None:
        """Act on a change once it holds still; on a mistake once it has stayed."""
        draft = await self._reloader.read()
        since = asyncio.get_running_loop().time()
        while not self._reloader.knows(draft):
            draft = await self._at_rest(draft)
            if await self._is_good(draft) or asyncio.get_running_loop().time() - since >= self._patience_s:
                await self._reloader.take_change(draft)
                return
            await asyncio.sleep(self._settle_s)
            draft = await self._reloader.read()

    async def _at_rest(self, draft: Draft) -> Draft:
        """The files when two readings were the same, or what there is after a time without rest."""
        end = asyncio.get_running_loop().time() + self._unrest_s
        while True:
            await asyncio.sleep(self._settle_s)
            before, draft = draft, await self._reloader.read()
            if draft.digest == before.digest or asyncio.get_running_loop().time() >= end:
                return draft

    @staticmethod
    async def _is_good(draft: Draft) -> bool:
        try:
            await asyncio.to_thread(draft.judge)
        except ConfigurationError:
            return False
        return True

    # ---- when to look

    async def _pause(self) -> None:
        """Until the next look is due, or an event says that it should be now."""
        try:
            await self._until_event()
        except (OSError, RuntimeError):
            # Nothing there to be watched, or the system has no watches left: time does it as well.
            await asyncio.sleep(self._poll_s)

    async def _until_event(self) -> None:
        """Until something happens at the path, or the time is over. The watch is made anew each time: one that was made
        before sees nothing of a folder or file that took the place of another."""
        self._wake.clear()
        timer = asyncio.get_running_loop().call_later(self._poll_s, self._wake.set)
        try:
            await asyncio.to_thread(self._await_event)
        finally:
            timer.cancel()
            # Should this be cancelled, the thread goes on until it sees that.
            self._wake.set()

    def _await_event(self) -> None:
        """In a thread. Not `awatch`, which takes 50 ms and 1.3 MB more for anyio's view of the event loop."""
        near = [path for path in (self._path, self._path.parent) if path.exists()]
        events = watch(
            *near,
            watch_filter=self._is_ours,
            stop_event=self._wake,
            recursive=False,
            debounce=_DEBOUNCE_MS,
            step=_STEP_MS,
            force_polling=False,
        )
        with closing(events):
            next(events, None)

    def _is_ours(self, change: Change, path: str) -> bool:
        """Whether an event in the folder or beside it is about the rules: other files may lie there, and be busy."""
        there = Path(path)
        return there.name == self._path.name or there.parent.name == self._path.name
