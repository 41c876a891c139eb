"""What a reload changes, in the words of the rule files: for the log and for whoever asked for it."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from watchdog.domain.meter import Meter, Unit
from watchdog.domain.rule import Protection, Rule, RuleSet


@dataclass(frozen=True, slots=True)
class RuleChanges:
    """One sentence per rule, protection or `resurrect` entry that was added, removed or changed. Where in which file
    something stands is no part of it. False if nothing changed."""

    added: tuple[str, ...] = ()
    removed: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.added or self.removed or self.changed)

    def as_lists(self) -> dict[str, list[str]]:
        """The sentences by what happened."""
        return {"added": list(self.added), "removed": list(self.removed), "changed": list(self.changed)}

    @classmethod
    def between(cls, before: RuleSet, after: RuleSet) -> RuleChanges:
        """What became of `before` in `after`. A rule with another name is another rule."""
        old, new = _entries(before), _entries(after)
        both = [(name, _differences(old[name], new[name])) for name in new if name in old]
        return cls(
            added=tuple(_whole(name, new[name]) for name in new if name not in old),
            removed=tuple(_whole(name, old[name]) for name in old if name not in new),
            changed=tuple(f"{name}: {'; '.join(found)}" for name, found in both if found),
        )


#: What an entry says, by what it says it of: `max_cost_usd` -> `5`.
_Entry = Mapping[str, str]


def _entries(rules: RuleSet) -> dict[str, _Entry]:
    """Everything in force by a name that tells it from all else."""
    entries = {f"rule '{rule.name}'": _of_rule(rule) for rule in rules.rules}
    entries |= _of_protections(rules.protect)
    return entries | {f"resurrect {selector}": {} for selector in rules.resurrect}


def _of_rule(rule: Rule) -> _Entry:
    limits = {kind.value: _figure(kind, value) for kind, value in rule.limits.items()}
    match = {f"match.{key}": _globs(globs) for key, globs in rule.selector.globs.items()}
    flags = [name for name in ("resurrect", "never_exceed") if getattr(rule, name)]
    done = {"steps": ", ".join(map(str, rule.steps))} if rule.steps else {"action": rule.action.value}
    if rule.after:
        done["after"] = ", ".join(f"{meter.entry.word} {_figure(meter, value)}" for meter, value in rule.after.items())
    return {**limits, **match, **done, **dict.fromkeys(flags, "true")}


def _of_protections(protections: Iterable[Protection]) -> dict[str, _Entry]:
    """Protections have no names; several of one selector are one entry with all the reasons."""
    reasons: dict[str, list[str]] = defaultdict(list)
    for protection in protections:
        reasons[f"protection of {protection.selector}"].append(f"'{protection.reason}'")
    return {name: {"reason": ", ".join(sorted(found))} for name, found in reasons.items()}


def _whole(name: str, entry: _Entry) -> str:
    said = ", ".join(f"{key} {value}" for key, value in entry.items())
    return f"{name}: {said}" if said else name


def _differences(old: _Entry, new: _Entry) -> list[str]:
    return list(_differing(old, new))


def _differing(old: _Entry, new: _Entry) -> Iterator[str]:
    for key in [*old, *(key for key in new if key not in old)]:
        before, after = old.get(key), new.get(key)
        if before != after:
            yield f"{key} {before or 'unset'} -> {after or 'unset'}"


def _globs(globs: tuple[str, ...]) -> str:
    return " | ".join(globs)


def _figure(kind: Meter, value: float) -> str:
    """The figure to its last digit: a change must never read `5 -> 5`."""
    if kind.entry.unit is Unit.SECONDS and math.isfinite(value):
        return _duration(value)
    return repr(value).removesuffix(".0")


def _duration(seconds: float) -> str:
    left, parts = seconds, []
    for unit, size in (("d", 86400), ("h", 3600), ("m", 60)):
        count, left = divmod(left, size)
        if count:
            parts.append(f"{count:.0f}{unit}")
    if left or not parts:
        parts.append(f"{round(left, 6)!r}".removesuffix(".0") + "s")
    return "".join(parts)
