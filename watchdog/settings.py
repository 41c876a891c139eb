"""The settings: `budget-watchdog.yaml` and the environment, checked, with tokens resolved.

The environment wins over the file, key by key. Every mistake is reported at once, with its position in the file or
the name of its variable. A token is read here and nowhere else; it lives in a SecretStr from then on, and no message
repeats a value that could be one.
"""

from __future__ import annotations

import hashlib
import ipaddress
import json
import os
import re
import ssl
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, get_args
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PrivateAttr,
    SecretStr,
    StringConstraints,
    ValidationError,
)
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from watchdog.config_file import CONFIG_VARIABLE, PREFIX, SEARCH_PATHS, find_config, may_exist
from watchdog.document import (
    Document,
    Loc,
    Scalar,
    Table,
    kind_of,
    parse_document,
    parse_duration,
    plain,
    read_bytes,
    read_document,
    shown,
    unknown_key,
)
from watchdog.errors import ConfigurationError, Problem
from watchdog.hints import after_unknown, closest, other_meaning
from watchdog.secret_files import QuotedToken, clean_token, exposure, read_token

MAX_PEM_BYTES = 1024 * 1024
#: The name of the systemd credential that holds the admin token.
WEB_CREDENTIAL = "web-token"
#: An admin token can be tried as often as one likes, so it must be too long to be guessed.
MIN_WEB_TOKEN = 16
_TOO_SHORT = (
    f"the admin token is shorter than {MIN_WEB_TOKEN} characters and could be guessed; "
    "make one with: openssl rand -hex 32"
)
#: What `sockaddr_un` holds, less the zero byte at the end.
MAX_SOCKET_BYTES = 107

#: The variables of the platforms' own tools: platform, token, address.
IMPLICIT_ACCOUNTS = (
    ("apify", "APIFY_TOKEN", "APIFY_API_BASE_URL"),
    ("lobstr", "LOBSTR_TOKEN", "LOBSTR_API_BASE_URL"),
)

#: What Kubernetes puts into every container of a namespace that has a Service named `budget-watchdog...`.
_SERVICE_LINK = re.compile(
    r"(?:\w+_)?(?:SERVICE_(?:HOST|PORT(?:_\w+)?)|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)"
)
_SERVICE_ADDRESS = re.compile(r"(?:tcp|udp|sctp)://")


# --- values ----------------------------------------------------------------------------------------------------------

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HOST = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?\.?")


def _check_name(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise ValueError("must be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit")
    return name


def _check_variable(name: str) -> str:
    bare = re.sub(r"^\$\{?|\}$|^%|%$", "", name)
    if bare != name and re.fullmatch(r"[A-Z][A-Z0-9_]{0,60}", bare):
        raise ValueError(f"is the name of a variable: write it without the {name[0]}: {bare}")
    if not _VARIABLE.fullmatch(name):
        raise ValueError("must be the name of an environment variable, not the token itself")
    return name


def _read_poll_interval(value: object) -> object:
    """A duration of at least one second; None for `auto`."""
    if value is None or isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be auto or a duration such as 5s or 1m")  # noqa: TRY004 (pydantic wants ValueError)
    if value == "auto":
        return None
    seconds = parse_duration(str(value))
    if seconds < 1:
        raise ValueError(f"must be 1s or more, not {shown(str(value))}")
    return timedelta(seconds=seconds)


def _read_retention(value: object) -> object:
    """A duration of at least one day."""
    if isinstance(value, timedelta):
        return value
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be a duration such as 90d")  # noqa: TRY004 (pydantic wants ValueError)
    seconds = parse_duration(str(value))
    if seconds < 86400:
        raise ValueError(f"must be 1d or more, not {shown(str(value))}")
    return timedelta(seconds=seconds)


def _check_base_url(url: str) -> str:
    """An address of a platform, without a slash at the end. It is not repeated in messages: it may hold a password."""
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        raise ValueError("must be a web address in plain ASCII without spaces")
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError:
        raise ValueError("is not a web address such as https://api.example.com") from None
    if parts.scheme not in ("http", "https"):
        raise ValueError("must begin with https:// or http://")
    if "@" in parts.netloc:
        raise ValueError("must not hold a user name or password; the token goes into token_file or token_env")
    if not host:
        raise ValueError("has no host")
    if "?" in url or "#" in url:
        raise ValueError("must not hold a query ('?') or a fragment ('#')")
    return url.rstrip("/")


def _text_of_port(value: object) -> object:
    """A bare port as the text it was, so that the sentence is about what is missing."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def _check_listen(text: str) -> str:
    """`host:port`; an IPv6 address stands in brackets."""
    host, colon, port = text.rpartition(":")
    example = "such as 127.0.0.1:9877, 0.0.0.0:9877 (all addresses) or [::1]:9877"
    if not colon or not host:
        raise ValueError(f"must be host:port, {example}, not {shown(text)}")
    if not re.fullmatch(r"[0-9]{1,5}", port) or int(port) > 65535:
        raise ValueError(f"must have a port from 0 to 65535 behind the last ':', not {shown(port)}")
    if not _is_host(host):
        raise ValueError(f"must be host:port, {example}; {shown(host)} is not a host")
    return text


def _is_host(host: str) -> bool:
    if host.startswith("[") and host.endswith("]"):
        return _ip_version(host[1:-1]) == 6
    if re.fullmatch(r"[0-9.]+", host):
        return _ip_version(host) == 4
    return _HOST.fullmatch(host) is not None


def _ip_version(text: str) -> int:
    try:
        return ipaddress.ip_address(text).version
    except ValueError:
        return 0


def _check_socket(path: Path) -> Path:
    if path == Path():
        raise ValueError("must not be empty")
    if len(os.fsencode(path)) > MAX_SOCKET_BYTES:
        raise ValueError(f"must be {MAX_SOCKET_BYTES} bytes or shorter: the system allows no longer path of a socket")
    return path


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


_NO_ACCOUNTS = (
    "no accounts, so there is nothing to watch: list them under 'accounts' in budget-watchdog.yaml, give them as JSON "
    "in BUDGET_WATCHDOG_ACCOUNTS, or, without a file, set APIFY_TOKEN or LOBSTR_TOKEN"
)


def _check_accounts(accounts: tuple[AccountSettings, ...]) -> tuple[AccountSettings, ...]:
    # Not min_length: pydantic would also say it of a list whose only entry has another mistake.
    if not accounts:
        raise ValueError(_NO_ACCOUNTS)
    return accounts


NonEmpty = StringConstraints(min_length=1)


# --- models ----------------------------------------------------------------------------------------------------------


class AccountSettings(BaseModel):
    """One credential on one platform.

    `token` is filled while loading, from `token_file`, `token_env` or the systemd credential of the account's name;
    it cannot be written into the settings. `poll_interval`: None is `auto`. `base_url`: None is the platform's own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Annotated[str, AfterValidator(_check_name)]
    platform: Annotated[str, NonEmpty]
    token: SecretStr
    token_file: Path | None = None
    token_env: Annotated[str, AfterValidator(_check_variable)] | None = None
    base_url: Annotated[str, AfterValidator(_check_base_url)] | None = None
    poll_interval: Annotated[timedelta | None, BeforeValidator(_read_poll_interval)] = None
    usd_per_credit: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    requests_per_minute: Annotated[int, Field(strict=True, ge=1)] | None = None
    write_reason: bool = True

    def token_place(self, environ: Mapping[str, str]) -> Path | None:
        """The file that the token was read from, and may be replaced in; None if it came from a variable, which cannot
        change while we run."""
        return _place_of(self.token_file, self.token_env, self.name, environ)


class WebSettings(BaseModel):
    """How the daemon is reached over HTTP, besides `listen`.

    `token` (for admin calls; None: there are none over TCP) is filled while loading, from `token_file`, `token_env` or
    the systemd credential `web-token`. `tls_cert` and `tls_key` (PEM) come together. `socket`: a Unix socket for admin
    calls without a token.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    token: SecretStr | None = None
    token_file: Path | None = None
    token_env: Annotated[str, AfterValidator(_check_variable)] | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    socket: Annotated[Path, AfterValidator(_check_socket)] | None = None

    def token_place(self, environ: Mapping[str, str]) -> Path | None:
        """The file that the admin token was read from, as for accounts."""
        return _place_of(self.token_file, self.token_env, WEB_CREDENTIAL, environ)

    def tls_context(self) -> ssl.SSLContext | None:
        """TLS 1.2 or later with the certificate; None if there is none. Raises ConfigurationError if the files have
        become unusable since the settings were loaded."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        try:
            return _tls_context(self.tls_cert, self.tls_key)
        except _Fault as fault:
            raise ConfigurationError(f"web: {fault.key}: {fault.message}") from None

    def renew_tls(self, context: ssl.SSLContext) -> None:
        """Give new connections the certificate that the files hold now. Raises ConfigurationError, and then leaves the
        context as it is."""
        if self.tls_context() is not None and self.tls_cert is not None:
            context.load_cert_chain(self.tls_cert, self.tls_key, password=_no_pass_phrase)


class Settings(BaseSettings):
    """Everything that is configured but the rules. Made by `load_settings`; never reads the environment by itself."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        hide_input_in_errors=True,
    )

    accounts: Annotated[tuple[AccountSettings, ...], AfterValidator(_check_accounts)]
    rules: Path = Path("rules/")
    watch_rules: bool = True
    # Not in the repr: the address of a database server may hold a password.
    ledger: Annotated[str, NonEmpty] = Field(default="auto", repr=False)
    retention: Annotated[timedelta, BeforeValidator(_read_retention)] = timedelta(days=90)
    listen: Annotated[str, BeforeValidator(_text_of_port), AfterValidator(_check_listen)] = "127.0.0.1:9877"
    web: WebSettings = WebSettings()
    dry_run: bool = False
    log_format: Literal["auto", "text", "json"] = "auto"

    _file: Path | None = PrivateAttr(default=None)
    _digest: bytes = PrivateAttr(default=b"")

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Only what is handed in: `load_settings` reads the environment that it is given, so that it can say where
        each value comes from."""
        return (init_settings,)

    @property
    def file(self) -> Path | None:
        """The configuration file that was read, if any."""
        return self._file

    @property
    def listen_host(self) -> str:
        """The host to listen on, without the brackets of IPv6."""
        return self.listen.rpartition(":")[0].strip("[]")

    @property
    def listen_port(self) -> int:
        """The port to listen on; 0 is any free one."""
        return int(self.listen.rpartition(":")[2])

    @property
    def is_local(self) -> bool:
        """Whether only this machine can connect to `listen`."""
        return _is_loopback(self.listen_host)

    @property
    def secrets(self) -> tuple[SecretStr, ...]:
        """Every token there is: what must never be printed."""
        web = () if self.web.token is None else (self.web.token,)
        return (*(account.token for account in self.accounts), *web)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed but doubtful, one sentence each."""
        of_accounts = (warning for account in self.accounts for warning in _account_warnings(account))
        return (*of_accounts, *_web_warnings(self))

    def file_digest(self) -> str:
        """Tells the content that the configuration file has now from any other; "" for what was loaded, and if there is
        no file or it cannot be read: what was loaded is then all there is."""
        try:
            digest = _digest_of(read_bytes(self._file)) if self._file else self._digest
        except ConfigurationError:
            return ""
        return "" if digest == self._digest else digest.hex()


def _account_warnings(account: AccountSettings) -> Iterator[str]:
    parts = urlsplit(account.base_url or "")
    if parts.scheme == "http" and not _is_loopback(parts.hostname or ""):
        yield f"account '{account.name}': base_url is http, so the token crosses the network in the clear; use https"
    if account.token_file is not None:
        yield from exposure(account.token_file, f"account '{account.name}': token_file")


def _web_warnings(settings: Settings) -> Iterator[str]:
    for key, file in (("token_file", settings.web.token_file), ("tls_key", settings.web.tls_key)):
        if file is not None:
            yield from exposure(file, f"web: {key}")
    if settings.is_local:
        return
    reach = f"listen: {settings.listen} can be reached from other machines"
    if settings.web.token is None:
        yield (
            f"{reach}, where anybody can read metrics and health; there is no admin token, so admin calls are refused: "
            "listen on 127.0.0.1, or set web.token_file or web.token_env"
        )
    elif settings.web.tls_cert is None:
        yield (
            f"{reach}, and without web.tls_cert and web.tls_key the admin token crosses the network in the clear; use "
            "TLS, or make admin calls only from this machine"
        )


def _digest_of(data: bytes) -> bytes:
    return hashlib.sha256(data).digest()


#: What a user can write for an account; `token` is ours.
ACCOUNT_KEYS = tuple(key for key in AccountSettings.model_fields if key != "token")
WEB_KEYS = tuple(key for key in WebSettings.model_fields if key != "token")
SETTING_KEYS = tuple(Settings.model_fields)


# --- loading ---------------------------------------------------------------------------------------------------------


def load_settings(
    config: Path | None,
    environ: Mapping[str, str],
    *,
    platforms: Collection[str] | None = None,
    search: Sequence[Path] = SEARCH_PATHS,
) -> Settings:
    """Read the settings from the file and the environment, and the tokens from where they say.

    `config` is the file, or None for `$BUDGET_WATCHDOG_CONFIG`, else the first of `search` that exists, else none.
    `platforms` are the names an account may have; None leaves that unchecked. Raises ConfigurationError with every
    mistake found.
    """
    file = find_config(config, environ, search=search)
    data = read_bytes(file) if file is not None else b""
    document = parse_document(data, str(file)) if file is not None else None
    loader = _Loader(document, file, environ, platforms)
    settings = loader.load()
    if settings is None or loader.problems:
        raise ConfigurationError(loader.problems)
    settings._file = file
    settings._digest = _digest_of(data)
    return settings


def find_ledger(
    config: Path | None, environ: Mapping[str, str], *, search: Sequence[Path] = SEARCH_PATHS
) -> tuple[str, Path | None]:
    """The setting `ledger` and the configuration file (if there is one), without reading anything else.

    The commands that only work on the ledger must not need the daemon's tokens. Raises ConfigurationError if the file
    cannot be read or its `ledger` is no text.
    """
    file = find_config(config, environ, search=search)
    if address := environ.get(f"{PREFIX}LEDGER"):
        return address, file
    default = str(Settings.model_fields["ledger"].default)
    if file is None:
        return default, None
    document = read_document(file)
    entry = document.root.get("ledger") if isinstance(document.root, Table) else None
    if entry is None:
        return default, file
    if not isinstance(entry.value, Scalar) or not isinstance(entry.value.value, str):
        raise ConfigurationError([document.problem(entry.value, "ledger must be text; put it in quotes")])
    return entry.value.value, file


def find_accounts(
    config: Path | None, environ: Mapping[str, str], *, search: Sequence[Path] = SEARCH_PATHS
) -> tuple[dict[str, str], Path | None]:
    """The accounts by name, each with its platform ("": not to be read), and the configuration file (if there is one),
    without tokens and without judging anything else. Raises ConfigurationError if the file cannot be read."""
    file = find_config(config, environ, search=search)
    document = read_document(file) if file is not None else None
    return _Loader(document, file, environ, None).account_platforms(), file


def setting_problem(
    key: str, message: str, config: Path | None, environ: Mapping[str, str], *, search: Sequence[Path] = SEARCH_PATHS
) -> Problem:
    """A problem with a setting at the top level, told where it is set: in a variable, or at a place in the file."""
    if environ.get(variable := PREFIX + key.upper()):
        return Problem("", 0, 0, f"{variable}: {message.removeprefix(f'{key}: ')}")
    file = find_config(config, environ, search=search)
    try:
        root = read_document(file).root if file is not None else None
    except ConfigurationError:
        root = None
    entry = root.get(key) if isinstance(root, Table) else None
    return Problem(str(file), entry.value.line, entry.value.column, message) if entry else Problem("", 0, 0, message)


class _Environment(EnvSettingsSource):
    """The BUDGET_WATCHDOG_* variables of a given environment; empty ones count as unset."""

    def __init__(self, environ: Mapping[str, str]) -> None:
        super().__init__(Settings)
        self.env_vars = {name.lower(): value for name, value in environ.items() if _is_ours(name) and value}
        #: Keys whose variable holds no JSON.
        self.broken: set[str] = set()
        self.problems: list[Problem] = []

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        """JSON, or a problem that does not repeat the text."""
        try:
            return json.loads(value, parse_int=_json_int)
        except (ValueError, RecursionError) as error:
            where = f" (line {error.lineno}, column {error.colno})" if isinstance(error, json.JSONDecodeError) else ""
            message = f"{PREFIX}{field_name.upper()}: is not valid JSON{where}"
            self.problems.append(Problem("", 0, 0, message))
            self.broken.add(field_name)
        return None


def _json_int(digits: str) -> int | float:
    return int(digits) if len(digits) <= 18 else float(digits)  # Python refuses to read very long integers


def _is_ours(name: str) -> bool:
    return name.startswith(PREFIX) and name == name.upper() and name != CONFIG_VARIABLE


def _unknown_variables(environ: Mapping[str, str]) -> Iterator[Problem]:
    """Variables that look like ours and are not: a typo in a safety setting must not pass silently."""
    known = [PREFIX + key.upper() for key in SETTING_KEYS]
    for name, value in sorted(environ.items()):
        if not name.upper().startswith(PREFIX) or name in (*known, CONFIG_VARIABLE) or _is_service_link(name, value):
            continue
        head = name.split("__", 1)[0]
        if head == PREFIX + "ACCOUNTS":
            message = f"{shown(name)} cannot be read: give all accounts as a JSON list in {head}"
        elif head in known and head != name and _model_at((head.removeprefix(PREFIX).lower(),)) is not None:
            continue
        else:
            message = f"unknown environment variable {shown(name)}" + _likely_variable(name)
        yield Problem("", 0, 0, message)


def _likely_variable(name: str) -> str:
    # Compared without the prefix, which alone would make any two of them alike.
    keys = {key.upper(): PREFIX + key.upper() for key in (*SETTING_KEYS, "config")}
    word = name[len(PREFIX) :]
    if likely := closest(word, keys):
        return f", did you mean '{keys[likely]}'?"
    meaning = other_meaning(word, keys)
    return f"{f': it {meaning}' if meaning else ''}; known variables: {', '.join(keys.values())}"


def _is_service_link(name: str, value: str) -> bool:
    rest = name.removeprefix(PREFIX)
    if rest == "PORT" or rest.endswith("_PORT"):
        return _SERVICE_ADDRESS.match(value) is not None or _SERVICE_LINK.fullmatch(rest) is not None
    return _SERVICE_LINK.fullmatch(rest) is not None


class _Fault(Exception):
    """Something that a setting names and that cannot be used; `key` is the setting to blame, "" the table."""

    def __init__(self, key: str, message: str) -> None:
        super().__init__(message)
        self.key = key
        self.message = message


def _is_plain(values: Iterable[object]) -> bool:
    return all(value is None or isinstance(value, str) for value in values)


class _Loader:
    """One loading of the settings; collects the problems on the way."""

    def __init__(
        self,
        document: Document | None,
        file: Path | None,
        environ: Mapping[str, str],
        platforms: Collection[str] | None,
    ) -> None:
        self.problems: list[Problem] = []
        self._document = document
        self._folder = file.parent if file is not None else Path()
        self._environ = environ
        self._platforms = platforms
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
            self._problem(detail["loc"], _sentence(detail), at_key=detail["type"] == "extra_forbidden")
        return None

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
        self._data.setdefault("rules", "rules/")
        tables = [(self._data, "rules"), *((account, "token_file") for account in self._accounts())]
        web = self._data.get("web")
        if isinstance(web, dict):
            tables += [(web, key) for key in ("token_file", "tls_cert", "tls_key", "socket")]
        for table, key in tables:
            if isinstance(table.get(key), str) and table[key]:
                table[key] = str(self._folder / table[key])

    def _add_environment(self) -> None:
        self.problems.extend(_unknown_variables(self._environ))
        source = _Environment(self._environ)
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
        found = [self._implicit(*names) for names in IMPLICIT_ACCOUNTS] if self._document is None else []
        self._data["accounts"] = accounts = [account for account in found if account]
        variables = {platform: (token_env, url) for platform, token_env, url in IMPLICIT_ACCOUNTS}
        for index, account in enumerate(accounts):
            token_env, url = variables[account["platform"]]
            self._from_environment["accounts", index, "token_env"] = token_env
            self._from_environment["accounts", index, "base_url"] = url

    def _implicit(self, platform: str, token_env: str, url_variable: str) -> dict[str, Any] | None:
        """The account that a platform's own variables make, if they are set."""
        is_known = self._platforms is None or platform in self._platforms
        if not is_known or not self._environ.get(token_env, "").strip():
            return None
        url = self._environ.get(url_variable) or None
        return {"name": platform, "platform": platform, "token_env": token_env, "base_url": url}

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
        if known is not None and isinstance(name, str) and name and name not in known:
            message = f"unknown platform {shown(name)}{after_unknown(name, sorted(known), 'platform')}"
            self._problem(("accounts", index, "platform"), message, whole=True)

    def _token(self, account: dict[str, Any], index: int) -> SecretStr:
        """The token; a placeholder where there is a problem with it, so that the other checks go on."""
        if account.pop("token", self) is not self:
            message = "must not be written here: put it into a file and name that under token_file, or use token_env"
            self._problem(("accounts", index, "token"), message, at_key=True)
            return SecretStr("")
        try:
            return _find_token(account, self._environ)
        except _Fault as fault:
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
            web["token"] = _find_web_token(web, self._environ)
        except _Fault as fault:
            self._problem(("web", fault.key) if fault.key else ("web",), fault.message, at_key=True, whole=True)
        try:
            _check_tls(web)
        except _Fault as fault:
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
        words = message if whole or named or not loc else _with_key(loc[-1], message)
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
            return _WEB_LABEL
        accounts = self._data.get("accounts")
        if len(loc) < 2 or loc[0] != "accounts" or not isinstance(loc[1], int) or not isinstance(accounts, list):
            return ""
        return _account_label(loc[1], accounts[loc[1]])

    def _label_in_file(self, loc: Loc) -> str:
        assert self._document is not None
        if loc[:1] == ("web",):
            return _WEB_LABEL
        if len(loc) < 2 or loc[0] != "accounts" or not isinstance(loc[1], int):
            return ""
        node = self._document.locate(loc[:2])
        return _account_label(loc[1], plain(node) if isinstance(node, Table) else None)


_WEB_LABEL = "web: "


def _with_key(key: str | int, message: str) -> str:
    """The message as a sentence about its key; those that already name it stay as they are."""
    if isinstance(key, int) or message.startswith(("unknown key", "missing key", "no accounts")):
        return message
    return f"{key} {message}" if message.startswith(("must", "is ", "has ")) else f"{key}: {message}"


def _account_label(index: int, account: object) -> str:
    name = account.get("name") if isinstance(account, dict) else None
    usable = isinstance(name, str) and _NAME.fullmatch(name)
    return f"accounts[{index}] '{name}': " if usable else f"accounts[{index}]: "


def _merged(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for key, value in over.items():
        below = both.get(key)
        both[key] = _merged(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return both


# --- tokens ----------------------------------------------------------------------------------------------------------


def _find_token(account: Mapping[str, Any], environ: Mapping[str, str]) -> SecretStr:
    file, variable = account.get("token_file"), account.get("token_env")
    if file is not None and variable is not None:
        raise _Fault("token_env", "give either token_file or token_env, not both")
    if isinstance(file, str):
        return _token_of_file(Path(file), "token_file")
    if isinstance(variable, str):
        return _token_of_variable(variable, environ)
    if file is not None or variable is not None:
        return SecretStr("")  # of a wrong type, which the model reports
    return _token_of_systemd(account.get("name"), environ)


def _token_of_file(path: Path, key: str) -> SecretStr:
    try:
        return read_token(path)
    except ConfigurationError as error:
        message = error.problems[0].message
    raise _Fault(key, message)


def _token_of_variable(variable: str, environ: Mapping[str, str]) -> SecretStr:
    if not _VARIABLE.fullmatch(variable):
        return SecretStr("")  # which the model reports
    # Lower case may be a token pasted in place of a name.
    name = f"environment variable {variable}" if variable.isupper() else "environment variable that token_env names"
    value = environ.get(variable)
    if value is None:
        raise _Fault("token_env", f"the {name} is not set; put the token into it")
    try:
        return clean_token(value.encode("utf-8", "surrogateescape"))
    except QuotedToken as error:
        message = f"the token in {variable if variable.isupper() else 'it'} {error}"
    except ValueError as error:
        message = f"the {name} {error}; put the token, and nothing else, into it"
    raise _Fault("token_env", message)


def _token_of_systemd(name: object, environ: Mapping[str, str]) -> SecretStr:
    usable = isinstance(name, str) and _NAME.fullmatch(name) is not None
    if usable and (path := _credential(str(name), environ)) is not None:
        return _token_of_file(path, "")
    credential = f"named '{name}'" if usable else "of the account's name"
    raise _Fault("", f"no token: write token_file or token_env, or give systemd a credential {credential}")


def _place_of(file: Path | None, variable: str | None, name: str, environ: Mapping[str, str]) -> Path | None:
    return file if file is not None or variable is not None else _credential(name, environ)


def _find_web_token(web: Mapping[str, Any], environ: Mapping[str, str]) -> SecretStr | None:
    """The admin token, if there is one: it may come from a file, a variable or a systemd credential, or be left out."""
    file, variable = web.get("token_file"), web.get("token_env")
    if file is not None and variable is not None:
        raise _Fault("token_env", "give either token_file or token_env, not both")
    key, token = "", None
    if isinstance(file, str):
        key, token = "token_file", _token_of_file(Path(file), "token_file")
    elif isinstance(variable, str):
        key, token = "token_env", _token_of_variable(variable, environ)
    elif file is None and variable is None:
        token = _web_credential(environ)
    if token is not None and len(token) < MIN_WEB_TOKEN and _is_usable(variable):
        raise _Fault(key, _TOO_SHORT)
    return token


def read_web_token(path: Path) -> SecretStr:
    """The admin token in a file. Raises ConfigurationError."""
    token = read_token(path)
    if len(token) < MIN_WEB_TOKEN:
        raise ConfigurationError(_TOO_SHORT)
    return token


def _is_usable(variable: object) -> bool:
    """False for the name of a variable that the model reports as none: there is no token behind it to speak of."""
    return not isinstance(variable, str) or _VARIABLE.fullmatch(variable) is not None


def _web_credential(environ: Mapping[str, str]) -> SecretStr | None:
    path = _credential(WEB_CREDENTIAL, environ)
    return _token_of_file(path, "") if path is not None else None


def _credential(name: str, environ: Mapping[str, str]) -> Path | None:
    """The systemd credential of this name, if there is one."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / name if folder else None
    return path if path is not None and may_exist(path) else None


# --- TLS -------------------------------------------------------------------------------------------------------------


def _check_tls(web: Mapping[str, Any]) -> None:
    cert, key = web.get("tls_cert"), web.get("tls_key")
    if (cert is None) != (key is None):
        there, missing = ("tls_key", "tls_cert") if cert is None else ("tls_cert", "tls_key")
        raise _Fault(there, f"is no use without {missing}; give both or none")
    if isinstance(cert, str) and isinstance(key, str):
        _tls_context(Path(cert), Path(key))


def _tls_context(cert: Path, key: Path) -> ssl.SSLContext:
    """A server's context. Raises _Fault with the setting to blame: OpenSSL's own words do not say which file it is."""
    if b"-----BEGIN CERTIFICATE-----" not in _pem(cert, "tls_cert"):
        raise _Fault("tls_cert", "holds no certificate in PEM form ('-----BEGIN CERTIFICATE-----')")
    private = _pem(key, "tls_key")
    if b"PRIVATE KEY-----" not in private:
        raise _Fault("tls_key", "holds no private key in PEM form ('-----BEGIN PRIVATE KEY-----')")
    if b"ENCRYPTED" in private:
        raise _Fault("tls_key", "is protected by a pass phrase that nobody could type in; store it without one")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        context.load_cert_chain(cert, key, password=_no_pass_phrase)
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            raise _Fault("tls_key", "does not belong to the certificate in tls_cert") from None
        raise _Fault("tls_cert", f"cannot be used together with tls_key: {error.reason or 'not valid'}") from None
    except OSError as error:
        raise _Fault("tls_cert", f"cannot be read: {error.strerror}") from None
    return context


def _pem(path: Path, key: str) -> bytes:
    try:
        return read_bytes(path, MAX_PEM_BYTES)
    except ConfigurationError as error:
        raise _Fault(key, f"cannot be read: {shown(str(path), limit=200)} {error.problems[0].message}") from None


def _no_pass_phrase() -> str:
    """Without it OpenSSL would ask on the terminal, and wait."""
    return ""


# --- pydantic's errors in our words ----------------------------------------------------------------------------------

_SENTENCES = {
    "string_type": "must be text; put it in quotes",
    "string_too_short": "must not be empty",
    "path_type": "must be a path; put it in quotes",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "float_type": "must be a number without quotes, such as 0.002",
    "float_parsing": "must be a number such as 0.002",
    "finite_number": "must be a finite number",
    "greater_than": "must be more than {gt:g}",
    "greater_than_equal": "must be {ge} or more",
    "int_type": "must be a whole number without quotes, such as 60",
    "int_parsing": "must be a whole number such as 60",
    "int_parsing_size": "must be a smaller number",
    "int_from_float": "must be a whole number such as 60",
    "tuple_type": "must be a list of entries that begin with '-'",
    "list_type": "must be a list of entries that begin with '-'",
    "model_type": "must be a table of keys",
    "dict_type": "must be a table of keys",
    "time_delta_type": "must be auto or a duration such as 5s or 1m",
    "literal_error": "must be {expected}",
}  # fmt: skip


def _sentence(detail: ErrorDetails) -> str:
    """What is wrong, as the end of a sentence that begins with the key. Values that may be secret are not shown."""
    loc, kind, context = detail["loc"], detail["type"], detail.get("ctx", {})
    key = str(loc[-1])
    if kind == "missing":
        return f"missing key {shown(key)}"
    if kind == "extra_forbidden":
        return unknown_key(key, _known_keys(loc[:-1]))
    if kind == "value_error":
        return str(context["error"])
    if detail["input"] is None:
        return "has no value: write one, or leave the key out"
    ours = _SENTENCES.get(kind)
    return ours.format_map(context) if ours else f"cannot be used: {detail['msg']}"


def _known_keys(loc: Loc) -> tuple[str, ...]:
    model = _model_at(loc)
    if model is AccountSettings:
        return ACCOUNT_KEYS
    if model is WebSettings:
        return WEB_KEYS
    return tuple(model.model_fields) if model else SETTING_KEYS


def _model_at(loc: Loc) -> type[BaseModel] | None:
    """The model that describes the table at this place of the settings."""
    model: type[BaseModel] | None = Settings
    for step in loc:
        if isinstance(step, int):
            continue
        field = model.model_fields.get(step) if model else None
        model = _model_in(field.annotation) if field else None
    return model


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for part in get_args(annotation) if (found := _model_in(part))), None)
