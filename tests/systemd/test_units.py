"""The shipped units without running them: systemd finds nothing to say, and little that they could do."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from watchdog.config import find_config
from watchdog.config.loader import load_settings
from watchdog.platforms.facts import OURS

FOLDER = Path(__file__).parents[2] / "systemd"
DOC = FOLDER.parent / "docs" / "systemd.md"
EXPOSURE_MAX = 1.5
PROGRAM = "/opt/budget-watchdog/bin/budget-watchdog"
UNITS = ("budget-watchdog.service", "budget-watchdog@.service")


def run(*command: str) -> str:
    """All that a command says."""
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    return done.stdout + done.stderr


def settings_of(text: str) -> list[tuple[str, str]]:
    """The assignments of a unit, in order."""
    found = [line.partition("=") for line in text.splitlines() if re.match(r"[A-Z]\w+=", line)]
    return [(key, value) for key, _, value in found]


def verified(analyze: str, folder: Path, name: str, *drop_ins: str) -> str:
    """What `systemd-analyze verify` says, its exit code being 0 whatever it finds. The program need not be installed
    on this machine, and is not what is verified."""
    text = (FOLDER / name).read_text()
    (folder / name).write_text(text.replace(PROGRAM, "/bin/true"))
    for number, drop_in in enumerate(drop_ins):
        (folder / f"{name}.d").mkdir(exist_ok=True)
        (folder / f"{name}.d" / f"{number}.conf").write_text(drop_in)
    return run(analyze, "verify", "--man=no", str(folder / name.replace("@.", "@some.")))


def test_both_units_are_there(units: Sequence[Path]) -> None:
    assert tuple(unit.name for unit in units) == UNITS


@pytest.mark.parametrize("name", UNITS)
def test_verify_is_silent(analyze: str, tmp_path: Path, name: str) -> None:
    assert verified(analyze, tmp_path, name) == ""


def test_verify_would_say_something(analyze: str, tmp_path: Path) -> None:
    assert "Unknown key 'RestartSecs'" in verified(analyze, tmp_path, UNITS[0], "[Service]\nRestartSecs=1\n")


@pytest.mark.parametrize("name", UNITS)
def test_the_example_of_a_drop_in_is_verified_with_every_line_in_force(analyze: str, tmp_path: Path, name: str) -> None:
    example = (FOLDER / "budget-watchdog.service.d" / "local.conf.example").read_text()
    in_force = re.sub(r"^#(?=[A-Z]\w+=)", "", example, flags=re.M).replace(
        "/usr/local/bin/budget-watchdog", "/bin/true"
    )
    assert len(settings_of(in_force)) > 10
    assert settings_of(example) == []
    assert verified(analyze, tmp_path, name, in_force) == ""


@pytest.mark.parametrize("name", UNITS)
def test_exposure(analyze: str, name: str) -> None:
    """https://www.freedesktop.org/software/systemd/man/systemd-analyze.html: from 0 (can do little) to 10."""
    said = run(analyze, "security", "--offline=true", "--no-pager", str(FOLDER / name))
    found = re.search(r"Overall exposure level for \S+: ([\d.]+)", said)
    assert found is not None, said
    assert float(found[1]) <= EXPOSURE_MAX
    assert f"says\n{found[1]}, where" in DOC.read_text()


def test_the_template_is_the_unit_with_the_instance_in_its_paths() -> None:
    unit, template = (settings_of((FOLDER / name).read_text()) for name in UNITS)
    by_instance = [
        ("the budget", "the budget (%i)"),
        ("/etc/budget-watchdog/", "/etc/budget-watchdog/%i/"),
        (":budget-watchdog.", ":budget-watchdog.%i."),
    ]
    own = {
        "StateDirectory": "budget-watchdog-%i",
        "RuntimeDirectory": "budget-watchdog-%i",
        "ConfigurationDirectory": "budget-watchdog/%i",
    }

    def of_instance(key: str, value: str) -> str:
        for before, after in by_instance:
            value = value.replace(before, after)
        return own.get(key, value)

    assert template == [(key, of_instance(key, value)) for key, value in unit]


@pytest.mark.parametrize("name", UNITS)
def test_what_the_tests_of_the_real_thing_shorten_is_there(name: str) -> None:
    """Their drop-in would hide that it is missing."""
    settings = dict(settings_of((FOLDER / name).read_text()))
    assert {"WatchdogSec", "TimeoutAbortSec", "RestartSec", "TimeoutStopSec"} <= settings.keys()
    assert (settings["Restart"], settings["RestartSec"]) == ("on-failure", "10s")
    # What may pass must not end the attempts if it takes 4 s or more to fail; what fails at once is to be given up.
    starts_an_hour = {took_s: 3600 / (10 + took_s) for took_s in (4, 1)}
    assert settings["StartLimitIntervalSec"] == "1h"
    assert starts_an_hour[4] < int(settings["StartLimitBurst"]) < starts_an_hour[1]


def test_no_unit_uses_what_debian_12_does_not_know() -> None:
    for name in UNITS:
        settings = dict(settings_of((FOLDER / name).read_text()))
        assert settings["Type"] == "notify"
        assert not {"RestartSteps", "RestartMaxDelaySec", "ImportCredential"} & settings.keys()


def test_the_example_configuration_is_in_order(tmp_path: Path) -> None:
    file = tmp_path / "config.yaml"
    text = (FOLDER / "config.yaml").read_text()
    for token in ("apify", "lobstr"):
        (tmp_path / token).write_text(f"token-of-{token}")
    environ: dict[str, str] = {"CREDENTIALS_DIRECTORY": str(tmp_path)}
    file.write_text(text)
    found = load_settings(find_config(file, environ), platforms=OURS)
    assert [account.name for account in found.accounts] == ["apify"]
    assert (found.dry_run, found.warnings) == (True, ())
    file.write_text(re.sub(r"^  # (?=(- name:|  \w+: ))", "  ", text, flags=re.M))
    accounts: Any = load_settings(find_config(file, environ), platforms=OURS).accounts
    assert [account.token.get_secret_value() for account in accounts] == ["token-of-apify", "token-of-lobstr"]


def test_the_docs_name_no_path_that_is_not_shipped() -> None:
    text = DOC.read_text()
    for path in re.findall(r"(?<![/\w])(?:systemd|rules|requirements)/[\w@.-]+(?:/[\w.-]+)?", text):
        assert (FOLDER.parent / path).exists(), path
