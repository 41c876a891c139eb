"""Reads how the whole watch stands. Nothing else looks into the watch."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence

from watchdog.domain.decision import Response, Verdict
from watchdog.domain.ports import Clock, Rates
from watchdog.domain.rule import Matched
from watchdog.domain.run import Snapshot
from watchdog.domain.status import AccountStatus, RunStatus, Status
from watchdog.engine.decide import one_a_limit
from watchdog.runtime.enforcer import Enforcer
from watchdog.runtime.memory import Watched
from watchdog.runtime.rulebook import Rulebook
from watchdog.runtime.watch import Watch


class StatusReader:
    """Makes the status of a moment, on demand."""

    def __init__(
        self, watches: Sequence[Watch], enforcer: Enforcer, rulebook: Rulebook, rates: Rates, clock: Clock
    ) -> None:
        self._watches = watches
        self._rates = rates
        self._enforcer = enforcer
        self._rulebook = rulebook
        self._clock = clock

    def read(self, closest: int | None = None) -> Status:
        """Everything; of the runs only so many, the closest to a limit (None: all)."""
        runs = (self._run(watched, watch) for watch in self._watches for watched in watch.memory)
        shown = sorted(runs, key=_nearness) if closest is None else heapq.nsmallest(closest, runs, key=_nearness)
        return Status(self._clock.now(), self.accounts(), tuple(shown), tuple(self._enforcer.open_aborts))

    def accounts(self) -> tuple[AccountStatus, ...]:
        """The accounts alone."""
        now_s = self._clock.monotonic()
        return tuple(
            AccountStatus(
                info=watch.info,
                arming=watch.arming,
                interval_s=watch.interval_s,
                swept_s=None if watch.last_success_s is None else now_s - watch.last_success_s,
                error=watch.last_error,
                active=sum(not watched.over for watched in watch.memory.runs.values()),
                looks_waiting=watch.looks_waiting,
                rate=self._rates.rate_of(watch.info.name),
            )
            for watch in self._watches
        )

    @property
    def aborts_under_way(self) -> int:
        """How many aborts are not proven yet."""
        return len(self._enforcer.open_aborts)

    def swept_runs(self) -> Iterator[Iterator[Snapshot]]:
        """The runs of each account in turn, as lists last showed them."""
        for watch in self._watches:
            yield (watched.swept for watched in watch.memory)

    def _run(self, watched: Watched, watch: Watch) -> RunStatus:
        run = watched.inspected if watched.verdicts and watched.inspected else watched.swept
        now_s = self._clock.monotonic()
        return RunStatus(
            run=run,
            verdicts=one_a_limit(watched.verdicts or self._verdicts(run)),
            decision=watched.decision,
            exemption=self._exemption(run),
            next_look_s=watch.agenda.in_s(run.run_id),
            breach_s=max(0.0, watched.plan.breach_at - now_s),
            is_over=watched.over,
            failures=watched.failures,
        )

    def _verdicts(self, run: Snapshot) -> list[Verdict]:
        """None of a run that cannot be judged, which the watch tells: it must not hide the others."""
        try:
            return self._rulebook.evaluator.verdicts(run)
        except Exception:  # noqa: BLE001  # the watch tells of it
            return []

    def _exemption(self, run: Snapshot) -> tuple[Response, str] | None:
        """Why a run that is within its limits would not be aborted, if it is exempt."""
        obstacle = self._rulebook.overrides.obstacle(run, self._clock.now())
        if obstacle is not None:
            return obstacle
        protections = self._rulebook.rules.protections_of(run)
        found = next((each for each in protections if each.selector.matches(run) is Matched.YES), None)
        return None if found is None else (Response.PROTECTED, found.reason)


def _nearness(status: RunStatus) -> float:
    return -status.closest
