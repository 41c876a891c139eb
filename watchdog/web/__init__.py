"""The daemon's face on HTTP: metrics, health, readiness, admin calls. Knows ports, no adapter."""

from watchdog.web.admin import AdminCalls, Door, Gate, OpenGate, Outcome
from watchdog.web.health import Check, Health
from watchdog.web.pages import create_app
from watchdog.web.server import WebServer, bind, bind_unix

__all__ = [
    "AdminCalls",
    "Check",
    "Door",
    "Gate",
    "Health",
    "OpenGate",
    "Outcome",
    "WebServer",
    "bind",
    "bind_unix",
    "create_app",
]
