"""A run of a squid: its figures are pure functions of platform time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Final, Literal

import msgspec

from watchdog.simulated.account import SimRun
from watchdog.simulated.clock import SimClock
from watchdog.simulated.life import Life, Step
from watchdog.simulated.records import PlatformName, Usage

if TYPE_CHECKING:
    from watchdog.simulated.lobstr_squid import LobstrSquid

TERMINAL: Final = frozenset({"done", "aborted", "error"})
ABORTABLE: Final = frozenset({"pending", "running", "paused"})
COLLECTED: Final = TERMINAL | {"uploading"}
"""Statuses in which nothing is collected any more. Only the verification of e-mail addresses is still charged."""

_DEFAULT_RESULTS_PER_S: Final = 1000 / 3600

DurationWhileRunning = Literal["share", "zero", "null"]


class EmailVerification(msgspec.Struct, frozen=True, kw_only=True):
    """The e-mail addresses that a run found are verified once nothing more is collected, and charged one by one.

    The run is `done` meanwhile, and its credits still rise (lobstr-mcp waits for `email_verification.is_done` too).
    """

    emails: int
    """Addresses that the whole run would find; one that is cut short has found its share."""
    lasts_s: float = 600.0
    """From the end of the collecting until the last one is verified."""
    credits_per_email: float = 1.0
    after_abort: bool = True
    """Whether those that were found are verified even if the run was cut short (not documented)."""


class Verified(msgspec.Struct, frozen=True):
    """How far the verification of a run's addresses is."""

    status: Literal["pending", "running", "done", "aborted"]
    emails: int
    total: int


class RunHabits(msgspec.Struct, frozen=True, kw_only=True):
    """What a run does, and how its figures are shown. Seconds are platform time."""

    credits_of: Callable[[float], float]
    """Running seconds -> credits."""
    results_total: int | None
    results_per_s: float
    total_tasks: int
    duration_share: float
    duration_while_running: DurationWhileRunning
    duration_null: bool
    done_reason: str
    """Why it will have ended, if nobody interferes."""
    pause_reason: str | None
    """The `done_reason` of a run that is paused, but not done."""
    verification: EmailVerification | None
    origin: str
    credits_lost: bool
    """Whether `/credits` does not know it: older runs predate the ledger of credits."""


class LobstrRun(SimRun):
    """A run of a squid."""

    platform: PlatformName = "lobstr"
    terminal = TERMINAL

    def __init__(
        self, run_id: str, squid: LobstrSquid, life: Life, clock: SimClock, account: int, habits: RunHabits
    ) -> None:
        super().__init__(run_id, squid.name, life, clock, account)
        self.squid = squid
        self.habits = habits
        self.cut_short_as: str | None = None
        """The `done_reason` of a run that was stopped: aborted, deactivated."""
        self.out_of_credits: list[tuple[float, float]] = []
        """From when until when it was paused for want of credits."""

    def usage_at(self, now_s: float) -> Usage:
        return self._usage(self.life.ran_s(now_s), self.verified_at(now_s).emails)

    def natural_usage(self) -> Usage | None:
        if self.natural_end is None:
            return None
        verification = self.habits.verification
        fails = self.natural_end.status == "error"
        return self._usage(self.natural_end.ran_before_s, verification.emails if verification and not fails else 0)

    def results_at(self, now_s: float) -> int:
        """Results collected so far."""
        return self._results(self.life.ran_s(now_s))

    def _results(self, ran_s: float) -> int:
        # The small addition keeps a run that has just reached its end from missing the last result by
        # rounding.
        collected = int(ran_s * self.habits.results_per_s + 1e-6)
        total = self.habits.results_total
        return collected if total is None else min(collected, total)

    def collecting_started_s(self, now_s: float) -> float | None:
        """When it began to run; None before, and if it never did."""
        started_s = next((p.start_s for p in self.life.phases if p.status == "running"), None)
        return started_s if started_s is not None and started_s <= now_s else None

    def collecting_ended_s(self, now_s: float) -> float | None:
        """When it stopped collecting; None before."""
        ended_s = next((p.start_s for p in self.life.phases if p.status in COLLECTED), None)
        return ended_s if ended_s is not None and ended_s <= now_s else None

    def elapsed_s(self, now_s: float) -> float:
        """From the start of the collecting to its end or to now, pauses and all: what `/stats` calls duration."""
        started_s, ended_s = self.collecting_started_s(now_s), self.collecting_ended_s(now_s)
        return 0.0 if started_s is None else (now_s if ended_s is None else ended_s) - started_s

    def shown_duration_s(self, now_s: float) -> float | None:
        """What lists, details and abort answers call duration: not the time elapsed, and not the time spent running
        (recorded answers: 10.4 s of 15, 50 s of 70, 0.05 s of 6). May be 0 or null until the run has ended."""
        habits = self.habits
        if habits.duration_null:
            return None
        if self.collecting_ended_s(now_s) is None and habits.duration_while_running != "share":
            return None if habits.duration_while_running == "null" else 0.0
        return self.life.ran_s(now_s) * habits.duration_share

    def verified_at(self, now_s: float) -> Verified:
        """How many addresses have been verified; nothing of nothing for a run that does not verify."""
        verification = self.habits.verification
        if verification is None:
            return Verified("done", 0, 0)
        total = self._emails_found(verification, now_s)
        begun_s = self.collecting_ended_s(now_s)
        if begun_s is None:
            return Verified("pending", 0, total)
        if self.life.last.status == "error" or (self.cut_short_as and not verification.after_abort):
            return Verified("aborted", 0, total)
        share = (now_s - begun_s) / verification.lasts_s if verification.lasts_s else 1.0
        return Verified("done", total, total) if share >= 1 else Verified("running", int(total * share), total)

    def done_reason_at(self, now_s: float) -> str | None:
        """Why it has ended, or is paused."""
        if any(from_s <= now_s < to_s for from_s, to_s in self.out_of_credits):
            return "no_credits_left"
        if self.collecting_ended_s(now_s) is not None:
            return self.cut_short_as or self.habits.done_reason
        return self.habits.pause_reason if self.life.at(now_s).status == "paused" else None

    def _emails_found(self, verification: EmailVerification, now_s: float) -> int:
        expected = self.habits.results_total
        return verification.emails * self.results_at(now_s) // expected if expected else verification.emails

    def _usage(self, ran_s: float, emails: int) -> Usage:
        verification = self.habits.verification
        verified = emails * verification.credits_per_email if verification else 0.0
        return Usage(self.habits.credits_of(ran_s) + verified, None, ran_s, self._results(ran_s))


def plan(
    pending_s: float,
    pauses: Sequence[tuple[float, float]],
    ends_after_s: float | None,
    uploading_s: float,
    ends_as: str,
) -> Iterable[Step]:
    """The phases of a life; `pauses` as (after how many running seconds, for how long)."""
    if pending_s:
        yield Step("pending", False, pending_s)
    ran_s = 0.0
    for after_s, for_s in sorted(pauses):
        if ends_after_s is not None and after_s >= ends_after_s:
            break
        yield Step("running", True, max(0.0, after_s - ran_s))
        yield Step("paused", False, for_s)
        ran_s = max(ran_s, after_s)
    yield Step("running", True, None if ends_after_s is None else ends_after_s - ran_s)
    if ends_as == "done":
        yield Step("uploading", False, uploading_s)
    yield Step(ends_as, False)


def results_per_s(results_total: int | None, ends_after_s: float | None) -> float:
    """How fast results come in, so that the last is there at the end."""
    if results_total is None or not ends_after_s:
        return _DEFAULT_RESULTS_PER_S
    return results_total / ends_after_s
