"""What pydantic finds wrong, in our words."""

from __future__ import annotations

from collections.abc import Iterable

from pydantic_core import ErrorDetails

from watchdog.config.models import ACCOUNT_KEYS, SETTING_KEYS, WEB_KEYS, AccountSettings, WebSettings, model_at
from watchdog.config.values import is_name
from watchdog.domain.platform import PlatformTraits
from watchdog.text import shown
from watchdog.text.document import Loc
from watchdog.text.hints import unknown_key

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


def no_accounts_cure(platforms: Iterable[PlatformTraits]) -> str:
    """What to do without any account, as the end of the sentence that says so."""
    variables = " or ".join(platform.token_variable for platform in platforms if platform.token_variable)
    return ": list them under 'accounts' in budget-watchdog.yaml, give them as JSON in BUDGET_WATCHDOG_ACCOUNTS" + (
        f", or, without a file, set {variables}" if variables else ""
    )


def sentence(detail: ErrorDetails) -> str:
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
    model = model_at(loc)
    if model is AccountSettings:
        return ACCOUNT_KEYS
    if model is WebSettings:
        return WEB_KEYS
    return tuple(model.model_fields) if model else SETTING_KEYS


#: How messages begin that are about a key of the section `web`.
WEB_LABEL = "web: "


def with_key(key: str | int, message: str) -> str:
    """The message as a sentence about its key; those that already name it stay as they are."""
    if isinstance(key, int) or message.startswith(("unknown key", "missing key", "no accounts")):
        return message
    return f"{key} {message}" if message.startswith(("must", "is ", "has ")) else f"{key}: {message}"


def account_label(index: int, account: object) -> str:
    """How messages begin that are about this account of the list."""
    name = account.get("name") if isinstance(account, dict) else None
    return f"accounts[{index}] '{name}': " if is_name(name) else f"accounts[{index}]: "
