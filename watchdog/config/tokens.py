"""Where the tokens are: in a file, a variable, or a systemd credential."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from watchdog.config.find import may_exist
from watchdog.config.secret_files import QuotedToken, clean_token, read_token
from watchdog.config.values import Unusable, is_name, is_variable
from watchdog.errors import ConfigurationError

#: The name of the systemd credential that holds the admin token.
WEB_CREDENTIAL = "web-token"
#: An admin token can be tried as often as one likes, so it must be too long to be guessed.
MIN_WEB_TOKEN = 16
_TOO_SHORT = (
    f"the admin token is shorter than {MIN_WEB_TOKEN} characters and could be guessed; "
    "make one with: openssl rand -hex 32"
)


def find_token(account: Mapping[str, Any], environ: Mapping[str, str], prefixes: Collection[str]) -> SecretStr:
    """The token of an account, as the keys of its table say; `prefixes`: how tokens begin. Raises
    Unusable."""
    file, variable = account.get("token_file"), account.get("token_env")
    if file is not None and variable is not None:
        raise Unusable("token_env", "give either token_file or token_env, not both")
    if isinstance(file, str):
        return _token_of_file(Path(file), "token_file", prefixes)
    if isinstance(variable, str):
        return _token_of_variable(variable, environ)
    if file is not None or variable is not None:
        return SecretStr("")  # of a wrong type, which the model reports
    return _token_of_systemd(account.get("name"), environ)


def _token_of_file(path: Path, key: str, prefixes: Collection[str] = ()) -> SecretStr:
    try:
        return read_token(path, prefixes)
    except ConfigurationError as error:
        message = error.problems[0].message
    raise Unusable(key, message)


def _token_of_variable(variable: str, environ: Mapping[str, str]) -> SecretStr:
    if not is_variable(variable):
        return SecretStr("")  # which the model reports
    # Lower case may be a token pasted in place of a name.
    name = f"environment variable {variable}" if variable.isupper() else "environment variable that token_env names"
    value = environ.get(variable)
    if value is None:
        raise Unusable("token_env", f"the {name} is not set; put the token into it")
    try:
        return clean_token(value.encode("utf-8", "surrogateescape"))
    except QuotedToken as error:
        message = f"the token in {variable if variable.isupper() else 'it'} {error}"
    except ValueError as error:
        message = f"the {name} {error}; put the token, and nothing else, into it"
    raise Unusable("token_env", message)


def _token_of_systemd(name: object, environ: Mapping[str, str]) -> SecretStr:
    usable = is_name(name)
    if usable and (path := _credential(str(name), environ)) is not None:
        return _token_of_file(path, "")
    credential = f"named '{name}'" if usable else "of the account's name"
    raise Unusable("", f"no token: write token_file or token_env, or give systemd a credential {credential}")


def place_of(file: Path | None, variable: str | None, name: str, environ: Mapping[str, str]) -> Path | None:
    """The file of a token that may be replaced there; None: it came from a variable, which cannot change."""
    return file if file is not None or variable is not None else _credential(name, environ)


def find_web_token(web: Mapping[str, Any], environ: Mapping[str, str], prefixes: Collection[str]) -> SecretStr | None:
    """The admin token, if there is one: it may come from a file, a variable or a systemd credential, or be left out.
    Raises Unusable."""
    file, variable = web.get("token_file"), web.get("token_env")
    if file is not None and variable is not None:
        raise Unusable("token_env", "give either token_file or token_env, not both")
    key, token = "", None
    if isinstance(file, str):
        key, token = "token_file", _token_of_file(Path(file), "token_file", prefixes)
    elif isinstance(variable, str):
        key, token = "token_env", _token_of_variable(variable, environ)
    elif file is None and variable is None:
        token = _web_credential(environ)
    if token is not None and len(token) < MIN_WEB_TOKEN and _is_usable(variable):
        raise Unusable(key, _TOO_SHORT)
    return token


def read_web_token(path: Path) -> SecretStr:
    """The admin token in a file. Raises ConfigurationError."""
    token = read_token(path)
    if len(token) < MIN_WEB_TOKEN:
        raise ConfigurationError(_TOO_SHORT)
    return token


def _is_usable(variable: object) -> bool:
    """False for the name of a variable that the model reports as none: there is no token behind it to speak of."""
    return not isinstance(variable, str) or is_variable(variable)


def _web_credential(environ: Mapping[str, str]) -> SecretStr | None:
    path = _credential(WEB_CREDENTIAL, environ)
    return _token_of_file(path, "") if path is not None else None


def _credential(name: str, environ: Mapping[str, str]) -> Path | None:
    """The systemd credential of this name, if there is one."""
    folder = environ.get("CREDENTIALS_DIRECTORY")
    path = Path(folder) / name if folder else None
    return path if path is not None and may_exist(path) else None
