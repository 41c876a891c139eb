"""What a word that nobody knows was meant to be: the one place that decides between a slip and another meaning.

A wrong hint is worse than none: who writes `max_cost_usd_per_month` and is told "did you mean max_cost_usd?" gets a
limit that they did not want. So a word is taken for a known one only if it is made of the same parts, each misspelt by
a letter or two. For a word that means something else there is a sentence that says what it would mean.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from watchdog.text.escapes import shown

_PARTS = re.compile(r"[^a-z0-9]+")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_MAX_LENGTH = 200

#: Parts that may be added without meaning more: `actor_name`, `max_credits_limit`.
_NEUTRAL = frozenset(
    {"id", "ids", "name", "names", "limit", "limits", "key", "value", "the", "a", "io", "com", "port", "host"}
)
#: Other words for the same: what people say, and the name that Apify gives to its own cap of a run.
_SYNONYMS = {"runtime": "duration", "price": "cost", "spend": "cost", "dollar": "usd", "dollars": "usd"}
_COMPUTE_UNITS = ("maxcomputeunits", "maxcomputeunit", "computeunits", "maxcu", "maxcus", "maxcompute")
_ALIASES = {
    "maxtotalchargeusd": "max_cost_usd",
    "maxtotalcharge": "max_cost_usd",
    **dict.fromkeys(_COMPUTE_UNITS, "max_credits"),
}
#: Units, which a duration has anyway: `max_duration_minutes`.
_UNITS = frozenset({"s", "sec", "secs", "seconds", "m", "mins", "minutes", "h", "hours", "d", "days", "ms"})
_DURATIONS = frozenset({"duration", "interval", "retention"})
#: Parts that may not be left out: without them the rest means something else.
_ESSENTIAL = frozenset({"never", "dry", "per", "no", "not"})
#: Beginnings that turn a word into its opposite.
_OPPOSITES = ("un", "non", "not", "no", "dis", "de", "min", "max", "in", "anti")


@dataclass(frozen=True, slots=True)
class _Meaning:
    """What words like these ask for, as the end of "that would be ...", and what to do."""

    words: frozenset[str]
    sentence: str


def _meaning(words: str, sentence: str) -> _Meaning:
    return _Meaning(frozenset(words.split()), sentence)


_RESULTS = _meaning(
    "result results item items row rows record records dataset page pages leads contacts emails phones reviews places",
    "would count results, and that is max_results, under limits of a rule",
)
#: Who limits these counts what a run brings, and sends nothing.
_COUNTED = frozenset({"email", "emails", "mail", "mails", "sms"})
_ONE_RUN = "every limit here is for one run"
#: The first that fits is told.
_MEANINGS = (
    _meaning("requests request calls", "would be a rate of requests, and that is requests_per_minute, of an account"),
    _meaning(
        "apikey secret password passwd bearer credentials",
        "would hold a token, and none is written here: name its file under token_file, or its variable under token_env",
    ),
    _meaning(
        "month months monthly day days daily week weeks weekly year years yearly annual annually hour hours hourly "
        "quarter quarterly period",
        f"would be a limit on all runs of a period together, and there is none yet: {_ONE_RUN}",
    ),
    _meaning(
        "total totals sum overall all global combined cumulative aggregate together",
        f"would be a limit on many runs together, and there is none yet: {_ONE_RUN}",
    ),
    _meaning("budget budgets allowance quota", f"would be a budget of many runs, and there is none yet: {_ONE_RUN}"),
    _meaning(
        "min minimum least lower floor",
        "would be a lower bound, and there is none: limits say what a run may use at most",
    ),
    _meaning(
        "warn warning warnings soft early threshold alert alerts hint",
        "would only warn, and there is no key for that: write a second rule with lower limits and action: notify",
    ),
    _meaning(
        "slack email mail webhook webhooks telegram teams pagerduty discord sms notifier notifiers",
        "would send messages, and there is nothing that sends any yet: alert on the metrics (docs/metrics.md)",
    ),
    _RESULTS,
    _meaning(
        "memory mem mbytes mb gb ram cpu disk",
        "would be about the size of a run, and there is no such limit: limits are on what a run uses and brings",
    ),
    _meaning(
        "timeout timeouts deadline",
        "would be a time-out, and there is no such key: how long a run may run is max_duration, under limits of a rule",
    ),
    _meaning(
        "idle inactive inactivity stall stalled stuck progress",
        "would be about runs that make no progress, and there is no such limit yet: max_duration is all time running",
    ),
    _meaning("rate speed velocity burn", "would be about how fast a run spends, and there is no such limit yet"),
    _meaning(
        "concurrent concurrency parallel simultaneous count number",
        f"would count runs or looks, and there is no such key yet: {_ONE_RUN}",
    ),
    _meaning(
        "percent percentage pct ratio avg average mean median baseline",
        "would compare a run with others, and there is no such limit yet: limits are plain figures",
    ),
    _meaning(
        "exclude excludes excluded except exception exceptions ignore skip allow allowlist whitelist not unless",
        "would leave runs out, and there is no key for that: narrow the match, or write an entry under protect",
    ),
    _meaning("regex regexp pattern", "would be a regular expression, and matches are globs: * ? [abc]"),
    _meaning(
        "cents cent",
        "would be in cents, and figures are in US dollars: write dollars under max_cost_usd, such as 0.50",
    ),
    _meaning(
        "eur euro euros gbp pound pounds chf jpy inr cny",
        "would be another currency, and figures are in US dollars",
    ),
    _meaning(
        "cron schedule window timezone weekday weekdays between until start end from since night",
        "would hold at certain times only, and there is no key for that yet: rules hold at all times",
    ),
    _meaning("tag tags label labels build", "would look at tags, labels or builds, and no run is matched by those"),
)
_WORDS = frozenset().union(*(meaning.words for meaning in _MEANINGS))
#: Words of this length are found within run-together ones: `maxcostpermonth`.
_FOUND_WITHIN = 5
_IN_OTHER_WORDS = frozenset({"count", "ratio"})  # account, duration


def closest(word: str, known: Collection[str]) -> str | None:
    """The known word that this one is, misspelt; None if there is none, or if others are as likely."""
    likely = _likely(word, known)
    return likely[0] if len(likely) == 1 else None


def suggestion(word: str, known: Collection[str]) -> str:
    """`, did you mean 'x'?` for a misspelt word, or nothing."""
    likely = _likely(word, known)
    return f", did you mean {' or '.join(map(repr, likely))}?" if 0 < len(likely) < 3 else ""


def is_same(word: str, other: str) -> bool:
    """Whether they are one word, however their parts are divided: `maxComputeUnits`, `max_compute_units`."""
    return "".join(_parts(word[:_MAX_LENGTH])) == "".join(_parts(other))


def _likely(word: str, known: Collection[str]) -> list[str]:
    """The known words that are nearest, of those that this one can be, misspelt."""
    word = word[:_MAX_LENGTH]
    alias = _ALIASES.get("".join(_parts(word)))
    if alias is not None and alias in known:
        return [alias]
    far = {name: distance for name in known if (distance := _distance(word, name)) is not None}
    return [name for name, distance in far.items() if distance == min(far.values())]


def after_unknown(word: str, known: Collection[str], kind: str) -> str:
    """How a sentence about an unknown key, platform, command goes on: the likely word, or what this one would mean, and
    all that there are."""
    if hint := suggestion(word, known):
        return hint
    meaning = other_meaning(word, known)
    there_are = f"; known {kind}s: {', '.join(known)}"
    return f": it {meaning}{there_are}" if meaning else there_are


def unknown_key(key: str, known: Collection[str]) -> str:
    """The sentence for a key nobody knows: the likely one, or what it would mean, and all there are."""
    return f"unknown key {shown(key)}" + after_unknown(key, known, "key")


def other_meaning(word: str, known: Iterable[str] = ()) -> str:
    """What a word would mean that is none of ours, as the end of a sentence about it; "" if that cannot be told."""
    parts = set(_parts(word[:_MAX_LENGTH]))
    parts.add("".join(_parts(word[:_MAX_LENGTH])))
    wholes = ["".join(_parts(name)) for name in known]
    parts |= {each for part in parts for each in _WORDS if _holds(part, each, wholes)}
    if "max" in parts and _COUNTED & parts:
        return _RESULTS.sentence
    return next((meaning.sentence for meaning in _MEANINGS if meaning.words & parts), "")


def _holds(part: str, word: str, wholes: Iterable[str]) -> bool:
    """Whether a run-together part has this word in it: a long one anywhere, a short one beside what is known."""
    if len(word) >= _FOUND_WITHIN:
        return word in part and word not in _IN_OTHER_WORDS
    rests = {part.removeprefix(word), part.removesuffix(word)} - {part}
    return len(word) > 2 and any(len(rest) > 2 and rest in whole for rest in rests for whole in wholes)


@lru_cache(maxsize=512)
def _parts(word: str) -> tuple[str, ...]:
    """`maxCost-USD` is max, cost, usd."""
    parts = tuple(_SYNONYMS.get(part, part) for part in _PARTS.split(_CAMEL.sub("_", word).lower()) if part)
    return parts[:-2] if parts[-2:] == ("per", "run") else parts


def _distance(word: str, known: str) -> tuple[int, int] | None:
    """How far apart they are if one is the other misspelt: parts added or left out, then letters. None if not."""
    ours, theirs = _parts(word), _parts(known)
    if not ours or not theirs:
        return None
    if "".join(ours) == "".join(theirs):
        return (0, 0)
    extra, missing, letters = _paired(ours, theirs)
    if not extra and not missing:
        return (0, letters)
    if not extra and len(missing) < len(theirs):
        return None if _ESSENTIAL & set(missing) else (len(missing), letters)
    if not missing:
        free = _NEUTRAL | (_UNITS if _DURATIONS & set(theirs) else frozenset())
        return (len(extra), letters) if set(extra) <= free else None
    return _run_together(ours, theirs)


def _paired(ours: Sequence[str], theirs: Sequence[str]) -> tuple[list[str], list[str], int]:
    """The parts of each that the other has not, and how many letters those are apart that both have."""
    extra, missing, letters = [], list(theirs), 0
    for part in sorted(ours, key=lambda part: part not in theirs):
        near = [(far, other) for other in missing if (far := _slips(part, other)) is not None]
        if near:
            far, other = min(near)
            letters += far
            missing.remove(other)
        else:
            extra.append(part)
    return extra, missing, letters


def _run_together(ours: Sequence[str], theirs: Sequence[str]) -> tuple[int, int] | None:
    """Words with their parts divided otherwise: `maxcostusd`, `dryrun`."""
    if len(ours) == len(theirs):
        return None
    slips = _slips("".join(ours), "".join(theirs))
    return None if slips is None else (1, slips)


@lru_cache(maxsize=512)
def _slips(word: str, known: str) -> int | None:
    """How many letters are wrong; None if too many for one word to be the other."""
    if word == known:
        return 0
    longer = max(len(word), len(known))
    most = 0 if longer < 3 else 1 if longer < 7 else 2
    if (word in _WORDS and len(word) < _FOUND_WITHIN) or _digits(word) != _digits(known) or _is_opposite(word, known):
        return None
    slips = _edits(word, known)
    return slips if slips <= most else None


def _digits(word: str) -> str:
    return "".join(char for char in word if char.isdigit())


def _is_opposite(word: str, known: str) -> bool:
    """Whether one begins with what the other does not begin with, and turns into its opposite by it."""
    return any(
        one.startswith(start) and not other.startswith(start) and _edits(one[len(start) :], other) <= 1
        for start in _OPPOSITES
        for one, other in ((word, known), (known, word))
    ) or {word[:3], known[:3]} == {"min", "max"}


def _edits(one: str, other: str) -> int:
    """Letters left out, added, changed or swapped with the next (optimal string alignment)."""
    before: list[int] = []
    last = list(range(len(other) + 1))
    for i, char in enumerate(one, 1):
        row = [i]
        for j, theirs in enumerate(other, 1):
            least = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (char != theirs))
            if i > 1 and j > 1 and char == other[j - 2] and one[i - 2] == theirs:
                least = min(least, before[j - 2] + 1)
            row.append(least)
        before, last = last, row
    return last[-1]
