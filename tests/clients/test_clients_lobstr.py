"""lobstr's official clients (lobstrio-sdk 0.7, the lobstrio CLI 0.7) take the simulated platform for the real one."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from watchdog.simulated import EmailVerification, Fault, LobstrAccount, LobstrRun, SimClock, SimulatedPlatforms
from watchdog.simulated.http import resolve
from watchdog.simulated.lobstr_api import ROUTES

TOKEN = "lobstr_demo"

PRELUDE = """
import dataclasses, json, os
from lobstrio import *
client = LobstrClient(token=os.environ["LOBSTR_TOKEN"], base_url=os.environ["LOBSTR_API_BASE"])
def refused(call, *args, **more):
    try:
        call(*args, **more)
    except APIError as error:
        return [type(error).__name__, error.status_code, error.message, error.body.get("errors", {}).get("type")]
    raise AssertionError("was not refused")
def plain(thing):
    return {**dataclasses.asdict(thing)} if dataclasses.is_dataclass(thing) else str(thing)
"""


@dataclass
class Site:
    """A simulated lobstr account, and its clients."""

    platforms: SimulatedPlatforms
    clock: SimClock
    lobstr: LobstrAccount
    folder: Path
    run: Callable[..., Any]

    @property
    def environ(self) -> dict[str, str]:
        return {"LOBSTR_TOKEN": TOKEN, "LOBSTR_API_BASE": f"{self.platforms.url}/v1/", "COLUMNS": "200"}

    def sdk(self, code: str) -> Any:
        """What `told` is after this code, run by the SDK's own Python."""
        script = f"{PRELUDE}\n{textwrap.dedent(code)}\nprint(json.dumps(told, default=plain))\n"
        return self.run(self.folder / "bin" / "python", "-c", script, environ=self.environ).json()

    def cli(self, *words: str) -> Any:
        """What `lobstr --json ...` prints."""
        return self.run(self.folder / "bin" / "lobstr", "--json", *words, environ=self.environ).json()

    def start(self, name: str = "maps berlin", **how: Any) -> LobstrRun:
        return self.lobstr.start_run(self.lobstr.add_squid(name), **how)


@pytest.fixture
def site(client: Callable[[str], Path], run: Callable[..., Any]) -> Iterator[Site]:
    folder = client("lobstr")
    clock = SimClock(speed=0)
    with SimulatedPlatforms(clock).serve_in_thread() as platforms:
        lobstr = platforms.lobstr(token=TOKEN)
        lobstr.requests_per_minute = None
        yield Site(platforms, clock, lobstr, folder, run)
    lost = [request for request in platforms.requests if request.endpoint is None]
    assert not lost, "the client called what is not served"


def test_every_call_that_the_sdk_has_is_served(site: Site) -> None:
    [source] = site.folder.glob("lib/python3*/site-packages/lobstrio/client.py")
    calls = re.findall(r"_http\.(get|post|delete)\(\s*f?\"(/[^\"]*)\"", source.read_text(encoding="utf-8"))
    assert len(calls) >= 40
    for method, path in calls:
        asked = "/v1" + re.sub(r"\{[^}]*\}", "0" * 32, path)
        assert resolve(ROUTES, method.upper(), asked).endpoint, f"{method} {path}"


def test_who_and_how_much(site: Site) -> None:
    site.start(credits_per_hour=60, ends_after=None)
    site.clock.advance(1800)
    told = site.sdk("told = {'me': client.me(), 'balance': client.balance()}")
    assert (told["me"]["email"], told["me"]["plan"][0]["status"]) == (site.lobstr.email, "active")
    balance = told["balance"]
    assert (balance["available"], balance["consumed"]) == (100_000, 30)
    assert (balance["used_slots"], balance["total_available_slots"]) == (1, 10)
    assert balance["raw"]["interval"] == "daily"
    assert site.cli("whoami")["balance"]["consumed"] == 30


def test_squids_are_listed_by_name_and_by_page(site: Site) -> None:
    for number in range(60):
        site.lobstr.add_squid(f"{'Odd' if number % 2 else 'even'} {number}")
    told = site.sdk("""
        told = {
            "page": len(client.squids.list()),
            "second": len(client.squids.list(limit=50, page=2)),
            "all": len(list(client.squids.iter(limit=25))),
            "odd": [squid.name for squid in client.squids.list(name="odd 1", limit=100)],
            "none": client.squids.list(name="nobody"),
        }
    """)
    assert (told["page"], told["second"], told["all"], told["none"]) == (50, 10, 60, [])
    assert told["odd"] == ["Odd 1", *(f"Odd {number}" for number in range(11, 20, 2))]
    assert [squid["name"] for squid in site.cli("squid", "ls", "--name", "EVEN 42")] == ["even 42"]


def test_the_life_of_a_run(site: Site) -> None:
    """Made, refused until it is ready and has a task, started, looked at, stopped."""
    told = site.sdk("""
        maps = next(crawler for crawler in client.crawlers.iter() if crawler.slug == "google-maps-search-export")
        squid = client.squids.create(maps.id, name="leads")
        told = {"made": squid, "not_ready": refused(client.runs.start, squid=squid.id)}
        client.squids.update(squid.id, params={"max_results": 50})
        told["no_tasks"] = refused(client.runs.start, squid=squid.id)
        told["no_estimate"] = refused(client.squids.estimate, squid.id)
        told["bad_task"] = refused(client.tasks.add, squid=squid.id, tasks=[{"asin": "x"}])
        told["added"] = client.tasks.add(squid=squid.id, tasks=[{"url": "u1"}, {"url": "u2"}, {"url": "u1"}])
        told["estimate"] = client.squids.estimate(squid.id)
        told["run"] = client.runs.start(squid=squid.id)
        told["again"] = refused(client.runs.start, squid=squid.id)
        told["squid"] = client.squids.get(squid.id)
    """)
    assert (told["made"]["is_ready"], told["made"]["name"]) == (False, "leads")
    assert told["not_ready"][1] == 400
    assert "squids.update" in told["not_ready"][2], "the SDK knows the refusal by its message, and gives advice"
    assert (told["no_tasks"][3], told["no_estimate"][:2]) == ("NoTasksPresent", ["NotFoundError", 404])
    assert told["bad_task"] == ["APIError", 400, "Invalid param: asin", "InvalidParam"]
    assert (len(told["added"]["tasks"]), told["added"]["duplicated_count"]) == (2, 1)
    assert told["estimate"]["tasks"]["count"] == 2
    assert (told["run"]["status"], told["run"]["credit_used"], told["run"]["done_reason"]) == ("pending", 0, None)
    assert told["again"][3] == "RunInProgress"
    assert (told["squid"]["last_run_status"], told["squid"]["is_ready"]) == ("PENDING", True)
    site.clock.advance(5 + 300)
    run = told["run"]["id"]
    told = site.sdk(f"""
        told = {{"run": client.runs.get("{run}"), "stats": client.runs.stats("{run}"),
                 "tasks": client.runs.tasks("{run}"), "abort": client.runs.abort("{run}"),
                 "listed": client.runs.list(squid="{told["squid"]["id"]}")}}
    """)
    assert (told["run"]["status"], told["run"]["total_results"]) == ("running", 500)
    assert (told["stats"]["duration"], told["run"]["duration"]) == ("0:05:00", "0:03:18")
    assert (told["stats"]["percent_done"], told["stats"]["total_tasks"], len(told["tasks"])) == ("50%", 2, 2)
    assert (told["abort"]["status"], told["abort"]["done_reason"]) == ("uploading", "aborted")
    assert told["listed"][0]["duration"] == 198
    assert site.lobstr.run(run).truth().aborted_by_api


def test_what_happens_to_a_squid(site: Site) -> None:
    run = site.start()
    told = site.sdk(f"""
        squid = "{run.squid.id}"
        told = {{
            "off": client.squids.update(squid, is_active=False, name="renamed", cron_expression="0 9 * * 1"),
            "run": client.runs.get("{run.id}"),
            "refused": refused(client.runs.start, squid=squid),
            "wide": refused(client.squids.update, squid, concurrency=100),
            "slots": refused(client.squids.update, squid, concurrency=20, is_active=True),
            "accounts": refused(client.squids.update, squid, accounts=["x"]),
            "emptied": client.squids.empty(squid),
            "deleted": client.squids.delete(squid),
            "gone": refused(client.squids.get, squid),
            "run_gone": refused(client.runs.get, "{run.id}"),
        }}
    """)
    assert (told["off"]["name"], told["off"]["is_active"]) == ("renamed", False)
    assert told["off"]["raw"]["schedule"] == {"cron_expression": "0 9 * * 1", "timezone": "UTC"}
    assert (told["run"]["status"], told["run"]["done_reason"]) == ("uploading", "deactivated")
    assert "not ready" not in told["refused"][2].lower(), "the SDK rewrote it"
    assert (told["wide"][3], told["slots"][3]) == ("ConcurrencyLimitExceeded", "SlotsLimitExceeded")
    assert told["accounts"] == ["APIError", 400, "Invalid param: accounts", "InvalidParam"]
    assert (told["emptied"]["deleted_count"], told["deleted"]["deleted"]) == (1, True)
    assert told["gone"] == ["NotFoundError", 404, "Squid not found", "SquidDoesNotExist"]
    assert told["run_gone"] == ["NotFoundError", 404, "Run not found", "HTTPNotFound"]


def test_tasks_one_by_one_and_from_a_file(site: Site, tmp_path: Path) -> None:
    squid = site.lobstr.add_squid("maps", tasks=[])
    (tmp_path / "tasks.csv").write_text("url,city\nu1,Paris\nu2,Lyon\nu1,Paris\n", encoding="utf-8")
    (tmp_path / "tasks.tsv").write_text("url\tasin\nu1\tx\n", encoding="utf-8")
    told = site.sdk(f"""
        squid = "{squid}"
        csv, tsv = (client.tasks.upload(squid=squid, file=name)["id"] for name in ("tasks.csv", "tasks.tsv"))
        told = {{"csv": client.tasks.upload_status(csv), "tsv": client.tasks.upload_status(tsv)}}
        told["listed"] = list(client.tasks.iter(squid=squid, limit=1))
        first = told["listed"][0].id
        told |= {{"one": client.tasks.get(first), "deleted": client.tasks.delete(first)}}
        told["gone"] = refused(client.tasks.get, first)
        told["unknown"] = refused(client.tasks.upload_status, "0" * 32)
    """)
    assert told["csv"] == {"state": "SUCCESS", "meta": {"valid": 3, "inserted": 2, "duplicates": 1, "invalid": 0}}
    assert told["tsv"]["meta"] == {"valid": 0, "inserted": 0, "duplicates": 0, "invalid": 1}
    assert [task["params"] for task in told["listed"]] == [
        {"url": "u1", "city": "Paris"},
        {"url": "u2", "city": "Lyon"},
    ]
    assert (told["one"]["id"], told["one"]["status"]["status"]) == (told["listed"][0]["id"], "pending")
    assert (told["deleted"]["deleted"], told["gone"][:2]) == (True, ["NotFoundError", 404])
    assert told["unknown"][:2] == ["NotFoundError", 404]


def test_results_are_counted_and_downloaded(site: Site, tmp_path: Path) -> None:
    run = site.start(ends_after=60, results_total=120)
    told = site.sdk(f"""told = {{"early": refused(client.runs.download_url, "{run.id}")}}""")
    assert told["early"][:3] == ["NotFoundError", 404, "Run not found or export not ready"]
    site.clock.advance(100)
    told = site.sdk(f"""
        client.runs.download("{run.id}", "out.csv")
        told = {{
            "page": client.results.page(run="{run.id}", page_size=50),
            "all": len(list(client.results.iter(squid="{run.squid.id}", page_size=50))),
            "last": len(client.results.list(run="{run.id}", page=3, page_size=50)),
            "both": refused(client.results.page, run="{run.id}", squid="{run.squid.id}"),
        }}
    """)
    assert (told["page"]["total_results"], told["page"]["total_pages"], told["all"], told["last"]) == (120, 3, 120, 20)
    assert told["both"][1] == 400
    assert len((tmp_path / "out.csv").read_text(encoding="utf-8").splitlines()) == 121
    assert TOKEN not in str(site.platforms.requests)
    site.lobstr.free_plan_cap = 30
    told = site.sdk(f"""
        told = {{"page": client.results.page(run="{run.id}", page_size=50),
                 "more": refused(client.results.page, run="{run.id}", page=2, page_size=50)}}
    """)
    assert (len(told["page"]["data"]), told["page"]["total_results"]) == (30, 120)
    assert "only 30 results" in told["page"]["warning"]
    assert told["more"][3] == "ExportLimitReached"


def test_accounts_on_other_platforms(site: Site) -> None:
    told = site.sdk("""
        crawler = next(each for each in client.crawlers.iter() if each.account_type)
        squid = client.squids.create(crawler.id)
        client.tasks.add(squid=squid.id, tasks=[{"url": "https://www.linkedin.com/in/jane"}])
        client.squids.update(squid.id, params={"max_results": 1})
        told = {"crawler": crawler, "types": client.accounts.types(), "without": client.runs.start(squid=squid.id).id}
        told["incomplete"] = refused(client.accounts.sync, crawler.account_type, {"li_at": "x"})
        sync = client.accounts.sync(crawler.account_type, {"li_at": "x", "JSESSIONID": "y"})
        told["sync"] = client.accounts.sync_status(sync["id"])
        [account] = client.accounts.iter()
        told["updated"] = client.accounts.update(account.id, type=account.type, params={"batch": 20})
        told["attached"] = client.squids.attach_accounts(squid.id, [account.id])
        told["account"] = client.accounts.get(account.id)
        other = client.accounts.sync("twitter-sync", {"auth_token": "x", "ct0": "y"})
        other = client.accounts.sync_status(other["id"]).account_hash
        told["wrong"] = refused(client.squids.attach_accounts, squid.id, [other])
        told["deleted"] = client.accounts.delete(account.id)
        told["gone"] = refused(client.accounts.get, account.id)
        told["detached"] = client.squids.get(squid.id)
    """)
    assert told["crawler"]["account_type"] == "linkedin-sync"
    assert "linkedin-sync" in {kind["name"] for kind in told["types"]}
    assert told["incomplete"][1] == 400
    assert (told["sync"]["status_code"], told["account"]["status"]) == (200, "200")
    assert [each["id"] for each in told["attached"]["accounts"]] == [told["account"]["id"]]
    assert told["account"]["squids"][0]["hash_value"] == told["attached"]["id"]
    assert told["wrong"] == ["NotFoundError", 404, "Account not found", "HTTPNotFound"]
    assert (told["deleted"]["deleted"], told["gone"][1], told["detached"]["accounts"]) == (True, 404, [])
    site.clock.advance(30)
    run = site.lobstr.run(told["without"])
    assert (run.status(), run.done_reason_at(site.clock.elapsed_s())) == ("error", "no_accounts")


def test_deliveries_are_kept(site: Site) -> None:
    squid = site.lobstr.add_squid("maps")
    told = site.sdk(f"""
        squid, to = "{squid}", client.delivery
        login = dict(host="h", username="u", password="p", directory="/d")
        told = {{
            "email": to.email(squid, email="a@b.c"),
            "sheet": to.google_sheet(squid, url="https://x", append=True),
            "s3": to.s3(squid, bucket="b", target_path="p"),
            "first": to.webhook(squid, url="https://first"),
            "hook": to.webhook(squid, url="https://second", on_paused=True, retry=False),
            "sftp": to.sftp(squid, **login),
            "tests": [to.test_email(email="a@b.c"), to.test_google_sheet(url="https://x"), to.test_s3(bucket="b"),
                      to.test_webhook(url="https://x"), to.test_sftp(**login)],
            "unknown": refused(to.webhook, "0" * 32, url="https://x"),
            "squid": client.squids.get(squid).raw,
        }}
    """)
    assert (told["email"], told["sheet"]["append"]) == ({"email": "a@b.c", "notifications": True}, True)
    assert (told["s3"]["bucket"], told["sftp"]["port"], told["hook"]["retry"]) == ("b", 22, False)
    assert told["hook"]["events"]["run_paused"]
    assert all(test["success"] for test in told["tests"])
    assert told["unknown"][3] == "SquidDoesNotExist"
    assert told["squid"]["webhook_fields"]["url"] == "https://second", "one a squid: setting it replaces the owner's"
    assert told["squid"]["email"] == "a@b.c"


@pytest.mark.parametrize(
    ("shape", "message"), [("real", "Run not found"), ("errors", "Run not found"), ("text", "Run not found")]
)
def test_refusals_become_the_exceptions_of_the_client(site: Site, shape: Any, message: str) -> None:
    site.lobstr.error_shape = shape
    site.platforms.faults.add(Fault("rate_limited", match="balance", retry_after_s=7))
    told = site.sdk("""
        stranger = LobstrClient(token="nobody", base_url=os.environ["LOBSTR_API_BASE"])
        told = {"token": refused(stranger.me), "missing": refused(client.runs.get, "0" * 32)}
        try:
            client.balance()
        except RateLimitError as error:
            told["wait"] = error.retry_after
    """)
    assert told["token"][:2] == ["AuthError", 401]
    assert told["missing"][:3] == ["NotFoundError", 404, message]
    assert told["wait"] == "7"


def test_no_run_starts_without_credits(site: Site) -> None:
    squid = site.lobstr.add_squid("maps")
    site.lobstr.run_out_of_credits()
    told = site.sdk(f"""
        balance = client.balance()
        told = {{"refused": refused(client.runs.start, squid="{squid}"), "rest": balance.available - balance.consumed}}
    """)
    assert (told["refused"][1], told["refused"][3], told["rest"]) == (400, "NotEnoughCredits", 0)


def test_waiting_for_a_run_ends_before_its_addresses_are_verified(site: Site) -> None:
    emails = EmailVerification(emails=100, lasts_s=1000)
    run = site.start(ends_after=60, credits_per_hour=3600, verification=emails)
    site.clock.advance(60 + 500)
    told = site.sdk(f"""told = client.runs.wait("{run.id}").raw""")
    assert (told["status"], told["credit_used"]) == ("done", 60 + 50)
    assert told["email_verification"]["is_done"] is False


def test_the_asynchronous_client_too(site: Site) -> None:
    run = site.start(ends_after=None)
    told = site.sdk(f"""
        import asyncio
        async def ask():
            there = os.environ["LOBSTR_API_BASE"]
            async with AsyncLobstrClient(token=os.environ["LOBSTR_TOKEN"], base_url=there) as it:
                squids = [squid.id async for squid in it.squids.iter()]
                return [squids, (await it.runs.abort("{run.id}"))["status"], (await it.balance()).consumed]
        told = asyncio.run(ask())
    """)
    assert told == [[run.squid.id], "uploading", 0]


@pytest.mark.parametrize(("habit", "answer"), [("status", {"status": "aborted"}), ("object", {}), ("empty", {})])
def test_an_abort_by_the_command_line(site: Site, habit: Any, answer: Any) -> None:
    site.lobstr.abort_answers = habit
    run = site.start()
    assert site.cli("run", "abort", run.id) == answer
    assert run.status() == "uploading"


def test_the_command_line_looks_at_runs(site: Site) -> None:
    run = site.start("Maps Berlin", ends_after=100, credits_per_hour=360)
    site.clock.advance(50)
    assert site.cli("squid", "show", "berlin")["last_run_status"] == "RUNNING"
    [listed] = site.cli("run", "ls", "maps berlin")
    assert (listed["id"], listed["credit_used"], listed["duration"]) == (run.id, 5, 33)
    assert site.cli("run", "show", run.id)["duration"] == "0:00:33"
    assert site.cli("run", "stats", run.id)["percent_done"] == "50%"
    assert len(site.cli("run", "tasks", run.id)) == 10
    site.clock.advance(100)
    assert site.cli("run", "watch", run.id)["done_reason"] == "tasks_done"
    assert site.cli("results", "get", run.squid.id[:10], "--page-size", "3")[0]["run"] == run.id
    assert "s3" in site.cli("run", "download", run.id)
    plain = site.run(site.folder / "bin" / "lobstr", "run", "ls", run.squid.id, environ=site.environ)
    assert run.id in plain.out


def test_the_command_line_makes_and_runs_a_squid_in_one_go(site: Site, tmp_path: Path) -> None:
    words = ("go", "google-maps-search-export", "https://maps.example", "--name", "in one go", "--no-download")
    told = site.cli(*words, "--function", "extract_emails_from_website", "-c", "2")
    run = site.lobstr.run(told["run"])
    assert (run.squid.name, run.squid.concurrency, run.status()) == ("in one go", 2, "pending")
    assert run.squid.params["functions"] == {"extract_emails_from_website": True}
    again = site.run(site.folder / "bin" / "lobstr", *words, environ=site.environ)
    assert again.code == 1
    assert "already active" in again.err
    assert site.cli("squid", "update", "in one go", "--inactive")["is_active"] is False
    assert run.status() == "uploading"
    assert [squid["deleted"] for squid in (site.cli("squid", "rm", "--force", "in one go"),)] == [True]


@pytest.mark.parametrize(
    "words",
    [
        ("crawlers", "ls"),
        ("crawlers", "search", "maps"),
        ("crawlers", "show", "google-maps-search-export"),
        ("crawlers", "params", "google-maps-search-export"),
        ("crawlers", "attrs", "google-maps-search-export"),
        ("squid", "create", "Twitter Profile Scraper"),
        ("squid", "estimate", "maps"),
        ("squid", "empty", "maps"),
        ("task", "ls", "maps"),
        ("task", "add", "maps", "https://one", "https://two"),
        ("accounts", "ls"),
        ("accounts", "types"),
        ("delivery", "webhook", "maps", "--url", "https://x"),
        ("delivery", "test-s3", "--bucket", "b"),
    ],
    ids=" ".join,
)
def test_the_command_line(site: Site, words: tuple[str, ...]) -> None:
    site.lobstr.add_squid("maps")
    assert site.cli(*words) is not None
    plain = site.run(site.folder / "bin" / "lobstr", *words, environ=site.environ)
    assert (plain.code, plain.err.count("Traceback")) == (0, 0), plain.err
    assert {request.status for request in site.platforms.requests} <= {200, 201}
