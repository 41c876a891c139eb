"""What a reload changes, in words."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from watchdog.domain.meter import Meter
from watchdog.domain.rule import Action, Protection, Rule, RuleSet, Selector
from watchdog.domain.rule_changes import RuleChanges
from watchdog.domain.run import replace

USD, TIME, CREDITS = Meter.COST_USD, Meter.DURATION, Meter.CREDITS


def rule(name: str = "cap", **details: object) -> Rule:
    whole = Rule(name, Selector({"actor": ("compass/*",)}), {USD: 5.0})
    return replace(whole, **details)  # type: ignore[arg-type]


def between(before: Rule, after: Rule) -> RuleChanges:
    return RuleChanges.between(RuleSet((before,)), RuleSet((after,)))


@pytest.mark.parametrize(
    ("details", "said"),
    [
        ({"limits": {USD: 7.5}}, "max_cost_usd 5 -> 7.5"),
        ({"limits": {USD: 5.0000001}}, "max_cost_usd 5 -> 5.0000001"),
        ({"limits": {USD: 5.0, TIME: 90_061.5}}, "max_duration unset -> 1d1h1m1.5s"),
        ({"limits": {CREDITS: 40.0}}, "max_cost_usd 5 -> unset; max_credits unset -> 40"),
        ({"selector": Selector({"actor": ("a", "b")})}, "match.actor compass/* -> a | b"),
        ({"selector": Selector({})}, "match.actor compass/* -> unset"),
        ({"action": Action.NOTIFY}, "action abort -> notify"),
        ({"resurrect": True}, "resurrect unset -> true"),
        ({"never_exceed": True}, "never_exceed unset -> true"),
    ],
    ids=str,
)
def test_whatever_a_rule_says_is_compared(details: dict[str, object], said: str) -> None:
    changes = between(rule(), rule(**details))
    assert changes == RuleChanges(changed=(f"rule 'cap': {said}",))
    assert changes


def test_where_it_stands_does_not_count() -> None:
    assert not between(rule(file="a.yaml", line=3), rule(file="b.yaml", line=9))


def test_rules_come_and_go() -> None:
    changes = RuleChanges.between(
        RuleSet((rule("old"), rule("kept"))), RuleSet((rule("kept"), rule("new", limits={TIME: 5400.0})))
    )
    assert changes.removed == ("rule 'old': max_cost_usd 5, match.actor compass/*, action abort",)
    assert changes.added == ("rule 'new': max_duration 1h30m, match.actor compass/*, action abort",)
    assert changes.changed == ()
    assert changes.as_lists() == {"added": [*changes.added], "removed": [*changes.removed], "changed": []}


def test_protections_and_resurrections() -> None:
    one, other = Selector({"run_id": ("r1",)}), Selector({"task": ("t", "u"), "account": ("a",)})
    before = RuleSet(protect=(Protection(one, "signed off"), Protection(other)), resurrect=(one,))
    after = RuleSet(protect=(Protection(one, "still"), Protection(Selector({"origin": ("WEB",)}))), resurrect=(other,))
    assert RuleChanges.between(before, after) == RuleChanges(
        added=("protection of origin=WEB: reason ''", "resurrect account=a, task=t | u"),
        removed=("protection of account=a, task=t | u: reason ''", "resurrect run_id=r1"),
        changed=("protection of run_id=r1: reason 'signed off' -> 'still'",),
    )


@given(st.floats(min_value=0, max_value=1e9), st.floats(min_value=0, max_value=1e9))
def test_two_figures_that_differ_read_differently(one: float, other: float) -> None:
    changes = between(rule(limits={CREDITS: one}), rule(limits={CREDITS: other}))
    assert bool(changes) == (one != other)


@given(st.integers(min_value=0, max_value=10**12))
def test_a_duration_reads_like_in_a_rule_file(milliseconds: int) -> None:
    from watchdog.document import parse_duration

    seconds = milliseconds / 1000
    (said,) = between(rule(limits={TIME: seconds}), rule(limits={TIME: -1.0})).changed
    text = said.split("max_duration ")[1].split(" ->")[0]
    assert parse_duration(text) == pytest.approx(seconds, abs=1e-5)
