"""The life of an abort after its proof: the final figures of the run are waited for, and taken down.

A run may be resurrected meanwhile; what it uses from then on is not of this abort.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from watchdog.domain.decision import Abort
from watchdog.domain.meter import Meter
from watchdog.domain.run import RunState, Snapshot, replace
from watchdog.engine.patience import growing, pause
from watchdog.engine.pursuit import Pace, Pursuit

#: Figures that the platform itself calls not final are waited for so long after the proof of the stop, and looked at so
#: often at least, in seconds.
SETTLING_MAX_S = 86_400.0
SETTLING_LOOK_MAX_S = 3_600.0
#: After so many looks that could not read the final figures the last ones seen count.
SETTLE_TRIES = 5


def settled_at(abort: Abort, now: datetime, pace: Pace) -> datetime:
    """When final figures can be had. Counted from our seeing the end, as the platform's clock may differ."""
    return min(abort.history[-1].at, now) + timedelta(seconds=pace.settle_s)


def awaits_figures(pursuit: Pursuit, now: datetime) -> bool:
    """Whether the stop is proven and the platform has said that its figures are not final; it is believed for a day."""
    abort = pursuit.abort
    if abort.state.is_open or abort.final is None or not abort.final.settling:
        return False
    return now < abort.history[-1].at + timedelta(seconds=SETTLING_MAX_S)


def take_figures(pursuit: Pursuit, seen: Snapshot, now: datetime, pace: Pace) -> Pursuit:
    """The run was seen again after its stop: take its figures down, unless they are those of a later life, and look
    again if the platform says that they may still change."""
    abort = pursuit.abort
    is_its_own = not (seen.state.is_active or _is_another_end(abort.final, seen))
    final = _with_longest(seen, abort.final) if is_its_own else abort.final
    taken = replace(pursuit, abort=replace(abort, final=final))
    if is_its_own and awaits_figures(taken, now):
        return settle_later(taken, now, pace)
    return give_up_settling(taken)


def known_meters(abort: Abort) -> tuple[Meter, ...]:
    """Those whose figures were known when the abort was decided on, or that it was decided on by."""
    return tuple(meter for meter in Meter if meter is abort.limit or abort.before.usage.of(meter) is not None)


def lacks_figures(abort: Abort, seen: Snapshot) -> bool:
    """Whether a figure is missing that was known when the abort was decided on."""
    return any(seen.usage.of(kind) is None and abort.before.usage.of(kind) is not None for kind in Meter)


def is_out_of_tries(pursuit: Pursuit) -> bool:
    """Whether the stop is proven, and its final figures have been looked for in vain for long enough."""
    return not pursuit.abort.state.is_open and pursuit.looks >= SETTLE_TRIES


def settling_pause_s(looks: int, pace: Pace) -> float:
    """Seconds to the next look at figures that were not final at so many looks."""
    return growing(pace.settle_s, looks, SETTLING_LOOK_MAX_S)


def settle_later(pursuit: Pursuit, now: datetime, pace: Pace) -> Pursuit:
    """The figures are not final: look again, at growing distance."""
    pause_s = settling_pause_s(pursuit.settling_looks, pace)
    return pause(replace(pursuit, settling_looks=pursuit.settling_looks + 1), now, pause_s, must_look=True)


def give_up_settling(pursuit: Pursuit) -> Pursuit:
    """The stop is proven but its final figures cannot be had: keep the last ones seen."""
    return replace(pursuit, abort=replace(pursuit.abort, settled=True))


def _is_another_end(final: Snapshot | None, seen: Snapshot) -> bool:
    """Whether the run was resurrected since its stop and is over again: what it has used by now is no longer of this
    abort, no more than that of one that is active again."""
    if final is None or final.state.is_active:
        return True
    if final.resurrect_count is not None and seen.resurrect_count is not None:
        return seen.resurrect_count > final.resurrect_count
    ended = final.finished_at, seen.finished_at
    named = RunState.STOPPED not in (final.state, seen.state)
    return named and None not in ended and ended[0] != ended[1]


def _with_longest(seen: Snapshot, final: Snapshot | None) -> Snapshot:
    """Running time never goes back: what was proven at the stop still is, where the settled figures show less. Of the
    cost the last look at the run is the truth: a platform may correct it downwards."""
    before, after = final.usage.duration_s if final is not None else None, seen.usage.duration_s
    if before is None or (after is not None and after >= before):
        return seen
    return replace(seen, usage=replace(seen.usage, duration_s=before))
