"""Reading `steps` and `after` of a rule: what is done at which share of its limits, and from when on they count."""

from __future__ import annotations

import re
from collections.abc import Iterator

from watchdog.domain.limit import Do, Step
from watchdog.domain.meter import Meter, Unit
from watchdog.rulefile.values import Desk, read_choice, read_duration, read_number, read_table
from watchdog.text.document import Entry, Listing, Node, Scalar, Table, describe

STEP_KEYS = ("at", "do")
#: The meter that each key of `after` is about.
AFTER = {meter.entry.word: meter for meter in reversed(Meter)}
#: Shares of a limit that a step can stand at: above nothing, and at most ten times the limit.
AT_MAX = 10.0
_PERCENT = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?%")
_STEPS_OF_RULES = tuple(do.value for do in Do)


def read_steps(entry: Entry, desk: Desk) -> tuple[Step, ...]:
    """The steps in the order of the file; () where none can be used."""
    node = entry.value
    if not isinstance(node, Listing) or not node.items:
        example = "steps: [{at: 80%, do: notify}, {at: 100%, do: abort}]"
        desk.error(node if isinstance(node, Listing) else entry, f"steps must be a list of steps; write {example}")
        return ()
    return tuple(_rising(node, [_step(item, desk) for item in node.items], desk))


def _rising(node: Listing, steps: list[Step | None], desk: Desk) -> Iterator[Step]:
    """Those that can be used, as long as each stands higher than the one before."""
    before, harshest = 0.0, 0
    for place, step in zip(node.items, steps, strict=True):
        if step is None:
            continue
        if step.do.harshness < harshest:
            desk.warn(place, f"{step} never acts: a harsher step stands below it")
        harshest = max(harshest, step.do.harshness)
        if step.at <= before:
            desk.error(place, f"steps must rise: {step.at * 100:.6g}% follows {before * 100:.6g}%")
        before = max(before, step.at)
        yield step


def _step(node: Node, desk: Desk) -> Step | None:
    table = read_table(node, "a step", STEP_KEYS, desk)
    if table is None:
        return None
    at, do = table.get("at"), table.get("do")
    for key, entry in (("at", at), ("do", do)):
        if entry is None:
            desk.error(table, f"missing key '{key}' of a step")
    share = _share(at, desk) if at else None
    word = read_choice(do, _STEPS_OF_RULES, desk) if do else None
    return None if share is None or word is None else Step(share, Do(word))


def _share(entry: Entry, desk: Desk) -> float | None:
    """`80%` as 0.8."""
    node = entry.value
    match = _PERCENT.fullmatch(node.raw) if isinstance(node, Scalar) else None
    if match is None:
        desk.error(node, f"at must be a share of the limit with a percent sign, such as 80%, not {describe(node)}")
        return None
    share = float(match[1]) / 100
    if not 0 < share <= AT_MAX:
        desk.error(node, f"at must be above 0% and at most {AT_MAX:.0%}, not {match[0]}")
        return None
    return share


def read_after(entry: Entry, desk: Desk) -> dict[Meter, float]:
    """What a run must have used before the limits of its rule are judged."""
    if isinstance(entry.value, Table) and not entry.value.entries:
        desk.error(entry, f"after is empty; write after with one of {', '.join(AFTER)}, or leave it out")
        return {}
    named = {meter.value: f"is called {meter.entry.word} here" for meter in Meter}
    table = read_table(entry.value, "after", tuple(AFTER), desk, named)
    amounts = {}
    for each in table.entries if table else ():
        meter = AFTER.get(each.key)
        if meter is None:
            continue
        amount = read_duration(each, desk) if meter.entry.unit is Unit.SECONDS else read_number(each, desk)
        if amount == 0:
            desk.error(each.value, f"after: {each.key} 0 is reached from the start; leave it out")
        elif amount is not None:
            amounts[meter] = amount
    return amounts
