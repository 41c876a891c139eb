"""One account, and all that its watch rests on."""

from __future__ import annotations

from dataclasses import dataclass, field

from watchdog.domain.notice import AccountInfo
from watchdog.domain.ports import Clock, Observer, Platform, WatchLedger
from watchdog.domain.run import Snapshot
from watchdog.engine.assess import CALM_S, Case, Terms, plan_far_off
from watchdog.engine.cadence import LISTS_SHARE, discovery_interval_s
from watchdog.engine.evaluate import LimitsOfSource
from watchdog.engine.forecast import Latency
from watchdog.runtime.enforcer import Enforcer, pace_for
from watchdog.runtime.memory import Memory, Watched
from watchdog.runtime.rulebook import Rulebook
from watchdog.runtime.watch.histories import Histories

#: What a look takes before any has been measured, in seconds.
LOOK_FIRST_S = 0.5


@dataclass(slots=True)
class Account:
    """One account. `poll_interval_s`: how often somebody wants it swept (None: as the rate budget allows). `pages`: how
    many calls the bare list takes; `look_s`: what a look before an abort takes."""

    info: AccountInfo
    platform: Platform
    rulebook: Rulebook
    enforcer: Enforcer
    ledger: WatchLedger
    observer: Observer
    clock: Clock
    memory: Memory
    poll_interval_s: float | None
    requests_per_minute: float
    pages: int = 1
    look_s: Latency = field(default_factory=lambda: Latency(LOOK_FIRST_S))
    histories: Histories = field(init=False)

    def __post_init__(self) -> None:
        self.histories = Histories(self.ledger)

    @property
    def name(self) -> str:
        """What it is called."""
        return self.info.name

    @property
    def interval_s(self) -> float:
        """Seconds between two sweeps: as configured, else as the length of the list and the rate budget allow."""
        if self.poll_interval_s is None:
            return discovery_interval_s(self.pages, self.requests_per_minute)
        if self.platform.traits.sweep_shows_usage:
            return self.poll_interval_s
        # The list is not what shows usage: it must leave the rate budget to the looks that do.
        least_s = self.pages / self.requests_per_minute * 60.0 / LISTS_SHARE
        return max(self.poll_interval_s, least_s)

    def limits(self, run: Snapshot) -> LimitsOfSource:
        """The limits on this run."""
        return self.rulebook.evaluator.limits(run)

    def terms(self, now_s: float) -> Terms:
        """On what terms its runs are watched at this moment."""
        pace, interval_s = pace_for(self.platform), self.interval_s
        return Terms(
            runs=len(self.memory),
            requests_per_minute=self.requests_per_minute,
            sweep_shows_usage=self.platform.traits.sweep_shows_usage,
            interval_s=interval_s,
            poll_interval_s=self.poll_interval_s,
            gap_s=self.memory.gap_s,
            look_s=self.look_s.high,
            modes=self.info.modes,
            stopping_s=self.enforcer.stopping_s(self.name),
            overdue_s=pace.window_s + pace.slack_s,
            changes=self.rulebook.changes,
            now_s=now_s,
            far_off=plan_far_off(interval_s, now_s),
            calm_until_s=now_s + CALM_S,
        )

    def case(self, watched: Watched, now_s: float, terms: Terms | None = None, run: Snapshot | None = None) -> Case:
        """The run, and all that it is judged by. `run`: the snapshot that its limits are those of (None: the list's);
        `terms`: those of now, where they are at hand."""
        run = run or watched.swept
        limits = self.limits(run)
        # Only where limits are never to be exceeded it matters before the decision how a run is stopped.
        flagged = not limits.simple and self.rulebook.ruling(self.clock.now()).is_flagged(run)
        history = self.histories.of(run.source.id)
        return Case(watched, limits, terms or self.terms(now_s), now_s, history, flagged)
