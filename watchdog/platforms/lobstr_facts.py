"""lobstr.io: its facts, by its documentation and recorded answers."""

from __future__ import annotations

from watchdog.domain.platform import Links, Mode, PlatformTraits, Spelling

_ID = "[0-9a-f]{32}"

TRAITS = PlatformTraits(
    name="lobstr",
    modes=frozenset({Mode.IMMEDIATE}),
    graceful_window_s=0.0,
    settle_s=10.0,
    default_poll_interval_s=None,
    sweep_shows_usage=False,
    meters=("max_cost_usd", "max_duration", "max_credits"),
    match_keys=("squid", "crawler"),
    prices=False,
    title="lobstr",
    token_variable="LOBSTR_TOKEN",  # noqa: S106  # the name of the variable
    address_variable="LOBSTR_API_BASE_URL",
    spelling=Spelling(id=_ID, id_words="32 hexadecimal digits", origins=("user",), hex_ids=True),
    # app.lobstr.io/... and api.lobstr.io/v1/squids|runs|crawlers/ID
    links=Links(
        domain="lobstr.io",
        before={
            **dict.fromkeys(("runs", "run"), "run_id"),
            **dict.fromkeys(("squids", "squid"), "squid"),
            **dict.fromkeys(("crawlers", "crawler"), "crawler"),
        },
        id=_ID,
    ),
)
