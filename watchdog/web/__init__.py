"""The daemon's face on HTTP: metrics, health, readiness. Knows ports, no adapter."""

from watchdog.web.health import Check, Health
from watchdog.web.pages import create_app
from watchdog.web.server import WebServer, bind

__all__ = ["Check", "Health", "WebServer", "bind", "create_app"]
