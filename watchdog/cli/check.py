"""`budget-watchdog check`: is the configuration in order?"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import click

from watchdog.app import build
from watchdog.cli.common import Loaded, config_option, load, rules_option
from watchdog.domain.decision import describe
from watchdog.errors import PlatformError
from watchdog.runtime.daemon import startup_error


@click.command("check")
@config_option
@rules_option
@click.option("--online", is_flag=True, help="Also try each token with one request to its platform.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of text.")
def command(config: Path | None, rules: Path | None, online: bool, as_json: bool) -> int:
    """Read the configuration and every rule file, and say what is in force, or every mistake as file:line:column.

    Exit code 0 if all is in order, 2 if not; with --online 1 if a platform cannot be reached and 2 if it refuses a
    token.
    """
    loaded = load(config, rules)
    tried = asyncio.run(_try_tokens(loaded)) if online else {}
    click.echo(json.dumps(_as_json(loaded, tried), indent=2) if as_json else _as_text(loaded, tried))
    errors = [outcome for outcome in tried.values() if isinstance(outcome, PlatformError)]
    return startup_error(errors).exit_code if errors else 0


async def _try_tokens(loaded: Loaded) -> dict[str, str | PlatformError]:
    app = build(loaded.settings, loaded=loaded.rules)
    try:
        names = list(app.platforms)
        outcomes = await asyncio.gather(*(app.platforms[name].check() for name in names), return_exceptions=True)
        return {name: _expected(outcome) for name, outcome in zip(names, outcomes, strict=True)}
    finally:
        await app.net.aclose()


def _expected(outcome: str | BaseException) -> str | PlatformError:
    if isinstance(outcome, BaseException) and not isinstance(outcome, PlatformError):
        raise outcome
    return outcome


def _as_text(loaded: Loaded, tried: dict[str, str | PlatformError]) -> str:
    settings, rules = loaded.settings, loaded.rules.rules
    lines = [f"configuration: {settings.file or 'environment only'}"]
    for account in settings.accounts:
        outcome = tried.get(account.name)
        said = "" if outcome is None else f": {outcome if isinstance(outcome, PlatformError) else 'ok, ' + outcome}"
        lines.append(f"account {account.name} on {account.platform}{said}")
    files = len(loaded.rules.files)
    count = len(rules.rules)
    lines.append(
        f"{count} rule{'s' if count != 1 else ''} from {files} file{'s' if files != 1 else ''} in {settings.rules}"
    )
    for rule in rules.rules:
        limits = ", ".join(f"{kind} {describe(kind, value)}" for kind, value in rule.limits.items())
        lines.append(f"  {rule.name}: {limits}, {rule.action}{', resurrect' if rule.resurrect else ''}")
    lines += [f"warning: {warning}" for warning in _warnings(loaded)]
    lines.append("dry run: nothing is aborted" if settings.dry_run else "armed: what breaks a rule is aborted")
    if not any(isinstance(outcome, PlatformError) for outcome in tried.values()):
        lines.append("all in order")
    return "\n".join(lines)


def _warnings(loaded: Loaded) -> list[str]:
    return [*loaded.settings.warnings, *map(str, loaded.rules.warnings)]


def _as_json(loaded: Loaded, tried: dict[str, str | PlatformError]) -> dict[str, object]:
    return {
        "configuration": str(loaded.settings.file) if loaded.settings.file else None,
        "accounts": [
            {"name": account.name, "platform": account.platform, **_outcome(tried.get(account.name))}
            for account in loaded.settings.accounts
        ],
        "rules": [
            {
                "name": rule.name,
                "limits": {kind.value: value for kind, value in rule.limits.items()},
                "action": rule.action.value,
                "resurrect": rule.resurrect,
                "file": rule.file,
                "line": rule.line,
            }
            for rule in loaded.rules.rules.rules
        ],
        "warnings": _warnings(loaded),
    }


def _outcome(outcome: str | PlatformError | None) -> dict[str, object]:
    if outcome is None:
        return {}
    failed = isinstance(outcome, PlatformError)
    return {"ok": not failed, "detail": str(outcome)}
