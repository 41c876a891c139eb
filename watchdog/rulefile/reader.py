"""One rule file: from the document to rules, protections and resurrections."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from watchdog.domain.glob import glob_matches
from watchdog.domain.limit import Step
from watchdog.domain.meter import METER_OF, Meter, Unit
from watchdog.domain.override import MANUAL
from watchdog.domain.rule import Action, Protection, Rule, Selector
from watchdog.rulefile.doubts import doubtful_limit, doubtful_protection
from watchdog.rulefile.reach import Surroundings
from watchdog.rulefile.spelling import misspellings
from watchdog.rulefile.steps import read_after, read_steps
from watchdog.rulefile.values import (
    MAX_NAME,
    Desk,
    Findings,
    cut_by_comma,
    name_fault,
    read_bool,
    read_choice,
    read_duration,
    read_globs,
    read_number,
    read_table,
    read_text,
)
from watchdog.text import shown
from watchdog.text.document import Document, Entry, Listing, Loc, Node, Scalar, Table, describe
from watchdog.text.hints import after_unknown, suggestion

FILE_KEYS = ("rules", "protect", "resurrect")
RULE_KEYS = ("name", "match", "limits", "after", "steps", "resurrect", "never_exceed", "action")
LIMIT_KEYS = tuple(meter.value for meter in reversed(Meter))


@dataclass(frozen=True, slots=True)
class Harvest:
    """What all files gave so far. `names` holds for each rule name the place where it was first used."""

    findings: Findings = field(default_factory=Findings)
    rules: list[Rule] = field(default_factory=list)
    protect: list[Protection] = field(default_factory=list)
    resurrect: list[Selector] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)


class FileReader:
    """Reads one document into the harvest, checked against what is known of platforms and accounts."""

    def __init__(self, document: Document, harvest: Harvest, around: Surroundings) -> None:
        self._document = document
        self._harvest = harvest
        self._around = around

    def read(self) -> None:
        """Take in everything; mistakes go to the findings."""
        findings = self._harvest.findings
        findings.errors.extend(self._document.fault_problems(self._label))
        if self._document.root is None:
            return
        desk = Desk(self._document, findings)
        table = read_table(self._document.root, "a rule file", FILE_KEYS, desk, self._elsewhere("file"))
        for entry in table.entries if table else ():
            if entry.key in FILE_KEYS:
                self._section(entry, desk)

    def _label(self, loc: Loc) -> str:
        """Whose mistake it is: `rule 'name': ` where the name can be used, or else `rules[2]: `."""
        if len(loc) < 2 or loc[0] not in FILE_KEYS or not isinstance(loc[1], int):
            return ""
        node = self._document.locate(loc[:2])
        entry = node.get("name") if isinstance(node, Table) and loc[0] == "rules" else None
        if entry is not None and isinstance(entry.value, Scalar) and entry.value.value is not None:
            name = entry.value.raw
            if name_fault(name) is None:
                return f"rule {shown(name, limit=MAX_NAME)}: "
        return f"{loc[0]}[{loc[1]}]: "

    def _section(self, entry: Entry, desk: Desk) -> None:
        node = entry.value
        if isinstance(node, Scalar) and node.value is None:
            return  # a heading whose entries are all commented out
        if not isinstance(node, Listing):
            desk.error(node, f"{entry.key} must be a list of entries that begin with '-', not {describe(node)}")
            return
        read = {"rules": self._rule, "protect": self._protection, "resurrect": self._resurrection}[entry.key]
        for index, item in enumerate(node.items):
            read(item, Desk(self._document, desk.findings, self._label((entry.key, index))))

    # --- rules ---

    def _rule(self, node: Node, desk: Desk) -> None:
        before = len(desk.findings.errors)
        table = read_table(node, "a rule", RULE_KEYS, desk, self._elsewhere("rule"))
        if table is None:
            return
        name = self._name(table, desk)
        selector = self._selector(table.get("match"), desk, table)
        limits = self._limits(table, desk)
        resurrect = _optional_bool(table.get("resurrect"), desk)
        never_exceed = _optional_bool(table.get("never_exceed"), desk)
        action, steps = _what_to_do(table, desk)
        after = read_after(entry, desk) if (entry := table.get("after")) else {}
        careful = table.get("never_exceed")
        if careful is not None and never_exceed and action is Action.NOTIFY:
            desk.warn(careful.value, f"never_exceed has no effect with {_harmless(table)}, which aborts nothing")
        if selector is not None:
            self._check_cost(table, selector, limits, after, desk)
            self._check_shown(table, selector, limits, after, desk)
            first = min((step.at for step in steps if step.do.stops), default=1.0)
            self._warn_of_limits(table, selector, {meter: first * each for meter, each in limits.items()}, action, desk)
            self._check_resurrect(table, selector, desk, wanted=resurrect, action=action)
        if len(desk.findings.errors) == before and name is not None and selector is not None:
            place = (self._document.file, table.line)
            self._harvest.rules.append(
                Rule(name, selector, limits, action, resurrect, never_exceed, *place, steps, after)
            )

    def _elsewhere(self, level: str) -> dict[str, str]:
        """Where each key belongs that is ours, but not of this level."""
        of_rule = dict.fromkeys(
            ("name", "never_exceed", "action", "steps", "after", "resurrect"), "belongs to the rule itself"
        )
        own = {
            "file": {key: "belongs to an entry of rules" for key in RULE_KEYS if key not in FILE_KEYS},
            "rule": {"protect": "belongs beside rules, at the left margin", "reason": "belongs to an entry of protect"},
            "exception": {},
        }.get(level, {key: f"{place}, beside {level}" for key, place in of_rule.items()})
        of_a_rule = " of a rule" if level in ("file", "exception") else ""
        limits = dict.fromkeys(LIMIT_KEYS, f"belongs under limits{of_a_rule}")
        match = dict.fromkeys(self._around.keys, f"belongs under match{' of a rule' if level == 'file' else ''}")
        return match | limits | own

    def _limits(self, table: Table, desk: Desk) -> dict[Meter, float]:
        entry = table.get("limits")
        node = entry.value if entry else None
        if entry is None and any(table.get(key) for key in LIMIT_KEYS):
            return {}  # which has been told: they stand in the rule itself
        if node is None or _is_empty(node):
            desk.error(entry or table, f"no limit: write limits with at least one of {', '.join(LIMIT_KEYS)}")
            return {}
        limits = read_table(node, "limits", LIMIT_KEYS, desk, self._elsewhere("limits"), self._around.own_word)
        return _amounts(limits, desk) if limits else {}

    def _name(self, table: Table, desk: Desk) -> str | None:
        entry = table.get("name")
        if entry is None:
            desk.error(table, "missing key 'name'")
            return None
        name = read_text(entry, desk)
        fault = None if name is None else name_fault(name)
        if name is None or fault is not None:
            if fault is not None:
                desk.error(entry.value, f"name {fault}")
            return None
        if name == MANUAL:
            desk.error(entry.value, f"the name '{MANUAL}' is reserved for aborts by hand; choose another")
            return None
        place = f"{self._document.file}:{entry.value.line}:{entry.value.column}"
        first = self._harvest.names.get(name)
        if first == place:
            desk.error(table, f"duplicate name: '<<' or an alias takes it in from {first}; write one of its own")
        elif first is not None:
            desk.error(entry.value, f"duplicate name, first used at {first}")
        self._harvest.names.setdefault(name, place)
        return name

    def _check_cost(
        self,
        table: Table,
        selector: Selector,
        limits: Mapping[Meter, float],
        after: Mapping[Meter, float],
        desk: Desk,
    ) -> None:
        """Costs that are known only where the settings price credits."""
        accounts = self._around.accounts_of(selector)
        blind = sorted(account.name for account in accounts if not self._around.has_cost(account))
        if not blind:
            return
        names = f"account{'s' if len(blind) > 1 else ''} {', '.join(blind)}"
        key, word = Meter.COST_USD.value, Meter.COST_USD.entry.word
        for place, what, cure in (
            (_entry_of(table, "limits", key) if Meter.COST_USD in limits else None, key, "max_credits"),
            (_entry_of(table, "after", word) if Meter.COST_USD in after else None, f"after: {word}", "credits"),
        ):
            if place is None:
                continue
            cured = f"set usd_per_credit in the settings, or use {cure}"
            if len(blind) == len(accounts):
                desk.error(place, f"{what} can never apply: the cost in USD is unknown on {names}; {cured}")
            else:
                desk.warn(place, f"{what} cannot be judged on {names}, where the cost in USD is unknown; {cured}")

    def _check_shown(
        self,
        table: Table,
        selector: Selector,
        limits: Mapping[Meter, float],
        after: Mapping[Meter, float],
        desk: Desk,
    ) -> None:
        """Meters that a platform never shows: limits on them, and what limits wait for."""
        keys = [("limits", meter.value, meter) for meter in limits] + [
            ("after", each.entry.word, each) for each in after
        ]
        for section, key, meter in keys:
            silent, meant = self._around.silent_on(meter, selector)
            entry = table.get(section)
            place = entry.value.get(key) if entry is not None and isinstance(entry.value, Table) else None
            if not silent or place is None:
                continue
            names, what = " and ".join(sorted(silent)), f"{'after: ' if section == 'after' else ''}{key}"
            if silent == meant:
                desk.error(place, f"{what} can never be judged: {names} does not tell {meter.entry.word}; leave it out")
            elif self._around.accounts is not None:
                desk.warn(place, f"{what} cannot be judged on {names}, which does not tell {meter.entry.word}")

    def _warn_of_limits(
        self, table: Table, selector: Selector, limits: dict[Meter, float], action: Action, desk: Desk
    ) -> None:
        for kind, limit in limits.items():
            doubt, entry = (
                doubtful_limit(selector, kind, limit, action, self._around),
                _entry_of(table, "limits", kind.value),
            )
            if doubt and entry is not None:
                desk.warn(entry.value, doubt)

    def _check_resurrect(self, table: Table, selector: Selector, desk: Desk, *, wanted: bool, action: Action) -> None:
        entry = table.get("resurrect")
        if entry is None or not wanted:
            return
        if action is Action.NOTIFY:
            desk.warn(entry.value, f"resurrect has no effect with {_harmless(table)}, which aborts nothing")
        self._warn_of_one_mode(entry.value, selector, desk)

    def _warn_of_one_mode(self, place: Node, selector: Selector, desk: Desk) -> None:
        platforms = self._around.platforms_of(selector)
        if "account" in selector.globs:
            platforms = self._around.platforms_meant(selector)
        if platforms and not any(map(self._around.can_be_graceful, platforms)):
            names = ", ".join(sorted(platforms))
            desk.warn(place, f"resurrect has no effect: {names} can only abort in one way")

    # --- protect and resurrect ---

    def _protection(self, node: Node, desk: Desk) -> None:
        table = read_table(node, "an entry of protect", ("match", "reason"), desk, self._elsewhere("exception"))
        if table is None:
            return
        selector = self._required_selector(table, desk, "protect every run")
        entry = table.get("reason")
        reason = read_text(entry, desk) if entry else ""
        if selector is not None and (doubt := doubtful_protection(selector, self._around)):
            desk.warn(table, doubt)
        if selector is not None and reason is not None:
            self._harvest.protect.append(Protection(selector, reason))

    def _resurrection(self, node: Node, desk: Desk) -> None:
        table = read_table(node, "an entry of resurrect", ("match",), desk, self._elsewhere("exception"))
        selector = self._required_selector(table, desk, "mark every run for resurrection") if table else None
        if table is not None and selector is not None:
            self._warn_of_one_mode(table, selector, desk)
            self._harvest.resurrect.append(selector)

    def _required_selector(self, table: Table, desk: Desk, effect: str) -> Selector | None:
        entry = table.get("match")
        if entry is None:
            if not any(each.key in self._around.keys for each in table.entries):  # that has been told
                desk.error(table, "missing key 'match'")
            return None
        node = entry.value
        if _is_empty(node):
            desk.error(node, f'an empty match would {effect}; if that is meant, write match: {{run_id: "*"}}')
            return None
        return self._selector(entry, desk, table)

    # --- match ---

    def _selector(self, entry: Entry | None, desk: Desk, place: Table) -> Selector | None:
        where = f"{self._document.file}:{place.line}"
        if entry is None:
            return Selector(place=where)
        if isinstance(entry.value, Scalar) and entry.value.value is None:
            desk.error(entry, "match is empty; write match: {} if every run is meant")
            return None
        before = len(desk.findings.errors)
        known = self._around.keys
        table = read_table(entry.value, "match", known, desk, self._elsewhere("match"))
        if table is None:
            return None
        read = {key.key: read_globs(key, desk) for key in table.entries if key.key in known}
        selector = Selector({key: globs for key, globs in read.items() if globs}, where)
        self._check_keys(table, selector, desk)
        if len(desk.findings.errors) > before:
            self._check_platforms(table, selector, desk)
            return None
        self._check_spelling(table, selector, desk)
        if len(desk.findings.errors) > before:
            return None
        self._check_accounts(table, selector, desk)
        return selector

    def _check_spelling(self, table: Table, selector: Selector, desk: Desk) -> None:
        """Refuse values that no run can have; warn about those that are unlikely."""
        meant = self._around.platforms_meant(selector)
        sound = True
        for entry in table.entries:
            nodes, texts = _items(entry.value), selector.globs[entry.key]
            if entry.key == "platform" and glob_matches(texts, tuple(self._around.platforms)):
                continue
            for index, found in misspellings(
                entry.key, texts, meant, self._around.platforms, alone=not isinstance(entry.value, Listing)
            ):
                say = desk.error if found.sure else desk.warn
                say(nodes[index], f"match.{entry.key} {found.message}")
                sound = sound and not (found.sure and entry.key == "platform")
        if sound:
            self._check_platforms(table, selector, desk)

    def _check_platforms(self, table: Table, selector: Selector, desk: Desk) -> None:
        known = self._around.platforms
        entry = table.get("platform")
        if entry is None:
            return
        for node, glob in zip(_items(entry.value), selector.globs.get("platform", ()), strict=False):
            if not glob_matches((glob,), tuple(known)):
                desk.error(node, f"unknown platform {shown(glob)}{after_unknown(glob, sorted(known), 'platform')}")

    def _check_keys(self, table: Table, selector: Selector, desk: Desk) -> None:
        """Refuse keys that no platform has together, or not the one that is named."""
        around = self._around
        own = [(key, around.owners(key.key)) for key in table.entries if around.owners(key.key)]
        if not own:
            return
        first, ours = own[0]
        for key, theirs in own[1:]:
            if not set(ours) & set(theirs):
                words = f"{key.key} is a key of {' and '.join(theirs)} and {first.key} one of {' and '.join(ours)}"
                desk.error(key, f"{words}: no run can match both")
                return
        globs = selector.globs.get("platform")
        meant = {name for name in around.platforms if globs and glob_matches(globs, (name,))}
        if meant and not any(around.has_keys(name, selector) for name in meant):
            here = " or ".join(sorted(meant))
            desk.error(first, f"{first.key} is a key of {' and '.join(ours)}, but platform is {here}: no run can match")

    def _check_accounts(self, table: Table, selector: Selector, desk: Desk) -> None:
        accounts = self._around.accounts
        entry = table.get("account")
        if accounts is None or entry is None:
            return
        names = tuple(account.name for account in accounts)
        lost = [
            (node, glob)
            for node, glob in zip(_items(entry.value), selector.globs["account"], strict=True)
            if not glob_matches((glob,), names)
        ]
        for node, glob in lost:
            desk.warn(node, f"account {shown(glob)} matches no configured account{suggestion(glob, names)}")
        if not lost and not self._around.accounts_of(selector):
            desk.warn(entry.value, "the configured accounts of this name are on another platform: no run can match")


def _items(node: Node) -> tuple[Node, ...]:
    return node.items if isinstance(node, Listing) else (node,)


def _is_empty(node: Node) -> bool:
    return (isinstance(node, Scalar) and node.value is None) or (isinstance(node, Table) and not node.entries)


def _amounts(table: Table, desk: Desk) -> dict[Meter, float]:
    amounts = {}
    cut = {each.head for each in cut_by_comma(table).values()}
    for entry in table.entries:
        if entry.key not in LIMIT_KEYS or entry.key in cut:
            continue
        kind = METER_OF[entry.key]
        if not kind.entry.may_be_zero and _is_zero(entry.value):
            # On Apify a timeout of 0 means none; here it would end every run.
            written = describe(entry.value).removeprefix("the text ")
            desk.error(entry.value, f"{entry.key}: {written} is not 'no limit'; leave the key out for none")
            continue
        amount = read_duration(entry, desk) if kind.entry.unit is Unit.SECONDS else read_number(entry, desk)
        if amount is not None:
            amounts[kind] = amount
    return amounts


def _is_zero(node: Node) -> bool:
    """Whether it is no time at all, with a unit or without."""
    return isinstance(node, Scalar) and re.fullmatch(r"[+-]?(0+(\.0*)?(ms|[smhd])?)+", node.raw) is not None


def _entry_of(table: Table, section: str, key: str) -> Entry | None:
    entry = table.get(section)
    return entry.value.get(key) if entry and isinstance(entry.value, Table) else None


def _optional_bool(entry: Entry | None, desk: Desk) -> bool:
    return bool(entry and read_bool(entry, desk))


def _harmless(table: Table) -> str:
    return "steps that only notify" if table.get("steps") else "action: notify"


def _what_to_do(table: Table, desk: Desk) -> tuple[Action, tuple[Step, ...]]:
    """What the limits of a rule ask for: one thing at all of a limit, or steps."""
    action, steps = table.get("action"), table.get("steps")
    word = read_choice(action, tuple(each.value for each in Action), desk) if action else None
    if steps is None:
        return (Action(word) if word else Action.ABORT), ()
    if action is not None:
        desk.error(action, "action and steps say the same thing twice; leave action out")
    found = read_steps(steps, desk)
    return (Action.ABORT if any(step.do.stops for step in found) else Action.NOTIFY), found
