"""Rule files: YAML with positions to the domain's rules, every mistake of every file reported at once."""

from watchdog.rulefile.loader import AccountView, LoadedRules, RuleFiles, load_rules, parse_rules, read_rule_files

__all__ = ["AccountView", "LoadedRules", "RuleFiles", "load_rules", "parse_rules", "read_rule_files"]
