"""lobstr's calls about runs, their results, and what is charged for them."""

from __future__ import annotations

import csv
import io
from typing import Any, ClassVar, Final

from watchdog.simulated.http import Answer, Route, json_answer, route
from watchdog.simulated.lobstr import LobstrAccount
from watchdog.simulated.lobstr_calls import Calls, page_size, whole
from watchdog.simulated.lobstr_catalog import made_id
from watchdog.simulated.lobstr_errors import Refusal
from watchdog.simulated.lobstr_run import TERMINAL, LobstrRun
from watchdog.simulated.lobstr_squid import LobstrSquid

EXPORTS: Final = "/v1/exports/"
"""Where the files lie that an address without a token is given out for; on the platform, a store of Amazon's."""


def signature(account: LobstrAccount) -> str:
    """What stands for the token in such an address."""
    return made_id(f"signature of {account.token}")


class RunCalls(Calls):
    """Runs: list, start, look, stop."""

    routes: ClassVar[tuple[Route, ...]] = (
        route("/v1/runs", GET="list", POST="start"),
        route("/v1/runs/{id}", GET="run"),
        route("/v1/runs/{id}/stats", GET="stats"),
        route("/v1/runs/{id}/credits", GET="credits"),
        route("/v1/runs/{id}/abort", POST="abort"),
        route("/v1/runs/{id}/download", GET="download"),
        route("/v1/exports/{id}", GET="export"),
        route("/v1/runtasks", GET="runtasks"),
    )

    def serve(self, endpoint: str, given: str) -> Answer:
        match endpoint:
            case "list":
                return self.page(self.squid(self.request.query.get("squid")).runs[::-1], self.write.run_item)
            case "start":
                return self._start(self.squid(self.json().get("squid")))
            case "run":
                return json_answer(200, self.write.run_detail(self.run(given)))
            case "stats":
                return json_answer(200, self.write.stats(self.run(given)))
            case "credits":
                return self._credits(self.run(given))
            case "abort":
                return self._abort(self.run(given))
            case "download":
                return self._download(self.run(given))
            case "export":
                return _export(result_rows(self, [self.run(given)]))
            case "runtasks":
                return self.page(self.write.run_tasks(self.run(self.request.query.get("run"))), dict)
        raise AssertionError(f"no such endpoint: {endpoint}")

    def _start(self, squid: LobstrSquid) -> Answer:
        if any(run.phase.status not in TERMINAL for run in squid.runs):
            raise Refusal(400, "RunInProgress", "A run is already active for this squid")
        if not squid.is_active or not squid.is_ready:
            raise Refusal(400, "SquidNotReady", "Squid is not ready")
        if not squid.tasks:
            raise Refusal(400, "NoTasksPresent", "Squid has no active tasks to run")
        if self.account.consumed(self.now_s) >= self.account.credits_available:
            raise Refusal(400, "NotEnoughCredits", "Not enough credits to start the run")
        how: dict[str, Any] = {"total_tasks": len(squid.tasks), **self.account.new_runs}
        if squid.on.account_type and not squid.logins:
            how |= {"ends_after": 1.0, "ends_as": "error", "done_reason": "no_accounts", "results_total": 0}
        return json_answer(200, self.write.run_item(self.account.start_run(squid.id, **how)))

    def _abort(self, run: LobstrRun) -> Answer:
        if not self.account.abort(run, self.now_s, self.fate):
            if self.account.abort_of_finished == "missing":
                raise Refusal(404, "HTTPNotFound", "Run not found or already completed")
            return json_answer(200, self.write.run_item(run))
        match self.account.abort_answers:
            case "run":
                return json_answer(200, self.write.run_item(run))
            case "status":
                return json_answer(200, {"status": "aborted"})
            case "object":
                return json_answer(200, {})
            case "empty":
                return Answer(200)

    def _credits(self, run: LobstrRun) -> Answer:
        if run.phase.status not in TERMINAL:
            raise Refusal(400, "InvalidParam", "Credits are available for completed runs only.")
        if run.habits.credits_lost:
            raise Refusal(404, "HTTPNotFound", "Run not found")
        return json_answer(200, self.write.credits(run))

    def _download(self, run: LobstrRun) -> Answer:
        if run.phase.status not in ("done", "aborted"):
            raise Refusal(404, "HTTPNotFound", "Run not found or export not ready")
        signed = self.address(f"{EXPORTS}{run.id}", {"signature": signature(self.account)})
        return json_answer(200, {"s3": signed})


class ResultCalls(Calls):
    """The results that runs have collected so far."""

    routes: ClassVar[tuple[Route, ...]] = (route("/v1/results", GET="results"),)

    def serve(self, endpoint: str, given: str) -> Answer:
        query = self.request.query
        asked = [name for name in ("squid", "run", "task") if query.get(name)]
        if len(asked) != 1:
            raise Refusal(
                400, "InvalidParam", "You must provide either 'squid' or 'run' parameter, not both or neither"
            )
        size = "page_size" if "page_size" in query else "limit"
        cap = self.account.free_plan_cap
        if cap is not None and (whole(query, "page", 1) - 1) * page_size(query, size) >= cap:
            raise Refusal(400, "ExportLimitReached", f"Free plans can only read the first {cap} results")
        return self.page(self._rows(asked[0], query[asked[0]]), dict, size)

    def _rows(self, what: str, given: str) -> list[dict[str, Any]]:
        if what == "run":
            return result_rows(self, [self.run(given)])
        if what == "squid":
            return result_rows(self, self.squid(given).runs)
        if not any(task.id == given for squid in self.account.squids.values() for task in squid.tasks):
            raise Refusal(404, "HTTPNotFound", "Task not found")
        return []


def result_rows(calls: Calls, runs: list[LobstrRun]) -> list[dict[str, Any]]:
    """As many rows as the runs have results."""
    return [
        {
            "id": f"{number:032x}",
            "object": "result",
            "squid": run.squid.id,
            "run": run.id,
            "name": f"result {number}",
            "url": f"https://example.com/{number}",
        }
        for run in runs
        for number in range(run.results_at(calls.now_s))
    ]


def _export(rows: list[dict[str, Any]]) -> Answer:
    text = io.StringIO()
    table = csv.DictWriter(text, ["id", "squid", "run", "name", "url"], extrasaction="ignore")
    table.writeheader()
    table.writerows(rows)
    return Answer(200, text.getvalue().encode(), content_type="text/csv")
