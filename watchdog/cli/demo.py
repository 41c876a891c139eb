"""`budget-watchdog demo`: the whole daemon against simulated platforms, on a fast clock."""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.resources import as_file, files
from typing import TextIO, cast

import click
from pydantic import SecretStr
from rich.console import Console
from rich.live import Live
from rich.text import Text

from watchdog.app import App, opened
from watchdog.cli import view
from watchdog.cli.duration import DURATION
from watchdog.cli.recorder import Recorder
from watchdog.cli.savings import saved, saved_in_all
from watchdog.cli.tables import Cell, Name, Records, Whole, console, counted
from watchdog.config.models import AccountSettings, Settings
from watchdog.domain.decision import Abort, AbortState, Mode, Response, describe, describe_use
from watchdog.domain.duration import format_duration
from watchdog.domain.meter import BOOKED, Meter
from watchdog.domain.notice import (
    AbortChanged,
    AbortTrouble,
    LimitBreached,
    LimitNear,
    Notice,
    PollFailed,
    SavingBooked,
)
from watchdog.net.trust import FILE, FOLDER
from watchdog.platforms.facts import OURS
from watchdog.platforms.known import traits_of
from watchdog.rulefile import LoadedRules, load_rules
from watchdog.runtime.clock import FastClock
from watchdog.simulated import ApifyAccount, LobstrAccount, RunTruth, SimClock, SimulatedPlatforms
from watchdog.telemetry.logs import configure_logging
from watchdog.text import escaped

#: Simulated seconds that pass in one real second.
SPEED = 60.0
APIFY, LOBSTR = "apify-demo", "lobstr-demo"
USD_PER_CREDIT = 0.002
#: Real seconds that aborts still open at the end get: a graceful window and the settling of figures, and some more.
FINISH_S = 5.0


@dataclass(frozen=True, slots=True)
class Story:
    """A simulated run, and what has to become of it."""

    run_id: str
    stopped_by: str | None
    why: str


@click.command("demo")
@click.option(
    "--for",
    "for_s",
    type=DURATION,
    default="20s",
    show_default=True,
    metavar="DURATION",
    help="How long to run, in real time.",
)
@click.option(
    "--ledger",
    "address",
    default="memory",
    show_default=True,
    metavar="ADDRESS",
    help="Where the aborts are recorded. In a file (sqlite:///./demo.db) the records of earlier demos stay.",
)
@click.option("--show-rules", is_flag=True, help="Print the rules of the demo and end.")
def command(for_s: float, address: str, show_rules: bool) -> int:
    """Run the daemon against simulated Apify and lobstr.io servers on this machine, sixty times faster than life.

    Some runs break a rule and must be stopped, one of them gracefully; others stay within their limits, are protected,
    or only cause a notice, and must be left alone. At the end the daemon's books are compared with what the simulated
    platforms themselves recorded.

    Exit code 0 if they agree and every run over its limit was stopped, 1 if not.
    """
    rules_file = files("watchdog.cli") / "demo_rules.yaml"
    if show_rules:
        click.echo(rules_file.read_text(encoding="utf-8"), nl=False)
        return 0
    for name in (FILE, FOLDER):
        # It speaks to this machine alone and without TLS: whatever certificates there are is none of its business.
        os.environ.pop(name, None)
    configure_logging("auto", cast(TextIO, Stderr()), level="error")
    with as_file(rules_file) as path:
        rules = load_rules(path, platforms=OURS)
    return asyncio.run(_demo(rules, for_s, address))


async def _demo(rules: LoadedRules, for_s: float, address: str) -> int:
    clock = FastClock(SPEED)
    platforms = SimulatedPlatforms(SimClock(SPEED, clock.now()))
    stories = [*_apify_runs(platforms.apify("apify_api_demo", "acme")), *_lobstr_runs(platforms.lobstr("lobstr_demo"))]
    out = console()
    async with platforms:
        teller, recorder = _Teller(out, clock.monotonic), Recorder()
        settings = _settings(platforms.url, address)
        async with opened(settings, rules, clock=clock, observers=[teller, recorder]) as app:
            earlier = len(await app.ledger.aborts())
            app.announce()
            await _watch(app, out, teller, recorder, for_s)
            code = _summary(out, recorder.aborts, platforms.truth(), stories)
            if earlier:
                _tell_totals(out, await app.ledger.aborts())
        return code


def _tell_totals(out: Console, aborts: Sequence[Abort]) -> None:
    """What the ledger holds with all the demos before: the counters of the metrics continue from there."""
    stopped = sum(abort.state is AbortState.CONFIRMED for abort in aborts)
    out.print(f"With the demos before, this ledger holds {counted(stopped, 'stopped run')}: {saved_in_all(aborts)}.")


def _settings(url: str, ledger: str) -> Settings:
    return Settings(
        ledger=ledger,
        accounts=(
            AccountSettings(name=APIFY, platform="apify", token=SecretStr("apify_api_demo"), base_url=url),
            AccountSettings(
                name=LOBSTR,
                platform="lobstr",
                token=SecretStr("lobstr_demo"),
                base_url=url,
                usd_per_credit=USD_PER_CREDIT,
            ),
        ),
    )


def _apify_runs(account: ApifyAccount) -> list[Story]:
    maps = account.add_actor("compass", "crawler-google-places")
    crawler = account.add_actor("apify", "website-content-crawler")
    puppeteer = account.add_actor("apify", "puppeteer-scraper")
    own = account.add_actor("acme", "price-monitor")
    quarterly = account.add_task(maps, "quarterly-crawl")
    account.start_run(maps, usd_per_hour=36, timeout_secs=3600, run_id="mapsRunaway000001")
    account.start_run(maps, usd_per_hour=6, ends_after=900, run_id="mapsWellBehaved01")
    account.start_run(task=quarterly, usd_per_hour=60, timeout_secs=7200, run_id="mapsQuarterly0001")
    account.start_run(crawler, usd_per_hour=1.2, timeout_secs=3600, run_id="crawlTooLong00001")
    account.start_run(
        crawler,
        usd_per_hour=1.2,
        started_ago=18_060,
        stopped_for=18_000,
        resurrect_count=1,
        ends_after=400,
        run_id="crawlResurrected1",
    )
    account.start_run(puppeteer, memory_mbytes=16_384, usd_per_hour=4, timeout_secs=7200, run_id="puppeteerHog00001")
    account.start_run(own, usd_per_hour=4, ends_after=1_100, run_id="priceMonitor00001")
    return [
        Story("mapsRunaway000001", "maps-cap", "burns $36 an hour"),
        Story("mapsWellBehaved01", None, "stays under its cap"),
        Story("mapsQuarterly0001", None, "over the cap, but protected"),
        Story("crawlTooLong00001", "crawl-in-parts", "runs too long; to be resurrected, so stopped gracefully"),
        Story("crawlResurrected1", None, "started 5 h ago, but was stopped most of that time"),
        Story("puppeteerHog00001", "memory-hog", "16 GB of memory: 1 compute unit in 4 minutes"),
        Story("priceMonitor00001", None, "over a rule that only notifies"),
    ]


def _lobstr_runs(account: LobstrAccount) -> list[Story]:
    greedy = account.start_run(
        account.add_squid("Restaurants Paris"), credits_per_hour=240, results_total=4000, ends_after=3600
    )
    modest = account.start_run(
        account.add_squid("Hotels Rome"), credits_per_hour=30, results_total=500, ends_after=1000
    )
    account.add_squid("Idle squid")
    return [
        Story(greedy.id, "squid-credits", "240 credits an hour"),
        Story(modest.id, None, "stays under its limit"),
    ]


async def _watch(app: App, out: Console, observer: _Teller, recorder: Recorder, for_s: float) -> None:
    """The daemon for a while, with the live table or plain lines."""
    daemon = app.daemon(listen=False)
    running = asyncio.create_task(daemon.run(close_s=FINISH_S))
    out.print(
        f"Simulated platforms, {SPEED:.0f} times faster than life: {for_s:.0f} s here are "
        f"{format_duration(for_s * SPEED)} there. Rules: budget-watchdog demo --show-rules\n"
    )
    end = asyncio.get_running_loop().time() + for_s
    try:
        if out.is_terminal:
            await _live(app, out, observer, recorder, running, end)
        else:
            await asyncio.wait([running], timeout=for_s)
    finally:
        daemon.stop()
    await running


async def _live(
    app: App,
    out: Console,
    observer: _Teller,
    recorder: Recorder,
    running: asyncio.Task[None],
    end: float,
) -> None:
    with Live(console=out, auto_refresh=False, redirect_stderr=sys.stderr.isatty()) as live:
        observer.quiet = True
        while not running.done() and asyncio.get_running_loop().time() < end:
            found = view.rows(app.status.read(), app.rulebook, recorder.aborts)
            live.update(view.table(found), refresh=True)
            await asyncio.wait([running], timeout=0.25)
        observer.quiet = False


class Stderr(io.TextIOBase):
    """Standard error as it is at each line: while the live table is shown, that is a place above it."""

    def write(self, text: str) -> int:
        return sys.stderr.write(text)

    def flush(self) -> None:
        sys.stderr.flush()

    def isatty(self) -> bool:
        return sys.stderr.isatty()


class _Teller:
    """Prints what happens as plain lines, with the simulated time since the start."""

    def __init__(self, out: Console, seconds: Callable[[], float]) -> None:
        self.quiet = False
        self._out = out
        self._seconds = seconds

    def notice(self, notice: Notice) -> None:
        """One line for what is worth one."""
        line = _line(notice)
        if line and not self.quiet:
            self._out.print(Text(f"{format_duration(self._seconds()):>7}  {escaped(line)}"), soft_wrap=True)


def _line(notice: Notice) -> str:
    match notice:
        case LimitNear(snapshot=run, verdict=verdict):
            use = describe_use(verdict.kind, verdict.used, verdict.limit, traits_of(run.platform))
            return f"warning   {run.run_id}  {use} ({verdict.rule.name})"
        case LimitBreached(snapshot=run, breach=breach) if breach.response is not Response.ABORT:
            verdict = breach.verdict
            use = describe_use(verdict.kind, verdict.used, verdict.limit, traits_of(run.platform))
            word, note = breach.response.value.replace("_", " "), f": {breach.note}" if breach.note else ""
            return f"{word:<9} {run.run_id}  {use} ({verdict.rule.name}){note}"
        case AbortChanged(abort=abort, before=before):
            return _abort_line(abort, before)
        case SavingBooked(abort=abort):
            return f"saved     {abort.run_id}  {saved(abort) or 'nothing that can be estimated'}"
        case AbortTrouble(abort=abort, message=message):
            return f"trouble   {abort.run_id}  {message}"
        case PollFailed(error=error):
            return f"trouble   {error}"
        case _:
            return ""


def _abort_line(abort: Abort, before: AbortState | None) -> str:
    if before is None:
        use = describe_use(abort.limit, abort.used_at_detection, abort.limit_value, traits_of(abort.platform))
        how = "asking it to stop gracefully" if abort.mode is Mode.GRACEFUL else "stopping it"
        return f"breach    {abort.run_id}  {use} ({abort.rule}): {how}"
    if abort.state is AbortState.REQUESTED:
        status = abort.history[-1].note
        return f"asked     {abort.run_id}  {status}"
    return f"{abort.state.value.replace('_', ' '):<9} {abort.run_id}  {abort.history[-1].note}"


def _summary(out: Console, aborts: Sequence[Abort], truths: Sequence[RunTruth], stories: Sequence[Story]) -> int:
    """The daemon's books beside the platforms' own, run by run."""
    by_run = {abort.run_id: abort for abort in aborts}
    rows: list[list[Cell]] = []
    wrong = []
    for story in stories:
        truth = next(each for each in truths if each.id == story.run_id)
        abort = by_run.get(story.run_id)
        daemon, fault = _judge(story, abort, truth)
        if fault:
            wrong.append(f"{story.run_id}: {fault}")
        rows.append(_row(story, abort, truth, daemon, fault))
    out.print("\nWhat the daemon booked, and what the platforms recorded:\n")
    titles = ("run", "what it is", "daemon", "platform", "used (platform)", "saved (estimate)", "saved (truth)")
    out.print(Records(titles, rows), crop=False)
    stopped = sum(abort.state is AbortState.CONFIRMED for abort in aborts)
    recorded = sum(truth.aborted_by_api for truth in truths)
    out.print(
        f"\n{counted(stopped, 'run')} stopped (the platforms recorded {recorded}), "
        f"{len(stories) - len(aborts)} left alone: {saved_in_all(aborts)}.",
        soft_wrap=True,
    )
    for fault in wrong:
        out.print(Text(f"DISAGREES: {fault}", "red"), soft_wrap=True)
    return 1 if wrong else 0


def _row(story: Story, abort: Abort | None, truth: RunTruth, daemon: str, fault: str) -> list[Cell]:
    return [
        Whole(story.run_id),
        Name(story.why),
        Whole(daemon, "red" if fault else ""),
        Whole(truth.status.lower()),
        Whole(_used(truth)),
        Whole((saved(abort) or "nothing that can be estimated") if abort else "-"),
        Whole(_truly_saved(truth) if abort else "-"),
    ]


def _judge(story: Story, abort: Abort | None, truth: RunTruth) -> tuple[str, str]:
    """What the daemon did about this run in words, and what is wrong with that, if anything."""
    if abort is None:
        fault = "should have been stopped and was not" if story.stopped_by and _was_over(truth) else ""
        return "left alone", fault or ("was aborted behind the daemon's back" if truth.aborted_by_api else "")
    words = f"{abort.state.value.replace('_', ' ')} ({abort.mode})"
    if story.stopped_by != abort.rule:
        return words, f"was stopped by {abort.rule}, which should not have happened"
    if abort.state is not AbortState.CONFIRMED or not truth.aborted_by_api:
        return words, f"the books say {abort.state.value}, the platform says {truth.status}"
    return words, _differs(abort, truth)


def _was_over(truth: RunTruth) -> bool:
    """Every run of the demo that is to be stopped breaks its limit within ten simulated minutes."""
    return truth.usage.duration_s > 600


def _differs(abort: Abort, truth: RunTruth) -> str:
    """Whether the final figures in the books are the platform's own, to the cent and the hundredth of a credit."""
    final = abort.final.usage if abort.final else None
    if final is None:
        return "the books have no final figures"
    pairs = ((final.of(meter), getattr(truth.usage, meter.entry.field)) for meter in reversed(BOOKED))
    off = [f"{ours} in the books, {theirs} on the platform" for ours, theirs in pairs if _apart(ours, theirs)]
    return "; ".join(off)


def _apart(ours: float | None, theirs: float | None) -> bool:
    return ours is not None and theirs is not None and abs(ours - theirs) > 0.01


def _used(truth: RunTruth) -> str:
    usage = truth.usage
    cost = f"${usage.cost_usd:.2f}, " if usage.cost_usd is not None else ""
    return f"{cost}{_credits(truth, usage.credits)}, {format_duration(usage.duration_s)}"


def _credits(truth: RunTruth, amount: float) -> str:
    return describe(Meter.CREDITS, amount, traits_of(truth.platform))


def _truly_saved(truth: RunTruth) -> str:
    natural = truth.natural_end_usage
    if natural is None:
        return "without end"
    saved = max(0.0, natural.credits - truth.usage.credits)
    if natural.cost_usd is None or truth.usage.cost_usd is None:
        return f"${saved * USD_PER_CREDIT:.2f} and {_credits(truth, saved)}"
    return f"${natural.cost_usd - truth.usage.cost_usd:.2f} and {_credits(truth, saved)}"
