"""A run of an Actor: what it is in truth, and what the API shows of it.

Life cycle: READY -> RUNNING -> SUCCEEDED | FAILED | TIMING-OUT -> TIMED-OUT | ABORTING -> ABORTED ("Runs and builds" of
Apify's documentation).
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Final

import msgspec

from watchdog.simulated.account import SimRun
from watchdog.simulated.apify_pricing import Curve, Pricing, Work
from watchdog.simulated.apify_records import ApifyActor, Metamorph, RunShort
from watchdog.simulated.clock import SimClock, iso_millis
from watchdog.simulated.life import Life, Phase
from watchdog.simulated.records import PlatformName, Usage

TERMINAL: Final = frozenset({"SUCCEEDED", "FAILED", "TIMED-OUT", "ABORTED"})
STATUSES: Final = TERMINAL | {"READY", "RUNNING", "TIMING-OUT", "ABORTING"}
ABORTABLE: Final = frozenset({"READY", "RUNNING", "TIMING-OUT"})

SETTLE_LAG_S: Final = 2.0
"""How far behind the end the totals of a run that has just finished are."""
DATASET_LAG_S: Final = 5.0
"""How far behind the run its dataset's itemCount is, unless told otherwise (documented as eventually consistent)."""
MESSAGE_MAX: Final = 500
"""Status messages are cut at so many characters (the emulator apify/actor-runtime)."""
METAMORPHS_MAX: Final = 10
RESTARTS_MAX: Final = 3
"""How often a run is restarted after an error, where that is switched on."""


class Shown(msgspec.Struct, frozen=True, kw_only=True):
    """What the API shows of a run, where that is less or later than the truth; see `ApifyAccount.start_run`."""

    stats_missing: Collection[str] = ()
    stats_none: bool = False
    stats_fresh_s: float | None = None
    cost_in_list: bool = True
    cost_hidden: bool = False
    cost_lag_s: float = 0.0
    list_lag_s: float = 0.0
    list_less_usd: float = 0.0
    dataset_lag_s: float = DATASET_LAG_S
    refresh_every_s: float = 0.0
    refresh_stats: bool = True
    settle_s: float = 10.0
    detail_from_s: float = float("-inf")
    """Until this moment asking for the run by its id gives 404."""
    start_from_s: float = float("-inf")
    """Until this moment `startedAt` is absent."""

    @property
    def is_all(self) -> bool:
        """Whether lists show an active run as it is."""
        return self.cost_in_list and not (
            self.cost_hidden
            or self.refresh_every_s
            or self.cost_lag_s
            or self.list_lag_s
            or self.list_less_usd
            or self.start_from_s > float("-inf")
        )


class ApifyRun(SimRun):
    """A run of an Actor."""

    platform: PlatformName = "apify"
    terminal = TERMINAL

    def __init__(
        self,
        life: Life,
        clock: SimClock,
        account: int,
        short: RunShort,
        actor: ApifyActor,
        *,
        cost: Curve | None,
        pricing: Pricing | None,
        results: Curve,
        shown: Shown,
        memory_mbytes: int,
        timeout_secs: int,
        ends_after_s: float | None,
        ends_as: str,
        graceful_takes_s: float | None,
        resurrect_count: int,
        restart_on_error: bool,
        max_total_charge_usd: float | None,
        max_items: int | None,
    ) -> None:
        self.short = short
        self.started_at = iso_millis(clock.at(life.start_s))
        super().__init__(short.id, actor.label, life, clock, account)
        self.actor = actor
        self.cost = cost
        self.pricing = pricing
        self.results = results
        self.shown = shown
        self._is_plain = shown.is_all and pricing is None
        self.memory_mbytes = memory_mbytes
        self.timeout_secs = timeout_secs
        self.ends_after_s = ends_after_s
        self.ends_as = ends_as
        self.graceful_takes_s = graceful_takes_s
        self.resurrect_count = resurrect_count
        self.restart_on_error = restart_on_error
        self.max_total_charge_usd = max_total_charge_usd
        self.max_items = max_items
        self.build = "latest"
        self.input_body = b"{}"
        self.input_type = "application/json; charset=utf-8"
        self.general_access = "FOLLOW_USER_SETTING"
        self.reboot_count = 0
        self.charged: dict[str, int] = {}
        """Events charged by the call for it, beside those of the Actor's own going."""
        self.charge_keys: set[str] = set()
        self.metamorphs: list[Metamorph] = []
        self.status_message: str | None = None
        self.is_status_message_terminal: bool | None = None
        self._natural_starts = 0

    @property
    def clock(self) -> SimClock:
        """The clock that it lives by."""
        return self._clock

    def enter(self, phase: Phase) -> None:
        super().enter(phase)
        finished = phase.status in TERMINAL
        self.short.status = phase.status
        self.short.finished_at = iso_millis(self._clock.at(phase.start_s)) if finished else None

    def settle_plan(self) -> None:
        super().settle_plan()
        if self.natural_end is not None:
            self._natural_starts = self._starts(self.natural_end.start_s)

    def usage_at(self, now_s: float) -> Usage:
        now_s = max(now_s, self.life.start_s)
        phase = self.life.at(now_s)
        return self._usage(phase.ran_s(now_s), phase.gb_seconds(now_s), self._starts(now_s))

    def natural_usage(self) -> Usage | None:
        end = self.natural_end
        return None if end is None else self._usage(end.ran_before_s, end.gb_seconds_before, self._natural_starts)

    def work_at(self, moment_s: float) -> Work:
        """What it had done by then that may be charged."""
        moment_s = max(moment_s, self.life.start_s)
        return self._work(self.life.ran_s(moment_s), self._starts(moment_s))

    def listed(self, now_s: float) -> RunShort:
        """The item of lists at `now_s`."""
        item, phase, shown = self.short, self.phase, self.shown
        if self._is_plain and phase.status not in TERMINAL and self.cost is not None:
            # The hot way: 1,000 of these make a page.
            item.usage_total_usd = round(self.cost(phase.ran_s(now_s)), 9)
            return item
        item.usage_total_usd = self._listed_usd(now_s) if shown.cost_in_list else msgspec.UNSET
        item.started_at = self.started_at if now_s >= shown.start_from_s else msgspec.UNSET
        return item

    def _listed_usd(self, now_s: float) -> float | msgspec.UnsetType:
        usd = self.shown_usd(now_s, self.shown.list_lag_s)
        if isinstance(usd, msgspec.UnsetType) or not self.shown.list_less_usd:
            return usd
        return max(0.0, round(usd - self.shown.list_less_usd, 9))

    def shown_usd(self, now_s: float, more_lag_s: float = 0.0) -> float | msgspec.UnsetType:
        """`usageTotalUsd` as the run's own page shows it at `now_s`, or what is so much further behind."""
        if self.shown.cost_hidden:
            return msgspec.UNSET
        moment_s = min(self.figures_s(now_s), now_s - self.shown.cost_lag_s - more_lag_s)
        usd = self._cost_usd(self.work_at(moment_s))
        return msgspec.UNSET if usd is None else round(usd, 9)

    def figures_s(self, now_s: float, refreshed: bool = True) -> float:
        """The moment that the figures shown at `now_s` are of."""
        shown = self.shown
        if self.phase.status in TERMINAL:
            end_s = self.phase.start_s
            if now_s >= end_s + shown.settle_s:
                return end_s
            now_s = end_s - SETTLE_LAG_S
        if refreshed and shown.refresh_every_s:
            now_s -= (now_s - self.life.start_s) % shown.refresh_every_s
        return max(now_s, self.life.start_s)

    def is_fresh(self, now_s: float) -> bool:
        """Whether its statistics are still incomplete, where they are to be so."""
        fresh_s = self.shown.stats_fresh_s
        return fresh_s is None or self.life.ran_s(now_s) < fresh_s

    def restart_count(self, now_s: float) -> int:
        """How often it has failed and gone on."""
        if not (self.restart_on_error and self.ends_as == "FAILED" and self.ends_after_s):
            return 0
        return min(RESTARTS_MAX, int(self.life.ran_s(now_s) // self.ends_after_s))

    def item_count(self, now_s: float) -> int:
        """Results in the default dataset as the API shows them."""
        return self.work_at(now_s - self.shown.dataset_lag_s).results

    def _starts(self, moment_s: float) -> int:
        """How often it had begun to run by then."""
        phases = [phase.status for phase in self.life.phases if phase.start_s <= moment_s]
        return sum(after == "RUNNING" != before for before, after in zip(["", *phases], phases, strict=False))

    def _work(self, ran_s: float, starts: int) -> Work:
        return Work(ran_s, starts, int(self.results(ran_s)), self.charged)

    def _cost_usd(self, work: Work) -> float | None:
        if self.pricing is not None:
            return self.pricing.usd(work)
        return None if self.cost is None else self.cost(work.ran_s)

    def _usage(self, ran_s: float, gb_seconds: float, starts: int) -> Usage:
        work = self._work(ran_s, starts)
        return Usage(gb_seconds / 3600, self._cost_usd(work), ran_s, work.results)
