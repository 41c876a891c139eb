"""The settings: `budget-watchdog.yaml` and the environment, checked, with tokens resolved.

The environment wins over the file, key by key. Every mistake is reported at once, with its position in the file or
the name of its variable. A token is read here and nowhere else; it lives in a SecretStr from then on, and no message
repeats a value that could be one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import SecretStr, ValidationError
from pydantic_core import ErrorDetails

from watchdog.config.environment import Environment, unknown_variables
from watchdog.config.find import DEFAULT_RULES, PREFIX, Configuration
from watchdog.config.models import NO_ACCOUNTS, SETTING_KEYS, Settings
from watchdog.config.sentences import WEB_LABEL, account_label, no_accounts_cure, sentence, with_key
from watchdog.config.tls import check_tls
from watchdog.config.tokens import find_token, find_web_token
from watchdog.config.values import Unusable
from watchdog.domain.platform import Platforms, PlatformTraits
from watchdog.errors import ConfigurationError, Problem
from watchdog.text import shown
from watchdog.text.document import Document, Loc, Table, kind_of, plain
from watchdog.text.files import read_bytes
from watchdog.text.hints import after_unknown, unknown_key
from watchdog.text.parsing import parse_document


def load_settings(config: Configuration, *, platforms: Platforms) -> Settings:
    """Read the settings from the file and the environment, and the tokens from where they say.

    `platforms` are those that an account may be on. Raises ConfigurationError with every mistake found.
    """
    data = read_bytes(config.file) if config.file is not None else b""
    document = parse_document(data, str(config.file)) if config.file is not None else None
    loader = _Loader(config, document, platforms)
    settings = loader.load()
    if settings is None or loader.problems:
        raise ConfigurationError(loader.problems)
    settings.came_from(config.file, data)
    return settings


def account_platforms(config: Configuration, platforms: Platforms) -> dict[str, str]:
    """The accounts by name, each with its platform ("": not to be read), without tokens and without judging anything
    else. Raises ConfigurationError if the file cannot be read."""
    return _Loader(config, config.document(), platforms).account_platforms()


def _is_plain(values: Iterable[object]) -> bool:
    return all(value is None or isinstance(value, str) for value in values)


class _Loader:
    """One loading of the settings; collects the problems on the way."""

    def __init__(
        self,
        config: Configuration,
        document: Document | None,
        platforms: Platforms,
    ) -> None:
        self.problems: list[Problem] = []
        self._document = document
        self._folder = config.folder
        self._environ = config.environ
        self._platforms = platforms
        self._prefixes = [each.token_prefix for each in platforms.values() if each.token_prefix]
        self._data: dict[str, Any] = {}
        self._from_environment: dict[Loc, str] = {}
        self._broken: set[str] = set()

    def load(self) -> Settings | None:
        """The settings, or None; only good if there are no problems."""
        self._data = self._file_data()
        self._rebase_paths()
        self._add_environment()
        self._add_implicit_accounts()
        self._prepare_accounts()
        self._prepare_web()
        self._check_trust()
        try:
            return Settings(**self._data)
        except ValidationError as error:
            # The inputs are left out: they may hold what was meant to be secret.
            errors = error.errors(include_url=False)
        for detail in errors:
            if detail["loc"] and detail["loc"][0] in self._broken:
                continue  # said already
            self._problem(detail["loc"], self._sentence(detail), at_key=detail["type"] == "extra_forbidden")
        return None

    def _sentence(self, detail: ErrorDetails) -> str:
        text = sentence(detail)
        return text + no_accounts_cure(self._platforms.values()) if text == NO_ACCOUNTS else text

    def account_platforms(self) -> dict[str, str]:
        """The names that can be read, whatever else is wrong, each with its platform ("": none that can be read)."""
        self._data = self._file_data()
        self._add_environment()
        self._add_implicit_accounts()
        found = ((account.get("name"), account.get("platform")) for account in self._accounts())
        return {
            name: platform if isinstance(platform, str) else "" for name, platform in found if isinstance(name, str)
        }

    # --- sources ---

    def _file_data(self) -> dict[str, Any]:
        if self._document is None:
            return {}
        self.problems.extend(self._document.fault_problems(self._label_in_file))
        root = self._document.root
        if root is not None and not isinstance(root, Table):
            message = f"the settings must be a table of keys ({', '.join(SETTING_KEYS)}), not {kind_of(root)}"
            self.problems.append(self._document.problem(root, message))
            self._broken.add("accounts")
            return {}
        for entry in root.entries if root else ():
            if entry.key not in SETTING_KEYS:
                self.problems.append(self._document.problem(entry, unknown_key(entry.key, SETTING_KEYS)))
        return {key: value for key, value in (plain(root) or {}).items() if key in SETTING_KEYS}

    def _rebase_paths(self) -> None:
        """Relative paths of a file are meant from its folder; `rules/` beside it is also the default."""
        self._data.setdefault("rules", DEFAULT_RULES)
        tables = [(self._data, "rules"), *((account, "token_file") for account in self._accounts())]
        web = self._data.get("web")
        if isinstance(web, dict):
            tables += [(web, key) for key in ("token_file", "tls_cert", "tls_key", "socket")]
        for table, key in tables:
            if isinstance(table.get(key), str) and table[key]:
                table[key] = str(self._folder / table[key])

    def _add_environment(self) -> None:
        self.problems.extend(unknown_variables(self._environ))
        source = Environment(self._environ)
        values = source()
        self.problems.extend(source.problems)
        self._broken |= source.broken
        for name in source.env_vars:
            path = tuple(name.removeprefix(PREFIX.lower()).split("__"))
            self._from_environment[path] = name.upper()
        self._data = _merged(self._data, values)

    def _add_implicit_accounts(self) -> None:
        if "accounts" in self._data or ("accounts",) in self._from_environment:
            return
        found = [each for each in self._platforms.values() if self._environ.get(each.token_variable, "").strip()]
        implied = found if self._document is None else []
        self._data["accounts"] = [self._implicit(platform) for platform in implied]
        for index, platform in enumerate(implied):
            self._from_environment["accounts", index, "token_env"] = platform.token_variable
            self._from_environment["accounts", index, "base_url"] = platform.address_variable

    def _implicit(self, platform: PlatformTraits) -> dict[str, Any]:
        """The account that a platform's own variables make."""
        url = self._environ.get(platform.address_variable) or None
        return {
            "name": platform.name,
            "platform": platform.name,
            "token_env": platform.token_variable,
            "base_url": url,
        }

    # --- accounts ---

    def _accounts(self) -> list[dict[str, Any]]:
        accounts = self._data.get("accounts")
        return [account for account in accounts if isinstance(account, dict)] if isinstance(accounts, list) else []

    def _prepare_accounts(self) -> None:
        accounts = self._data.get("accounts")
        if not isinstance(accounts, list):
            return
        names: dict[str, int] = {}
        credentials: dict[tuple[object, ...], int] = {}
        for index, account in enumerate(accounts):
            if isinstance(account, dict):
                self._check_unique(account, index, names)
                self._check_platform(account, index)
                account["token"] = self._token(account, index)
                self._check_other_credential(account, index, credentials)

    def _check_unique(self, account: dict[str, Any], index: int, names: dict[str, int]) -> None:
        name = account.get("name")
        if isinstance(name, str) and names.setdefault(name, index) != index:
            self._problem(("accounts", index, "name"), f"is used twice; accounts[{names[name]}] has the same name")

    def _check_other_credential(
        self, account: dict[str, Any], index: int, credentials: dict[tuple[object, ...], int]
    ) -> None:
        """One credential under two names would see every run twice: two aborts, and twice the savings in the books."""
        token = account["token"].get_secret_value()
        url = account.get("base_url")
        key = (account.get("platform"), url.rstrip("/") if isinstance(url, str) else url, token)
        first = credentials.setdefault(key, index) if token and _is_plain(key) else index
        if first != index and self._data["accounts"][first].get("name") != account.get("name"):
            message = f"has the same token and platform as accounts[{first}]; every run would count twice"
            self._problem(("accounts", index), message, whole=True)

    def _check_platform(self, account: dict[str, Any], index: int) -> None:
        name = account.get("platform")
        known = self._platforms
        if isinstance(name, str) and name and name not in known:
            message = f"unknown platform {shown(name)}{after_unknown(name, sorted(known), 'platform')}"
            self._problem(("accounts", index, "platform"), message, whole=True)

    def _token(self, account: dict[str, Any], index: int) -> SecretStr:
        """The token; a placeholder where there is a problem with it, so that the other checks go on."""
        if account.pop("token", self) is not self:
            message = "must not be written here: put it into a file and name that under token_file, or use token_env"
            self._problem(("accounts", index, "token"), message, at_key=True)
            return SecretStr("")
        try:
            return find_token(account, self._environ, self._prefixes)
        except Unusable as fault:
            key, message = fault.key, fault.message
        self._problem(("accounts", index, key) if key else ("accounts", index), message, at_key=True, whole=True)
        return SecretStr("")

    # --- web ---

    def _prepare_web(self) -> None:
        """Fill in the admin token, and look at what the section names."""
        web = self._data.get("web", {})
        if not isinstance(web, dict):
            return  # which the model reports
        if web.pop("token", self) is not self:
            message = "must not be written here: put it into a file and name that under token_file, or use token_env"
            self._problem(("web", "token"), message, at_key=True)
        self._data["web"] = web
        try:
            web["token"] = find_web_token(web, self._environ, self._prefixes)
        except Unusable as fault:
            self._problem(("web", fault.key) if fault.key else ("web",), fault.message, at_key=True, whole=True)
        try:
            check_tls(web)
        except Unusable as fault:
            self._problem(("web", fault.key), fault.message)

    # --- certificates of the platforms ---

    def _check_trust(self) -> None:
        if self._environ.get("SSL_CERT_FILE") or self._environ.get("SSL_CERT_DIR"):
            # Brings httpx along, which most verbs do without.
            from watchdog.net.trust import trust_problems

            self.problems.extend(trust_problems(self._environ))

    # --- problems ---

    def _problem(self, loc: Loc, message: str, *, at_key: bool = False, whole: bool = False) -> None:
        """Take down a problem of the value (or key) at `loc`; `whole` messages are sentences without the key."""
        variable = self._variable_of(loc)
        named = variable is not None and self._from_environment.get(loc) == variable
        words = message if whole or named or not loc else with_key(loc[-1], message)
        if variable is not None:
            label = "" if named else self._label(loc)
            self.problems.append(Problem("", 0, 0, f"{variable}: {label}{words}"))
        elif self._document is None:
            self.problems.append(Problem("", 0, 0, self._label(loc) + words))
        else:
            place = self._document.locate(loc, key=at_key)
            line, column = (place.line, place.column) if place else (0, 0)
            self.problems.append(Problem(self._document.file, line, column, self._label(loc) + words))

    def _variable_of(self, loc: Loc) -> str | None:
        """The environment variable that gave the value at `loc`, if one did."""
        prefixes = (loc[:length] for length in range(len(loc), 0, -1))
        return next((self._from_environment[prefix] for prefix in prefixes if prefix in self._from_environment), None)

    def _label(self, loc: Loc) -> str:
        if loc[:1] == ("web",) and len(loc) > 1:
            return WEB_LABEL
        accounts = self._data.get("accounts")
        if len(loc) < 2 or loc[0] != "accounts" or not isinstance(loc[1], int) or not isinstance(accounts, list):
            return ""
        return account_label(loc[1], accounts[loc[1]])

    def _label_in_file(self, loc: Loc) -> str:
        assert self._document is not None
        if loc[:1] == ("web",):
            return WEB_LABEL
        if len(loc) < 2 or loc[0] != "accounts" or not isinstance(loc[1], int):
            return ""
        node = self._document.locate(loc[:2])
        return account_label(loc[1], plain(node) if isinstance(node, Table) else None)


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in over.items():
        below = both.get(key)
        both[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both
