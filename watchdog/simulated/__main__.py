"""`python -m watchdog.simulated`: both simulated platforms on loopback, for anyone to play with."""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
from collections.abc import Iterable, Sequence

from watchdog.simulated.clock import SimClock
from watchdog.simulated.scene import APIFY_TOKEN, LOBSTR_TOKEN, Prop, Scene, set_up
from watchdog.simulated.server import SimulatedPlatforms

DEFAULT_PORT = 9878


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until Ctrl-C or SIGTERM; exit code 0 then, 1 if the port cannot be had."""
    options = _parser().parse_args(arguments)
    platforms = SimulatedPlatforms(SimClock(options.speed), port=options.port)
    scene = set_up(platforms)
    try:
        asyncio.run(_serve(platforms, scene))
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else error
        sys.stderr.write(f"cannot listen on 127.0.0.1:{options.port}: {reason}; choose another port with --port\n")
        return 1
    except KeyboardInterrupt:
        pass
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m watchdog.simulated",
        description="Serve a simulated Apify (/v2) and a simulated lobstr.io (/v1) on 127.0.0.1, with runs that burn "
        "money on a clock. Nothing real is touched. Ends on Ctrl-C.",
        epilog="What there is to play with: docs/simulated.md",
    )
    parser.add_argument(
        "--port", type=_port, default=DEFAULT_PORT, help="where to listen; 0 takes a free one (default: %(default)s)"
    )
    parser.add_argument(
        "--speed", type=_speed, default=1.0, help="platform seconds per real second (default: %(default)s)"
    )
    return parser


def _port(text: str) -> int:
    if not text.isdecimal() or int(text) > 65_535:
        raise argparse.ArgumentTypeError(f"a port is a number from 0 to 65535, not {text!r}")
    return int(text)


def _speed(text: str) -> float:
    try:
        speed = float(text)
    except ValueError:
        speed = -1.0
    if not 0 < speed < float("inf"):
        raise argparse.ArgumentTypeError(f"a speed is a number above 0, not {text!r}")
    return speed


async def _serve(platforms: SimulatedPlatforms, scene: Scene) -> None:
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with platforms:
        sys.stdout.write(_told(platforms.url, scene))
        sys.stdout.flush()
        await stop.wait()


def _told(url: str, scene: Scene) -> str:
    """What is there, and how to try it."""
    running = next(prop.id for prop in scene.apify if prop.kind == "RUNNING")
    squid = next(prop.id for prop in scene.lobstr if prop.kind == "squid")
    lines = [
        f"Simulated platforms on {url}; nothing real is touched. Ctrl-C ends them.",
        "",
        f"Apify, token {APIFY_TOKEN}",
        *_table(scene.apify),
        "",
        f"lobstr.io, token {LOBSTR_TOKEN}",
        *_table(scene.lobstr),
        "",
        "Try",
        f"  curl -H 'Authorization: Bearer {APIFY_TOKEN}' '{url}/v2/actor-runs?status=READY,RUNNING&desc=true'",
        f"  curl -H 'Authorization: Bearer {APIFY_TOKEN}' -X POST '{url}/v2/actor-runs/{running}/abort'",
        f"  curl -H 'Authorization: Token {LOBSTR_TOKEN}' '{url}/v1/runs?squid={squid}'",
        f'  python:     ApifyClient("{APIFY_TOKEN}", api_url="{url}").runs().list()',
        f'  javascript: new ApifyClient({{ token: "{APIFY_TOKEN}", baseUrl: "{url}" }}).runs().list()',
        f"  apify-cli:  export APIFY_CLIENT_BASE_URL={url} APIFY_DISABLE_KEYRING=1 HOME=$(mktemp -d)",
        f"              apify login --token {APIFY_TOKEN}; apify runs info {running}",
        f'  lobstrio:   LobstrClient(token="{LOBSTR_TOKEN}", base_url="{url}/v1/").squids.list()',
        f"  budget-watchdog: accounts with `base_url: {url}` and these tokens",
    ]
    return "\n".join(lines) + "\n"


def _table(props: Iterable[Prop]) -> Iterable[str]:
    return (f"  {prop.kind:<10} {prop.id:<32} {prop.what}" for prop in props)


if __name__ == "__main__":
    sys.exit(main())
