"""What Apify's answers show of a run: its snapshot from an item of the list, and from its detail.

Facts used: the list of runs is short objects without stats; `usageTotalUsd` may be null; `startedAt` is the creation of
the run and stays at a resurrection, while `stats.runTimeSecs` leaves the stopped time out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from datetime import datetime
from sys import intern

from watchdog.domain.meter import NOTHING_KNOWN, Meter, Usage
from watchdog.domain.run import PlatformCap, RunState, Snapshot, joined, replace
from watchdog.net import Session
from watchdog.platforms.apify_facts import TRAITS
from watchdog.platforms.apify_names import ApifyNames
from watchdog.platforms.apify_pricing import Cost
from watchdog.platforms.apify_wire import Listed, Run, RunShort, pairs_of, state_of
from watchdog.platforms.wire import count, figure, moment, part, text

_GIGABYTE_HOURS_PER_MB_SECOND = 1 / 1024 / 3600
_NOT_RUN = Usage(duration_s=0.0)


class ApifySnapshots:
    """Makes snapshots of the runs of one account."""

    def __init__(self, session: Session, names: ApifyNames) -> None:
        self._session = session
        self._names = names

    async def swept(self, runs: Collection[Listed], received: datetime) -> list[Snapshot]:
        """The active ones of a page, with their names looked up. Equal statuses are the same object, and so are equal
        origins: 100,000 runs have a handful of them."""
        states = {status: state_of(status) for status in {run.status for run in runs}}
        active = [run for run in runs if states[run.status].is_active]
        pairs = {(run.act_id, run.actor_task_id) for run in active}
        await self._names.resolve(pairs)
        sources = {pair: self._names.source(pair) for pair in pairs}
        account, ahead_s = self._session.account, self._ahead_s
        snapshots = []
        for run in active:
            state, usd, origin = states[run.status], run.usage_total_usd, run.meta.origin if run.meta else None
            if state is RunState.PENDING:
                most = _NOT_RUN
            elif run.started_at is None or ahead_s is None:
                # By nobody's clock, nothing can be said: an inspection has to.
                most = NOTHING_KNOWN
            else:
                most = Usage(None, None, max(0.0, (received - run.started_at).total_seconds() + ahead_s))
            snapshots.append(
                # By position: by name it takes half as long again, ten thousand times a sweep.
                Snapshot(
                    account,
                    TRAITS.name,
                    run.id,
                    sources[run.act_id, run.actor_task_id],
                    state,
                    intern(run.status),
                    Usage(None, usd) if usd is not None and usd >= 0 else NOTHING_KNOWN,
                    received,
                    False,
                    intern(origin) if origin else None,
                    run.started_at,
                    run.finished_at,
                    most,
                )
            )
        return snapshots

    @property
    def _ahead_s(self) -> float | None:
        """What is added to the time that has passed by our clock; None: the platform's is not known. A Date header that
        is late must not hide a breach: whichever clock says more raises a suspicion."""
        skew_s = self._session.platform_skew_s
        return None if skew_s is None else max(0.0, skew_s)

    def inspected(self, run: Run, received: datetime, paid: Cost, results: int | None) -> Snapshot:
        """A run in detail, whose names have been resolved before; what it costs, and its results."""
        stats, options = part(run.stats), part(run.options)
        memory = figure(options.get("memoryMbytes"))
        rate = memory * _GIGABYTE_HOURS_PER_MB_SECOND if memory else None
        resurrections = count(stats.get("resurrectCount"))
        credits_used, duration_s = _metered(run, stats, rate, resurrections)
        return replace(
            self._snapshot(run, received, Usage(credits_used, paid.usd, duration_s, results)),
            inspected=True,
            resurrect_count=resurrections,
            cap=PlatformCap(figure(options.get("timeoutSecs")) or None, figure(options.get("maxTotalChargeUsd"))),
            burn_cap_per_s={} if rate is None else {Meter.CREDITS: rate},
            most=Usage(None, paid.most_usd, self._elapsed(run, received) if duration_s is None else None),
            cost_basis=paid.basis,
        )

    def _snapshot(self, run: RunShort, received: datetime, usage: Usage) -> Snapshot:
        return Snapshot(
            account=self._session.account,
            platform=TRAITS.name,
            run_id=run.id,
            source=joined(*map(self._names.source, pairs_of(run))),
            state=state_of(run.status),
            status=run.status,
            usage=usage,
            seen_at=received,
            inspected=False,
            origin=text(part(run.meta).get("origin")),
            started_at=moment(run.started_at),
            finished_at=moment(run.finished_at),
        )

    def _elapsed(self, run: RunShort, received: datetime) -> float | None:
        """Seconds from the creation to the end, or until now: the run has waited for a worker and may have been stopped
        meanwhile, so that it has run for no more than that."""
        started, finished = moment(run.started_at), moment(run.finished_at)
        if started is None:
            return None
        if finished is not None and not state_of(run.status).is_active:
            return max(0.0, (finished - started).total_seconds())
        ahead_s = self._ahead_s
        return None if ahead_s is None else max(0.0, (received - started).total_seconds() + ahead_s)


def _metered(
    run: RunShort, stats: Mapping[str, object], rate: float | None, resurrections: int | None
) -> tuple[float | None, float | None]:
    """Compute units and seconds of running time, by the platform's own account of them.

    `stats.computeUnits` and `stats.runTimeSecs`, else `durationMillis`; 0 of a run that is running is not filled in
    yet. Where one is lacking the other gives it, since compute units are gigabytes x hours exactly; but not after a
    resurrection, which may have changed the memory. A run that has not come to a worker has not run.
    """
    state, millis = state_of(run.status), figure(stats.get("durationMillis"))
    credits_used, duration_s = figure(stats.get("computeUnits")), figure(stats.get("runTimeSecs"))
    if duration_s is None and millis is not None:
        duration_s = millis / 1000
    if state is RunState.PENDING and not resurrections:
        credits_used, duration_s = credits_used or 0.0, duration_s or 0.0
    elif state.is_active:
        credits_used, duration_s = credits_used or None, duration_s or None
    if rate and not resurrections:
        if credits_used is None and duration_s is not None:
            credits_used = rate * duration_s
        elif duration_s is None and credits_used is not None:
            duration_s = credits_used / rate
    return credits_used, duration_s
