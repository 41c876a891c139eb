"""The reference shows only what works."""

from __future__ import annotations

from pathlib import Path

import pytest

from watchdog.config import find_config
from watchdog.config.loader import load_settings
from watchdog.config.models import ACCOUNT_KEYS, SETTING_KEYS, WEB_KEYS, Settings
from watchdog.errors import ConfigurationError
from watchdog.platforms.facts import OURS

DOC = (Path(__file__).parents[2] / "docs" / "configuration.md").read_text()
EXAMPLES = [part.split("```")[0] for part in DOC.split("```yaml\n")[1:]]


@pytest.mark.parametrize("text", EXAMPLES, ids=range(len(EXAMPLES)))
def test_every_example_is_a_settings_file(tmp_path: Path, text: str) -> None:
    file = tmp_path / "c.yaml"
    (tmp_path / "token").write_text("x")
    (tmp_path / "token").chmod(0o600)
    file.write_text(text.replace("/run/secrets/apify", "token"))
    try:
        settings = load_settings(find_config(file, {"LOBSTR_TOKEN": "x"}), platforms=OURS)
    except ConfigurationError as error:
        pytest.fail(str(error))
    assert settings.warnings == ()


def test_the_example_for_the_environment_works() -> None:
    value = DOC.split("BUDGET_WATCHDOG_ACCOUNTS='")[1].split("'")[0]
    environ = {"BUDGET_WATCHDOG_ACCOUNTS": value, "APIFY_TOKEN": "x"}
    assert load_settings(find_config(None, environ, search=()), platforms=OURS).accounts[0].name == "apify-main"


@pytest.mark.parametrize("key", SETTING_KEYS)
def test_every_key_is_explained_with_its_variable(key: str) -> None:
    assert f"| [`{key}`](#{key}) |" in DOC
    assert f"`BUDGET_WATCHDOG_{key.upper()}`" in DOC
    default = Settings.model_fields[key].default
    assert key in ("accounts", "dry_run", "rules", "watch_rules", "web", "retention") or f"`{default}`" in DOC


@pytest.mark.parametrize("key", ACCOUNT_KEYS)
def test_every_key_of_an_account_is_explained(key: str) -> None:
    assert f"| `{key}` |" in DOC


@pytest.mark.parametrize("key", WEB_KEYS)
def test_every_key_of_the_web_section_is_explained_with_its_variable(key: str) -> None:
    assert f"| `{key}` |" in DOC
    assert f"`BUDGET_WATCHDOG_WEB__{key.upper()}`" in DOC
