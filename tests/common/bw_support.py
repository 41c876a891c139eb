"""What tests of several folders need: real components that may be lacking, ports, waiting, pages."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest

#: A bound on waiting, so that a test which fails comes to an end; in seconds of the wall clock. A machine may be slow.
PATIENCE_S = 90.0
#: What has not ended so many seconds after it was asked to is killed by container engines (`stop_grace_period` in
#: compose.yaml, and the default of Docker and Podman).
GRACE_S = 10.0


def skip(what: str) -> NoReturn:
    """Skip, or fail where everything must be there."""
    if os.environ.get("BW_TEST_REQUIRE_ALL"):
        pytest.fail(f"required by BW_TEST_REQUIRE_ALL: {what}")
    pytest.skip(what)


def need(*names: str) -> str:
    """The path of the first of these programs that is installed; else the test skips or fails."""
    found = next(filter(None, map(shutil.which, names)), None)
    return found or skip(f"{names[0]} is not installed")


def description_of_apify() -> Path:
    """The published description of Apify's API, which lies beside the project, or where BW_TEST_SHARED says."""
    beside = Path(__file__).resolve().parents[3] / "shared"
    path = Path(os.environ.get("BW_TEST_SHARED") or beside) / "specs" / "apify.openapi.yaml"
    return path if path.is_file() else skip(f"Apify's API description is not at {path} (set BW_TEST_SHARED)")


@contextlib.contextmanager
def without_privileges() -> Iterator[Path]:
    """A new folder, and until the end no more rights than any user has: root may read whatever is closed."""
    nobody = 65534
    with tempfile.TemporaryDirectory() as name:
        if os.geteuid() != 0:
            yield Path(name)
            return
        os.chown(name, nobody, nobody)
        os.seteuid(nobody)
        try:
            yield Path(name)
        finally:
            os.seteuid(0)


def free_port() -> int:
    """A port of loopback that nobody listens on at present."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


def wait_for(
    condition: Callable[[], Any], what: str | Callable[[], str], patience_s: float = PATIENCE_S, *, step_s: float = 0.04
) -> Any:
    """The first true answer; the failure says what was waited for."""
    end = time.monotonic() + patience_s
    while True:
        if found := condition():
            return found
        assert time.monotonic() < end, f"waited in vain for {what if isinstance(what, str) else what()}"
        time.sleep(step_s)


def page(url: str) -> tuple[int, str]:
    """Status and body of a page; status 0 if nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()
    except OSError:
        return 0, ""
