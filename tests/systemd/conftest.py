"""A machine for the shipped units: a real systemd as PID 1 of a namespace, over a throw-away copy of this one's tree.

The simulated platforms run in this process, with their sockets in the machine's network: nothing of the host's is
listened on, and the machine reaches nobody else.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bw_support import page, skip, wait_for
from prometheus_client.parser import text_string_to_metric_families

from watchdog.simulated import SimulatedPlatforms

REPO = Path(__file__).parents[2]
UNITS = tuple(sorted((REPO / "systemd").glob("*.service")))
PROGRAM = "/opt/budget-watchdog/bin/budget-watchdog"
PYTHON = Path(f"/usr/bin/python3.{sys.version_info.minor}")
#: Where the machine sees the libraries of this environment: not below what the docs delete.
LIBRARIES = "/usr/local/lib/libraries-of-the-tests"
SOURCE = "/usr/local/src/budget-watchdog"
#: Seconds that a condition gets to come true; only a failing test waits that long.
BOOT_S = 30.0
TOOLS = ("systemd-nspawn", "systemd-analyze", "journalctl", "nsenter", "unshare", "setpriv", "mount")

#: Runs in a mount namespace of its own, so that all it mounts is gone when it ends, however it ends.
BOOT = """
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o "lowerdir=/,upperdir=$1/upper,workdir=$1/work" overlay "$1/root"
cd "$1/root"
# Nothing that this machine happens to have enabled is to run there.
rm -rf etc/systemd/system var/lib/systemd var/log/journal var/lib/budget-watchdog var/lib/private etc/budget-watchdog
rm -rf etc/credstore etc/credstore.encrypted opt/budget-watchdog usr/local/bin/budget-watchdog
mkdir -p etc/systemd/system var/lib/systemd
tr -d - < /proc/sys/kernel/random/uuid > etc/machine-id
printf '[Unit]\\nRequires=basic.target\\nAfter=basic.target\\n' > etc/systemd/system/bare.target
for unit in networking systemd-networkd-wait-online NetworkManager-wait-online ifupdown-wait-online; do
  ln -s /dev/null "etc/systemd/system/$unit.service"
done
shift
exec systemd-nspawn -D . --register=no --keep-unit --private-network --console=pipe "$@" --boot systemd.unit=bare.target
"""


@contextlib.contextmanager
def network_of(pid: int) -> Iterator[None]:
    """This thread, and those it starts meanwhile, in the network of another process."""
    own, other = os.open("/proc/thread-self/ns/net", os.O_RDONLY), os.open(f"/proc/{pid}/ns/net", os.O_RDONLY)
    try:
        _enter(other)
        yield
    finally:
        _enter(own)
        os.close(own)
        os.close(other)


def _enter(namespace: int) -> None:
    clone_newnet = 0x40000000
    if ctypes.CDLL(None, use_errno=True).setns(namespace, clone_newnet) != 0:
        raise OSError(ctypes.get_errno(), "setns")


class Machine:
    """A booted systemd, seen from outside."""

    def __init__(self, folder: Path) -> None:
        self._console = folder / "console"
        mount = folder / "mount"
        mount.mkdir()
        bound = {
            _site_packages(): LIBRARIES,
            REPO: SOURCE,
        }
        binds = [f"--bind-ro={source}:{target}" for source, target in bound.items()]
        with self._console.open("wb") as console:
            self._process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "sh", "-c", BOOT, "boot", str(mount), *binds],
                env={"PATH": os.environ["PATH"], "SYSTEMD_NSPAWN_UNIFIED_HIERARCHY": "1"},
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )
        self.leader = 0

    @property
    def root(self) -> Path:
        """Its tree."""
        return Path(f"/proc/{self.leader}/root")

    def wait_until_booted(self) -> str | None:
        """Return None once it is up; else why not."""
        end = time.monotonic() + BOOT_S
        while time.monotonic() < end:
            if self._process.poll() is not None:
                return f"systemd-nspawn ended with {self._process.returncode}: {self.console()}"
            self.leader = self.leader or self._find_leader()
            if self.leader and self.systemctl("is-active", "bare.target", check=False) == "active":
                return None
            time.sleep(0.05)
        return f"systemd did not come up within {BOOT_S:.0f} s: {self.console()}"

    def console(self) -> str:
        """The end of what it printed."""
        return self._console.read_text(errors="replace")[-2000:]

    def _find_leader(self) -> int:
        """Its PID 1: the child of nspawn that has become systemd."""
        with contextlib.suppress(OSError):
            for child in Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split():
                if Path(f"/proc/{child}/comm").read_text().strip() == "systemd":
                    return int(child)
        return 0

    def run(self, *command: str, check: bool = True, text: str = "") -> subprocess.CompletedProcess[str]:
        """Run a command in it, as root."""
        done = subprocess.run(
            ["nsenter", "-t", str(self.leader), "-m", "-p", "-u", "-i", "-n", "-C", "--", *command],
            env={"PATH": "/usr/local/bin:/usr/bin:/usr/sbin:/bin:/sbin", "HOME": "/root", "SYSTEMD_PAGER": ""},
            input=text,
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        )
        assert not check or done.returncode == 0, f"{shlex.join(command)}: {done.returncode} {done.stdout}{done.stderr}"
        return done

    def systemctl(self, *arguments: str, check: bool = True) -> str:
        """What `systemctl` prints."""
        return self.run("systemctl", *arguments, check=check).stdout.strip()

    def show(self, unit: str) -> dict[str, str]:
        """All properties of a unit."""
        return dict(line.partition("=")[::2] for line in self.systemctl("show", unit).splitlines())

    def journal(self, unit: str) -> str:
        """What the unit, and systemd about it, have written."""
        return self.run("journalctl", "--no-pager", "-o", "cat", "-u", unit).stdout

    def write(self, path: str, text: str, mode: int = 0o644) -> None:
        """A file of it."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
        file.chmod(mode)

    def host_pid(self, pid: int) -> int:
        """Our number of a process of it."""
        for status in Path("/proc").glob("[0-9]*/status"):
            with contextlib.suppress(OSError):
                found = re.search(r"^NSpid:\s*(\d+)\s+(\d+)$", status.read_text(), re.M)
                if found and int(found[2]) == pid and self._is_ours(int(found[1])):
                    return int(found[1])
        raise AssertionError(f"no process {pid} in the machine")

    def _is_ours(self, host_pid: int) -> bool:
        return os.readlink(f"/proc/{host_pid}/ns/pid") == os.readlink(f"/proc/{self.leader}/ns/pid")

    def end(self) -> None:
        """Its PID 1 takes all of it along; the mounts go with their namespace."""
        if self.leader and self._process.poll() is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.leader, signal.SIGKILL)
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(10)


def _site_packages() -> Path:
    return Path(sys.prefix) / "lib" / f"python3.{sys.version_info.minor}" / "site-packages"


def _missing() -> str | None:
    """What this machine lacks to boot a systemd, if anything."""
    if os.geteuid() != 0:
        return "root is needed to boot a systemd in a namespace"
    if tools := [tool for tool in TOOLS if shutil.which(tool) is None]:
        return f"not installed: {', '.join(tools)} (apt-get install systemd-container)"
    if not PYTHON.exists():
        return f"not installed: {PYTHON}, the interpreter of the system that fits this environment's libraries"
    return None


@pytest.fixture(scope="session")
def analyze() -> str:
    """systemd-analyze."""
    found = shutil.which("systemd-analyze")
    if found is None:
        skip("not installed: systemd-analyze (apt-get install systemd)")
    assert found is not None
    return found


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Machine]:
    """A fresh one, with the program where the docs install it, and nothing else done."""
    if missing := _missing():
        skip(missing)
    machine = Machine(tmp_path_factory.mktemp("machine"))
    try:
        if fault := machine.wait_until_booted():
            skip(f"no systemd boots here: {fault}")
        _install(machine)
        yield machine
    finally:
        machine.end()


def _install(machine: Machine) -> None:
    """What `pip install` would put there: the machine has no network to fetch it by."""
    folder = machine.root / "opt/budget-watchdog"
    machine.write("/opt/budget-watchdog/pyvenv.cfg", "home = /usr/bin\ninclude-system-site-packages = false\n")
    (folder / "bin").mkdir()
    (folder / "bin/python").symlink_to(PYTHON)
    (folder / "lib" / PYTHON.name).mkdir(parents=True)
    (folder / "lib" / PYTHON.name / "site-packages").symlink_to(LIBRARIES)
    script = f"import sys; sys.path.insert(0, {SOURCE!r}); from watchdog.cli import main; main()"
    machine.write(PROGRAM, f"#!/opt/budget-watchdog/bin/python\n{script}\n", 0o755)


@pytest.fixture(scope="module")
def platforms(machine: Machine) -> Iterator[SimulatedPlatforms]:
    """Both platforms, on the machine's loopback; times are real. This thread stays in that network."""
    with network_of(machine.leader), SimulatedPlatforms().serve_in_thread() as platforms:
        yield platforms


class Pages:
    """What the daemon serves on a port of the machine."""

    def __init__(self, port: int) -> None:
        self._port = port

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page; status 0 if nobody answers."""
        return page(f"http://127.0.0.1:{self._port}{path}")

    def ready(self) -> bool:
        """Whether every account is watched."""
        status, body = self.get("/readyz")
        return status == 200 and bool(json.loads(body)["ready"])

    def counted(self, name: str, **labels: str) -> float:
        """The sum over the series of a metric with these labels."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.get("/metrics")[1])
            for sample in family.samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )


@pytest.fixture(scope="module")
def pages() -> Pages:
    """On the default port."""
    return Pages(9877)


@pytest.fixture(scope="session")
def pages_on() -> type[Pages]:
    """On another."""
    return Pages


@pytest.fixture(scope="session")
def units() -> tuple[Path, ...]:
    """The shipped ones."""
    assert UNITS
    return UNITS


@pytest.fixture(scope="session", name="eventually")
def _eventually() -> Callable[..., Any]:
    return wait_for
