"""What a run would have used at its own end, if nobody had stopped it: the one place that says so.

Asked twice: for the warning that a run comes close to a limit (`projected_final`, while it goes on), and for what an
abort saved (`projections`, when it is over; docs/savings.md has the formulas and their bias). Both rest on the first of
these that says anything:

- `progress`: the run's own share done. projected = used then / share.
- `history`: the median of what earlier runs of this source used that ended by themselves.
- `cap`: the platform's own stop. projected = used + burn rate x running seconds until then.

They differ where a claim in the books needs more than a hint in the log: the books want `HISTORY_MIN` earlier runs, and
say nothing of a run that is past their median; the hint takes the median of those that came further than this run, be
they ever so few, and knows the rate of now.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from statistics import median

from watchdog.domain.decision import Basis
from watchdog.domain.meter import BOOKED, Meter, Unit, Usage
from watchdog.domain.run import Snapshot
from watchdog.engine.forecast import Burn, SourceHistory, average_rate

#: Below this share done, progress says nothing: one page more or less would swing the projection wildly.
PROGRESS_FLOOR = 0.05
#: How many finished runs make a history that the books go by.
HISTORY_MIN = 5


def projected_final(kind: Meter, run: Snapshot, burn: Burn | None, history: SourceHistory) -> float | None:
    """What the run will have used at its end if nobody stops it, in the unit of the kind; None if nothing says.

    By the first of these that says anything: its own progress, what earlier runs of the source that came further ended
    at, its rate (without one, its average) until the platform's own time-out.
    """
    used = run.usage.of(kind)
    if used is None:
        return None
    if (share := share_done(run)) is not None:
        return used / share
    if (final := history.final(kind, used)) is not None:
        return final
    left_s = _seconds_to_timeout(run, run.usage.duration_s)
    rate = burn.mean if burn is not None and burn.evidence_s > 0 else average_rate(used, run.usage.duration_s)
    return None if left_s is None or rate is None else used + rate * left_s


def projections(before: Snapshot, final: Snapshot, history: Sequence[Usage]) -> Iterator[tuple[Basis, Usage, str]]:
    """What a run that was stopped would have used, by each basis in turn, with the figures it was made from; what a
    basis says nothing about is None.

    `before` is the run just before its abort, `final` the run after its figures have settled, `history` what earlier
    runs of the source used that ended by themselves.
    """
    yield Basis.PROGRESS, *_by_progress(before)
    yield Basis.HISTORY, *_by_history(final.usage, history)
    yield Basis.CAP, *_by_cap(before, final)


_Projection = tuple[Usage, str]
_NO_PROJECTION: _Projection = (Usage(), "")


def share_done(snapshot: Snapshot) -> float | None:
    """How far the run has come, from 0 to 1; counted results beat the platform's rounded percentage."""
    progress = snapshot.progress
    if progress.results_total and progress.results_done is not None:
        share = progress.results_done / progress.results_total
    elif progress.share is not None:
        share = progress.share
    else:
        return None
    return share if PROGRESS_FLOOR <= share <= 1.0 else None


def _by_progress(before: Snapshot) -> _Projection:
    share = share_done(before)
    if share is None:
        return _NO_PROJECTION
    projected = _booked(before.usage, lambda _, used: used / share)
    return projected, f"share done {share:.6g} at {_figures(before.usage)}"


def _booked(used: Usage, at_end: Callable[[Meter, float], float | None]) -> Usage:
    """What each known figure that is booked would have been at the end, as this tells it."""

    def of(meter: Meter) -> float | None:
        figure = used.of(meter) if meter in BOOKED else None
        return None if figure is None else at_end(meter, figure)

    return Usage.by(of)


def _figures(used: Usage) -> str:
    return ", ".join(exactly(meter, figure) for meter in BOOKED if (figure := used.of(meter)) is not None)


def exactly(meter: Meter, figure: float) -> str:
    """A figure as notes have it, to be reckoned with by hand: `12.3456 credits`, `$0.0012`."""
    return f"${figure:.6g}" if meter.entry.unit is Unit.USD else f"{figure:.6g} {meter.entry.several}"


def _by_history(used: Usage, history: Sequence[Usage]) -> _Projection:
    def typical(meter: Meter, now: float) -> float | None:
        figures = [figure for past in history if (figure := past.of(meter)) is not None]
        if len(figures) < HISTORY_MIN:
            return None
        middle = median(figures)
        return middle if now < middle else None

    return _booked(used, typical), f"median of {len(history)} earlier runs"


def _by_cap(before: Snapshot, final: Snapshot) -> _Projection:
    duration = final.usage.duration_s
    if not duration:
        return _NO_PROJECTION
    seconds_left = _seconds_to_cap(before, final.usage, duration)
    if seconds_left is None:
        return _NO_PROJECTION

    def at_cap(_: Meter, used: float) -> float | None:
        projected = used + used * (seconds_left / duration)
        return projected if math.isfinite(projected) else None

    return (
        _booked(final.usage, at_cap),
        f"{_figures(final.usage)} in {duration:.6g} s, {seconds_left:.6g} s before the platform's own stop",
    )


def _seconds_to_cap(before: Snapshot, used: Usage, duration_s: float) -> float | None:
    """Running seconds until the platform would have stopped the run, at its burn rate so far; None: it would not. The
    stops that platforms have are of running time and of US dollars."""
    to_timeout_s = _seconds_to_timeout(before, duration_s)
    left = [] if to_timeout_s is None else [to_timeout_s]
    cap = before.cap
    if cap.max_total_charge_usd is not None and used.cost_usd:
        left.append(max(0.0, cap.max_total_charge_usd - used.cost_usd) / used.cost_usd * duration_s)
    return min(left) if left else None


def _seconds_to_timeout(run: Snapshot, duration_s: float | None) -> float | None:
    """Running seconds until the platform's time-out. None: there is none, or it counts from a moment that no answer
    names, as after a resurrection."""
    timeout_s = run.cap.timeout_s
    if not timeout_s or duration_s is None or run.resurrect_count != 0:
        return None
    return max(0.0, timeout_s - duration_s)
