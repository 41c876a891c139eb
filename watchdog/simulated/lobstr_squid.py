"""What squids hold: their settings, and the tasks that every run of theirs works off."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from watchdog.simulated.lobstr_catalog import LobstrCrawler, made_id

if TYPE_CHECKING:
    from watchdog.simulated.lobstr_run import LobstrRun


class LobstrTask(msgspec.Struct):
    """One input of a squid."""

    id: str
    params: dict[str, Any]
    created_s: float


class Login(msgspec.Struct):
    """An account on another platform, that crawlers log in with."""

    id: str
    username: str
    type: str
    created_s: float
    params: dict[str, Any] = {}


class LobstrSquid(msgspec.Struct, eq=False):
    """A squid: a configured project on a crawler."""

    id: str
    name: str
    on: LobstrCrawler
    created_s: float
    is_active: bool = True
    is_ready: bool = True
    """False until settings have been saved once; no run starts before."""
    concurrency: int = 1
    params: dict[str, Any] = {}
    to_complete: Any = False
    run_notify: str | None = None
    export_unique_results: bool = True
    no_line_breaks: bool = False
    schedule: dict[str, Any] | None = None
    logins: list[str] = []
    """The ids of its accounts on other platforms."""
    delivery: dict[str, Any] = {}
    """`email`, `google_sheet_fields`, `s3_fields`, `ftp_fields`, `webhook_fields`, as they were set last."""
    tasks: list[LobstrTask] = []
    runs: list[LobstrRun] = []
    """Newest start last."""
    deleted_s: float | None = None

    @property
    def crawler_id(self) -> str:
        return self.on.id

    @property
    def crawler(self) -> str:
        return self.on.name

    def add_task(self, params: dict[str, Any], now_s: float) -> LobstrTask | None:
        """None if it holds the same already."""
        if any(task.params == params for task in self.tasks):
            return None
        task = LobstrTask(made_id(f"{self.id}/{sorted(params.items())}"), params, now_s)
        self.tasks.append(task)
        return task
