"""The life of an abort, against a small model of a platform that loses answers, refuses, stalls and stops late.

The driver below does what the enforcer does: it asks for the next step, stores the record before a request leaves and
after every outcome, and may crash after any of these; then it begins again from the stored record alone. The model's
own truth judges the record.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from watchdog.domain.decision import Abort, AbortState, Breach, Decision, Mode, Response, Verdict, VerdictKind
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.rule import Rule, RuleSet, Selector
from watchdog.domain.run import RunState, Snapshot, Source, replace
from watchdog.engine import escalation
from watchdog.engine.decide import decide
from watchdog.engine.escalation import (
    DENIED_MAX_S,
    FOLLOW_S,
    GONE_MAX,
    GONE_S,
    REFUSALS_MAX,
    UNKNOWN_MAX_S,
)
from watchdog.engine.evaluate import Evaluator
from watchdog.engine.grounds import ASKED_FOR, STAND, STAND_AT_ONCE, Ground, Grounds, grounds_of
from watchdog.engine.opening import open_abort, open_by_hand
from watchdog.engine.pursuit import Do, Pace, Pursuit, Step
from watchdog.engine.settling import SETTLING_LOOK_MAX_S, give_up_settling
from watchdog.errors import CredentialsRefused, Gone, PlatformError, RateLimited, Refused, ServerFault, Unreachable

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
PACE = Pace()
GRACE_S = PACE.window_s + PACE.slack_s
SEEN = Snapshot(
    "main",
    "apify",
    "run-1",
    Source("k", "maps"),
    RunState.RUNNING,
    "RUNNING",
    Usage(cost_usd=6.0),
    NOON,
    True,
    resurrect_count=0,
)


RULE = Rule("cap", Selector(), {Meter.COST_USD: 5.0})
RULES = RuleSet((RULE,))
FALLEN = Grounds(Ground.FALLEN, "$1.00 of $5.00")
UNKNOWN = Grounds(Ground.UNKNOWN, "its cost_usd")


def judged(abort: Abort, seen: Snapshot) -> Grounds:
    """How the reason stands by this look, as the daemon judges it."""
    verdicts = Evaluator(RULES).verdicts(seen)
    return grounds_of(abort, seen, verdicts, decide(seen, verdicts, RULES, modes=frozenset(Mode), overdue=True))


def opened(mode: Mode = Mode.IMMEDIATE, before: Snapshot = SEEN) -> Abort:
    verdict = Verdict(RULE, Meter.COST_USD, 5.0, 6.0, VerdictKind.BREACH)
    breach = Breach(verdict, Response.ABORT)
    return open_abort(Decision(before, (breach,), breach, mode), "a1", NOON, NOON)


# The model of a platform. Times are seconds since noon.

_LOST = ("lost", "lost after effect")
_IGNORED = ("ignored", "claimed")
_NO_EFFECT = ("lost", "never sent", "429", "429 now", "refused", "404", "denied", "404?")
#: What a look shows of the cost, against a limit of 5.
_SHOWN = {"over": 6.0, "within": 1.0, "lacking": None}
_WAIT_S = 40.0


@dataclass
class Post:
    at: float
    mode: Mode
    effective: bool
    fault: str


@dataclass
class World:
    """A platform with one run. `posts` and `looks` name the fault of each call in turn, `shows` the figure of each look
    that shows the run active; then it behaves."""

    post_faults: list[str] = field(default_factory=list)
    look_faults: list[str] = field(default_factory=list)
    shows: list[str] = field(default_factory=list)
    shows_aborting: bool = True
    uploads_s: float = 0.0
    says_why: bool = True
    graceful_takes_s: float = 5.0
    immediate_takes_s: float = 2.0
    stubborn: int = 0
    ends_at: float = float("inf")
    others_abort_at: float = float("inf")
    now: float = 0.0
    posts: list[Post] = field(default_factory=list)
    looks: list[tuple[float, bool]] = field(default_factory=list)
    seen: list[tuple[float, Snapshot]] = field(default_factory=list)
    not_before: float = 0.0

    def datetime(self) -> datetime:
        return NOON + timedelta(seconds=self.now)

    # Truth

    @property
    def stopping_since(self) -> float:
        ours = min((post.at for post in self.posts if post.effective), default=float("inf"))
        return min(ours, self.others_abort_at)

    @property
    def stops_at(self) -> float:
        """When an abort stops the run. The first `stubborn` requests that take effect do not."""
        effective = [post for post in self.posts if post.effective][self.stubborn :]
        takes = {Mode.GRACEFUL: self.graceful_takes_s, Mode.IMMEDIATE: self.immediate_takes_s}
        ours = min((post.at + takes[post.mode] for post in effective), default=float("inf"))
        return min(ours, self.others_abort_at + self.graceful_takes_s)

    @property
    def over_at(self) -> float:
        return min(self.ends_at, self.stops_at)

    @property
    def is_over(self) -> bool:
        return self.now >= self.over_at

    @property
    def ended_by_abort(self) -> bool:
        return self.is_over and self.stops_at < self.ends_at

    @property
    def stopped_by_us(self) -> bool:
        return self.ended_by_abort and self.stops_at < self.others_abort_at + self.graceful_takes_s

    def show(self) -> Snapshot:
        if not self.is_over:
            aborting = self.shows_aborting and self.now >= self.stopping_since
            state = RunState.ABORTING if aborting else RunState.RUNNING
            return replace(SEEN, state=state, status=state.value.upper())
        if self.now < self.over_at + self.uploads_s:
            why = "aborted" if self.ended_by_abort and self.says_why else None
            return replace(SEEN, state=RunState.STOPPED, status="uploading", end_reason=why)
        state = RunState.ABORTED if self.ended_by_abort else RunState.SUCCEEDED
        return replace(SEEN, state=state, status=state.value.upper())

    # Calls

    def post(self, mode: Mode) -> Snapshot:
        assert self.now >= self.not_before, "the platform asked to be left alone"
        fault = self.post_faults.pop(0) if self.post_faults else ""
        if not fault and self.is_over and self.uploads_s:
            fault = "404"
        effective = fault not in _NO_EFFECT and fault not in _IGNORED and not self.is_over
        self.posts.append(Post(self.now, mode, effective, fault))
        if fault in _LOST:
            raise (self._overloaded() if len(self.posts) % 2 else Unreachable("time-out", maybe_done=True))
        if fault == "denied":
            raise CredentialsRefused("HTTP 403", status=403)
        if fault == "404?":
            raise Gone("HTTP 404", status=404, maybe_denied=True)
        if fault == "never sent":
            raise Unreachable("connection refused", maybe_done=False)
        if fault.startswith("429"):
            raise RateLimited("HTTP 429", retry_after=0.0 if fault == "429 now" else 7.0)
        if fault == "refused":
            raise Refused("HTTP 400", status=400)
        if fault == "404":
            raise Gone("HTTP 404", status=404)
        return replace(SEEN, state=RunState.ABORTED, status="ABORTED") if fault == "claimed" else self.show()

    def _overloaded(self) -> ServerFault:
        """Every other one says for how long."""
        if len(self.posts) % 4 == 1:
            return ServerFault("HTTP 502", status=502)
        self.not_before = self.now + _WAIT_S
        return ServerFault("HTTP 503", status=503, retry_after=_WAIT_S)

    def look(self) -> Snapshot:
        assert self.now >= self.not_before, "the platform asked to be left alone"
        fault = self.look_faults.pop(0) if self.look_faults else ""
        if fault == "404":
            raise Gone("HTTP 404", status=404)
        if fault == "404?":
            raise Gone("HTTP 404", status=404, maybe_denied=True)
        if fault == "denied":
            raise CredentialsRefused("HTTP 401", status=401)
        if fault == "503":
            self.not_before = self.now + _WAIT_S
            raise ServerFault("HTTP 503", status=503, retry_after=_WAIT_S)
        if fault:
            raise ServerFault("HTTP 500", status=500)
        seen = self.show()
        if seen.state.is_active:
            figure = _SHOWN[self.shows.pop(0) if self.shows else "over"]
            seen = replace(seen, usage=Usage(cost_usd=figure))
        self.looks.append((self.now, seen.state.is_active))
        self.seen.append((self.now, seen))
        return seen


class Crash(Exception):
    """The process ends here."""


class Driver:
    """Carries one abort out against a world, as the enforcer does, and checks the books at every step.

    `crashes`: numbers of the moments (each time the record was stored) after which the process dies, negative
    ones while the request stored at that moment is under way; `down_s`: for how long. `always_sends`: it never dies
    between storing that a request leaves and sending it. `shift`: the clock goes wrong by so many seconds at the moment
    of this number.
    """

    def __init__(
        self,
        world: World,
        mode: Mode = Mode.IMMEDIATE,
        *,
        crashes: Callable[[int], bool] = lambda moment: False,
        down_s: float = 3.0,
        pace: Pace = PACE,
        shift: tuple[int, float] | None = None,
        always_sends: bool = False,
    ) -> None:
        self.world, self.pace, self.crashes, self.down_s = world, pace, crashes, down_s
        self.shift, self.wrong_by_s, self.always_sends = shift, 0.0, always_sends
        self.stored = opened(mode)
        self.moments = 0
        self.unsent: list[float] = []
        self.asked: list[int] = []
        self.gone: list[float] = []
        self.closed_at: float | None = None

    def now(self) -> datetime:
        return self.world.datetime() + timedelta(seconds=self.wrong_by_s)

    def run(self, until_s: float = 1e5, steps: int = 2000) -> Abort:
        """Until the abort is complete, or it is that late."""
        pursuit = escalation.begin(self.stored, self.now())
        for _ in range(steps):
            try:
                following = self._step(pursuit, until_s)
            except Crash:
                self.world.now += self.down_s
                self.world.not_before = 0.0  # another process was not told
                pursuit = escalation.begin(self.stored, self.now(), resumed=True)
                continue
            if following is None:
                return self.stored
            pursuit = following
        raise AssertionError("it goes on and on")

    def _step(self, pursuit: Pursuit, until_s: float) -> Pursuit | None:
        step = escalation.next_step(pursuit, self.now(), self.pace)
        if step.do is Do.NOTHING:
            return None
        wait = max(0.0, (step.at - self.now()).total_seconds())
        if self.world.now + wait > until_s:
            return None
        self.world.now += wait
        if step.do is Do.LOOK:
            return self._store(self._look(pursuit))
        pursuit = self._store(escalation.requesting(pursuit, self.now()), asking=True)
        return self._store(self._request(pursuit))

    def _store(self, pursuit: Pursuit, *, asking: bool = False) -> Pursuit:
        self._check(pursuit.abort)
        self.stored = pursuit.abort
        self.moments += 1
        self.asked += [self.moments] if asking else []
        if self.shift is not None and self.shift[0] == self.moments:
            self.wrong_by_s = self.shift[1]
        if self.crashes(self.moments) and not (asking and self.always_sends):
            self.unsent += [self.world.now] if asking else []
            raise Crash
        return pursuit

    def _request(self, pursuit: Pursuit) -> Pursuit:
        world, abort, pace = self.world, pursuit.abort, self.pace
        assert abort.state.is_open
        assert self.stored == abort, "the record says so before the request leaves"
        assert abort.requests == len(world.posts) + 1 + len(self.unsent)
        if world.posts or self.unsent:
            assert world.looks[-1] == (world.now, True), "looked again right before"
            _, seen = world.seen[-1]
            over = (seen.usage.cost_usd or 0.0) >= 5.0
            assert over or seen.state is RunState.ABORTING, "the newest look shows that it is to be stopped"
        try:
            seen = world.post(abort.mode)
            after = escalation.answered(pursuit, seen, self.now(), pace)
        except RateLimited as error:
            after = escalation.postponed(pursuit, self.now(), error.retry_after or 0.0)
        except Gone:
            after = escalation.no_longer_abortable(pursuit, self.now(), pace)
        except (Refused, CredentialsRefused) as error:
            after = escalation.refused(pursuit, error, self.now(), pace)
        except PlatformError as error:
            after = escalation.unanswered(pursuit, error, self.now(), pace)
        if self.crashes(-self.moments):
            world.posts[-1].fault = "lost after effect" if world.posts[-1].effective else "lost"
            raise Crash  # after the request, before its outcome is stored
        return after

    def _look(self, pursuit: Pursuit) -> Pursuit:
        if not pursuit.abort.state.is_open:
            assert self.closed_at is not None
            assert self.world.now >= self.closed_at + self.pace.settle_s - 1e-3, "figures have settled"
        try:
            seen = self.world.look()
        except PlatformError as error:
            if isinstance(error, Gone) and not escalation.is_denied(error):
                self.gone.append(self.world.now)
                return escalation.not_found(pursuit, self.now(), self.pace)
            return escalation.look_failed(pursuit, self.now(), self.pace, error)
        grounds = judged(pursuit.abort, seen) if escalation.is_in_question(pursuit, seen) else STAND
        return escalation.looked(pursuit, seen, self.now(), self.pace, grounds)

    def _check(self, abort: Abort) -> None:
        """What must hold of the record whenever it is stored."""
        world, before = self.world, self.stored
        assert abort.history[: len(before.history)] == before.history
        times = [step.at for step in abort.history]
        assert times == sorted(times)
        assert abort.history[-1].state is abort.state
        assert abort.effective_requests + abort.void_requests <= abort.requests
        if not before.state.is_open:
            assert abort.state is before.state
            return
        if abort.state.is_open:
            return
        self.closed_at = world.now
        if abort.state is AbortState.CONFIRMED:
            assert world.ended_by_abort
            lost = any(post.fault in _LOST for post in world.posts) or bool(self.unsent)
            assert world.stopped_by_us or abort.effective_requests or lost
            assert abort.may_have_arrived
            assert abort.final is not None
            assert not abort.final.state.is_active
        elif abort.state is AbortState.ALREADY_FINISHED:
            assert world.is_over
            assert not world.stopped_by_us
        elif abort.state is AbortState.WITHDRAWN:
            shown = [(at, seen.usage.cost_usd) for at, seen in world.seen if seen.state.is_active]
            lacking = next((at for at, figure in reversed(shown) if figure is not None), 0.0)
            assert shown[-1][1] == 1.0 or (shown[-1][1] is None and world.now - lacking >= UNKNOWN_MAX_S)
            assert not world.stopped_by_us
            assert world.stops_at == min(float("inf"), world.others_abort_at + world.graceful_takes_s), "ours may yet"
        else:
            gone = len(self.gone) >= GONE_MAX and self.gone[-1] - self.gone[-GONE_MAX] >= 0
            assert abort.refusals >= REFUSALS_MAX or (gone and world.now - self.gone[0] >= GONE_S)


def check_requests(driver: Driver, mode: Mode) -> None:
    """What must hold of the requests, once all is over."""
    world, abort = driver.world, driver.stored
    assert abort.requests == len(world.posts) + len(driver.unsent)
    modes = [post.mode for post in world.posts]
    assert modes == sorted(modes), "graceful before immediate"  # by name, as it happens
    if modes:
        assert modes[0] is mode or driver.unsent
    maybe = [post for post in world.posts if post.effective or post.fault in _LOST or post.fault in _IGNORED]
    for post in world.posts:
        if mode is Mode.GRACEFUL and post.mode is Mode.IMMEDIATE:
            first = min([each.at for each in maybe] + driver.unsent + [world.others_abort_at])
            assert post.at - first >= GRACE_S - 1e-3, "escalated after window and slack only"
    for earlier, later in pairwise(maybe):
        if earlier.fault in _LOST:
            assert any(earlier.at < at <= later.at and active for at, active in world.looks)
        else:
            patience = GRACE_S if earlier.mode is Mode.GRACEFUL else PACE.slack_s
            assert later.at - earlier.at >= patience - 1e-3, "no second request without cause"


_POST_FAULTS = st.sampled_from(
    ["", "lost", "lost after effect", "never sent", "429", "429 now", "404", "ignored", "claimed", "denied", "404?"]
)
_LOOK_FAULTS = st.sampled_from(["", "", "500", "503", "denied", "404?"])
_SHOWS = st.sampled_from(["over", "over", "within", "lacking"])
_NEVER = st.just(float("inf"))


@st.composite
def worlds(draw: st.DrawFn, *, hostile: bool) -> World:
    like_apify = draw(st.booleans())
    posts = st.lists(_POST_FAULTS | st.just("refused") if hostile else _POST_FAULTS, max_size=6)
    looks = st.lists(_LOOK_FAULTS | st.just("404") if hostile else _LOOK_FAULTS, max_size=8)
    return World(
        post_faults=draw(posts),
        look_faults=draw(looks),
        shows=draw(st.lists(_SHOWS, max_size=10)),
        shows_aborting=like_apify,
        uploads_s=0.0 if like_apify else draw(st.sampled_from([0.0, 4.0, 120.0])),
        says_why=draw(st.booleans()),
        graceful_takes_s=draw(st.floats(0, 40)),
        immediate_takes_s=draw(st.floats(0, 14)),
        stubborn=draw(st.integers(0, 3)),
        ends_at=draw(_NEVER | st.floats(0, 200)),
        others_abort_at=draw(_NEVER | st.floats(0, 100)) if like_apify else float("inf"),
    )


def copied(world: World) -> World:
    """The same world before anything has happened in it."""
    faults = {"post_faults": [*world.post_faults], "look_faults": [*world.look_faults], "shows": [*world.shows]}
    return replace(world, **faults, posts=[], looks=[], seen=[], not_before=0.0)


_MODES = st.sampled_from(Mode)
_CRASHES = st.frozensets(st.integers(-25, 25), max_size=6)


@settings(max_examples=400, deadline=None)
@given(world=worlds(hostile=False), mode=_MODES, crashes=_CRASHES, down_s=st.floats(0, 120))
def test_it_ends_with_true_books_once_the_platform_behaves(
    world: World, mode: Mode, crashes: Collection[int], down_s: float
) -> None:
    driver = Driver(world, mode, crashes=lambda moment: moment in crashes, down_s=down_s)
    abort = driver.run()
    assert abort.is_complete
    assert world.is_over or abort.state is AbortState.WITHDRAWN
    assert abort.state is not AbortState.FAILED
    check_requests(driver, mode)


@settings(max_examples=200, deadline=None)
@given(world=worlds(hostile=True), mode=_MODES, crashes=_CRASHES)
def test_only_refusals_or_a_lost_run_end_it_while_the_run_can_spend(
    world: World, mode: Mode, crashes: Collection[int]
) -> None:
    driver = Driver(world, mode, crashes=lambda moment: moment in crashes)
    abort = driver.run()
    assert abort.is_complete
    assert world.is_over or abort.state in (AbortState.FAILED, AbortState.WITHDRAWN)
    check_requests(driver, mode)


@settings(max_examples=30, deadline=None)
@given(world=worlds(hostile=False), mode=_MODES, down_s=st.floats(0, 60))
@example(world=World(graceful_takes_s=29.0), mode=Mode.GRACEFUL, down_s=0.0)
@example(world=World(shows_aborting=False, uploads_s=120.0, says_why=False), mode=Mode.IMMEDIATE, down_s=0.0)
def test_it_is_interrupted_after_every_single_step(world: World, mode: Mode, down_s: float) -> None:
    """A life without a crash says how many moments there are; then one life each with a crash at that moment, and one
    in which no process lives for longer than three moments."""

    def fresh() -> World:
        return copied(world)

    smooth = Driver(fresh(), mode)
    smooth.run()
    for moment in [*range(1, smooth.moments + 1), *(-asked for asked in smooth.asked)]:
        driver = Driver(fresh(), mode, crashes=moment.__eq__, down_s=down_s)
        assert driver.run().is_complete
        assert driver.stored.state is not AbortState.FAILED
        check_requests(driver, mode)
    often = Driver(fresh(), mode, crashes=lambda moment: moment % 3 == 0, down_s=down_s, always_sends=True)
    assert often.run().is_complete
    check_requests(often, mode)


@settings(max_examples=100, deadline=None)
@given(
    world=worlds(hostile=False),
    mode=_MODES,
    moment=st.integers(1, 12),
    back_s=st.floats(1, 1e6),
    crash=st.booleans(),
)
def test_a_clock_that_is_set_back_holds_nothing_up(
    world: World, mode: Mode, moment: int, back_s: float, crash: bool
) -> None:
    def took(shift: tuple[int, float] | None) -> float:
        copy = copied(world)
        driver = Driver(copy, mode, shift=shift, crashes=lambda each: crash and each == moment)
        assert driver.run().is_complete
        return copy.now

    # One more patience, of whatever length it had grown to, is all that may be lost.
    assert took((moment, -back_s)) <= took(None) + 2 * PACE.retry_max_s + UNKNOWN_MAX_S


# A platform that misbehaves for ever


@pytest.mark.parametrize(
    "fault",
    ["lost", "lost after effect", "never sent", "429", "429 now", "404", "ignored", "claimed", "denied", "404?"],
)
@pytest.mark.parametrize("mode", Mode)
def test_it_is_never_given_up_and_asks_at_growing_distance(fault: str, mode: Mode) -> None:
    world = World(post_faults=[fault] * 10_000, stubborn=10_000)
    assert Driver(world, mode).run(until_s=4 * 3600.0, steps=10_000).state.is_open
    first_hour = sum(post.at < 3600 for post in world.posts)
    assert 8 <= first_hour <= {"429": 400, "429 now": 400, "denied": 70}.get(fault, 30)
    assert first_hour < len(world.posts) <= first_hour * 4
    gaps = [later.at - earlier.at for earlier, later in pairwise(world.posts[1:])]
    assert min(gaps) >= PACE.look_first_s
    assert max(gaps) <= PACE.retry_max_s + 1
    if mode is Mode.GRACEFUL and fault in ("lost", "lost after effect", *_IGNORED):
        assert world.posts[-1].mode is Mode.IMMEDIATE


def test_an_abort_without_effect_for_a_year_still_goes_on() -> None:
    abort = replace(opened(), state=AbortState.REQUESTED, requests=2000, effective_requests=2000, requested_at=NOON)
    later = NOON + timedelta(days=365)
    pursuit = escalation.looked(escalation.begin(abort, later, resumed=True), SEEN, later, PACE)
    assert escalation.next_step(pursuit, later, PACE).do is Do.REQUEST


@pytest.mark.parametrize("wait", [0.0, 1e12, float("inf")])
def test_a_platform_may_ask_to_wait_but_neither_for_no_time_nor_for_ever(wait: float) -> None:
    asked = escalation.requesting(escalation.begin(opened(), NOON), NOON)
    step = escalation.next_step(escalation.postponed(asked, NOON, wait, PACE), NOON, PACE)
    assert step.do is Do.LOOK
    assert timedelta(seconds=1) <= step.at - NOON <= timedelta(minutes=15)


# Single lives


def life(mode: Mode = Mode.IMMEDIATE, **details: Any) -> tuple[World, Abort]:
    world = World(**details)
    driver = Driver(world, mode)
    abort = driver.run()
    check_requests(driver, mode)
    return world, abort


@pytest.mark.parametrize(
    ("mode", "details", "modes", "state"),
    [
        (Mode.IMMEDIATE, {}, [Mode.IMMEDIATE], AbortState.CONFIRMED),
        (Mode.GRACEFUL, {}, [Mode.GRACEFUL], AbortState.CONFIRMED),
        (Mode.GRACEFUL, {"graceful_takes_s": 30.0}, [Mode.GRACEFUL], AbortState.CONFIRMED),
        (Mode.GRACEFUL, {"stubborn": 1}, [Mode.GRACEFUL, Mode.IMMEDIATE], AbortState.CONFIRMED),
        (Mode.IMMEDIATE, {"stubborn": 1}, [Mode.IMMEDIATE] * 2, AbortState.CONFIRMED),
        (Mode.IMMEDIATE, {"ends_at": 0.0}, [Mode.IMMEDIATE], AbortState.ALREADY_FINISHED),
        (Mode.IMMEDIATE, {"ends_at": 1.0, "immediate_takes_s": 9.0}, [Mode.IMMEDIATE], AbortState.ALREADY_FINISHED),
        (Mode.IMMEDIATE, {"post_faults": ["lost after effect"]}, [Mode.IMMEDIATE], AbortState.CONFIRMED),
        (Mode.IMMEDIATE, {"post_faults": ["lost"]}, [Mode.IMMEDIATE] * 2, AbortState.CONFIRMED),
        (Mode.IMMEDIATE, {"post_faults": ["429"]}, [Mode.IMMEDIATE] * 2, AbortState.CONFIRMED),
        (Mode.IMMEDIATE, {"post_faults": ["refused"] * 2}, [Mode.IMMEDIATE] * 3, AbortState.CONFIRMED),
        (Mode.IMMEDIATE, {"post_faults": ["refused"] * 3}, [Mode.IMMEDIATE] * 3, AbortState.FAILED),
        (Mode.IMMEDIATE, {"post_faults": ["denied"] * 5}, [Mode.IMMEDIATE] * 6, AbortState.CONFIRMED),
        (Mode.IMMEDIATE, {"post_faults": ["404"], "look_faults": ["404"] * 20}, [Mode.IMMEDIATE], AbortState.FAILED),
        (
            Mode.IMMEDIATE,
            {"post_faults": ["404"], "look_faults": ["404"] * 5},
            [Mode.IMMEDIATE] * 2,
            AbortState.CONFIRMED,
        ),
        (
            Mode.IMMEDIATE,
            {"post_faults": ["404?"], "look_faults": ["404?"] * 50},
            [Mode.IMMEDIATE] * 2,
            AbortState.CONFIRMED,
        ),
        (Mode.IMMEDIATE, {"post_faults": ["lost"], "shows": ["within"] * 99}, [Mode.IMMEDIATE], AbortState.WITHDRAWN),
        (Mode.IMMEDIATE, {"post_faults": ["429"], "shows": ["within"]}, [Mode.IMMEDIATE], AbortState.WITHDRAWN),
        (
            Mode.IMMEDIATE,
            {"post_faults": ["ignored"], "shows": ["within"] * 99},
            [Mode.IMMEDIATE],
            AbortState.WITHDRAWN,
        ),
        (Mode.IMMEDIATE, {"post_faults": ["429"], "shows": ["lacking"] * 99}, [Mode.IMMEDIATE], AbortState.WITHDRAWN),
        (
            Mode.IMMEDIATE,
            {"post_faults": ["429"], "shows": ["lacking"] * 9},
            [Mode.IMMEDIATE] * 2,
            AbortState.CONFIRMED,
        ),
        (
            Mode.GRACEFUL,
            {"stubborn": 1, "shows": ["within"] * 99},
            [Mode.GRACEFUL, Mode.IMMEDIATE],
            AbortState.CONFIRMED,
        ),
    ],
)
def test_a_life(mode: Mode, details: dict[str, Any], modes: list[Mode], state: AbortState) -> None:
    world, abort = life(mode, **details)
    assert [post.mode for post in world.posts] == modes
    assert abort.state is state


def test_a_stop_is_proven_promptly() -> None:
    for mode, takes, by in ((Mode.IMMEDIATE, 2.0, 4.0), (Mode.GRACEFUL, 5.0, 10.0), (Mode.GRACEFUL, 30.0, 32.0)):
        world, abort = life(mode, graceful_takes_s=takes, immediate_takes_s=takes)
        assert abort.history[-1].at <= NOON + timedelta(seconds=by)
        assert world.now <= by + PACE.settle_s


def test_an_answer_that_claims_the_stop_is_no_proof() -> None:
    pursuit = escalation.requesting(escalation.begin(opened(), NOON), NOON)
    over = replace(SEEN, state=RunState.ABORTED)
    claimed = escalation.answered(pursuit, over, NOON, PACE)
    assert claimed.abort.state is AbortState.REQUESTED
    assert escalation.next_step(claimed, NOON, PACE) == Step(Do.LOOK, NOON)
    assert escalation.looked(claimed, SEEN, NOON, PACE).abort.state is AbortState.REQUESTED
    assert escalation.looked(claimed, over, NOON, PACE).abort.state is AbortState.CONFIRMED


def test_a_lost_answer_that_had_no_effect_costs_a_second() -> None:
    world, _ = life(post_faults=["lost"])
    assert [post.at for post in world.posts] == [0.0, 1.0]


def test_refusals_after_an_accepted_request_do_not_end_it() -> None:
    """The run may be stopping: whoever asked for it must see it through."""
    world, abort = life(Mode.GRACEFUL, graceful_takes_s=200.0, post_faults=["", *["refused"] * 20])
    assert abort.state is AbortState.CONFIRMED
    assert [post.fault for post in world.posts].count("refused") >= REFUSALS_MAX


def test_a_run_that_was_ending_by_itself_is_never_booked_as_a_kill() -> None:
    """lobstr's `uploading` gives no reason while a run ends by itself; an abort of it may or may not have arrived."""
    for fault in ("lost", "lost after effect", "404", ""):
        _, abort = life(shows_aborting=False, uploads_s=60.0, ends_at=0.5, immediate_takes_s=9.0, post_faults=[fault])
        assert abort.state is AbortState.ALREADY_FINISHED


def test_an_upload_without_a_reason_gets_no_further_request() -> None:
    world, abort = life(shows_aborting=False, uploads_s=600.0, says_why=False)
    assert abort.state is AbortState.CONFIRMED
    assert len(world.posts) == 1


def test_somebody_elses_abort_is_not_booked_as_ours() -> None:
    """All that we asked for was refused or postponed; then the owner stopped the run."""
    for fault in ("429", "never sent", "refused", "404"):
        world, abort = life(post_faults=[fault] * 2, others_abort_at=0.5, graceful_takes_s=20.0)
        assert abort.state is AbortState.ALREADY_FINISHED
        assert all(post.fault for post in world.posts)


def test_an_abort_of_somebody_else_that_does_not_work_is_followed_by_ours() -> None:
    world = World(post_faults=["429"], others_abort_at=1.0, graceful_takes_s=1e6)
    abort = Driver(world).run()
    assert abort.state is AbortState.CONFIRMED
    assert world.posts[1].at >= GRACE_S


def test_an_overdue_abort_of_somebody_else_is_not_waited_for_again() -> None:
    aborting = replace(SEEN, state=RunState.ABORTING)
    pursuit = escalation.requesting(escalation.begin(opened(before=aborting), NOON), NOON)
    pursuit = escalation.postponed(pursuit, NOON, 5.0, PACE)
    pursuit = escalation.looked(pursuit, aborting, NOON + timedelta(seconds=5), PACE)
    assert escalation.next_step(pursuit, NOON + timedelta(seconds=5), PACE).do is Do.REQUEST


def asked(mode: Mode = Mode.GRACEFUL, error: PlatformError | None = None) -> Pursuit:
    """A pursuit whose request was accepted a moment ago, or ended in this error."""
    pursuit = escalation.requesting(escalation.begin(opened(mode), NOON), NOON)
    if error is not None:
        return escalation.unanswered(pursuit, error, NOON, PACE)
    return escalation.answered(pursuit, replace(SEEN, state=RunState.ABORTING), NOON, PACE)


def test_a_run_resurrected_meanwhile_was_stopped_and_is_not_killed_by_the_old_record() -> None:
    again = replace(SEEN, resurrect_count=1)
    later = NOON + timedelta(minutes=5)
    stopped = escalation.looked(asked(), again, later, PACE)
    assert stopped.abort.state is AbortState.CONFIRMED
    assert (
        escalation.looked(asked(error=ServerFault("")), again, later, PACE).abort.state is AbortState.ALREADY_FINISHED
    )
    assert escalation.looked(asked(), SEEN, later, PACE).abort.state is AbortState.REQUESTED


@pytest.mark.parametrize(("before", "after"), [(0, None), (None, 1)])
@pytest.mark.parametrize("mode", Mode)
def test_a_run_that_may_have_been_resurrected_is_not_asked_again(before: int, after: int, mode: Mode) -> None:
    """The count that would tell lacks in one of both looks; it is left to the watch if that stays so."""
    pursuit = escalation.requesting(escalation.begin(opened(mode, replace(SEEN, resurrect_count=before)), NOON), NOON)
    pursuit = escalation.answered(pursuit, SEEN, NOON, PACE)
    again, now = replace(SEEN, resurrect_count=after), NOON
    asked_for = escalation.looked(pursuit, again, NOON + timedelta(hours=1), PACE, ASKED_FOR)
    assert escalation.next_step(asked_for, NOON + timedelta(hours=1), PACE).do is Do.REQUEST
    for _ in range(100):
        if not pursuit.abort.state.is_open:
            break
        step = escalation.next_step(pursuit, now, PACE)
        assert step.do is Do.LOOK
        now = step.at
        pursuit = escalation.looked(pursuit, again, now, PACE)
    assert pursuit.abort.state is AbortState.WITHDRAWN
    assert now - NOON >= timedelta(seconds=UNKNOWN_MAX_S)
    never = escalation.answered(
        escalation.requesting(escalation.begin(opened(mode, replace(SEEN, resurrect_count=None)), NOON), NOON),
        SEEN,
        NOON,
        PACE,
    )
    later = NOON + timedelta(hours=1)
    asking = escalation.looked(never, replace(SEEN, resurrect_count=None), later, PACE)
    assert escalation.next_step(asking, later, PACE).do is Do.REQUEST, "a platform that never tells the count"


def test_what_a_resurrected_run_uses_later_is_not_in_the_books_of_the_old_abort() -> None:
    over = replace(SEEN, state=RunState.ABORTED, usage=Usage(cost_usd=7.0))
    again = replace(SEEN, usage=Usage(cost_usd=50.0), resurrect_count=1)
    closed = escalation.looked(asked(), over, NOON, PACE)
    settled = escalation.looked(closed, again, NOON + timedelta(seconds=10), PACE)
    assert settled.abort.settled
    assert settled.abort.final == over
    better = replace(over, usage=Usage(cost_usd=7.5))
    assert escalation.looked(closed, better, NOON + timedelta(seconds=10), PACE).abort.final == better


@pytest.mark.parametrize("skew", [-3600, 3600])
def test_settling_does_not_go_by_the_platforms_clock(skew: int) -> None:
    over = replace(SEEN, state=RunState.ABORTED, finished_at=NOON + timedelta(seconds=skew))
    closed = escalation.looked(asked(), over, NOON, PACE)
    assert escalation.next_step(closed, NOON, PACE).at == NOON + timedelta(seconds=PACE.settle_s)


def test_figures_that_the_platform_calls_not_final_are_waited_for_at_growing_distance_and_for_a_day() -> None:
    over = replace(SEEN, state=RunState.ABORTED, settling=True)
    pursuit, now, looks = escalation.looked(asked(), over, NOON, PACE), NOON, 0
    pauses = []
    while not pursuit.abort.is_complete:
        step = escalation.next_step(pursuit, now, PACE)
        pauses.append((step.at - now).total_seconds())
        now, looks = step.at, looks + 1
        # Every third look fails, which is no reason to give up.
        pursuit = (
            escalation.look_failed(pursuit, now, PACE)
            if looks % 3 == 0 and now - NOON < timedelta(days=1)
            else escalation.looked(pursuit, replace(over, usage=Usage(cost_usd=6.0 + looks)), now, PACE)
        )
    assert pauses == sorted(pauses)
    assert max(pauses) == SETTLING_LOOK_MAX_S
    assert timedelta(days=1) <= now - NOON < timedelta(days=1, hours=3)
    assert looks < 50
    assert pursuit.abort.final is not None
    assert pursuit.abort.final.usage.cost_usd is not None
    assert pursuit.abort.final.usage.cost_usd > 6.0


def test_final_figures_end_the_wait_and_so_does_a_run_that_goes_on() -> None:
    over = replace(SEEN, state=RunState.ABORTED, settling=True)
    waiting = escalation.looked(escalation.looked(asked(), over, NOON, PACE), over, NOON, PACE)
    assert not waiting.abort.is_complete
    final = replace(over, settling=False, usage=Usage(cost_usd=9.0))
    assert escalation.looked(waiting, final, NOON, PACE).abort.final == final
    assert escalation.looked(waiting, final, NOON, PACE).abort.is_complete
    again = escalation.looked(waiting, replace(SEEN, resurrect_count=1), NOON, PACE).abort
    assert (again.is_complete, again.final) == (True, over)


def test_figures_that_cannot_be_had_or_a_run_that_is_gone_still_complete_the_record() -> None:
    over = replace(SEEN, state=RunState.ABORTED)
    closed = escalation.looked(asked(), over, NOON, PACE)
    assert give_up_settling(closed).abort.is_complete
    gone = closed
    for _ in range(GONE_MAX):
        assert not gone.abort.is_complete
        gone = escalation.not_found(gone, NOON, PACE)
    assert gone.abort.is_complete
    assert (gone.abort.state, gone.abort.final) == (AbortState.CONFIRMED, over)


def test_the_newest_look_takes_a_decision_back_unless_the_run_is_being_stopped() -> None:
    aborting = replace(SEEN, state=RunState.ABORTING)
    by_hand = escalation.begin(open_by_hand(SEEN, Mode.IMMEDIATE, "", "a2", NOON), NOON)
    fresh = escalation.begin(opened(), NOON)
    for pursuit in (fresh, asked(error=ServerFault("HTTP 502", status=502)), asked()):
        assert escalation.is_in_question(pursuit, SEEN)
        assert not escalation.is_in_question(pursuit, aborting)
    assert not escalation.is_in_question(by_hand, SEEN)
    back = escalation.looked(fresh, SEEN, NOON, PACE, FALLEN)
    assert (back.abort.state, back.abort.history[-1].note) == (AbortState.WITHDRAWN, FALLEN.why)
    assert not escalation.is_in_question(back, SEEN)


@pytest.mark.parametrize(
    ("error", "seconds"), [(None, FOLLOW_S), (ServerFault("HTTP 502", status=502), PACE.slack_s)], ids=["200", "502"]
)
def test_a_request_that_may_yet_work_is_followed_before_the_decision_is_taken_back(
    error: PlatformError | None, seconds: float
) -> None:
    pursuit, now = asked(Mode.IMMEDIATE, error), NOON
    for _ in range(100):
        if not pursuit.abort.state.is_open:
            break
        now = escalation.next_step(pursuit, now, PACE).at
        pursuit = escalation.looked(pursuit, SEEN, now, PACE, FALLEN)
    assert (pursuit.abort.state, pursuit.abort.requests) == (AbortState.WITHDRAWN, 1)
    assert timedelta(seconds=seconds) <= now - NOON <= timedelta(seconds=seconds + PACE.look_max_s)
    stopped = escalation.looked(asked(Mode.IMMEDIATE, error), replace(SEEN, state=RunState.ABORTED), NOON, PACE)
    assert stopped.abort.state is AbortState.CONFIRMED


def test_a_look_that_lacks_the_figure_asks_nothing_and_counts_anew_once_it_is_there() -> None:
    pursuit = escalation.looked(escalation.begin(opened(), NOON, resumed=True), SEEN, NOON, PACE, UNKNOWN)
    assert pursuit.unknown_since == NOON
    assert escalation.next_step(pursuit, NOON, PACE).do is Do.LOOK
    later = NOON + timedelta(seconds=UNKNOWN_MAX_S - 1)
    known = escalation.looked(pursuit, SEEN, later, PACE, STAND)
    assert known.unknown_since is None
    assert escalation.next_step(known, later, PACE).do is Do.REQUEST
    for back_s in (0, 3600):
        set_back = escalation.looked(pursuit, SEEN, NOON - timedelta(seconds=back_s), PACE, UNKNOWN)
        assert set_back.abort.state.is_open


def test_looks_that_are_denied_come_at_growing_distance() -> None:
    pursuit, now, gaps = escalation.begin(opened(), NOON, resumed=True), NOON, []
    for _ in range(20):
        pursuit = escalation.look_failed(pursuit, now, PACE, CredentialsRefused("HTTP 401", status=401))
        gaps.append((escalation.next_step(pursuit, now, PACE).at - now).total_seconds())
        now = escalation.next_step(pursuit, now, PACE).at
    assert gaps == sorted(gaps)
    assert (gaps[0], gaps[-1]) == (PACE.look_first_s, DENIED_MAX_S)


def test_the_record_of_a_decision_holds_its_reason() -> None:
    abort = opened(Mode.GRACEFUL)
    assert (abort.rule, abort.limit, abort.limit_value) == ("cap", Meter.COST_USD, 5.0)
    assert (abort.used_at_detection, abort.used_at_request, abort.before) == (6.0, 6.0, SEEN)
    assert (abort.asked_mode, abort.mode, abort.requests) == (Mode.GRACEFUL, Mode.GRACEFUL, 0)
    assert abort.reason == "rule 'cap': $6.00 of $5.00 allowed"
    with pytest.raises(ValueError, match="not to abort"):
        open_abort(Decision(SEEN, (), None), "a1", NOON, NOON)


def test_a_graceful_abort_is_raised_by_a_later_step_and_only_once() -> None:
    now = NOON + timedelta(seconds=2)
    pursuit = escalation.requesting(escalation.begin(opened(Mode.GRACEFUL), NOON), NOON)
    aborting = replace(SEEN, state=RunState.ABORTING)
    pursuit = escalation.answered(pursuit, aborting, NOON, Pace())
    calm = escalation.looked(pursuit, aborting, now, Pace())
    assert (calm.abort.mode, calm.must_look) == (Mode.GRACEFUL, True)
    raised = escalation.looked(pursuit, aborting, now, Pace(), STAND_AT_ONCE)
    assert raised.abort.mode is Mode.IMMEDIATE
    assert raised.abort.asked_mode is Mode.GRACEFUL
    step = escalation.next_step(raised, now, Pace())
    assert (step.do, step.at) == (Do.REQUEST, now)
    asked = escalation.answered(escalation.requesting(raised, now), aborting, now, Pace())
    again = escalation.looked(asked, aborting, now + timedelta(seconds=1), Pace(), STAND_AT_ONCE)
    assert escalation.next_step(again, now + timedelta(seconds=1), Pace()).do is Do.LOOK
    assert again.abort.requests == 2


def test_what_is_over_is_not_raised() -> None:
    pursuit = escalation.answered(
        escalation.requesting(escalation.begin(opened(Mode.GRACEFUL), NOON), NOON), SEEN, NOON, Pace()
    )
    over = replace(SEEN, state=RunState.ABORTED, finished_at=NOON)
    assert not escalation.may_be_raised(pursuit, over)
    assert escalation.looked(pursuit, over, NOON, Pace(), STAND_AT_ONCE).abort.state is AbortState.CONFIRMED
