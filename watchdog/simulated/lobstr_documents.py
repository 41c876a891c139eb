"""lobstr's JSON: squids, runs, stats, credits and the balance, as the documentation and recorded answers have them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from watchdog.simulated.clock import iso_naive, iso_seconds
from watchdog.simulated.lobstr import TERMINAL, LobstrAccount, LobstrRun, LobstrSquid
from watchdog.simulated.lobstr_run import ABORTABLE


class Documents:
    """Writes what an account has, as of one moment."""

    def __init__(self, account: LobstrAccount, now_s: float) -> None:
        self._account = account
        self._now_s = now_s

    def squid(self, squid: LobstrSquid) -> dict[str, Any]:
        """An item of the squid list."""
        last = squid.runs[-1] if squid.runs else None
        started_s = last.collecting_started_s(self._now_s) if last else None
        return {
            "id": squid.id,
            "name": squid.name,
            "created_at": self._instant(squid.created_s, iso_seconds),
            "is_active": squid.is_active,
            "is_ready": True,
            "crawler": squid.crawler_id,
            "crawler_name": squid.crawler,
            "concurrency": 1,
            "params": {},
            "last_run_status": self._word(last).upper() if last else None,
            "last_run_at": self._instant(started_s, iso_seconds),
            "total_runs": len(squid.runs),
            "schedule": None,
        }

    def squid_detail(self, squid: LobstrSquid) -> dict[str, Any]:
        """A squid by itself."""
        last = squid.runs[-1] if squid.runs else None
        return {
            **self.squid(squid),
            "object": "squid",
            "last_run": last.id if last else None,
            "last_run_is_done": self._is_done(last) if last else None,
            "last_run_done_reason": last.done_reason_at(self._now_s) if last else None,
        }

    def run_item(self, run: LobstrRun) -> dict[str, Any]:
        """As in the run list and in the answer to an abort: `Z` instants, `duration` a number."""
        shown_s = run.shown_duration_s(self._now_s)
        return self._run(run, iso_seconds, None if shown_s is None else round(shown_s, 4))

    def run_detail(self, run: LobstrRun) -> dict[str, Any]:
        """As in get-run: naive instants, `duration` a text, and how far the verification of e-mail addresses is."""
        shown_s = run.shown_duration_s(self._now_s)
        document = self._run(run, iso_naive, None if shown_s is None else span(shown_s))
        document["email_verification"] = self._verification(run)
        return document

    def stats(self, run: LobstrRun) -> dict[str, Any]:
        """The progress of a run. Here, `duration` is the time elapsed."""
        now_s = self._now_s
        done, total = run.results_at(now_s), run.habits.results_total
        ended = run.collecting_ended_s(now_s) is not None
        tasks_done = _tasks_done(run, done, ended)
        return {
            "id": run.id,
            "object": "run",
            "duration": None if run.habits.duration_null else span(run.elapsed_s(now_s)),
            "started_at": self._instant(run.collecting_started_s(now_s), iso_naive),
            "ended_at": self._instant(run.collecting_ended_s(now_s), iso_naive),
            "is_done": self._is_done(run),
            # Documented trap: a run that was aborted half-way says 100 % too.
            "percent_done": "100%" if ended else f"{_percent(done, total)}%",
            "eta": _eta(run, done, ended),
            "total_requests": None,
            "total_tasks": run.habits.total_tasks,
            "total_tasks_done": tasks_done,
            "total_tasks_left": run.habits.total_tasks - tasks_done,
            "total_results": done,
            "results_total": total,
            "results_done": done,
            "current_task": f"task {tasks_done + 1}" if run.phase.running else "",
            "updated_at": self._instant(now_s, iso_naive),
        }

    def credits(self, run: LobstrRun) -> dict[str, Any]:
        """What a run was charged for, by function."""
        total, rows = run.usage_at(self._now_s).credits, run.results_at(self._now_s)
        verified = run.verified_at(self._now_s).emails
        verification = run.habits.verification
        verifying = verified * verification.credits_per_email if verification else 0.0
        base = total - verifying
        parts = [("base", base, rows), *([("verify_emails", verifying, verified)] if verification else [])]
        return {
            "run_id": run.id,
            "total_credits": total,
            "total_results": rows,
            "breakdown": [
                {"function": name, "credits": charged, "attempts": attempts}
                for name, charged, attempts in sorted(parts, key=lambda part: -part[1])
            ],
            "rates": {
                "credits_per_row": base / rows if rows else 0,
                **({"verify_emails": verification.credits_per_email} if verification else {}),
            },
            "function_colors": {},
            "base_function_label": None,
            "filter_breakdown": [],
        }

    def balance(self) -> dict[str, Any]:
        """The allotment and what is consumed of it; what is left is the difference, and may be negative."""
        account = self._account
        return {
            "id": "price_simulated",
            "object": "plan",
            "name": "Simulated",
            "available": account.credits_available,
            "consumed": account.consumed(self._now_s),
            "bonus_credit": account.bonus_credit,
            "rollover_credit": account.rollover_credit,
            "rollover_credit_expires_at": None,
            "interval": account.interval,
            "used_slots": sum(1 for squid in account.squids.values() if squid.is_active),
            "total_available_slots": account.slots,
            "has_unpaid_bill": account.has_unpaid_bill,
            "reset_time": iso_seconds(account.reset_at(self._now_s)),
        }

    def _run(self, run: LobstrRun, write: Callable[[Any], str], duration: float | str | None) -> dict[str, Any]:
        now_s = self._now_s
        results = run.results_at(now_s)
        exported = True if run.phase.status in ("done", "aborted") else None
        return {
            "id": run.id,
            "object": "run",
            "squid": run.squid.id,
            "is_done": self._is_done(run),
            "started_at": self._instant(run.collecting_started_s(now_s), write),
            "total_results": results,
            "total_unique_results": results,
            "next_launch_at": None,
            "ended_at": self._instant(run.collecting_ended_s(now_s), write),
            "duration": duration,
            "credit_used": round(run.usage_at(now_s).credits, 9),
            "origin": run.habits.origin,
            "force_launch": False,
            "status": self._status(run),
            "export_done": exported,
            "export_count": 1 if exported else 0,
            "export_time": self._instant(run.phase.start_s, write) if exported else None,
            "email_done": None,
            "email_time": None,
            "created_at": self._instant(run.life.start_s, write),
            "done_reason": run.done_reason_at(now_s),
            "done_reason_desc": None,
        }

    def _verification(self, run: LobstrRun) -> dict[str, Any] | None:
        if run.habits.verification is None:
            return None
        verified = run.verified_at(self._now_s)
        return {
            "status": verified.status,
            "progress": f"{_percent(verified.emails, verified.total) if verified.total else 100}%",
            "verified_emails": verified.emails,
            "total_emails": verified.total,
            "is_done": verified.status in ("done", "aborted"),
        }

    def _is_done(self, run: LobstrRun) -> bool:
        status = run.phase.status
        return status in TERMINAL or (status not in ABORTABLE and self._account.uploading_is_done)

    def _word(self, run: LobstrRun) -> str:
        return self._account.status_words.get(run.phase.status, run.phase.status)

    def _status(self, run: LobstrRun) -> str:
        return self._word(run).upper() if self._account.statuses_upper else self._word(run)

    def _instant(self, elapsed_s: float | None, write: Callable[[Any], str]) -> str | None:
        return None if elapsed_s is None else write(self._account.clock.at(elapsed_s))


def span(seconds: float) -> str:
    """`0:00:50.183300`, `1 day, 2:03:04`: as lobstr writes durations in get-run and stats."""
    return str(timedelta(seconds=round(seconds, 6)))


def _tasks_done(run: LobstrRun, results: int, ended: bool) -> int:
    if run.habits.results_total:
        return run.habits.total_tasks * results // run.habits.results_total
    return run.habits.total_tasks if ended and run.cut_short_as is None else 0


def _percent(done: int, total: int | None) -> int:
    return done * 100 // total if total else 0


def _eta(run: LobstrRun, done: int, ended: bool) -> str:
    if ended:
        return span(0)
    if run.habits.results_total is None or not run.phase.running or not done:
        return "∞"
    return span((run.habits.results_total - done) / run.habits.results_per_s)
