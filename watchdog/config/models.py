"""The settings as frozen models: what a user can write, and what is doubtful about it."""

from __future__ import annotations

import hashlib
import ssl
from collections.abc import Iterator, Mapping
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
)
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict

from watchdog.config.find import DEFAULT_LEDGER, DEFAULT_LISTEN, DEFAULT_RULES, PREFIX
from watchdog.config.secret_files import exposure
from watchdog.config.tls import renew, server_context
from watchdog.config.tokens import WEB_CREDENTIAL, place_of
from watchdog.config.values import (
    Unusable,
    check_base_url,
    check_listen,
    check_name,
    check_socket,
    check_variable,
    is_loopback,
    read_poll_interval,
    read_retention,
    text_of_port,
)
from watchdog.errors import ConfigurationError
from watchdog.text.document import Loc
from watchdog.text.files import read_bytes

NO_ACCOUNTS = "no accounts, so there is nothing to watch"


def _check_accounts(accounts: tuple[AccountSettings, ...]) -> tuple[AccountSettings, ...]:
    # Not min_length: pydantic would also say it of a list whose only entry has another mistake.
    if not accounts:
        raise ValueError(NO_ACCOUNTS)
    return accounts


NonEmpty = StringConstraints(min_length=1)


# --- models ----------------------------------------------------------------------------------------------------------


class AccountSettings(BaseModel):
    """One credential on one platform.

    `token` is filled while loading, from `token_file`, `token_env` or the systemd credential of the account's name;
    it cannot be written into the settings. `poll_interval`: None is `auto`. `base_url`: None is the platform's own.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    name: Annotated[str, AfterValidator(check_name)]
    platform: Annotated[str, NonEmpty]
    token: SecretStr
    token_file: Path | None = None
    token_env: Annotated[str, AfterValidator(check_variable)] | None = None
    base_url: Annotated[str, AfterValidator(check_base_url)] | None = None
    poll_interval: Annotated[timedelta | None, BeforeValidator(read_poll_interval)] = None
    usd_per_credit: Annotated[float, Field(strict=True, gt=0, allow_inf_nan=False)] | None = None
    requests_per_minute: Annotated[int, Field(strict=True, ge=1)] | None = None
    write_reason: bool = True

    def token_place(self, environ: Mapping[str, str]) -> Path | None:
        """The file that the token was read from, and may be replaced in; None if it came from a variable, which cannot
        change while we run."""
        return place_of(self.token_file, self.token_env, self.name, environ)


class WebSettings(BaseModel):
    """How the daemon is reached over HTTP, besides `listen`.

    `token` (for admin calls; None: there are none over TCP) is filled while loading, from `token_file`, `token_env` or
    the systemd credential `web-token`. `tls_cert` and `tls_key` (PEM) come together. `socket`: a Unix socket for admin
    calls without a token.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    token: SecretStr | None = None
    token_file: Path | None = None
    token_env: Annotated[str, AfterValidator(check_variable)] | None = None
    tls_cert: Path | None = None
    tls_key: Path | None = None
    socket: Annotated[Path, AfterValidator(check_socket)] | None = None

    def token_place(self, environ: Mapping[str, str]) -> Path | None:
        """The file that the admin token was read from, as for accounts."""
        return place_of(self.token_file, self.token_env, WEB_CREDENTIAL, environ)

    def tls_context(self) -> ssl.SSLContext | None:
        """TLS 1.2 or later with the certificate; None if there is none. Raises ConfigurationError if the files have
        become unusable since the settings were loaded."""
        if self.tls_cert is None or self.tls_key is None:
            return None
        try:
            return server_context(self.tls_cert, self.tls_key)
        except Unusable as fault:
            raise ConfigurationError(f"web: {fault.key}: {fault.message}") from None

    def renew_tls(self, context: ssl.SSLContext) -> None:
        """Give new connections the certificate that the files hold now. Raises ConfigurationError, and then leaves the
        context as it is."""
        if self.tls_context() is not None and self.tls_cert is not None and self.tls_key is not None:
            renew(context, self.tls_cert, self.tls_key)


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
    rules: Path = Path(DEFAULT_RULES)
    watch_rules: bool = True
    # Not in the repr: the address of a database server may hold a password.
    ledger: Annotated[str, NonEmpty] = Field(default=DEFAULT_LEDGER, repr=False)
    retention: Annotated[timedelta, BeforeValidator(read_retention)] = timedelta(days=90)
    listen: Annotated[str, BeforeValidator(text_of_port), AfterValidator(check_listen)] = DEFAULT_LISTEN
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

    def came_from(self, file: Path | None, data: bytes) -> None:
        """Take down which file was read (None: none), and what it held then."""
        self._file = file
        self._digest = _digest_of(data)

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
        return is_loopback(self.listen_host)

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
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
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


def model_at(loc: Loc) -> type[BaseModel] | None:
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
