"""Apify: its facts. Ids, names and origins are those of @apify/consts 3 (APIFY_ID_REGEX, USERNAME, ACTOR_NAME,
META_ORIGINS), and what runs were seen with."""

from __future__ import annotations

from watchdog.domain.platform import Alphabet, CreditWords, Links, Mode, PlatformTraits, Spelling

_ID = "[A-Za-z0-9]{17}"

TRAITS = PlatformTraits(
    name="apify",
    modes=frozenset({Mode.GRACEFUL, Mode.IMMEDIATE}),
    graceful_window_s=30.0,
    settle_s=10.0,
    default_poll_interval_s=5.0,
    may_metamorph=True,
    meters=("max_cost_usd", "max_duration", "max_credits"),
    match_keys=("actor", "task"),
    title="Apify",
    credits=CreditWords(
        "compute unit",
        "compute units",
        ("max_compute_units", "max_compute_unit", "compute_units", "max_cu", "max_cus", "max_compute"),
    ),
    token_variable="APIFY_TOKEN",  # noqa: S106  # the name of the variable
    address_variable="APIFY_API_BASE_URL",
    token_prefix="apify_api_",  # noqa: S106  # how every token begins
    spelling=Spelling(
        id=_ID,
        id_words="17 letters and digits",
        origins=(
            *("DEVELOPMENT", "WEB", "API", "SCHEDULER", "TEST", "WEBHOOK", "ACTOR", "CLI", "STANDBY", "CI", "MCP"),
            "APIFY_AI",
        ),
        all_origins=True,
        alphabets={
            "actor": Alphabet(
                r"[A-Za-z0-9._/-]",
                "an Actor's name has only letters, digits, '.', '_' and '-', and a '/' between owner and name",
            ),
            "task": Alphabet(r"[A-Za-z0-9._-]", "a task's name has only letters, digits, '-' and '_'"),
        },
    ),
    # console.apify.com/[organization/ID/]actors/ID/runs/ID, .../actors/tasks/ID/runs/ID, .../actors/runs/ID,
    # apify.com/OWNER/NAME, api.apify.com/v2/acts/OWNER~NAME, .../actor-runs/ID
    links=Links(
        domain="apify.com",
        before={
            **dict.fromkeys(("runs", "actor-runs", "run"), "run_id"),
            **dict.fromkeys(("actors", "acts"), "actor"),
            **dict.fromkeys(("tasks", "actor-tasks"), "task"),
        },
        id=rf"{_ID}|[A-Za-z0-9_.-]+[~/][A-Za-z0-9-]+",
        run="https://console.apify.com/actors/runs/{run_id}",
        name_key="actor",
    ),
)
