"""lobstr's side: squids and runs that burn credits on a clock.

Life cycle after lobstr.io's public documentation: pending -> running <-> paused -> uploading -> done |
aborted, or error. One active run a squid. What its official clients (lobstrio-sdk, lobstrio, lobstr-mcp) know
better than the documentation is a knob of the account or of the run.
"""

from __future__ import annotations

import bisect
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Literal

from watchdog.simulated.account import Account, Fate, require_finite
from watchdog.simulated.clock import SimClock
from watchdog.simulated.life import Life, Step
from watchdog.simulated.lobstr_catalog import CRAWLERS, ID_ALPHABET, ID_LENGTH, LobstrCrawler, made_id
from watchdog.simulated.lobstr_run import (
    ABORTABLE,
    TERMINAL,
    DurationWhileRunning,
    EmailVerification,
    LobstrRun,
    RunHabits,
    plan,
    results_per_s,
)
from watchdog.simulated.lobstr_squid import LobstrSquid, LobstrTask, Login
from watchdog.simulated.rate import RateVerdict, SlidingWindow
from watchdog.simulated.records import PlatformName

__all__ = [
    "ABORTABLE",
    "TERMINAL",
    "EmailVerification",
    "LobstrAccount",
    "LobstrRun",
    "LobstrSquid",
    "LobstrTask",
    "Login",
]

_LIMITS = {"tasks": 90, "runtasks": 90, "results": 2}
"""Requests in the window of each group, where it is not that of squids and runs."""

ErrorShape = Literal["real", "errors", "error", "detail", "text"]


class LobstrAccount(Account[LobstrRun]):
    """The squids and runs of one lobstr user.

    Attributes may be changed at any time; seconds are platform time.
    """

    platform: PlatformName = "lobstr"

    def __init__(self, token: str, index: int, clock: SimClock, lock: threading.RLock, seed: int) -> None:
        super().__init__(token, index, clock, lock, seed)
        self.requests_per_minute: int | None = 120
        """Sliding limit on /v1/squids and on /v1/runs each, in platform time; None: off, and those of tasks and results
        (90 a minute, 2 a second) too."""
        self.too_many_requests_count = 0
        """How many requests were answered with 429 because of that limit."""
        self.abort_uploading_s = 5.0
        """How long an aborted run is `uploading` before it is `aborted`."""
        self.uploading_is_done = True
        """`is_done` of runs that are `uploading` (both are possible on the platform)."""
        self.abort_answers: Literal["run", "status", "object", "empty"] = "run"
        """What an abort that took effect is answered with: the run, `{"status": "aborted"}`, `{}`, no body at all."""
        self.abort_of_finished: Literal["missing", "unchanged"] = "missing"
        """An abort of a run that has ended: 404 (documentation), or 200 with the run as it is (lobstr-mcp)."""
        self.started_when_created = False
        """Whether `started_at` says when a run was created, already while it is pending (one documented answer)."""
        self.statuses_upper = False
        """Statuses of runs in upper case, as in the documentation's table; those of squids always are."""
        self.status_words: Mapping[str, str] = {}
        """Other words for a status, as clients expect them too: {"done": "finished", "aborted": "cancelled"}."""
        self.error_shape: ErrorShape = "real"
        """`real`: `{"errors": {"message", "type", "code"}}` from the API, `{"detail"}` from the framework before it
        (token, path, method, rate). `errors`, `error` (an object), `text` (`error` as a text), `detail`: always."""
        self.free_plan_cap: int | None = None
        """On free plans lists end after so many items, whatever `total_results` says, with a `warning` beside."""
        self.credits_available = 100_000.0
        """The allotment of the interval, not the rest."""
        self.credits_consumed_before = 0.0
        """Consumed in this interval by what the simulation does not show."""
        self.interval: Literal["daily", "monthly"] = "daily"
        """When the allotment comes anew; `consumed` is since then."""
        self.bonus_credit = 0
        self.rollover_credit = 0
        self.has_unpaid_bill = False
        self.slots = 10
        """Of the plan; each active squid takes as many as its concurrency."""
        self.email = f"jane{index}@example.com"
        self.new_runs: dict[str, Any] = {"pending_for": 5.0, "ends_after": 600.0}
        """How runs go that are started by the API: keywords of `start_run`."""
        self.squids: dict[str, LobstrSquid] = {}
        self.deleted_squids: list[LobstrSquid] = []
        self.crawlers: dict[str, LobstrCrawler] = {crawler.id: crawler for crawler in CRAWLERS}
        self.logins: dict[str, Login] = {}
        """Accounts on other platforms."""
        self.syncs: dict[str, str] = {}
        """Synchronizations of such accounts: their id -> the account's."""
        self.uploads: dict[str, dict[str, int]] = {}
        """Uploads of tasks: their id -> how many were valid, inserted, duplicates, invalid."""
        self._ran_out: tuple[datetime, float] | None = None
        self._windows = {
            "squids": SlidingWindow(60.0),
            "runs": SlidingWindow(60.0),
            "tasks": SlidingWindow(60.0),
            "runtasks": SlidingWindow(60.0),
            "results": SlidingWindow(1.0),
        }

    def add_crawler(self, crawler: LobstrCrawler) -> str:
        """Add to the catalogue, or replace what has this id; the id."""
        with self.lock:
            self.crawlers[crawler.id] = crawler
            return crawler.id

    def add_squid(
        self,
        name: str,
        crawler: str = "Google Maps Search Export",
        crawler_id: str | None = None,
        *,
        tasks: Sequence[str] = ("https://www.google.com/maps/search/restaurant",),
    ) -> str:
        """Make a squid on a crawler; its id (32 hex digits).

        `crawler_id` is made from the crawler's name if left out; a crawler that is not in the catalogue comes into it.
        `tasks`: the addresses that it works off.
        """
        with self.lock:
            crawler_id = crawler_id or made_id(crawler)
            on = self.crawlers.setdefault(crawler_id, LobstrCrawler(id=crawler_id, name=crawler))
            return self.make_squid(name, on, tasks).id

    def make_squid(self, name: str, on: LobstrCrawler, tasks: Sequence[str] = ()) -> LobstrSquid:
        """As `add_squid`, on a crawler of the catalogue."""
        now_s = self.clock.elapsed_s()
        squid = LobstrSquid(self.make_id(), name, on, now_s)
        for url in tasks:
            squid.add_task({on.task_params[0]: url}, now_s)
        self.squids[squid.id] = squid
        return squid

    def delete_squid(self, squid: str) -> None:
        """Delete a squid for good; what runs is stopped, and its runs are not found any more."""
        with self.lock:
            now_s = self.clock.elapsed_s()
            self.sync(now_s)
            home = self.squids.pop(squid)
            self._cut_short(home, now_s, "aborted")
            home.deleted_s = now_s
            self.deleted_squids.append(home)

    def find(self, run_id: str) -> LobstrRun | None:
        run = super().find(run_id)
        return None if run is None or run.squid.deleted_s is not None else run

    @property
    def used_slots(self) -> int:
        """What the active squids reserve, whether they run or not."""
        return sum(squid.concurrency for squid in self.squids.values() if squid.is_active)

    def start_run(
        self,
        squid: str,
        *,
        credits_per_hour: float = 60.0,
        curve: Callable[[float], float] | None = None,
        results_total: int | None = 1000,
        ends_after: float | None = 3600.0,
        ends_as: Literal["done", "error"] = "done",
        done_reason: str | None = None,
        pauses: Sequence[tuple[float, float]] = (),
        pause_reason: str | None = None,
        started_ago: float = 0.0,
        pending_for: float = 0.0,
        uploading_for: float = 10.0,
        total_tasks: int = 10,
        run_id: str | None = None,
        duration_share: float = 0.66,
        duration_while_running: DurationWhileRunning = "share",
        duration_null: bool = False,
        verification: EmailVerification | None = None,
        origin: str = "user",
        credits_lost: bool = False,
        beside: bool = False,
    ) -> LobstrRun:
        """Start a run of the squid with this id; durations in seconds of platform time.

        `curve`: running seconds -> credits (monotone), instead of linear. `results_total`: expected results,
        None if the platform cannot know. `ends_after`: running seconds until the natural end, None: never.
        `done_reason`: the platform's word for that end, an open set. `pauses`: after how many running seconds, and for
        how long; `pause_reason`: the `done_reason` meanwhile. `duration_share`: `duration` of lists, details and abort
        answers is this share of the time spent running, for it is not the time elapsed (which `/stats` has);
        `duration_while_running`: that share, or 0, or null until the end; `duration_null`: null in all answers,
        always. `verification`: e-mail addresses are verified, and charged, once nothing more is collected.
        `credits_lost`: `/credits` answers 404, as for runs older than the ledger of credits. `beside`: even if the
        squid has an active run (as a user finds it whose older run still runs while the newer one is pending).

        ValueError if the squid has an active run or is not active, or for figures that cannot be; KeyError for an
        unknown squid.
        """
        require_finite(
            credits_per_hour=credits_per_hour,
            ends_after=ends_after,
            started_ago=started_ago,
            pending_for=pending_for,
            uploading_for=uploading_for,
            duration_share=duration_share,
        )
        with self.lock:
            home = self.squids[squid]
            now_s = self.clock.elapsed_s()
            self.sync(now_s)
            if not home.is_active:
                raise ValueError(f"squid {home.name!r} is not active")
            if not beside and home.runs and any(run.phase.status not in TERMINAL for run in home.runs):
                raise ValueError(f"squid {home.name!r} has an active run")
            credits_per_s = credits_per_hour / 3600
            habits = RunHabits(
                credits_of=curve or (lambda ran_s: ran_s * credits_per_s),
                results_total=results_total,
                results_per_s=results_per_s(results_total, ends_after),
                total_tasks=total_tasks,
                duration_share=duration_share,
                duration_while_running=duration_while_running,
                duration_null=duration_null,
                done_reason=done_reason or ("error" if ends_as == "error" else "tasks_done"),
                pause_reason=pause_reason,
                verification=verification,
                origin=origin,
                credits_lost=credits_lost,
            )
            life = Life(now_s - started_ago, plan(pending_for, pauses, ends_after, uploading_for, ends_as))
            run = LobstrRun(run_id or self.make_id(), home, life, self.clock, self.index, habits)
            run.settle_plan()
            self.admit(run)
            bisect.insort(home.runs, run, key=lambda other: other.life.start_s)
            return run

    def abort_in_dashboard(self, run: LobstrRun) -> None:
        """Let the user abort a run by hand: the same as the call, but the truth does not count it as one."""
        with self.lock:
            now_s = self.clock.elapsed_s()
            self.sync(now_s)
            if run.phase.status in ABORTABLE:
                self._stop(run, now_s, Fate.NORMAL, "aborted")

    def abort(self, run: LobstrRun, now_s: float, fate: Fate = Fate.NORMAL) -> bool:
        """What the abort call does: stop collecting, export what there is.

        False if there is nothing to abort.
        """
        if run.phase.status not in ABORTABLE:
            return False
        if fate is not Fate.IGNORED:
            self._stop(run, now_s, fate, "aborted")
            run.effective_abort_s = now_s
        return True

    def set_active(self, squid: str, active: bool) -> None:
        """Switch a squid on or off. Off: no new runs, and what runs is cut short as `deactivated`."""
        with self.lock:
            home = self.squids[squid]
            now_s = self.clock.elapsed_s()
            self.sync(now_s)
            home.is_active = active
            if not active:
                self._cut_short(home, now_s, "deactivated")

    def run_out_of_credits(self, resumes_after: float | None = None) -> None:
        """Let the allotment be used up now: what runs is paused until the allotment comes anew (or for
        `resumes_after` seconds), and nothing can be started. `consumed` stays at the allotment."""
        with self.lock:
            now_s = self.clock.elapsed_s()
            self.sync(now_s)
            rest = max(0.0, self.credits_available - self.consumed(now_s))
            self._ran_out = (self._interval_began(now_s), rest)
            paused_s = self.clock.elapsed_at(self.reset_at(now_s)) - now_s if resumes_after is None else resumes_after
            for run in self.runs:
                if run.phase.status == "running":
                    run.life.replan(now_s, [Step("paused", False, paused_s), *run.life.ahead(now_s)])
                    run.out_of_credits.append((now_s, now_s + paused_s))
                    self.replanned(run, now_s)

    def consumed(self, now_s: float) -> float:
        """Credits consumed in the present interval. Without bounds: it may be more than the allotment."""
        since_s = self.clock.elapsed_at(self._interval_began(now_s))
        before = 0.0 if since_s > 0 else self.credits_consumed_before
        if self._ran_out and self._ran_out[0] == self._interval_began(now_s):
            before += self._ran_out[1]
        return before + sum(
            run.usage_at(now_s).credits - (run.usage_at(since_s).credits if run.life.start_s < since_s else 0.0)
            for run in self.runs
        )

    def reset_at(self, now_s: float) -> datetime:
        """When the allotment comes anew."""
        began = self._interval_began(now_s)
        if self.interval == "daily":
            return began + timedelta(days=1)
        return (began + timedelta(days=32)).replace(day=1)

    def _interval_began(self, now_s: float) -> datetime:
        midnight = self.clock.at(now_s).replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight if self.interval == "daily" else midnight.replace(day=1)

    def _cut_short(self, squid: LobstrSquid, now_s: float, reason: str) -> None:
        for run in squid.runs:
            if run.phase.status in ABORTABLE:
                self._stop(run, now_s, Fate.NORMAL, reason)

    def _stop(self, run: LobstrRun, now_s: float, fate: Fate, reason: str) -> None:
        takes_s = None if fate is Fate.STUCK else self.abort_uploading_s
        ends_as = "aborted" if reason == "aborted" else "done"
        run.life.replan(now_s, [Step("uploading", False, takes_s), Step(ends_as, False)])
        run.cut_short_as = reason
        self.replanned(run, now_s)

    def take(self, group: str, now_s: float) -> RateVerdict | None:
        """Count a request to the first part of a path; None if nothing limits it."""
        if self.requests_per_minute is None or group not in self._windows:
            return None
        verdict = self._windows[group].take(now_s, _LIMITS.get(group, self.requests_per_minute))
        if not verdict.allowed:
            self.too_many_requests_count += 1
        return verdict

    def make_id(self) -> str:
        """A new id, 32 hex digits."""
        return self.new_id(ID_ALPHABET, ID_LENGTH)
