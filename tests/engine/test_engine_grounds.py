"""What a new look makes of the reason of an abort."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from watchdog.domain.decision import Abort, Mode
from watchdog.domain.meter import Meter, Usage
from watchdog.domain.override import Override, OverrideKind, Overrides
from watchdog.domain.rule import Action, Protection, Rule, RuleSet, Selector
from watchdog.domain.run import RunState, Snapshot, Source, replace
from watchdog.engine.decide import NO_OVERRIDES, decide
from watchdog.engine.evaluate import Evaluator
from watchdog.engine.grounds import Ground, Grounds, grounds_of, margin_of
from watchdog.engine.opening import open_abort

NOON = datetime(2026, 3, 1, 12, tzinfo=UTC)
SOURCE = Source("k", "maps", {"actor": ("acme/maps",)}, frozenset(), "a1")
NAMELESS = Source("k?", "a1", {"actor": ("a1",)}, frozenset({"actor"}), "a1")
BEFORE = Snapshot(
    "main",
    "apify",
    "run-1",
    SOURCE,
    RunState.RUNNING,
    "RUNNING",
    Usage(cost_usd=50.0, duration_s=100.0),
    NOON,
    True,
    origin="API",
    resurrect_count=0,
)
CAP = Rule("cap", Selector({"actor": ("acme/*",)}), {Meter.COST_USD: 5.0})


def decided(rules: RuleSet, before: Snapshot = BEFORE, margin: float = 0.0) -> Abort:
    verdicts = Evaluator(rules).verdicts(before, lambda applied: margin)
    decision = decide(before, verdicts, rules, modes=frozenset(Mode))
    assert decision is not None
    return open_abort(decision, "a1", NOON, NOON)


def stands(
    abort: Abort, seen: Snapshot, rules: RuleSet, *, dry_run: bool = False, overrides: Overrides = NO_OVERRIDES
) -> Grounds:
    verdicts = Evaluator(rules).verdicts(seen, margin_of(abort, seen))
    decision = decide(
        seen, verdicts, rules, modes=frozenset(Mode), overdue=True, dry_run=dry_run, overrides=overrides, now=NOON
    )
    return grounds_of(abort, seen, verdicts, decision)


def used(**figures: Any) -> Snapshot:
    return replace(BEFORE, usage=replace(BEFORE.usage, **figures))


RAISED = Rule("cap", Selector(), {Meter.COST_USD: 99.0})
OTHER = Rule("long", Selector(), {Meter.DURATION: 60.0})
FAR = Rule("units", Selector(), {Meter.CREDITS: 1.0})
TELL = Rule("tell", Selector(), {Meter.CREDITS: 1.0}, action=Action.NOTIFY)
SIGNED = Protection(Selector({"actor": ("acme/maps",)}), "signed off")


@pytest.mark.parametrize(
    ("seen", "rules", "ground", "why"),
    [
        (BEFORE, (CAP,), Ground.STANDS, ""),
        (used(cost_usd=5.0), (CAP,), Ground.STANDS, ""),
        (used(cost_usd=1.0), (CAP,), Ground.FALLEN, "$1.00 of $5.00"),
        (used(cost_usd=1.0), (CAP, OTHER), Ground.STANDS, ""),
        (used(cost_usd=None), (CAP,), Ground.UNKNOWN, "cost_usd"),
        (used(cost_usd=None), (CAP, OTHER), Ground.STANDS, ""),
        # What was not known then either is nothing that it rested on.
        (used(cost_usd=1.0), (CAP, FAR), Ground.FALLEN, "$1.00 of $5.00"),
        (used(cost_usd=None), (CAP, TELL), Ground.UNKNOWN, "cost_usd"),
        (used(cost_usd=1.0), (CAP, TELL), Ground.FALLEN, "$50.00"),
        (BEFORE, (RAISED,), Ground.FALLEN, "no longer want"),
        (BEFORE, (), Ground.FALLEN, "no longer want"),
        (replace(BEFORE, source=NAMELESS), (CAP,), Ground.UNKNOWN, "names"),
        (replace(used(cost_usd=1.0), source=NAMELESS), (CAP,), Ground.UNKNOWN, "names"),
        (
            replace(BEFORE, origin=None),
            (replace(CAP, selector=Selector({"origin": ("API",)})),),
            Ground.UNKNOWN,
            "origin",
        ),
    ],
)
def test_the_newest_look_decides(seen: Snapshot, rules: tuple[Rule, ...], ground: Ground, why: str) -> None:
    found = stands(decided(RuleSet((CAP,))), seen, RuleSet(rules))
    assert found.ground is ground
    assert why in found.why


def test_what_people_and_protections_say_now() -> None:
    abort, rules = decided(RuleSet((CAP,))), RuleSet((CAP,))
    protected = RuleSet((CAP,), protect=(SIGNED,))
    by_run = RuleSet((replace(CAP, selector=Selector()),), protect=(SIGNED,))
    hold = Overrides.of([Override("h", OverrideKind.HOLD, NOON, run_id="run-1", reason="mine")])
    assert stands(abort, BEFORE, protected).ground is Ground.FALLEN
    assert "signed off" in stands(abort, BEFORE, protected).why
    assert stands(abort, BEFORE, rules, dry_run=True).ground is Ground.FALLEN
    assert "mine" in stands(abort, BEFORE, rules, overrides=hold).why
    assert stands(abort, replace(BEFORE, source=NAMELESS), by_run).ground is Ground.UNKNOWN


@pytest.mark.parametrize(
    ("now_used", "limit", "ground"),
    [
        (4.0, 5.0, Ground.STANDS),
        (4.4, 5.0, Ground.STANDS),
        (5.0, 5.0, Ground.STANDS),
        (3.9, 5.0, Ground.FALLEN),
        (4.0, 9.0, Ground.FALLEN),
        (None, 5.0, Ground.UNKNOWN),
    ],
)
def test_a_projection_holds_on_while_its_figure_does_not_go_back(
    now_used: float | None, limit: float, ground: Ground
) -> None:
    """$4 of $5, and $1.50 more by the time the run could be stopped."""
    careful = replace(CAP, never_exceed=True)
    abort = decided(RuleSet((careful,)), used(cost_usd=4.0), margin=1.5)
    assert abort.projected == 5.5
    rules = RuleSet((replace(careful, limits={Meter.COST_USD: limit}),))
    assert stands(abort, used(cost_usd=now_used), rules).ground is ground


def test_a_lower_bound_that_is_not_over_the_limit_says_nothing() -> None:
    """The look lacks the running time; what is proven of it is below the limit, but it may be over."""
    rules = RuleSet((OTHER,))
    abort = decided(rules)
    vague = replace(used(duration_s=55.0), most=Usage(duration_s=float("inf")))
    assert stands(abort, vague, rules).ground is Ground.UNKNOWN
    assert stands(abort, replace(vague, usage=Usage(duration_s=61.0)), rules).ground is Ground.STANDS


@pytest.mark.parametrize(
    ("cost", "ground"), [(50.0, Ground.STANDS), (5.0, Ground.STANDS), (1.0, Ground.FALLEN), (None, Ground.UNKNOWN)]
)
def test_an_abort_that_was_accepted_goes_on_by_the_limit_of_then(cost: float | None, ground: Ground) -> None:
    """Whatever becomes of its rule, and of what people say; but not if the figure went back."""
    abort = replace(decided(RuleSet((CAP,))), requests=1, effective_requests=1)
    hold = Overrides.of([Override("h", OverrideKind.HOLD, NOON, run_id="run-1")])
    for rules in ((), (RAISED,)):
        assert stands(abort, used(cost_usd=cost), RuleSet(rules)).ground is ground
    assert stands(abort, used(cost_usd=cost), RuleSet((CAP,)), overrides=hold).ground is ground
