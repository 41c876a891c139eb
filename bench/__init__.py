"""Measurements of budget-watchdog, each against something else measured in the same run. `python -m bench --help`."""
