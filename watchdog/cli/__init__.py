"""The command line: one file a verb, loaded only when it is used, so that `--help` is quick."""

from __future__ import annotations

import errno
import importlib
import os
import sys
from typing import NoReturn

import click

from watchdog import __version__
from watchdog.errors import ConfigurationError, WatchdogError, of_system
from watchdog.platforms.facts import OURS
from watchdog.redaction import Redactor
from watchdog.runtime.process import prepare, without
from watchdog.text import LAYOUT, escaped

#: Verb: what it does. Each is a module of this package with a click command `command`, but for those below; the words
#: stand here so that the list of verbs can be shown without importing any.
VERBS = {
    "run": "Keep watch until told to stop (the daemon).",
    "once": "One sweep: look, stop what breaks a rule, show a table.",
    "check": "Check the configuration and the rules; with --online also the tokens.",
    "healthcheck": "Ask the running daemon whether it is well, for containers.",
    "history": "The aborts so far, and what they saved.",
    "ledger": "Check the ledger itself: is it whole, are its sums right?",
    "abort": "Stop one run by hand.",
    "hold": "Exempt a run from aborts for a time.",
    "protect": "Exempt a run from aborts for good.",
    "resurrect": "Flag a run to be resumed later: abort it gracefully.",
    "release": "End hold, protect and resurrect of a run.",
    "holds": "List holds, flags and pauses in force.",
    "pause": "Abort nothing for a time; keep observing.",
    "resume": "End a pause.",
    "demo": "See it work on simulated platforms; needs nothing.",
}
#: Verbs that are small and alike share a module, where each is a command of its own name.
OVERRIDES = ("hold", "protect", "resurrect", "release", "holds", "pause", "resume")
#: What libraries import by the way for a verb that never needs it. structlog, and httpx for its own command line, take
#: rich if it is there, 4 MB and 45 ms; the daemon draws no tables.
_UNUSED = {"run": ("rich", "pygments")}
#: What other programs call it, and opposites that have no verb of their own.
_INSTEAD = {
    "unhold": "release",
    "unprotect": "release",
    "unresurrect": "release",
    "unpause": "resume",
    "stop": "abort",
    "kill": "abort",
    "cancel": "abort",
    "start": "run",
    "daemon": "run",
    "validate": "check",
    "health": "healthcheck",
}

HELP = """Stops runs on paid scraping platforms before they eat the budget, and proves that they stopped.

It watches every active run of every configured account on Apify and lobstr.io, whoever started it, compares what each
has used with the limits in your rule files, aborts what breaks them, follows each abort until the run has really
stopped, and tells Prometheus about it.

\b
First steps:
  budget-watchdog demo          see it work on simulated platforms, nothing to configure
  export APIFY_TOKEN=...        (or LOBSTR_TOKEN; more accounts: see docs/configuration.md)
  budget-watchdog check         are the configuration and the rules in order?
  budget-watchdog once --dry-run   what would it do right now?
  budget-watchdog run --dry-run    keep watch, abort nothing: see what it would do
  budget-watchdog run           keep watch, armed: abort what breaks a rule

Exit codes: 0 fine, 1 failed, 2 bad usage or configuration, 3 only `once --exit-code`: a run was stopped.
"""


class _Verbs(click.Group):
    """A group that imports a verb's module only when that verb is asked for."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl(list(VERBS.items()))

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS:
            return None
        together = cmd_name in OVERRIDES
        with without(*_UNUSED.get(cmd_name, ())):
            module = importlib.import_module(f"watchdog.cli.{'overrides' if together else cmd_name}")
        command = getattr(module, cmd_name if together else "command")
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.format_message().rstrip('.')}{_likely_verb(args[0])}", ctx) from None


def _likely_verb(word: str) -> str:
    from watchdog.text.hints import suggestion  # only wanted for a slip

    if instead := _INSTEAD.get(word.lower()):
        return f": use '{instead}'."
    return suggestion(word, tuple(VERBS)) or f"; there are: {', '.join(VERBS)}."


@click.command(
    cls=_Verbs, help=HELP, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 120}
)
@click.version_option(__version__, "-V", "--version", prog_name="budget-watchdog")
def cli() -> None:
    """The group; its help is HELP."""


def main() -> NoReturn:
    """Run the command line and exit with its code. No mistake of a user's and no fault of a platform's gives a
    traceback."""
    streams = prepare(sys.argv[1] if len(sys.argv) > 1 else "")
    redactor = Redactor()
    redactor.add_environment(os.environ, [traits.token_variable for traits in OURS.values()])
    streams.redact_with(redactor.output)
    code = _run(redactor)
    if (error := streams.flush()) is not None:
        click.echo(f"budget-watchdog: {_of_output(error)}", err=True)
        code = code or 1
    sys.exit(code)


def _run(redactor: Redactor) -> int:
    try:
        code = cli.main(standalone_mode=False, prog_name="budget-watchdog", obj=redactor)
    except (click.exceptions.Abort, KeyboardInterrupt):
        return 130
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except WatchdogError as error:
        complain(error, redactor)
        return error.exit_code
    except OSError as error:
        # What no room has put into its own words: no permission for a folder, no space left, too many open files.
        click.echo(redactor.text(f"budget-watchdog: {of_system(error)}"), err=True)
        return 1
    except Exception as error:  # noqa: BLE001  # the last line of defence against a traceback
        text = f"budget-watchdog: internal error: {error!r}; please report this as a bug"
        click.echo(redactor.text(text), err=True)
        return 1
    return code if isinstance(code, int) else 0


def _of_output(error: OSError) -> str:
    if error.errno == errno.EPIPE:
        return "the output was not read to its end; what the command did is done all the same"
    return f"cannot write the output: {of_system(error)}; what the command did is done all the same"


def complain(error: WatchdogError, redactor: Redactor) -> None:
    """Print an error for people, every mistake of a configuration on a line of its own."""
    if isinstance(error, ConfigurationError):
        lines = [str(problem) for problem in error.problems]
    else:
        lines = [f"budget-watchdog: {error}"]
    for line in lines:
        click.echo(escaped(redactor.text(line), keep=LAYOUT), err=True)
