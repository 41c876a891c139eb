"""What aborts saved, in words: estimates are added up, bounds ("at most") are only told beside them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from watchdog.domain.decision import Abort, describe
from watchdog.domain.meter import Meter
from watchdog.platforms.known import traits_of


def saved(abort: Abort) -> str:
    """What one abort saved, with the basis: `$4.47 and 149 credits (history)`, `at most $786.98 (cap)`; empty if
    nothing can be said."""
    saving = abort.saving
    if saving is None or saving.basis is None:
        return ""
    parts = [f"${saving.usd:.2f}"] if saving.usd is not None else []
    parts += [describe(Meter.CREDITS, saving.credits, traits_of(abort.platform))] if saving.credits is not None else []
    at_most = "at most " if saving.basis.is_bound else ""
    return f"{at_most}{' and '.join(parts)} ({saving.basis})" if parts else ""


def saved_in_all(aborts: Iterable[Abort]) -> str:
    """What all of these saved: `$4.47 saved by estimate, and at most $786.98 that the platform's own limit would have
    stopped later (no estimate)`. Credits are added up within one platform only: they are not the same thing on
    another."""
    estimated, bound = Counter[str](), Counter[str]()
    for abort in aborts:
        saving = abort.saving
        if saving is not None and saving.basis is not None:
            amounts = {"": saving.usd or 0.0, abort.platform: saving.credits or 0.0}
            (bound if saving.basis.is_bound else estimated).update(amounts)
    text = f"{', '.join(_amounts(estimated))} saved by estimate"
    if not any(bound.values()):
        return text
    most = " and ".join(_amounts(bound)[0 if bound[""] else 1 :])
    return f"{text}, and at most {most} that the platform's own limit would have stopped later (no estimate)"


def _amounts(sums: Counter[str]) -> list[str]:
    """Dollars, and the credits of each platform."""
    credits_of = {platform: amount for platform, amount in sorted(sums.items()) if platform and amount}
    metered = (describe(Meter.CREDITS, amount, traits_of(platform)) for platform, amount in credits_of.items())
    return [f"${sums['']:.2f}", *metered]
