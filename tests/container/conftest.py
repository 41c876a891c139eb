"""The shipped image, built and run by a real engine (podman) against the simulated platforms.

No registry is asked for an image: the base is a stand-in made of this interpreter's own Python, the wheels are those
that the host's pip fetches, and the engine keeps everything in a temporary folder.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import sysconfig
import tarfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from bw_support import free_port, page, skip, wait_for
from prometheus_client.parser import text_string_to_metric_families

from watchdog.simulated import Fault, SimClock, SimulatedPlatforms

ROOT = Path(__file__).parents[2]
BASE = "docker.io/library/python:3.12-slim-bookworm"
IMAGE = "localhost/budget-watchdog:test"
STATE = "/var/lib/budget-watchdog"
APIFY_TOKEN = "apify_api_S3CRETofTheContainerTests"
LOBSTR_TOKEN = "lobstrS3CRETofTheContainerTests"

RULES = """
rules:
  - {name: cap, match: {platform: apify}, limits: {max_cost_usd: 1.00}}
  - {name: squid-cap, match: {platform: lobstr}, limits: {max_credits: 50}}
"""

#: As strict as the manifests: nothing can be written but the volume, not even podman's own tmpfs on /tmp and /run.
HARDENED = (
    "--read-only",
    "--read-only-tmpfs=false",
    "--cap-drop=ALL",
    "--security-opt=no-new-privileges",
    "--memory=128m",
)

#: The files of an engine that has this machine's network and limits, and no systemd to ask.
CONTAINERS_CONF = """
[containers]
netns = "host"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'
#: What pip in the build may use: the folder of wheels, and no index.
PIP_CONF = "[global]\nno-index = true\nfind-links = /wheels\n"


@pytest.fixture(scope="session")
def lacking() -> Callable[[str], None]:
    """Skip, or fail where everything must be there."""
    return skip


@pytest.fixture
def port() -> int:
    """One that is free."""
    return free_port()


# --- the engine ------------------------------------------------------------------------------------------------------


class Engine:
    """podman with a storage of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "containers.conf").write_text(CONTAINERS_CONF, encoding="utf-8")
        (folder / "policy.json").write_text(POLICY, encoding="utf-8")
        self._environ = {**os.environ, "CONTAINERS_CONF": str(folder / "containers.conf")}
        self._podman = ["podman", "--root", str(folder / "root"), "--runroot", str(folder / "run")]
        self._podman += ["--tmpdir", str(folder / "tmp"), "--storage-driver", self._driver()]

    def _driver(self) -> str:
        return "overlay" if "overlay" in Path("/proc/filesystems").read_text(encoding="utf-8") else "vfs"

    def call(self, *arguments: str, timeout_s: float = 120.0, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One podman command, to its end."""
        done = subprocess.run(
            [*self._podman, *arguments],
            env=self._environ,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert not check or done.returncode == 0, f"podman {arguments[0]}: {done.stdout}\n{done.stderr}"
        return done

    @contextlib.contextmanager
    def service(self) -> Iterator[str]:
        """The engine's API as Docker's clients speak it; gives its address."""
        address = f"unix://{self.folder}/api"
        command = [*self._podman, "system", "service", "--time", "0", address]
        with (self.folder / "service.log").open("w") as log:
            process = subprocess.Popen(command, env=self._environ, stdout=log, stderr=log)
        try:
            wait_for((self.folder / "api").exists, lambda: (self.folder / "service.log").read_text(encoding="utf-8"))
            yield address
        finally:
            process.terminate()
            process.wait(10)

    def inspect(self, name: str, kind: str = "container") -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.call("inspect", "--type", kind, name).stdout)[0]
        return found

    def close(self) -> None:
        """Leave nothing: no container, no mount, no file."""
        self.call("rm", "--all", "--force", "--volumes", "--time", "0", check=False)
        self.call("rmi", "--all", "--force", check=False)
        for mount in sorted(self._mounts(), reverse=True):
            subprocess.run(["umount", "--lazy", mount], check=False)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _mounts(self) -> list[str]:
        lines = Path("/proc/self/mounts").read_text(encoding="utf-8").splitlines()
        return [target for line in lines if (target := line.split()[1]).startswith(f"{self.folder}/")]


@pytest.fixture(scope="session")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A container engine, proven to be able to run something."""
    for program in ("podman", "runc", "conmon"):
        if shutil.which(program) is None:
            skip(f"{program} is not installed (apt-get install podman runc)")
    if os.geteuid() != 0:
        skip("podman is tried as root here")
    found = Engine(tmp_path_factory.mktemp("engine"))
    try:
        yield found
    finally:
        found.close()


@pytest.fixture
def engine_socket(engine: Engine) -> Iterator[str]:
    """Where Docker's clients reach the engine."""
    with engine.service() as address:
        yield address


# --- the base image --------------------------------------------------------------------------------------------------

#: Parts of a Python that the official image leaves out as well, or that nobody here needs.
LEFT_OUT = {"site-packages", "test", "tests", "__pycache__", "idlelib", "tkinter", "turtledemo", "_tkinter"}
#: Of the C library; wheels link them, though it has been one file since glibc 2.34.
COMPANIONS = ("libpthread.so.0", "libdl.so.2", "librt.so.1", "libutil.so.1", "libresolv.so.2", "libgcc_s.so.1")


def stand_in(path: Path) -> None:
    """A root file system like that of python:3.12-slim, without a shell: this Python at /usr/local, what it links."""
    version, library = sysconfig.get_python_version(), Path(sysconfig.get_path("stdlib"))
    program = Path(os.path.realpath(getattr(sys, "_base_executable", sys.executable)))
    with tarfile.open(path, "w") as tar:
        for folder, mode in (("tmp", 0o1777), ("etc", 0o755), ("var/lib", 0o755), ("proc", 0o555), ("sys", 0o555)):
            _add(tar, folder, tarfile.DIRTYPE, mode=mode)
        tar.add(program, f"usr/local/bin/python{version}")
        for name in ("python", "python3"):
            _add(tar, f"usr/local/bin/{name}", tarfile.SYMTYPE, target=f"python{version}")
        tar.add(library, f"usr/local/lib/python{version}", filter=_kept)
        for shared in _linked([program, *library.glob("lib-dynload/*.so")]):
            # The dynamic linker itself stands where programs name it; its own search ends in /usr/lib.
            inside = shared if "/ld-" in shared else f"/usr/lib/{Path(shared).name}"
            tar.add(os.path.realpath(shared), inside.lstrip("/"))


def _add(tar: tarfile.TarFile, name: str, kind: bytes, *, mode: int = 0o777, target: str = "") -> None:
    entry = tarfile.TarInfo(name)
    entry.type, entry.mode, entry.linkname = kind, mode, target
    tar.addfile(entry, io.BytesIO())


def _kept(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
    parts = Path(entry.name).parts
    left_out = LEFT_OUT.intersection(parts) or any(part.startswith(("config-", "_tkinter")) for part in parts)
    return None if left_out or entry.name.endswith(".a") else entry


def _linked(programs: Iterable[Path]) -> list[str]:
    """The shared libraries behind these, by the dynamic linker's own word."""
    wanted = [str(program) for program in programs if "_tkinter" not in program.name]
    told = subprocess.run(["ldd", *wanted], capture_output=True, text=True, check=False).stdout
    found = {match[1] or match[2] for match in re.finditer(r"=> (/\S+)|^\s+(/\S+/ld-\S+)", told, re.MULTILINE)}
    libc = next(Path(path).parent for path in found if Path(path).name.startswith("libc.so"))
    return sorted(found | {str(libc / name) for name in COMPANIONS if (libc / name).exists()})


@pytest.fixture(scope="session")
def base(engine: Engine) -> str:
    """An image of the name that the Dockerfile begins with."""
    archive = engine.folder / "base.tar"
    stand_in(archive)
    engine.call("import", str(archive), BASE)
    archive.unlink()
    return BASE


@pytest.fixture(scope="session")
def wheels(engine: Engine) -> Path:
    """Every pinned wheel, fetched the way this machine fetches packages, its hash checked."""
    folder = engine.folder / "wheels"
    files = [ROOT / "requirements/runtime.txt", ROOT / "deploy/container/build-requirements.txt"]
    # Everything is listed there, so nothing needs to be resolved.
    fetch = [sys.executable, "-m", "pip", "download", "--quiet", "--require-hashes", "--no-deps", "--only-binary=:all:"]
    fetch += ["--dest", str(folder), *(part for file in files for part in ("-r", str(file)))]
    fetched = subprocess.run(fetch, capture_output=True, text=True, check=False)
    if fetched.returncode != 0:
        skip(f"pip cannot fetch the wheels: {fetched.stderr[-500:]}")
    return folder


@pytest.fixture(scope="session")
def image(engine: Engine, base: str, wheels: Path) -> str:
    """The image, from the Dockerfile as it is shipped."""
    pip_conf = engine.folder / "pip.conf"
    pip_conf.write_text(PIP_CONF, encoding="utf-8")
    mounts = ["--volume", f"{wheels}:/wheels:ro", "--volume", f"{pip_conf}:/etc/pip.conf:ro"]
    build = ["build", "--quiet", "--format", "docker", "--network", "host", "--isolation", "chroot", "--layers=false"]
    engine.call(*build, *mounts, "--pull=never", "--tag", IMAGE, str(ROOT), timeout_s=300)
    return IMAGE


# --- a container -----------------------------------------------------------------------------------------------------


class Container:
    """The daemon in a container, as its operator sees it."""

    def __init__(self, engine: Engine, name: str, port: int) -> None:
        self._engine = engine
        self.name = name
        self.port = port

    def prepare(self) -> Container:
        """Everything but its process: what the engine itself writes is written then."""
        self._engine.call("init", self.name)
        return self

    def start(self) -> Container:
        self._engine.call("start", self.name)
        return self

    @property
    def pid(self) -> int:
        """The daemon's process, as this machine numbers it."""
        return int(self.inspect()["State"]["Pid"])

    def inspect(self) -> dict[str, Any]:
        return self._engine.inspect(self.name)

    def logs(self) -> str:
        done = self._engine.call("logs", self.name)
        return done.stdout + done.stderr

    def changed(self) -> str:
        """What was written outside of volumes."""
        return self._engine.call("diff", self.name).stdout.strip()

    def execute(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return self._engine.call("exec", self.name, *arguments, check=False, timeout_s=30)

    def is_healthy(self) -> bool:
        """By the HEALTHCHECK of the image."""
        return self._engine.call("healthcheck", "run", self.name, check=False, timeout_s=30).returncode == 0

    def get(self, path: str) -> tuple[int, str]:
        """Status and body of a page; status 0 if nobody answers."""
        return page(f"http://127.0.0.1:{self.port}{path}")

    def wait_until_ready(self) -> None:
        def is_ready() -> bool:
            assert self.inspect()["State"]["Running"], self.logs()
            return self.get("/readyz")[0] == 200

        wait_for(is_ready, lambda: f"readiness: {self.get('/readyz')}\n{self.logs()}")

    def counted(self, name: str, **labels: str) -> float:
        """The sum over the series of a metric with these labels; 0 if there is none."""
        return sum(
            sample.value
            for family in text_string_to_metric_families(self.get("/metrics")[1])
            for sample in family.samples
            if sample.name == f"budget_watchdog_{name}" and labels.items() <= sample.labels.items()
        )

    def signal(self, signum: signal.Signals) -> None:
        self._engine.call("kill", "--signal", signum.name, self.name)

    def end(self) -> tuple[int, float]:
        """SIGTERM: exit code, and the seconds that it took."""
        started = time.monotonic()
        self.signal(signal.SIGTERM)
        code = int(self._engine.call("wait", self.name, timeout_s=30).stdout.strip())
        return code, time.monotonic() - started


class Site:
    """Simulated platforms on loopback, and containers that watch them."""

    def __init__(self, engine: Engine, image: str, folder: Path, platforms: SimulatedPlatforms) -> None:
        self.engine = engine
        self.folder = folder
        self.sim = platforms
        self.apify = platforms.apify(APIFY_TOKEN)
        self.lobstr = platforms.lobstr(LOBSTR_TOKEN)
        self._image = image
        self._names: list[str] = []
        self.volumes: list[str] = []
        self.write("rules/rules.yaml", RULES)

    def write(self, name: str, text: str, mode: int = 0o644) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(mode)
        return path

    def volume(self) -> str:
        name = f"ledger-{free_port()}"
        self.engine.call("volume", "create", name)
        self.volumes.append(name)
        return name

    def lobstr_gone(self) -> None:
        """From now on one platform answers nothing but errors."""
        self.sim.faults.add(Fault(kind="status", account=self.lobstr, status=503))

    @property
    def environ(self) -> dict[str, str]:
        """Everything that a sidecar needs: no configuration file."""
        return {
            "APIFY_TOKEN": APIFY_TOKEN,
            "LOBSTR_TOKEN": LOBSTR_TOKEN,
            "APIFY_API_BASE_URL": self.sim.url,
            "LOBSTR_API_BASE_URL": self.sim.url,
        }

    def create(
        self,
        *command: str,
        environ: dict[str, str] | None = None,
        mounts: Iterable[str] = (),
        rules: Path | None = None,
        ledger: str | None = None,
    ) -> Container:
        """A container, hardened, not started yet; `mounts` as `source:target`."""
        port = free_port()
        name = f"budget-watchdog-{port}"
        variables = {"BUDGET_WATCHDOG_LISTEN": f"0.0.0.0:{port}", **(self.environ if environ is None else environ)}
        arguments = [*HARDENED, "--name", name]
        for variable, value in variables.items():
            arguments += ["--env", f"{variable}={value}"]
        arguments += ["--volume", f"{rules or self.folder / 'rules'}:/etc/budget-watchdog/rules:ro"]
        for mount in (*mounts, *([f"{ledger}:{STATE}"] if ledger else [])):
            arguments += ["--volume", mount]
        self.engine.call("create", *arguments, self._image, *command)
        return self.known(name, port)

    def known(self, name: str, port: int) -> Container:
        """A container that is removed at the end, whoever made it."""
        self._names.append(name)
        return Container(self.engine, name, port)

    def close(self) -> None:
        for name in self._names:
            self.engine.call("rm", "--force", "--volumes", "--time", "0", name, check=False)
        for volume in self.volumes:
            self.engine.call("volume", "rm", "--force", volume, check=False)


@pytest.fixture(scope="module")
def idle(engine: Engine, image: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """One container with nothing to stop, for the tests that only look at it."""
    folder = tmp_path_factory.mktemp("idle")
    with SimulatedPlatforms(SimClock(10)).serve_in_thread() as platforms, contextlib.ExitStack() as stack:
        found = Site(engine, image, folder, platforms)
        stack.callback(found.close)
        container = found.create().start()
        container.wait_until_ready()
        yield container


@pytest.fixture
def site(engine: Engine, image: str, tmp_path: Path) -> Iterator[Site]:
    """Both platforms on a clock ten times as fast as life; times inside the container are real."""
    with SimulatedPlatforms(SimClock(10)).serve_in_thread() as platforms, contextlib.ExitStack() as stack:
        found = Site(engine, image, tmp_path, platforms)
        stack.callback(found.close)
        yield found
