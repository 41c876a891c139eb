"""What the watch of an account tells of its runs, each thing once."""

from __future__ import annotations

import math
from collections.abc import Iterable

from watchdog.domain.decision import Decision, Verdict, VerdictKind
from watchdog.domain.notice import LimitBreached, LimitNear, Trouble, UsageUnknown
from watchdog.domain.run import RunState, Snapshot
from watchdog.engine.assess import Case
from watchdog.engine.doubts import doubt
from watchdog.engine.evaluate import judge
from watchdog.engine.projection import projected_final
from watchdog.runtime.memory import Watched
from watchdog.runtime.watch.account import Account

#: So many rules of which it is not known whether they apply are told of each run that only a list has shown.
UNSURE_TOLD_MAX = 20


class Telling:
    """Tells of the runs of one account."""

    def __init__(self, account: Account) -> None:
        self._account = account
        self._observer = account.observer
        self._unknown_statuses: set[str] = set()

    def of_verdicts(self, case: Case, seen: Snapshot, verdicts: Iterable[Verdict]) -> None:
        """Limits that cannot be judged, and those that are near."""
        for verdict in verdicts:
            # What is not known is so for every step of a limit.
            if verdict.verdict is VerdictKind.UNKNOWN and _first(case, verdict, "unknown", at=0.0):
                self._observer.notice(UsageUnknown(seen, verdict))
            elif verdict.verdict is VerdictKind.WARNING and _first(case, verdict, "near"):
                self._observer.notice(_near(case, seen, verdict))

    def of_unsure(self, case: Case) -> None:
        """Rules of which it is not known whether they apply, by what a list shows; once for as long as these are the
        same."""
        run, limits = case.run, case.limits
        if limits.unsure and run.told_unsure is not limits:
            run.told_unsure = limits
            used = run.most_used(case.now_s)
            self.of_verdicts(case, run.swept, (judge(each, used) for each in limits.unsure[:UNSURE_TOLD_MAX]))

    def of_breaches(self, watched: Watched, decision: Decision) -> None:
        """What is done about each broken limit."""
        for breach in decision.breaches:
            verdict = breach.verdict
            if watched.first_time((verdict.rule.name, verdict.kind, breach.response, verdict.step.at)):
                self._observer.notice(LimitBreached(decision.snapshot, breach, decision.mode))

    def of_doubt(self, case: Case, seen: Snapshot) -> None:
        """A list and a detail that contradict each other."""
        lowest = dict(case.limits.lowest)
        if lowest and (text := doubt(case.run, seen, lowest, case.now_s)) is not None:
            self._observer.notice(Trouble(text, account=seen.account, run_id=seen.run_id))

    def of_status(self, seen: Snapshot) -> None:
        """A status that this version does not know, once each: the run counts as active."""
        if seen.state is not RunState.UNKNOWN or seen.status in self._unknown_statuses:
            return
        self._unknown_statuses.add(seen.status)
        text = f"status '{seen.status}' is not known to this version; such runs count as active; look for an update"
        self._observer.notice(Trouble(text, account=seen.account, run_id=seen.run_id))


def _first(case: Case, verdict: Verdict, what: str, at: float | None = None) -> bool:
    return case.run.first_time((verdict.rule.name, verdict.kind, what, verdict.step.at if at is None else at))


def _near(case: Case, seen: Snapshot, verdict: Verdict) -> LimitNear:
    """With the forecast: when it will be broken, and what the run would use until its own end."""
    run, meter = case.run, verdict.kind
    outlook = run.outlook(meter, verdict.threshold, seen.usage, case.history, case.now_s)
    burn = run.burn(meter)
    return LimitNear(
        seen,
        verdict,
        expected_s=None if outlook is None or math.isinf(outlook.expected_s) else outlook.expected_s,
        projected=projected_final(meter, seen, burn, case.history),
    )
