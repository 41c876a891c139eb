"""One run, judged once a look: what is to be done next, when to look again, and whether it can be left alone."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.domain.decision import Mode, Response, VerdictKind
from watchdog.domain.history import BurnRecord
from watchdog.domain.limit import Do, Step
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.override import Overrides
from watchdog.domain.rule import Rule, RuleSet, Selector
from watchdog.domain.run import RunState, Snapshot, Source, replace
from watchdog.engine.assess import (
    CALM_S,
    Case,
    Terms,
    calls_for_look,
    calm_of,
    closeness,
    goals_of,
    judged,
    may_break,
    plan_far_off,
    plan_of,
    suspect,
)
from watchdog.engine.decide import Ruling
from watchdog.engine.evaluate import Evaluator
from watchdog.engine.forecast import NO_HISTORY, SourceHistory
from watchdog.engine.remembered import Remembered
from watchdog.engine.running import RunningTime

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
NOW_S = 1000.0
MAPS = Source("k", "acme/maps", {"actor": ("acme/maps",)}, id="a1")
COST, CREDITS, DURATION = Meter.COST_USD, Meter.CREDITS, Meter.DURATION


def terms(**details: Any) -> Terms:
    given = {
        "runs": 10,
        "requests_per_minute": 6000.0,
        "sweep_shows_usage": True,
        "interval_s": 5.0,
        "poll_interval_s": 5.0,
        "gap_s": 10.0,
        "look_s": 0.5,
        "modes": frozenset(Mode),
        "stopping_s": {Mode.IMMEDIATE: 3.0, Mode.GRACEFUL: 33.0},
        "overdue_s": 45.0,
        "changes": 0,
        "now_s": NOW_S,
        "far_off": plan_far_off(details.get("interval_s", 5.0), NOW_S),
        "calm_until_s": NOW_S + CALM_S,
    }
    return Terms(**(given | details))


def listed(cost: float | None = 1.0, elapsed: float | None = 600.0, **details: Any) -> Snapshot:
    """As Apify's list shows a run: its cost, and the most that it can have run for."""
    shown = Snapshot("main", "apify", "r", MAPS, RunState.RUNNING, "RUNNING", Usage(cost_usd=cost), NOON, False)
    return replace(shown, most=Usage(duration_s=elapsed), **details)


def looked(**usage: Any) -> Snapshot:
    return replace(listed(), usage=Usage(**usage), most=Usage(), inspected=True, resurrect_count=0)


def run(swept: Snapshot | None = None, **details: Any) -> Remembered:
    remembered = Remembered(swept or listed(), NOW_S, RunningTime(NOW_S, True), since=NOW_S - 60)
    for name, value in details.items():
        setattr(remembered, name, value)
    return remembered


def cap(limits: dict[Meter, float] | None = None, name: str = "cap", **details: Any) -> Rule:
    return replace(Rule(name, Selector(), limits or {COST: 10.0}), **details)


def case(*rules: Rule, of: Remembered | None = None, on: Terms | None = None, **details: Any) -> Case:
    of = of or run()
    return Case(of, Evaluator(RuleSet(rules)).limits(of.swept), on or terms(), NOW_S, **details)


def ruling(*rules: Rule) -> Ruling:
    return Ruling(RuleSet(rules), Overrides(), dry_run=False, now=NOON)


# Goals


def test_what_has_been_answered_is_no_goal_any_more_but_the_next_step_is() -> None:
    stepped = cap(steps=(Step(0.5, Do.NOTIFY), Step(0.8, Do.NOTIFY), Step(1.0, Do.ABORT)))
    goals = [
        goals_of(case(stepped), Usage(cost_usd=6.0), {} if at is None else {("cap", COST): at})
        for at in (None, 0.5, 0.8, 1.0)
    ]
    assert [each.get(COST) for each in goals] == [5.0, 8.0, 10.0, None]


def test_a_limit_that_waits_has_what_it_waits_for_as_its_goal() -> None:
    late = cap(after={DURATION: 3600.0})
    assert goals_of(case(late), Usage(cost_usd=50.0, duration_s=600.0), {}) == {DURATION: 3600.0}
    assert goals_of(case(late), Usage(cost_usd=5.0, duration_s=3600.0), {}) == {COST: 10.0}


def test_a_limit_never_to_be_exceeded_has_an_earlier_goal() -> None:
    careful = cap(never_exceed=True, steps=(Step(0.5, Do.NOTIFY), Step(1.0, Do.ABORT)))
    used = Usage(cost_usd=6.0, duration_s=600.0)
    goals = goals_of(case(careful), used, {("cap", COST): 0.5})
    # 0.01 a second on average, at most twice that is plausible; 0.5 s to look, 3 s to stop, 0.25 s to the next look.
    assert goals[COST] == pytest.approx(10.0 - 0.02 * 3.75)
    flagged = goals_of(case(careful, flagged=True), used, {("cap", COST): 0.5})
    assert flagged[COST] == pytest.approx(10.0 - 0.02 * 33.75), "a graceful stop takes longer"


# Suspicion


@pytest.mark.parametrize(
    ("swept", "wants"),
    [
        (listed(9.99), False),
        (listed(10.0), True),
        (listed(None), True),
        (listed(1.0, 7199.0), False),
        (listed(1.0, 7200.0), True),
        (listed(1.0, None), True),
    ],
)
def test_a_list_that_shows_a_limit_reached_or_lacks_a_figure_calls_for_a_look(swept: Snapshot, wants: bool) -> None:
    found = suspect(case(cap({COST: 10.0, DURATION: 7200.0}), of=run(swept)))
    assert found.wants_look is wants
    assert (found.plan is None) is wants
    assert found.verdicts == ()
    assert found.decision is None


def test_a_figure_that_an_inspection_lacked_too_is_asked_for_again_after_a_while() -> None:
    lacking = run(listed(None), inspected=looked(duration_s=600.0), inspected_at=NOW_S - 5)
    assert suspect(case(cap(), of=lacking)).wants_look
    lacking.unknown_until = NOW_S + 1
    assert not suspect(case(cap(), of=lacking)).wants_look


_FIGURES = st.one_of(st.none(), st.floats(0, 30))
_RATES = st.lists(st.floats(1e-6, 0.2), max_size=5)


@given(
    cost=_FIGURES,
    elapsed=st.one_of(st.none(), st.floats(0, 20_000)),
    limits=st.fixed_dictionaries({}, optional={COST: st.floats(0.5, 40), DURATION: st.floats(10, 20_000)}),
    state=st.sampled_from([RunState.RUNNING, RunState.PENDING, RunState.PAUSED]),
    rates=_RATES,
    proven_s=st.floats(0, 20_000),
    interval_s=st.sampled_from([1.0, 5.0, 60.0]),
)
def test_a_run_far_from_every_limit_is_planned_as_it_would_be_at_length(
    cost: float | None,
    elapsed: float | None,
    limits: dict[Meter, float],
    state: RunState,
    rates: list[float],
    proven_s: float,
    interval_s: float,
) -> None:
    """The short way is taken where all is well; whatever it says, the long way says too."""
    if not limits:
        return
    records = [BurnRecord("main", str(n), "a1", NOON, {COST: rate}, Usage(), True) for n, rate in enumerate(rates)]
    of = run(listed(cost, elapsed, state=state))
    of.running.seen_s = proven_s
    on = terms(interval_s=interval_s, poll_interval_s=interval_s, gap_s=2 * interval_s)
    judging = case(cap(limits), of=of, on=on, history=SourceHistory.of(records) if records else NO_HISTORY)
    found = suspect(judging)
    used = of.most_used(NOW_S)
    goals = goals_of(judging, used, {})
    assert found.goals == goals
    assert found.wants_look is calls_for_look(judging, goals, used)
    if found.plan is None:
        return
    plan = plan_of(judging, goals, used, 0)
    assert found.plan.by_sweep is plan.by_sweep is True
    assert found.plan.due_at == plan.due_at
    if found.plan is not on.far_off:
        return
    assert plan.deadline_at > NOW_S + on.far_off.wait_s
    assert plan.breach_at >= NOW_S + on.far_off.wait_s
    assert closeness(judging) < 1
    at_length = calm_of(judging.limits, goals, used, plan.wait_s, NOW_S, 0)
    assert at_length is not None
    assert found.calm is not None
    assert found.calm.until_s <= at_length.until_s
    assert found.calm.ceilings == pytest.approx(at_length.ceilings)


# Judging


def test_an_inspection_is_judged_with_all_that_follows_from_it() -> None:
    rule = cap()
    of = run(inspected=looked(cost_usd=4.0, duration_s=600.0), inspected_at=NOW_S)
    seen = of.inspected
    assert seen is not None
    found = judged(case(rule, of=of), seen, ruling(rule))
    assert [each.verdict for each in found.verdicts] == [VerdictKind.WITHIN]
    assert found.decision is None
    assert found.plan is not None
    assert found.calm is not None
    assert found.goals == {COST: 10.0}


@pytest.mark.parametrize(
    ("rules", "response", "goals", "is_planned"),
    [
        ((cap(),), Response.ABORT, {COST: 10.0}, False),
        ((cap(steps=(Step(0.5, Do.NOTIFY), Step(2.0, Do.ABORT))),), Response.NOTIFY, {COST: 20.0}, True),
        ((cap(steps=(Step(0.5, Do.NOTIFY),)),), Response.NOTIFY, {}, True),
    ],
)
def test_after_a_notice_the_run_is_watched_on_for_what_is_left(
    rules: tuple[Rule, ...], response: Response, goals: dict[Meter, float], is_planned: bool
) -> None:
    of = run(inspected=looked(cost_usd=12.0, duration_s=600.0), inspected_at=NOW_S)
    assert of.inspected is not None
    found = judged(case(*rules, of=of), of.inspected, ruling(*rules))
    assert found.decision is not None
    assert [each.response for each in found.decision.breaches] == [response]
    assert found.goals == goals
    assert (found.plan is not None) is is_planned
    assert found.calm is None


def test_somebody_elses_abort_is_given_its_time() -> None:
    rule = cap()
    of = run(inspected=replace(looked(cost_usd=12.0), state=RunState.ABORTING), inspected_at=NOW_S)
    assert of.inspected is not None
    for since, response in ((NOW_S - 44, Response.DEFERRED), (NOW_S - 46, Response.ABORT)):
        of.aborting_since = since
        found = judged(case(rule, of=of), of.inspected, ruling(rule))
        assert found.decision is not None
        assert found.decision.breaches[0].response is response
        assert found.plan is None


@given(cost=_FIGURES, margin=st.booleans(), steps=st.booleans(), late=st.booleans())
def test_whatever_breaks_a_limit_is_announced(cost: float | None, margin: bool, steps: bool, late: bool) -> None:
    """What people have decided is read before a run is judged that may be stopped."""
    rule = cap(
        never_exceed=margin,
        steps=(Step(0.5, Do.NOTIFY), Step(0.9, Do.ABORT), Step(1.2, Do.ABORT_NOW)) if steps else (),
        after={DURATION: 300.0} if late else {},
    )
    of = run(inspected=looked(cost_usd=cost, duration_s=600.0), inspected_at=NOW_S)
    assert of.inspected is not None
    found = judged(case(rule, of=of), of.inspected, ruling(rule))
    if any(each.verdict is VerdictKind.BREACH for each in found.verdicts):
        assert may_break(of.inspected, Evaluator(RuleSet((rule,))).limits(of.swept))
