"""lobstr's JSON: squids, runs, stats, credits and the balance, as the documentation and recorded answers have them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final

from watchdog.simulated.clock import iso_naive, iso_seconds
from watchdog.simulated.lobstr import LobstrAccount
from watchdog.simulated.lobstr_catalog import ACCOUNT_TYPES, made_id
from watchdog.simulated.lobstr_run import ABORTABLE, TERMINAL, LobstrRun
from watchdog.simulated.lobstr_squid import LobstrSquid, LobstrTask, Login

DELIVERIES: Final = ("google_sheet_fields", "ftp_fields", "s3_fields", "webhook_fields")
"""Where a squid's results can go, one of each."""


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
            "created_at": self.instant(squid.created_s),
            "is_active": squid.is_active,
            "is_ready": squid.is_ready,
            "crawler": squid.crawler_id,
            "crawler_name": squid.crawler,
            "concurrency": squid.concurrency,
            "params": squid.params,
            "accounts": [{"id": login, "status": "synchronized"} for login in squid.logins],
            "to_complete": squid.to_complete,
            "export_unique_results": squid.export_unique_results,
            "no_line_breaks": squid.no_line_breaks,
            "last_run_status": self._word(last).upper() if last else None,
            "last_run_at": self.instant(started_s),
            "next_launch_at": None,
            "total_runs": len(squid.runs),
            "schedule": squid.schedule,
            **{key: squid.delivery.get(key) for key in DELIVERIES},
            "is_public": True,
        }

    def squid_detail(self, squid: LobstrSquid) -> dict[str, Any]:
        """A squid by itself."""
        last = squid.runs[-1] if squid.runs else None
        return {
            **self.squid(squid),
            "object": "squid",
            "email": squid.delivery.get("email"),
            "notifications": squid.delivery.get("notifications", False),
            "notifications_params": {"run_notify": squid.run_notify},
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
            "started_at": self.instant(run.collecting_started_s(now_s), iso_naive),
            "ended_at": self.instant(run.collecting_ended_s(now_s), iso_naive),
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
            "updated_at": self.instant(now_s, iso_naive),
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

    def squid_credits(self, squid: LobstrSquid) -> dict[str, Any]:
        """What a squid's runs were charged, newest first."""
        rows = [
            {
                "run_id": run.id,
                "status": self._status(run),
                "credits": run.usage_at(self._now_s).credits,
                "total_results": run.results_at(self._now_s),
                "started_at": self.instant(run.collecting_started_s(self._now_s)),
            }
            for run in reversed(squid.runs)
        ]
        return {"squid": squid.id, "total_credits": sum(row["credits"] for row in rows), "data": rows}

    def run_tasks(self, run: LobstrRun) -> list[dict[str, Any]]:
        """The tasks of a run, the first first."""
        ended_s = run.collecting_ended_s(self._now_s)
        done = _tasks_done(run, run.results_at(self._now_s), ended_s is not None)
        return [self._run_task(run, number, number < done) for number in range(run.habits.total_tasks)]

    def task(self, task: LobstrTask) -> dict[str, Any]:
        """An item of the list of a squid's tasks."""
        return {
            "id": task.id,
            "object": "task",
            "created_at": self.instant(task.created_s, iso_naive),
            "is_active": True,
            "params": task.params,
        }

    def task_detail(self, task: LobstrTask) -> dict[str, Any]:
        """A task by itself; its id is called otherwise here."""
        document = self.task(task)
        status = {"status": "pending", "is_done": False, "total_results": 0, "total_pages": 0, "done_reason": None}
        return {"hash_value": document.pop("id"), **document, "status": {**status, "has_errors": False, "errors": None}}

    def login(self, login: Login) -> dict[str, Any]:
        """An account on another platform."""
        kind = ACCOUNT_TYPES[login.type]
        squids = [squid for squid in self._account.squids.values() if login.id in squid.logins]
        return {
            "id": login.id,
            "object": "account",
            "username": login.username,
            "created_at": self.instant(login.created_s),
            "last_synchronization_time": self.instant(login.created_s),
            "status": "200",
            "status_code_info": "synchronized",
            "status_code_description": "Success!",
            "type": login.type,
            "params": {"default": {}, "user": login.params},
            "updated_at": None,
            "account_type_hash": kind["id"],
            "squids": [{"name": squid.name, "hash_value": squid.id} for squid in squids],
            "baseurl": kind["baseurl"],
            "cookies": kind["cookies"],
            "icon": "",
            "resets_in": None,
            "lock_time": None,
        }

    def me(self) -> dict[str, Any]:
        """The user. What `plan` calls consumed is of a lifetime, not of the present interval as in the balance."""
        lifetime = sum(run.usage_at(self._now_s).credits for run in self._account.runs)
        return {
            "first_name": "Jane",
            "last_name": "Doe",
            "email": self._account.email,
            "email_verified": True,
            "plan": [
                {
                    "type": "current",
                    "name": "Simulated",
                    "status": "active",
                    "total_credits": self._account.credits_available,
                    "total_consumed": lifetime + self._account.credits_consumed_before,
                    "is_legacy": False,
                }
            ],
            "login_count": 1,
            "profile_image": None,
            "is_staff": False,
            "credit_interval": self._account.interval,
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
            "used_slots": account.used_slots,
            "total_available_slots": account.slots,
            "has_unpaid_bill": account.has_unpaid_bill,
            "reset_time": iso_seconds(account.reset_at(self._now_s)),
        }

    def _run(self, run: LobstrRun, write: Callable[[datetime], str], duration: float | str | None) -> dict[str, Any]:
        now_s = self._now_s
        results = run.results_at(now_s)
        exported = True if run.phase.status in ("done", "aborted") else None
        return {
            "id": run.id,
            "object": "run",
            "squid": run.squid.id,
            "is_done": self._is_done(run),
            "started_at": self.instant(self._started_s(run), write),
            "total_results": results,
            "total_unique_results": results,
            "next_launch_at": None,
            "ended_at": self.instant(run.collecting_ended_s(now_s), write),
            "duration": duration,
            "credit_used": round(run.usage_at(now_s).credits, 9),
            "origin": run.habits.origin,
            "force_launch": False,
            "status": self._status(run),
            "export_done": exported,
            "export_count": 1 if exported else 0,
            "export_time": self.instant(run.phase.start_s, write) if exported else None,
            "email_done": None,
            "email_time": None,
            "created_at": self.instant(run.life.start_s, write),
            "done_reason": run.done_reason_at(now_s),
            "done_reason_desc": None,
        }

    def _run_task(self, run: LobstrRun, number: int, is_done: bool) -> dict[str, Any]:
        task = run.squid.tasks[number] if number < len(run.squid.tasks) else None
        ended_s = run.collecting_ended_s(self._now_s)
        if is_done:
            status, reason = "completed", "completed"
        elif ended_s is not None:
            status, reason = "aborted", "run_aborted"
        else:
            status, reason = ("running" if run.phase.running else "pending"), None
        return {
            "object": "runtask",
            "id": made_id(f"{run.id}/{number}"),
            "started_at": self.instant(run.collecting_started_s(self._now_s)),
            "ended_at": self.instant(ended_s),
            "total_results": (run.habits.results_total or 0) // run.habits.total_tasks,
            "last_result": run.results_at(self._now_s) // run.habits.total_tasks,
            "total_pages": 1,
            "done_reason": reason,
            "last_page": 0,
            "status": status,
            "run": run.id,
            "task": task.id if task else None,
            "params": task.params if task else {},
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

    def _started_s(self, run: LobstrRun) -> float | None:
        return run.life.start_s if self._account.started_when_created else run.collecting_started_s(self._now_s)

    def _is_done(self, run: LobstrRun) -> bool:
        status = run.phase.status
        return status in TERMINAL or (status not in ABORTABLE and self._account.uploading_is_done)

    def _word(self, run: LobstrRun) -> str:
        return self._account.status_words.get(run.phase.status, run.phase.status)

    def _status(self, run: LobstrRun) -> str:
        return self._word(run).upper() if self._account.statuses_upper else self._word(run)

    def instant(self, elapsed_s: float | None, write: Callable[[datetime], str] = iso_seconds) -> str | None:
        """A moment, in seconds since the clock's start."""
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
