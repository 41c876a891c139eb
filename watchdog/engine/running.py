"""How long a run has run, as far as that can be proven.

Facts used (recorded answers of both): Apify's `startedAt` is the creation of the run, so that the time since then is
more than it has run by what it waited in READY and, after a resurrection, by what it was stopped; `stats.runTimeSecs`
is the running time, but may be missing. lobstr's `duration` is less than the elapsed time, and may be missing. So the
platform's figure, where there is one, is a lower bound that may lag behind, and what was seen running is another.
Nothing is ever decided from the time since the start.
"""

from __future__ import annotations

import math

import msgspec

from watchdog.domain.meter import Meter
from watchdog.domain.run import RunState, Snapshot, replace


class RunningTime(msgspec.Struct, gc=False):
    """The running time of one run, look by look. All times in seconds of the monotonic clock.

    `seen_s` was spent before our eyes: from one sighting in RUNNING to the next, if the run cannot have stopped in
    between. `stretch_s` of it lie in the present stretch without a break; `unsure_s` were added since the last number
    of resurrections, and are taken back if the next one is another. `shown_s` is the platform's figure as last shown,
    and `lifted_s` what it lags behind by for sure at `shown_at_s`, the last inspection; `exact` says that it is the
    whole running time, so that nothing that was seen adds to it. `running` and `ran` are whether it was RUNNING at the
    last sighting, and at the last inspection. `credits_before` are the compute units of the earlier stretches, as far
    as the memory they ran with (`rate_per_s`) was known.
    """

    at_s: float
    running: bool
    seen_s: float = 0.0
    stretch_s: float = 0.0
    unsure_s: float = 0.0
    shown_s: float | None = None
    shown_at_s: float = 0.0
    exact: bool = False
    ran: bool = False
    resurrections: int | None = None
    rate_per_s: float | None = None
    credits_before: float = 0.0
    lifted_s: float = 0.0

    @property
    def proven_s(self) -> float:
        """It had run for at least so long at `at_s`."""
        if self.exact and self.shown_s is not None:
            return self.shown_s + self.lifted_s
        return max(self.seen_s, (self.shown_s or 0.0) + self.lifted_s)

    @property
    def seen_credits(self) -> float | None:
        """It had used at least so many compute units at `at_s`: memory x time seen running. None: memory not known."""
        return None if self.rate_per_s is None else self.credits_before + self.rate_per_s * self.stretch_s

    def proven_at(self, now_s: float) -> float:
        """What would be proven at this moment, were the run seen running all the while."""
        since_s = max(0.0, now_s - (self.shown_at_s if self.exact else self.at_s))
        return self.proven_s + (since_s if self.running else 0.0)

    def sight(self, state: RunState, at_s: float, *, unbroken: bool) -> None:
        """It was seen in this state. `unbroken`: it cannot have stopped and started again since the last sighting."""
        seconds = max(0.0, at_s - self.at_s)
        if self.running and state is RunState.RUNNING and unbroken:
            self.seen_s += seconds
            self.stretch_s += seconds
            self.unsure_s += seconds
        else:
            self.interrupt()
        self.at_s, self.running = max(self.at_s, at_s), state is RunState.RUNNING

    def interrupt(self) -> None:
        """It may have stopped, nobody knows for how long: what was proven stays, and counts on from the next
        sighting."""
        self.credits_before = self.seen_credits or 0.0
        self.stretch_s, self.running = 0.0, False

    def inspect(self, seen: Snapshot, at_s: float, *, unbroken: bool) -> None:
        """It was looked at in detail. Equal numbers of resurrections prove that it was not stopped in between, however
        long ago the last look was; different ones that it was, whatever the sightings in between said."""
        count, before = seen.resurrect_count, self.resurrections
        known = count is not None and before is not None
        same, other = known and count == before, known and count != before
        if other:
            self._take_back()
        self.sight(seen.state, at_s, unbroken=same or (unbroken and not other))
        if count is not None:
            self.resurrections, self.unsure_s = count, 0.0
        self.rate_per_s = seen.burn_cap_per_s.get(Meter.CREDITS, self.rate_per_s)
        self._take_figure(seen, at_s, ran_through=same and self.ran and self.running)
        self.ran = self.running

    def _take_back(self) -> None:
        """What was seen since the last number of resurrections may hold the stop before the new one."""
        self.seen_s -= self.unsure_s
        self.stretch_s = max(0.0, self.stretch_s - self.unsure_s)
        self.unsure_s = 0.0
        self.interrupt()

    def _take_figure(self, seen: Snapshot, at_s: float, *, ran_through: bool) -> None:
        """The platform's figure may lag behind: one that was shown before and a run that provably went on since are
        more. Running time never goes back: where the figure does, the one before was wrong."""
        shown_s, before_s = seen.usage.duration_s, self.shown_s
        if ran_through:
            self.lifted_s += at_s - self.shown_at_s
        self.shown_at_s = at_s
        if shown_s is None:
            self.exact = self.exact and ran_through
            return
        went_back = before_s is None or shown_s < before_s
        self.lifted_s = 0.0 if went_back else max(0.0, (before_s or 0.0) + self.lifted_s - shown_s)
        self.shown_s, self.exact = shown_s, seen.most.duration_s is None
        if self.exact:
            # Sightings are apart, and a stop may have been between them.
            self.seen_s = min(self.seen_s, self.proven_s)
            self.stretch_s = min(self.stretch_s, self.seen_s)

    def copy(self) -> RunningTime:
        """The same, to try a look on."""
        return msgspec.structs.replace(self)


def proven(seen: Snapshot, running: RunningTime) -> Snapshot:
    """A snapshot from an inspection that `running` has taken in, with its running time and compute units lifted to what
    is proven. Where the platform gives no figure `most` says that it may be more."""
    usage, most = seen.usage, seen.most
    duration_s = running.proven_s
    if usage.duration_s is None:
        most = replace(most, duration_s=math.inf if most.duration_s is None else most.duration_s)
    credits_used, most_credits = usage.credits, most.credits
    if credits_used is None and running.seen_credits is not None and running.rate_per_s is not None:
        credits_used = running.seen_credits
        longest_s = most.duration_s if most.duration_s is not None else duration_s
        # How much memory it had in the time that nobody saw is not known after a resurrection.
        most_credits = running.rate_per_s * longest_s if seen.resurrect_count == 0 else math.inf
    return replace(
        seen,
        usage=replace(usage, credits=credits_used, duration_s=duration_s),
        most=replace(most, credits=most_credits),
        seen_running_s=running.seen_s,
    )
