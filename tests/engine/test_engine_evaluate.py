"""Which limits a run breaks, and what is done about it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from fnmatch import fnmatchcase
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from watchdog.domain.decision import Decision, Mode, Response, VerdictKind, reason_text
from watchdog.domain.limit import Do, Step
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.override import Override, OverrideKind, Overrides
from watchdog.domain.rule import Action, Protection, Rule, RuleSet, Selector
from watchdog.domain.run import ACTIVE_STATES, RunState, Snapshot, Source, replace
from watchdog.engine.decide import decide, one_a_limit
from watchdog.engine.evaluate import Evaluator, Margin, Threshold

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
CREDITS, COST, DURATION = Meter.CREDITS, Meter.COST_USD, Meter.DURATION
BOTH = frozenset(Mode)
EVERY = Selector()


def source(names: tuple[str, ...], unresolved: frozenset[str] = frozenset()) -> Source:
    return Source(f"{names}|{sorted(unresolved)}", names[0], {"actor": names}, unresolved)


MAPS = source(("compass/maps", "maps", "id1"))
NAMELESS = source(("id1",), frozenset({"actor"}))
_RUN = Snapshot(
    "apify-main",
    "apify",
    "run-1",
    MAPS,
    RunState.RUNNING,
    "RUNNING",
    Usage(credits=10, cost_usd=6, duration_s=3600),
    NOON,
    True,
    origin="API",
)


def run(**details: Any) -> Snapshot:
    return replace(_RUN, **details)


def rule(name: str = "cap", *, limits: dict[Meter, float] | None = None, **details: Any) -> Rule:
    return replace(Rule(name, EVERY, {COST: 5.0} if limits is None else limits), **details)


def decision(rules: RuleSet | Rule, seen: Snapshot, **options: Any) -> Decision | None:
    rules = RuleSet((rules,)) if isinstance(rules, Rule) else rules
    verdicts = Evaluator(rules).verdicts(seen)
    return decide(seen, verdicts, rules, **({"modes": BOTH} | options))


def response(rules: RuleSet | Rule, seen: Snapshot, **options: Any) -> Response:
    made = decision(rules, seen, **options)
    assert made is not None
    assert (made.abort is not None) is (made.breaches[0].response is Response.ABORT)
    return made.breaches[0].response


# Limits


@pytest.mark.parametrize("kind", Meter)
@pytest.mark.parametrize(
    ("used", "limit", "verdict"),
    [
        (0.0, 100.0, VerdictKind.WITHIN),
        (79.9, 100.0, VerdictKind.WITHIN),
        (80.0, 100.0, VerdictKind.WARNING),
        (99.999999, 100.0, VerdictKind.WARNING),
        (100.0, 100.0, VerdictKind.BREACH),
        (100.000001, 100.0, VerdictKind.BREACH),
        (0.0, 0.0, VerdictKind.BREACH),
        (None, 100.0, VerdictKind.UNKNOWN),
        (None, 0.0, VerdictKind.UNKNOWN),
        (float("nan"), 100.0, VerdictKind.UNKNOWN),
    ],
)
def test_limits_are_inclusive(kind: Meter, used: float | None, limit: float, verdict: VerdictKind) -> None:
    field = {CREDITS: "credits", COST: "cost_usd", DURATION: "duration_s"}[kind]
    seen = run(usage=replace(Usage(credits=1e9, cost_usd=1e9, duration_s=1e9), **{field: used}))
    only = rule(limits={kind: limit})
    assert [each.verdict for each in Evaluator(RuleSet((only,))).verdicts(seen)] == [verdict]
    assert (decision(only, seen) is not None) is (verdict is VerdictKind.BREACH)


def test_every_limit_of_every_rule_that_matches_applies_by_itself() -> None:
    rules = RuleSet(
        (
            rule("a", limits={COST: 5.0, CREDITS: 100.0}),
            rule("b", limits={DURATION: 3600.0}, selector=Selector({"actor": ("maps",)})),
            rule("c", limits={COST: 1.0}, selector=Selector({"actor": ("other",)})),
            rule("d", limits={CREDITS: 1.0}, selector=Selector({"run_id": ("run-*",)})),
        )
    )
    made = decision(rules, run())
    assert made is not None
    assert [(each.verdict.rule.name, each.verdict.kind) for each in made.breaches] == [
        ("d", CREDITS),
        ("a", COST),
        ("b", DURATION),
    ]
    assert made.abort is made.breaches[0]


@pytest.mark.parametrize("state", RunState)
def test_a_run_that_is_over_is_never_aborted_whatever_it_used(state: RunState) -> None:
    seen = run(state=state)
    assert (decision(rule(), seen) is not None) is state.is_active


def test_a_rule_that_may_not_apply_never_aborts_but_does_not_pass_silently() -> None:
    named = rule(selector=Selector({"actor": ("compass/*",)}))
    for seen in (run(source=NAMELESS), run(source=MAPS, origin=None)):
        by_origin = replace(named, selector=Selector({"actor": ("compass/*",), "origin": ("API",)}))
        verdicts = Evaluator(RuleSet((by_origin,))).verdicts(seen)
        assert [(each.verdict, each.why_unknown) for each in verdicts] == [(VerdictKind.UNKNOWN, "source")]
        assert decision(by_origin, seen) is None


# What stands between a breach and an abort

PROTECT = Protection(EVERY, "signed off")


def protected(selector: Selector) -> RuleSet:
    return RuleSet((rule(),), protect=(Protection(selector),))


def overridden(kind: OverrideKind, **details: Any) -> dict[str, Any]:
    override = replace(Override("o", kind, NOON, run_id="run-1"), **details)
    return {"overrides": Overrides((override,)), "now": NOON}


@pytest.mark.parametrize(
    ("rules", "seen", "options", "expected"),
    [
        (rule(), run(), {}, Response.ABORT),
        (rule(action=Action.NOTIFY), run(), {}, Response.NOTIFY),
        (rule(), run(), {"dry_run": True}, Response.DRY_RUN),
        (rule(action=Action.NOTIFY), run(), {"dry_run": True}, Response.NOTIFY),
        (protected(EVERY), run(), {}, Response.PROTECTED),
        (protected(EVERY), run(), {"dry_run": True}, Response.PROTECTED),
        (protected(Selector({"run_id": ("run-1",)})), run(), {}, Response.PROTECTED),
        (protected(Selector({"run_id": ("run-2",)})), run(), {}, Response.ABORT),
        (protected(Selector({"actor": ("compass/*",)})), run(source=NAMELESS), {}, Response.DEFERRED),
        (protected(Selector({"actor": ("id1",)})), run(source=NAMELESS), {}, Response.PROTECTED),
        (protected(Selector({"origin": ("API",)})), run(origin=None), {}, Response.DEFERRED),
        (rule(), run(state=RunState.ABORTING), {}, Response.DEFERRED),
        (rule(), run(state=RunState.ABORTING), {"overdue": True}, Response.ABORT),
        (protected(EVERY), run(state=RunState.ABORTING), {"overdue": True}, Response.PROTECTED),
        (rule(), run(), overridden(OverrideKind.HOLD), Response.HELD),
        (rule(), run(), overridden(OverrideKind.HOLD, until=NOON), Response.ABORT),
        (rule(), run(), overridden(OverrideKind.PAUSE, run_id=None), Response.HELD),
        (rule(), run(), overridden(OverrideKind.PROTECT), Response.PROTECTED),
        (rule(), run(), overridden(OverrideKind.PROTECT, run_id="run-2"), Response.ABORT),
        (rule(), run(), overridden(OverrideKind.RESURRECT), Response.ABORT),
    ],
)
def test_response(rules: RuleSet | Rule, seen: Snapshot, options: dict[str, Any], expected: Response) -> None:
    assert response(rules, seen, **options) is expected


def test_an_abort_is_booked_on_the_worst_breach_whose_rule_asks_for_one() -> None:
    rules = RuleSet(
        (
            rule("watch", limits={COST: 1.0}, action=Action.NOTIFY),
            rule("mild", limits={COST: 5.0}),
            rule("bad", limits={COST: 2.0}),
        )
    )
    made = decision(rules, run())
    assert made is not None
    assert [(each.verdict.rule.name, each.response) for each in made.breaches] == [
        ("watch", Response.NOTIFY),
        ("bad", Response.ABORT),
        ("mild", Response.ABORT),
    ]
    assert made.abort is made.breaches[1]


# Mode


@pytest.mark.parametrize(
    ("rules", "seen", "options", "mode"),
    [
        (rule(), run(), {}, Mode.IMMEDIATE),
        (rule(resurrect=True), run(), {}, Mode.GRACEFUL),
        (rule(resurrect=True), run(), {"modes": frozenset({Mode.IMMEDIATE})}, Mode.IMMEDIATE),
        (rule(resurrect=True), run(state=RunState.ABORTING), {"overdue": True}, Mode.IMMEDIATE),
        (RuleSet((rule(),), resurrect=(EVERY,)), run(), {}, Mode.GRACEFUL),
        (RuleSet((rule(),), resurrect=(Selector({"run_id": ("x",)}),)), run(), {}, Mode.IMMEDIATE),
        (RuleSet((rule(),), resurrect=(Selector({"actor": ("m*",)}),)), run(source=NAMELESS), {}, Mode.GRACEFUL),
        (RuleSet((rule("a"), rule("b", resurrect=True))), run(), {}, Mode.GRACEFUL),
        # a rule that merely matches, and one that only notifies, have no say
        (RuleSet((rule("a"), rule("b", limits={COST: 99.0}, resurrect=True))), run(), {}, Mode.IMMEDIATE),
        (RuleSet((rule("a"), rule("b", action=Action.NOTIFY, resurrect=True))), run(), {}, Mode.IMMEDIATE),
        (rule(), run(), overridden(OverrideKind.RESURRECT), Mode.GRACEFUL),
        (rule(), run(), overridden(OverrideKind.RESURRECT, run_id="run-2"), Mode.IMMEDIATE),
    ],
)
def test_mode(rules: RuleSet | Rule, seen: Snapshot, options: dict[str, Any], mode: Mode) -> None:
    made = decision(rules, seen, **options)
    assert made is not None
    assert made.abort is not None
    assert made.mode is mode


# Properties

_FIGURE = st.floats(0, 100)
_NAMES = st.sampled_from(
    [
        MAPS,
        NAMELESS,
        source(("lukas/shop", "shop", "id2")),
        source(("id2",), frozenset({"actor"})),
        source(("compass/shop", "shop", "id3")),
    ]
)
_SNAPSHOTS = st.builds(
    run,
    account=st.sampled_from(["apify-main", "apify-two"]),
    run_id=st.sampled_from(["run-1", "run-2", "x"]),
    source=_NAMES,
    state=st.sampled_from(RunState),
    usage=st.builds(Usage, *[st.none() | _FIGURE] * 3),
    origin=st.sampled_from([None, "API", "WEB"]),
)
_GLOB = {
    "platform": ["apify", "lobstr", "*"],
    "account": ["apify-*", "apify-main", "*"],
    "run_id": ["run-*", "run-1", "x"],
    "origin": ["API", "W*"],
    "actor": ["compass/*", "shop", "id?", "lukas/shop"],
}
_SELECTORS = st.dictionaries(st.sampled_from(sorted(_GLOB)), st.integers(0, 15), max_size=2).map(
    lambda picks: Selector({key: (_GLOB[key][pick % len(_GLOB[key])],) for key, pick in picks.items()})
)
_RULES = st.builds(
    rule,
    name=st.uuids().map(str),
    limits=st.dictionaries(st.sampled_from(Meter), _FIGURE, min_size=1),
    selector=_SELECTORS,
    action=st.sampled_from([Action.ABORT, Action.ABORT, Action.NOTIFY]),
    resurrect=st.booleans(),
)
_RULE_SETS = st.builds(
    lambda rules, protect, flagged: RuleSet(tuple(rules), tuple(Protection(each) for each in protect), tuple(flagged)),
    st.lists(_RULES, max_size=5),
    st.lists(_SELECTORS, max_size=1),
    st.lists(_SELECTORS, max_size=1),
)


def means(selector: Selector, seen: Snapshot) -> bool | None:
    """Whether the run is meant, told the simple way; None: it cannot be said."""
    answers: list[bool | None] = []
    for key, patterns in selector.globs.items():
        names: Sequence[str | None] = seen.source.facets["actor"] if key == "actor" else (getattr(seen, key),)
        if any(name is not None and fnmatchcase(name, glob) for glob in patterns for name in names):
            answers.append(True)
        else:
            answers.append(None if None in names or key in seen.source.unresolved else False)
    return False if False in answers else None if None in answers else True


@settings(max_examples=300)
@given(rules=_RULE_SETS, seen=_SNAPSHOTS, dry_run=st.booleans(), overdue=st.booleans())
def test_decisions_are_those_that_the_rules_say(rules: RuleSet, seen: Snapshot, dry_run: bool, overdue: bool) -> None:
    broken = {
        (each.name, kind)
        for each in rules.rules
        if means(each.selector, seen) is True
        for kind, limit in each.limits.items()
        if (used := seen.usage.of(kind)) is not None and used >= limit
    }
    made = decision(rules, seen, dry_run=dry_run, overdue=overdue)
    if not broken or seen.state not in ACTIVE_STATES:
        assert made is None
        return
    assert made is not None
    assert {(each.verdict.rule.name, each.verdict.kind) for each in made.breaches} == broken
    assert len(made.breaches) == len(broken)
    ratios = [each.verdict.ratio for each in made.breaches]
    assert ratios == sorted(ratios, key=lambda ratio: -(ratio or 0))
    may_abort = (
        not dry_run
        and all(means(each.selector, seen) is False for each in rules.protect)
        and (overdue or seen.state is not RunState.ABORTING)
        and any(each.verdict.rule.action is Action.ABORT for each in made.breaches)
    )
    assert (made.abort is not None) is may_abort
    if made.abort is not None:
        assert made.abort.response is Response.ABORT
        assert made.abort.verdict.rule.action is Action.ABORT


@given(rules=_RULE_SETS, seen=_SNAPSHOTS, more=_RULES, place=st.integers(0, 5))
def test_one_rule_more_never_removes_a_breach(rules: RuleSet, seen: Snapshot, more: Rule, place: int) -> None:
    wider = replace(rules, rules=(*rules.rules[:place], more, *rules.rules[place:]))
    before, after = decision(rules, seen), decision(wider, seen)
    if before is not None:
        assert after is not None
        assert set(before.breaches) <= set(after.breaches)
        assert (before.abort is None) or (after.abort is not None)


@given(rules=_RULE_SETS, seen=_SNAPSHOTS)
def test_a_run_within_every_limit_is_left_alone(rules: RuleSet, seen: Snapshot) -> None:
    above = {kind: max((each.limits.get(kind, 0.0) for each in rules.rules), default=0.0) + 1.0 for kind in Meter}
    raised = replace(
        rules, rules=tuple(replace(each, limits={k: above[k] for k in each.limits}) for each in rules.rules)
    )
    just_below = Usage(
        *(None if seen.usage.of(kind) is None else above[kind] * 0.999999 for kind in (CREDITS, COST, DURATION))
    )
    assert decision(raised, replace(seen, usage=just_below), overdue=True) is None


@given(rules=_RULE_SETS, seen=_SNAPSHOTS)
def test_what_is_not_known_aborts_nothing(rules: RuleSet, seen: Snapshot) -> None:
    unknown = replace(seen, usage=Usage())
    verdicts = Evaluator(rules).verdicts(unknown)
    assert {each.verdict for each in verdicts} <= {VerdictKind.UNKNOWN}
    applying = sum(len(each.limits) for each in rules.rules if means(each.selector, seen) is not False)
    assert len(verdicts) == applying
    assert decision(rules, unknown, overdue=True) is None


@given(rules=_RULE_SETS, runs=st.lists(_SNAPSHOTS, min_size=2, max_size=12))
def test_an_evaluator_remembers_nothing_that_changes_its_answers(rules: RuleSet, runs: list[Snapshot]) -> None:
    used_before = Evaluator(rules)
    for seen in runs:
        afresh = Evaluator(rules)
        assert used_before.verdicts(seen) == afresh.verdicts(seen)
        assert used_before.limits(seen) == afresh.limits(seen)
    used_before.tidy(runs[0].account, 0)
    assert used_before.verdicts(runs[0]) == Evaluator(rules).verdicts(runs[0])


@given(rules=_RULE_SETS, seen=_SNAPSHOTS)
def test_the_lowest_limits_are_a_faithful_quick_look(rules: RuleSet, seen: Snapshot) -> None:
    """No sure limit is broken unless the lowest of its kind is: a quick look at those misses nothing."""
    evaluator = Evaluator(rules)
    limits = evaluator.limits(seen)
    quick = {kind for kind, lowest in limits.lowest if (used := seen.usage.of(kind)) is not None and used >= lowest}
    broken = {each.kind for each in evaluator.verdicts(seen) if each.verdict is VerdictKind.BREACH}
    assert quick == broken
    assert bool(limits.unsure) is any(means(each.selector, seen) is None for each in rules.rules)


# Limits that are never to be exceeded

CAREFUL = rule("careful", limits={COST: 10.0}, never_exceed=True)


def ahead(share: float) -> Margin:
    """Limits that are never to be exceeded take effect earlier by this share of them; no other does."""
    return lambda applied: share * applied.figure if applied.is_careful else 0.0


@pytest.mark.parametrize(
    ("used", "margin", "kind", "projected"),
    [
        (6.0, 0.0, VerdictKind.WITHIN, None),
        (6.0, 0.3, VerdictKind.WITHIN, None),
        (6.0, 0.4, VerdictKind.BREACH, 10.0),
        (6.0, 0.5, VerdictKind.BREACH, 11.0),
        (8.0, 0.1, VerdictKind.WARNING, None),
        (8.0, 0.2, VerdictKind.BREACH, 10.0),
        (9.99, 0.2, VerdictKind.BREACH, 11.99),
        (10.0, 0.2, VerdictKind.BREACH, None),
        (12.0, 0.2, VerdictKind.BREACH, None),
        (None, 0.9, VerdictKind.UNKNOWN, None),
        (float("nan"), 0.9, VerdictKind.UNKNOWN, None),
    ],
)
def test_a_margin_breaks_a_limit_before_it_is_reached(
    used: float | None, margin: float, kind: VerdictKind, projected: float | None
) -> None:
    (verdict,) = Evaluator(RuleSet((CAREFUL,))).verdicts(run(usage=Usage(cost_usd=used)), ahead(margin))
    assert (verdict.verdict, verdict.limit) == (kind, 10.0)
    assert verdict.projected == (None if projected is None else pytest.approx(projected))
    assert verdict.used is used, "the books say what was used, not what was feared"


def test_the_reason_says_that_it_is_a_projection() -> None:
    (verdict,) = Evaluator(RuleSet((CAREFUL,))).verdicts(run(), ahead(0.5))
    assert reason_text(verdict) == (
        "projected, rule 'careful': $6.00 of $10.00 allowed: $11.00 by the time it could be stopped"
    )
    (plain,) = Evaluator(RuleSet((CAREFUL,))).verdicts(run(usage=Usage(cost_usd=12.0)), ahead(0.5))
    assert reason_text(plain) == "rule 'careful': $12.00 of $10.00 allowed"


def test_a_rule_that_may_not_apply_is_not_projected_either() -> None:
    named = replace(CAREFUL, selector=Selector({"actor": ("compass/*",)}))
    (verdict,) = Evaluator(RuleSet((named,))).verdicts(run(source=NAMELESS), ahead(0.9))
    assert (verdict.verdict, verdict.projected) == (VerdictKind.UNKNOWN, None)


def test_a_limit_that_is_broken_counts_before_one_that_only_will_be() -> None:
    real, notice = rule("real", limits={CREDITS: 9.0}), rule("tell", limits={CREDITS: 1.0}, action=Action.NOTIFY)
    rules = RuleSet((CAREFUL, real, notice))
    made = decide(run(), Evaluator(rules).verdicts(run(), ahead(0.9)), rules, modes=BOTH)
    assert made is not None
    assert [each.verdict.rule.name for each in made.breaches] == ["tell", "real", "careful"]
    assert made.abort is not None
    assert made.abort.verdict.rule is real
    rules = RuleSet((CAREFUL, notice))
    made = decide(run(), Evaluator(rules).verdicts(run(), ahead(0.9)), rules, modes=BOTH)
    assert made is not None
    assert made.abort is not None
    assert made.abort.verdict.rule is CAREFUL
    assert made.abort.verdict.projected == 15.0


@pytest.mark.parametrize(
    ("rules", "options", "expected"),
    [
        (RuleSet((CAREFUL,)), {}, Response.ABORT),
        (RuleSet((CAREFUL,), protect=(PROTECT,)), {}, Response.PROTECTED),
        (RuleSet((CAREFUL,)), {"dry_run": True}, Response.DRY_RUN),
        (RuleSet((CAREFUL,)), overridden(OverrideKind.HOLD), Response.HELD),
    ],
)
def test_what_stands_between_a_breach_and_an_abort_also_stands_before_a_projected_one(
    rules: RuleSet, options: dict[str, Any], expected: Response
) -> None:
    made = decide(run(), Evaluator(rules).verdicts(run(), ahead(0.9)), rules, **({"modes": BOTH} | options))
    assert made is not None
    assert made.breaches[0].response is expected
    assert (made.abort is not None) is (expected is Response.ABORT)
    assert made.breaches[0].verdict.projected is not None


@given(rules=_RULE_SETS, seen=_SNAPSHOTS, share=st.floats(0, 1), careful=st.lists(st.booleans(), min_size=5))
def test_a_margin_changes_nothing_but_verdicts_on_limits_never_to_be_exceeded(
    rules: RuleSet, seen: Snapshot, share: float, careful: list[bool]
) -> None:
    own = tuple(
        replace(each, never_exceed=never) for each, never in zip(rules.rules, careful[: len(rules.rules)], strict=True)
    )
    evaluator = Evaluator(replace(rules, rules=own))
    plain, early = evaluator.verdicts(seen), evaluator.verdicts(seen, ahead(share))
    assert len(plain) == len(early)
    for before, after in zip(plain, early, strict=True):
        assert before.projected is None
        if after.projected is None:
            assert after == before
            if before.rule.never_exceed and before.step.do.stops and before.used is not None and not before.why_unknown:
                assert before.verdict is VerdictKind.BREACH or before.used + share * before.limit < before.limit
            continue
        assert after.rule.never_exceed
        assert before.verdict in (VerdictKind.WITHIN, VerdictKind.WARNING)
        assert after.verdict is VerdictKind.BREACH
        assert after.used is not None
        assert after.used < after.limit <= after.projected
        assert after.projected == pytest.approx(after.used + share * after.limit)
        assert replace(after, verdict=before.verdict, projected=None) == before
    assert evaluator.limits(seen).simple is not any(each.is_careful for each in evaluator.limits(seen).thresholds)


def test_where_no_limit_is_never_to_be_exceeded_nobody_is_asked_for_a_margin() -> None:
    def unwanted(applied: Threshold) -> float:
        raise AssertionError(applied)

    assert Evaluator(RuleSet((rule(),))).verdicts(run(), unwanted)[0].verdict is VerdictKind.BREACH


def test_a_hold_is_judged_by_the_time_of_the_decision() -> None:
    held = overridden(OverrideKind.HOLD, until=NOON + timedelta(hours=1))
    assert response(rule(), run(), **held) is Response.HELD
    late = held | {"now": NOON + timedelta(hours=1)}
    assert response(rule(), run(), **late) is Response.ABORT


# Steps, and from when on limits count

STEPS = (Step(0.8, Do.NOTIFY), Step(1.0, Do.ABORT), Step(1.2, Do.ABORT_NOW))
STEPPED = rule("stepped", limits={COST: 5.0}, steps=STEPS, resurrect=True)


@pytest.mark.parametrize(
    ("cost", "expected", "mode"),
    [
        (3.99, None, None),
        (4.0, (0.8, Response.NOTIFY), None),
        (4.99, (0.8, Response.NOTIFY), None),
        (5.0, (1.0, Response.ABORT), Mode.GRACEFUL),
        (5.99, (1.0, Response.ABORT), Mode.GRACEFUL),
        (6.0, (1.2, Response.ABORT), Mode.IMMEDIATE),
        (60.0, (1.2, Response.ABORT), Mode.IMMEDIATE),
    ],
)
def test_of_the_steps_that_are_reached_the_harshest_counts(
    cost: float, expected: tuple[float, Response] | None, mode: Mode | None
) -> None:
    made = decision(STEPPED, run(usage=Usage(cost_usd=cost)))
    if expected is None:
        assert made is None
        return
    assert made is not None
    assert [(each.verdict.step.at, each.response) for each in made.breaches] == [expected]
    assert made.is_at_once is (cost >= 6.0)
    if made.abort is not None:
        assert made.mode is mode


def test_a_rule_with_steps_tells_what_they_say_and_nothing_else() -> None:
    near = run(usage=Usage(cost_usd=3.9))
    assert not [each for each in Evaluator(RuleSet((STEPPED,))).verdicts(near) if each.verdict is VerdictKind.WARNING]
    only_notices = rule("tell", steps=(Step(0.5, Do.NOTIFY), Step(0.9, Do.NOTIFY)))
    assert only_notices.action is Action.NOTIFY
    assert response(only_notices, run(usage=Usage(cost_usd=99.0))) is Response.NOTIFY


def test_a_notice_that_is_reached_hides_no_abort_that_may_be() -> None:
    vague = run(usage=Usage(duration_s=85.0), most=Usage(duration_s=120.0))
    limited = rule("long", limits={DURATION: 100.0}, steps=(Step(0.8, Do.NOTIFY), Step(1.0, Do.ABORT)))
    verdicts = [each.verdict for each in Evaluator(RuleSet((limited,))).verdicts(vague)]
    assert verdicts == [VerdictKind.BREACH, VerdictKind.UNKNOWN]


def test_a_step_below_the_limit_is_told_with_its_share() -> None:
    early = rule("early", steps=(Step(0.5, Do.ABORT),))
    (verdict,) = Evaluator(RuleSet((early,))).verdicts(run(usage=Usage(cost_usd=2.5)))
    assert verdict.verdict is VerdictKind.BREACH
    assert reason_text(verdict) == "rule 'early': $2.50 of $5.00 allowed, abort at 50%"


def test_a_limit_that_is_never_to_be_exceeded_takes_effect_before_the_steps_that_abort() -> None:
    careful = replace(STEPPED, never_exceed=True)
    verdicts = Evaluator(RuleSet((careful,))).verdicts(run(usage=Usage(cost_usd=3.0)), ahead(0.4))
    assert [each.verdict for each in verdicts] == [VerdictKind.WITHIN, VerdictKind.BREACH, VerdictKind.WITHIN]


@pytest.mark.parametrize(
    ("used", "most", "kind", "why"),
    [
        (Usage(cost_usd=6.0, duration_s=600.0), Usage(), VerdictKind.BREACH, ""),
        (Usage(cost_usd=6.0, duration_s=599.0), Usage(), VerdictKind.WITHIN, ""),
        (Usage(cost_usd=6.0), Usage(), VerdictKind.UNKNOWN, "after"),
        (Usage(cost_usd=6.0, duration_s=1.0), Usage(duration_s=601.0), VerdictKind.UNKNOWN, "after"),
        (Usage(cost_usd=4.9), Usage(), VerdictKind.WITHIN, ""),
        (Usage(cost_usd=4.9, duration_s=600.0), Usage(), VerdictKind.WARNING, ""),
        (Usage(duration_s=600.0), Usage(), VerdictKind.UNKNOWN, "usage"),
    ],
)
def test_limits_are_judged_from_when_on_their_rule_says(used: Usage, most: Usage, kind: VerdictKind, why: str) -> None:
    late = rule("late", after={DURATION: 600.0})
    (verdict,) = Evaluator(RuleSet((late,))).verdicts(run(usage=used, most=most))
    assert (verdict.verdict, verdict.why_unknown) == (kind, why)


@given(cost=st.floats(0, 20), ats=st.lists(st.floats(0.05, 3), min_size=1, max_size=4, unique=True), data=st.data())
def test_an_abort_is_decided_just_where_some_step_that_aborts_is_reached(
    cost: float, ats: list[float], data: st.DataObject
) -> None:
    steps = tuple(Step(at, data.draw(st.sampled_from(Do))) for at in sorted(ats))
    made = decision(rule("some", steps=steps), run(usage=Usage(cost_usd=cost)))
    reached = [step for step in steps if cost >= 5.0 * step.at]
    assert (made is not None) is bool(reached)
    if made is None:
        return
    assert (made.abort is not None) is any(step.do.stops for step in reached)
    assert made.is_at_once is any(step.do is Do.ABORT_NOW for step in reached)


@pytest.mark.parametrize(("cost", "step_at", "kind"), [(3.0, 0.8, VerdictKind.WITHIN), (4.5, 0.8, VerdictKind.BREACH)])
def test_people_see_one_verdict_a_limit(cost: float, step_at: float, kind: VerdictKind) -> None:
    other = rule("other", limits={DURATION: 100.0})
    verdicts = Evaluator(RuleSet((STEPPED, other))).verdicts(run(usage=Usage(cost_usd=cost, duration_s=1.0)))
    shown = one_a_limit(verdicts)
    assert [(each.rule.name, each.step.at, each.verdict) for each in shown] == [
        ("stepped", step_at, kind),
        ("other", 1.0, VerdictKind.WITHIN),
    ]
