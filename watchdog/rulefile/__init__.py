"""Rule files: YAML with positions to the domain's rules, every mistake of every file reported at once."""

from watchdog.rulefile.loader import AccountView, LoadedRules, load_rules

__all__ = ["AccountView", "LoadedRules", "load_rules"]
