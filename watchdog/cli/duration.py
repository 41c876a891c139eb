"""Durations as options: `90s`, `1h30m`, as in the rule files."""

from __future__ import annotations

import click

from watchdog.text.durations import parse_duration


class DurationType(click.ParamType[float]):
    """Seconds, written with units."""

    name = "duration"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        """The seconds; a usage error for anything else."""
        if isinstance(value, float):
            return value
        try:
            return parse_duration(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


DURATION = DurationType()
