"""What rule files say, and which files are read."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from bw_support import without_privileges

from watchdog.domain.meter import Meter
from watchdog.domain.platform import Mode, PlatformTraits
from watchdog.domain.rule import Action, Protection, Rule, RuleSet, Selector
from watchdog.errors import ConfigurationError
from watchdog.platforms.facts import OURS
from watchdog.rulefile import AccountView, LoadedRules, load_rules

APIFY = AccountView("apify-main", "apify")
LOBSTR = AccountView("lobstr-main", "lobstr")
PAID = AccountView("lobstr-paid", "lobstr", has_usd_per_credit=True)
#: A rule for every account, so that none is without.
REST = ", {name: rest, limits: {max_credits: 9}}"
ONE = "rules: [{name: %s, limits: {max_credits: 1}}]\n"


def write(folder: Path, text: str, name: str = "rules.yaml") -> Path:
    file = folder / name
    file.write_text(text)
    return file


def load(folder: Path, text: str, *accounts: AccountView) -> LoadedRules:
    return load_rules(write(folder, text), platforms=OURS, accounts=accounts or None)


def messages(caught: pytest.ExceptionInfo[ConfigurationError]) -> list[str]:
    return [str(problem) for problem in caught.value.problems]


def test_everything_a_file_can_say(tmp_path: Path) -> None:
    text = """
rules:
  - name: maps-cap
    match: {platform: apify, account: "apify-*", actor: "compass/*", origin: [SCHEDULER, API]}
    limits: {max_cost_usd: 5.00, max_duration: 1h30m, max_credits: 40}
    resurrect: true
    never_exceed: true
    action: notify
protect:
  - match: {run_id: HG7ML7M8z78YcAPEB}
    reason: quarterly crawl, signed off
  - match: {squid: s}
resurrect:
  - match: {task: "*-resumable"}
"""
    file = write(tmp_path, text)
    globs = {
        "platform": ("apify",),
        "account": ("apify-*",),
        "actor": ("compass/*",),
        "origin": ("SCHEDULER", "API"),
    }
    limits = {Meter.COST_USD: 5.0, Meter.DURATION: 5400.0, Meter.CREDITS: 40.0}
    loaded = load_rules(file, platforms=OURS)
    assert loaded.files == (file,)
    assert loaded.rules == RuleSet(
        rules=(Rule("maps-cap", Selector(globs), limits, Action.NOTIFY, True, True, str(file), 3),),
        protect=(
            Protection(Selector({"run_id": ("HG7ML7M8z78YcAPEB",)}), "quarterly crawl, signed off"),
            Protection(Selector({"squid": ("s",)})),
        ),
        resurrect=(Selector({"task": ("*-resumable",)}),),
    )


def test_a_bare_rule_means_every_run_and_aborts(tmp_path: Path) -> None:
    (rule,) = load(tmp_path, "rules: [{name: all, limits: {max_credits: 0}}]").rules.rules
    assert rule.selector == Selector()
    assert (rule.action, rule.resurrect, rule.limits) == (Action.ABORT, False, {Meter.CREDITS: 0.0})


@pytest.mark.parametrize("text", ["0123", "12345678", "300e1234", "on", "yes", "1:30", "2024-01-01", "010", "'null'"])
def test_under_match_a_value_is_what_is_written(tmp_path: Path, text: str) -> None:
    loaded = load(tmp_path, f"rules: [{{name: x, match: {{squid: {text}}}, limits: {{max_credits: 1}}}}]")
    assert loaded.rules.rules[0].selector.globs["squid"] == (text.strip("'"),)


@pytest.mark.parametrize(("text", "value"), [("010", 10.0), ("1e3", 1000.0), (".5", 0.5), ("+5", 5.0), ("0", 0.0)])
def test_numbers_are_read_as_people_do(tmp_path: Path, text: str, value: float) -> None:
    loaded = load(tmp_path, f"rules: [{{name: x, limits: {{max_credits: {text}}}}}]")
    assert loaded.rules.rules[0].limits[Meter.CREDITS] == value


def test_a_name_may_look_like_a_number(tmp_path: Path) -> None:
    assert load(tmp_path, ONE % "2024").rules.rules[0].name == "2024"


def test_keys_can_be_shared_by_anchors(tmp_path: Path) -> None:
    text = """
rules:
  - &base
    name: a
    limits: {max_credits: 1}
  - <<: *base
    name: b
"""
    assert [rule.name for rule in load(tmp_path, text).rules.rules] == ["a", "b"]


def test_a_rule_repeated_by_an_alias_is_a_duplicate(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="rule 'a': duplicate name"):
        load(tmp_path, "rules:\n  - &a {name: a, limits: {max_credits: 1}}\n  - *a\n")


def test_a_heading_with_everything_commented_out_is_empty(tmp_path: Path) -> None:
    loaded = load(tmp_path, ONE % "x" + "protect:\n  # - match: {run_id: a}\n")
    assert loaded.rules.protect == ()


# --- files ---


def test_a_folder_is_read_by_name_without_hidden_and_other_files(tmp_path: Path) -> None:
    for name, rule in (("b.yml", "b"), ("a.yaml", "a"), ("C.YAML", "c")):
        write(tmp_path, ONE % rule, name)
    for name in (".a.yaml", "a.yaml~", "notes.txt", ".a.yaml.swp"):
        write(tmp_path, "not: [rules", name)
    loaded = load_rules(tmp_path, platforms=OURS)
    assert loaded.files == (tmp_path / "C.YAML", tmp_path / "a.yaml", tmp_path / "b.yml")
    assert [rule.name for rule in loaded.rules.rules] == ["c", "a", "b"]


def test_a_mounted_configmap_is_read_once(tmp_path: Path) -> None:
    data = tmp_path / "..2026_01_01"
    data.mkdir()
    write(data, ONE % "x", "a.yaml")
    (tmp_path / "..data").symlink_to(data.name)
    (tmp_path / "a.yaml").symlink_to("..data/a.yaml")
    assert load_rules(tmp_path, platforms=OURS).files == (tmp_path / "a.yaml",)


def test_two_links_to_one_file_are_one_file(tmp_path: Path) -> None:
    write(tmp_path, ONE % "x", "a.yaml")
    (tmp_path / "b.yaml").symlink_to("a.yaml")
    assert load_rules(tmp_path, platforms=OURS).files == (tmp_path / "a.yaml",)


def test_names_are_unique_across_files(tmp_path: Path) -> None:
    first, second = write(tmp_path, ONE % "x", "a.yaml"), write(tmp_path, ONE % "x", "b.yaml")
    with pytest.raises(ConfigurationError) as caught:
        load_rules(tmp_path, platforms=OURS)
    assert messages(caught) == [f"{second}:1:16: rule 'x': duplicate name, first used at {first}:1:16"]


def test_a_relative_path_stays_relative(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rules").mkdir()
    write(tmp_path / "rules", "rule: 1", "a.yaml")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigurationError) as caught:
        load_rules(Path("rules/"), platforms=OURS)
    assert messages(caught) == ["rules/a.yaml:1:1: unknown key 'rule', did you mean 'rules'?"]


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_rules(tmp_path / "rules", platforms=OURS)
    assert messages(caught) == [f"{tmp_path}/rules: no such file or folder"]


def test_a_dangling_link_is_not_passed_over(tmp_path: Path) -> None:
    write(tmp_path, ONE % "x", "a.yaml")
    (tmp_path / "b.yaml").symlink_to("gone.yaml")
    with pytest.raises(ConfigurationError) as caught:
        load_rules(tmp_path, platforms=OURS)
    assert messages(caught) == [f"{tmp_path}/b.yaml: is a link to nothing"]


def test_a_folder_that_is_named_like_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").mkdir()
    with pytest.raises(ConfigurationError) as caught:
        load_rules(tmp_path, platforms=OURS)
    assert messages(caught) == [f"{tmp_path}/a.yaml: is a folder, not a file"]


def test_a_file_that_may_not_be_read() -> None:
    with without_privileges() as tmp_path:
        write(tmp_path, ONE % "x").chmod(0)
        with pytest.raises(ConfigurationError) as caught:
            load_rules(tmp_path, platforms=OURS)
        assert messages(caught) == [f"{tmp_path}/rules.yaml: may not be read by this user (permission denied)"]


def test_a_circle_of_links(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").symlink_to("b.yaml")
    (tmp_path / "b.yaml").symlink_to("a.yaml")
    with pytest.raises(ConfigurationError, match="symbolic links run in a circle"):
        load_rules(tmp_path, platforms=OURS)


def test_a_folder_without_rule_files(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load_rules(tmp_path, platforms=OURS)
    assert messages(caught) == [f"no rules found in {tmp_path}: it holds no *.yaml or *.yml file"]


@pytest.mark.parametrize("text", ["", "# nothing yet\n", "---\n", "rules: []\n", "rules:\n"])
def test_a_folder_without_any_rule(tmp_path: Path, text: str) -> None:
    write(tmp_path, text)
    with pytest.raises(ConfigurationError, match=r"no rules found in .*: nothing would be watched"):
        load_rules(tmp_path, platforms=OURS)


def test_an_empty_file_beside_others_is_fine(tmp_path: Path) -> None:
    write(tmp_path, "# later\n", "a.yaml")
    write(tmp_path, ONE % "x", "b.yaml")
    assert len(load_rules(tmp_path, platforms=OURS).rules.rules) == 1


# --- what depends on platforms and accounts ---


def warnings_of(loaded: LoadedRules) -> list[str]:
    return [f"{problem.line}:{problem.column}: {problem.message}" for problem in loaded.warnings]


def test_an_account_that_nobody_configured(tmp_path: Path) -> None:
    text = 'rules: [{name: x, match: {account: [apify-man, "lobstr-*"]}, limits: {max_credits: 1}}' + REST + "]"
    assert warnings_of(load(tmp_path, text, APIFY, LOBSTR)) == [
        "1:37: rule 'x': account 'apify-man' matches no configured account, did you mean 'apify-main'?"
    ]


def test_an_account_on_the_other_platform(tmp_path: Path) -> None:
    text = "rules: [{name: x, match: {account: apify-main, squid: s}, limits: {max_credits: 1}}" + REST + "]"
    assert warnings_of(load(tmp_path, text, APIFY, LOBSTR)) == [
        "1:36: rule 'x': the configured accounts of this name are on another platform: no run can match"
    ]


def test_resurrect_is_of_no_use_on_lobstr(tmp_path: Path) -> None:
    text = "rules: [{name: x, match: {%s}, limits: {max_credits: 1}, resurrect: true}" + REST + "]"
    expected = ["rule 'x': resurrect has no effect: lobstr can only abort in one way"]
    for match in ("platform: lobstr", "squid: s", "account: lobstr-main"):
        assert [problem.message for problem in load(tmp_path, text % match, APIFY, LOBSTR).warnings] == expected
    for match in ("platform: apify", "", "account: apify-main", 'platform: "*"'):
        assert load(tmp_path, text % match, APIFY, LOBSTR).warnings == ()


def test_top_level_resurrect_is_of_no_use_on_lobstr(tmp_path: Path) -> None:
    text = "rules: [{name: x, limits: {max_credits: 1}}]\nresurrect: [{match: {squid: s}}]"
    assert warnings_of(load(tmp_path, text, APIFY, LOBSTR)) == [
        "2:13: resurrect[0]: resurrect has no effect: lobstr can only abort in one way"
    ]


@pytest.mark.parametrize(
    ("match", "whose"),
    [
        ("{platform: apify}", "apify"),
        ('{run_id: "*"}', "every account"),
        ('{actor: "*/*"}', "every account on apify"),
        ('{account: lobstr-main, squid: "?*"}', "lobstr-main"),
    ],
)
def test_a_protection_that_leaves_nothing_to_abort(tmp_path: Path, match: str, whose: str) -> None:
    text = "rules: [{name: x, limits: {max_credits: 1}}]\nprotect: [{match: %s}]"
    assert warnings_of(load(tmp_path, text % match, APIFY, LOBSTR)) == [
        f"2:11: protect[0]: this protects every run of {whose}: none of them is ever aborted"
    ]
    for some in ("{actor: 'compass/*'}", "{run_id: HG7ML7M8z78YcAPEB}", "{platform: apify, origin: WEB}"):
        assert load(tmp_path, text % some, APIFY, LOBSTR).warnings == ()


@pytest.mark.parametrize("actor", ["*", "*/*", "?*"])
def test_a_catch_all_by_actor_is_one_on_apify(tmp_path: Path, actor: str) -> None:
    text = "rules: [{name: x, match: {actor: '%s'}, limits: {max_cost_usd: 0.01}}" + REST + "]"
    [warning] = load(tmp_path, text % actor, APIFY, LOBSTR).warnings
    assert warning.message.endswith("nearly every run of every account on apify is aborted")


def test_never_exceed_is_of_no_use_with_notify(tmp_path: Path) -> None:
    text = "rules: [{name: x, limits: {max_credits: 1}, never_exceed: true, action: notify}]"
    [warning] = load_rules(write(tmp_path, text), platforms=OURS).warnings
    assert str(warning).endswith("never_exceed has no effect with action: notify, which aborts nothing")


def test_resurrect_is_of_no_use_with_notify(tmp_path: Path) -> None:
    text = "rules: [{name: x, limits: {max_credits: 1}, resurrect: true, action: notify}]"
    assert warnings_of(load(tmp_path, text)) == [
        "1:56: rule 'x': resurrect has no effect with action: notify, which aborts nothing"
    ]


def test_cost_that_some_accounts_cannot_tell(tmp_path: Path) -> None:
    text = "rules: [{name: x, limits: {max_cost_usd: 1}}]"
    assert warnings_of(load(tmp_path, text, APIFY, LOBSTR, PAID)) == [
        "1:28: rule 'x': max_cost_usd cannot be judged on account lobstr-main, where the cost in USD is unknown; "
        "set usd_per_credit in the settings, or use max_credits"
    ]
    assert load(tmp_path, text, APIFY, PAID).warnings == ()


def test_cost_that_no_account_can_tell(tmp_path: Path) -> None:
    text = "rules: [{name: x, limits: {max_cost_usd: 1}}]"
    with pytest.raises(ConfigurationError, match=r"max_cost_usd can never apply: .* on account lobstr-main;"):
        load(tmp_path, text, LOBSTR)


def test_plug_in_platforms_may_have_any_key(tmp_path: Path) -> None:
    text = "rules: [{name: x, match: {platform: zyte, actor: a}, limits: {max_cost_usd: 1}}]"
    file = write(tmp_path, text)
    zyte = PlatformTraits("zyte", frozenset({Mode.IMMEDIATE}), 0.0, 5.0, None, match_keys=("actor",))
    assert load_rules(file, platforms={**OURS, "zyte": zyte}, accounts=[AccountView("z", "zyte")]).warnings == ()


def test_without_knowledge_of_accounts_nothing_is_said_of_them(tmp_path: Path) -> None:
    text = "rules: [{name: x, match: {platform: apify, account: bar}, limits: {max_cost_usd: 1}}]"
    assert load_rules(write(tmp_path, text), platforms=OURS).warnings == ()


# --- limits that end everything, accounts that nothing covers ---


@pytest.mark.parametrize(
    ("rule", "says"),
    [
        (
            "limits: {max_credits: 0}",
            "max_credits 0 allows nothing: every run of every account is aborted at the first look",
        ),
        ("limits: {max_cost_usd: 0.0}", "max_cost_usd 0 allows nothing: every run of every account is aborted"),
        ("limits: {max_credits: 0}, action: notify", "every run of every account is reported at the first look"),
        ("match: {actor: a/b}, limits: {max_credits: 0}", "every run that it matches is aborted at the first look"),
        (
            "limits: {max_duration: 30s}",
            "max_duration is only 30s, and the match leaves nothing out: nearly every run of",
        ),
        ("match: {actor: '*'}, limits: {max_cost_usd: 0.01}", "max_cost_usd is only $0.0100, and the match leaves"),
        ("match: {platform: apify}, limits: {max_credits: 0.01}", "nearly every run of apify is aborted"),
    ],
)
def test_a_limit_that_ends_everything_is_warned_about(tmp_path: Path, rule: str, says: str) -> None:
    [warning] = load(tmp_path, f"rules: [{{name: x, {rule}}}]", APIFY).warnings
    assert says in warning.message
    assert (warning.line, warning.column) != (0, 0)


@pytest.mark.parametrize(
    "rule",
    [
        "limits: {max_duration: 2m, max_cost_usd: 0.5, max_credits: 1}",
        "limits: {max_duration: 30s}, action: notify",
        "match: {actor: a/b}, limits: {max_duration: 30s}",
        "match: {origin: API}, limits: {max_cost_usd: 0.01}",
    ],
)
def test_a_low_limit_that_may_well_be_meant_is_not(tmp_path: Path, rule: str) -> None:
    assert load(tmp_path, f"rules: [{{name: x, {rule}}}]", APIFY).warnings == ()


def test_an_account_that_no_rule_covers(tmp_path: Path) -> None:
    text = "rules: [{name: x, match: {actor: a/b}, limits: {max_credits: 5}}]"
    [warning] = load(tmp_path, text, APIFY, LOBSTR).warnings
    assert str(warning) == (
        f"{tmp_path}/rules.yaml: no rule covers the account 'lobstr-main': none of its runs is ever aborted; "
        "write a rule for it"
    )
    assert load(tmp_path, text, APIFY).warnings == ()


# --- the shipped rules ---

SHIPPED = Path(__file__).parents[2] / "rules"


@pytest.mark.parametrize("accounts", [None, [AccountView("z", "zyte")]])
def test_a_meter_that_a_platform_never_shows(tmp_path: Path, accounts: list[AccountView] | None) -> None:
    zyte = PlatformTraits("zyte", frozenset(Mode), 0.0, 0.0, 5.0, meters=("max_duration", "max_cost_usd"))
    file = write(
        tmp_path,
        """rules:
  - {name: over, match: {platform: zyte}, limits: {max_duration: 1h, max_credits: 5}}
  - {name: later, match: {platform: zyte}, limits: {max_duration: 1h}, after: {credits: 5}}
""",
    )
    with pytest.raises(ConfigurationError) as caught:
        load_rules(file, platforms={**OURS, "zyte": zyte}, accounts=accounts)
    assert messages(caught) == [
        f"{file}:2:70: rule 'over': max_credits can never be judged: zyte does not tell credits; leave it out",
        f"{file}:3:80: rule 'later': after: credits can never be judged: zyte does not tell credits; leave it out",
    ]


def test_a_meter_that_some_of_the_platforms_never_show(tmp_path: Path) -> None:
    zyte = PlatformTraits("zyte", frozenset(Mode), 0.0, 0.0, 5.0, meters=("max_duration",))
    older = PlatformTraits("older", frozenset(Mode), 0.0, 0.0, 5.0)
    every = {**OURS, "zyte": zyte, "older": older}
    file = write(tmp_path, "rules: [{name: all, limits: {max_credits: 5}}]")
    accounts = [APIFY, AccountView("z", "zyte"), AccountView("o", "older")]
    warnings = warnings_of(load_rules(file, platforms=every, accounts=accounts))
    assert warnings == ["1:30: rule 'all': max_credits cannot be judged on zyte, which does not tell credits"]
    assert load_rules(file, platforms=every, accounts=[APIFY, AccountView("o", "older")]).warnings == ()


@pytest.mark.parametrize("accounts", [(), (APIFY,), (LOBSTR,), (PAID,), (APIFY, LOBSTR, PAID)], ids=len)
def test_the_shipped_rules_are_without_fault_for_everybody(accounts: tuple[AccountView, ...]) -> None:
    loaded = load_rules(SHIPPED, platforms=OURS, accounts=accounts)
    assert loaded.warnings == ()
    assert {rule.action for rule in loaded.rules.rules} == {Action.ABORT, Action.NOTIFY}
    assert all("platform" in rule.selector.globs for rule in loaded.rules.rules)


def test_what_the_shipped_rules_show_commented_out_is_right_as_well(tmp_path: Path) -> None:
    for file in SHIPPED.glob("*.yaml"):
        lines = file.read_text().splitlines()
        start = next(i for i, line in enumerate(lines) if line == "# protect:")
        shown = [line.removeprefix("# ") if line.startswith("# ") else line for line in lines[start:]]
        kept = [line for line in shown if line.startswith((" ", "protect:", "resurrect:\n")) or line == "resurrect:"]
        write(tmp_path, "\n".join(lines[:start] + kept), file.name)
    loaded = load_rules(tmp_path, platforms=OURS)
    assert loaded.rules.protect
    assert loaded.rules.resurrect


def test_two_hundred_rules_load_quickly(tmp_path: Path) -> None:
    match = '{{platform: apify, actor: "a{n}/*", origin: [API, WEB]}}'
    entry = f"  - name: r{{n}}\n    match: {match}\n    limits: {{{{max_credits: 5}}}}\n"
    write(tmp_path, "rules:\n" + "".join(entry.format(n=n) for n in range(200)))
    start = time.perf_counter()
    load_rules(tmp_path, platforms=OURS, accounts=[APIFY, LOBSTR])
    assert time.perf_counter() - start < 1


# --- what platforms say of themselves ---


def test_a_platform_s_own_word_for_credits_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError) as caught:
        load(tmp_path, "rules: [{name: x, limits: {maxComputeUnits: 5}}]")
    assert messages(caught)[0].endswith(
        "unknown key 'maxComputeUnits', did you mean 'max_credits'? (they are compute units on Apify)"
    )


@pytest.mark.parametrize("modes", [frozenset({Mode.IMMEDIATE}), frozenset(Mode)], ids=len)
def test_resurrect_where_a_plug_in_can_only_abort_in_one_way(tmp_path: Path, modes: frozenset[Mode]) -> None:
    zyte = PlatformTraits("zyte", modes, 0.0, 5.0, None)
    file = write(tmp_path, "rules: [{name: x, match: {platform: zyte}, limits: {max_credits: 1}, resurrect: true}]")
    warnings = [str(warning.message) for warning in load_rules(file, platforms={**OURS, "zyte": zyte}).warnings]
    told = ["rule 'x': resurrect has no effect: zyte can only abort in one way"]
    assert warnings == (told if modes == {Mode.IMMEDIATE} else [])


def test_costs_where_a_platform_says_none(tmp_path: Path) -> None:
    zyte = PlatformTraits("zyte", frozenset(Mode), 0.0, 5.0, None, prices=False)
    file = write(tmp_path, "rules: [{name: x, limits: {max_cost_usd: 1}}]")
    with pytest.raises(ConfigurationError, match=r"max_cost_usd can never apply: .* on account z;"):
        load_rules(file, platforms={"zyte": zyte}, accounts=[AccountView("z", "zyte")])
