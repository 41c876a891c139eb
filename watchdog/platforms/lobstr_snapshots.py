"""What lobstr's answers show of a run: its snapshot, its source, and what the squid list tells of it.

Facts used: `duration` is a number of seconds in lists and abort answers and a text in the detail, and nowhere the time
elapsed; times are naive (UTC) in some answers. `credit_used` and `duration` are different things, however alike the
documentation's examples look.
"""

from __future__ import annotations

import math
from datetime import datetime

from watchdog.domain.meter import Usage
from watchdog.domain.ports import Glimpse
from watchdog.domain.run import CostBasis, RunState, Snapshot, Source
from watchdog.net import Session
from watchdog.platforms.lobstr_facts import TRAITS
from watchdog.platforms.lobstr_wire import Run, Squid, is_settling, state_of, state_of_last
from watchdog.platforms.wire import figure, moment, seconds, text


class LobstrSnapshots:
    """Makes snapshots of the runs of one account. `usd_per_credit`: see `Lobstr`."""

    def __init__(self, session: Session, usd_per_credit: float | None) -> None:
        self._session = session
        self._usd_per_credit = usd_per_credit

    def snapshot(self, run: Run, squid: Squid, received: datetime) -> Snapshot:
        """A run of this squid, from an answer that came at `received`."""
        credits_used = figure(run.credit_used)
        known = credits_used is not None and self._usd_per_credit is not None
        cost = credits_used * self._usd_per_credit if known else None  # type: ignore[operator]  # known: both numbers
        least_s, most_s = self._running_time(run, received)
        state = state_of(run)
        return Snapshot(
            account=self._session.account,
            platform=TRAITS.name,
            run_id=run.id,
            source=source_of(squid),
            state=state,
            status=run.status,
            usage=Usage(credits=credits_used, cost_usd=cost, duration_s=least_s),
            seen_at=received,
            inspected=False,
            origin=text(run.origin),
            started_at=moment(run.started_at),
            finished_at=moment(run.ended_at),
            # A run that goes on may carry the reason of a pause.
            end_reason=None if state.is_active else text(run.done_reason),
            most=Usage(duration_s=most_s),
            cost_basis=CostBasis.CREDITS if known else None,
            settling=is_settling(run),
        )

    def _running_time(self, run: Run, received: datetime) -> tuple[float | None, float]:
        """The least and the most seconds that the run can have spent running.

        `duration` is less than that (10.4 s of 15 on a real account), and may be 0 or null while it runs. The time from
        its start to its end, or until now, is more: the run may have been paused. A run not yet started has not run.
        """
        reported, started = seconds(run.duration), moment(run.started_at)
        state = state_of(run)
        if state is RunState.PENDING and not reported:
            return 0.0, 0.0
        ended = None if state.is_active else moment(run.ended_at)
        if started is not None and ended is not None:
            elapsed_s = (ended - started).total_seconds()
        elif started is not None and (skew_s := self._session.platform_skew_s) is not None:
            elapsed_s = (received - started).total_seconds() + max(0.0, skew_s)
        else:
            return reported, math.inf
        elapsed_s = max(0.0, elapsed_s)
        return None if reported is None else min(reported, elapsed_s), elapsed_s


def glimpse_of(listed: Squid, known: Squid) -> Glimpse:
    """What the squid list says of the newest run of a squid, of which so much is `known`."""
    return Glimpse(state_of_last(listed), source_of(known))


def source_of(squid: Squid) -> Source:
    """The squid and its crawler, by all names known of them."""
    names = _present(squid.name, squid.id)
    crawler_names = _present(squid.crawler_name, squid.crawler)
    unresolved = frozenset(
        facet for facet, name in (("squid", squid.name), ("crawler", squid.crawler_name)) if not text(name)
    )
    label = names[0] if names else "unknown squid"
    key = "|".join((*names, "", *crawler_names, *sorted(unresolved)))
    return Source(key, label, {"squid": names, "crawler": crawler_names}, unresolved, id=squid.id)


def _present(*values: object) -> tuple[str, ...]:
    return tuple(value for value in values if isinstance(value, str) and value)
