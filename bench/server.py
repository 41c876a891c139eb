"""A lean Apify: answers prepared in memory, in a process of its own, so cheap that the client is what is measured.

The shapes are those of Apify's description (`check_shapes` judges them by it). Not played: errors, rate limits,
compression. An abort is answered with ABORTING and takes half a second, as Apify's do; the list of active runs shows
the run on until the next reset, unless that says otherwise.
"""

from __future__ import annotations

import asyncio
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from email.utils import formatdate
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from bench.child import Child
from bench.fleet import BREACH_USD, Actor, FleetRun, FleetSpec, make_actors, make_runs

PAGE_MAX = 1000
USER_ID = "wRsJZtadYvn4mBZmm"
_NOT_FOUND = b'{"error":{"type":"record-not-found","message":"Actor run was not found"}}'

_ITEM = (
    '{"id":"%(id)s","actId":"%(actor)s","userId":"' + USER_ID + '","actorTaskId":null,"status":"RUNNING",'
    '"startedAt":"%(started)s","finishedAt":null,"buildId":"7sT5jcggjjA9fNcxF","buildNumber":"0.1.36",'
    '"buildNumberInt":1036,"meta":{"origin":"%(origin)s"},"usageTotalUsd":%(cost)s,'
    '"defaultKeyValueStoreId":"K%(tail)s","defaultDatasetId":"D%(tail)s","defaultRequestQueueId":"Q%(tail)s"}'
)
_DETAIL = (
    '{"data":{"id":"%(id)s","actId":"%(actor)s","userId":"' + USER_ID + '","actorTaskId":null,'
    '"startedAt":"%(started)s","finishedAt":%(finished)s,"status":"%(status)s","statusMessage":"%(message)s",'
    '"isStatusMessageTerminal":false,"meta":{"origin":"%(origin)s","clientIp":"172.234.12.34","userAgent":"Mozilla/5.0"},'
    '"stats":{"inputBodyLen":240,"migrationCount":0,"rebootCount":0,"restartCount":0,"resurrectCount":0,'
    '"memAvgBytes":267874071.9,"memMaxBytes":404713472,"memCurrentBytes":277504000,"cpuAvgUsage":33.75,'
    '"cpuMaxUsage":169.65,"cpuCurrentUsage":12.4,"netRxBytes":103508042,"netTxBytes":4854600,'
    '"durationMillis":%(millis)d,"runTimeSecs":%(seconds).3f,"metamorph":0,"computeUnits":%(units).8f},'
    '"options":{"build":"latest","timeoutSecs":0,"memoryMbytes":%(memory)d,"diskMbytes":%(disk)d},'
    '"buildId":"7sT5jcggjjA9fNcxF","generalAccess":"RESTRICTED","defaultKeyValueStoreId":"K%(tail)s",'
    '"defaultDatasetId":"D%(tail)s","defaultRequestQueueId":"Q%(tail)s","buildNumber":"0.1.36",'
    '"containerUrl":"https://g8kd8kbc5ge8.runs.apify.net","isContainerServerReady":true,'
    '"usage":{"ACTOR_COMPUTE_UNITS":%(units).8f,"DATASET_READS":4,"DATASET_WRITES":400,"KEY_VALUE_STORE_READS":5,'
    '"KEY_VALUE_STORE_WRITES":3,"KEY_VALUE_STORE_LISTS":5,"REQUEST_QUEUE_READS":200,"REQUEST_QUEUE_WRITES":100,'
    '"DATA_TRANSFER_INTERNAL_GBYTES":1,"DATA_TRANSFER_EXTERNAL_GBYTES":3,"PROXY_RESIDENTIAL_TRANSFER_GBYTES":0,'
    '"PROXY_SERPS":0},"usageTotalUsd":%(cost)s,"usageUsd":{"ACTOR_COMPUTE_UNITS":%(cost)s,"DATASET_READS":0.0004,'
    '"DATASET_WRITES":0.002,"KEY_VALUE_STORE_READS":0.0006,"KEY_VALUE_STORE_WRITES":0.002,'
    '"KEY_VALUE_STORE_LISTS":0.004,"REQUEST_QUEUE_READS":0.005,"REQUEST_QUEUE_WRITES":0.02,'
    '"DATA_TRANSFER_INTERNAL_GBYTES":0.0004,"DATA_TRANSFER_EXTERNAL_GBYTES":0.0002,'
    '"PROXY_RESIDENTIAL_TRANSFER_GBYTES":0,"PROXY_SERPS":0}}}'
)
_ACTOR = (
    '{"data":{"id":"%(id)s","userId":"' + USER_ID + '","name":"%(name)s","username":"%(owner)s",'
    '"title":"%(name)s","description":"Extracts data.","isPublic":true,"createdAt":"2019-07-08T11:27:57.401Z",'
    '"modifiedAt":"2019-07-08T14:01:05.546Z","stats":{"totalBuilds":9,"totalRuns":16,"totalUsers":6,'
    '"totalUsers7Days":2,"totalUsers30Days":6,"totalUsers90Days":6,"totalMetamorphs":2,'
    '"lastRunStartedAt":"2019-07-08T14:01:05.546Z"},"versions":[{"versionNumber":"0.1","envVars":null,'
    '"sourceType":"SOURCE_FILES","applyEnvVarsToBuild":false,"buildTag":"latest","sourceFiles":[]}],'
    '"defaultRunOptions":{"build":"latest","timeoutSecs":3600,"memoryMbytes":2048,"restartOnError":false},'
    '"exampleRunInput":{"body":"{}","contentType":"application/json; charset=utf-8"},"isDeprecated":false,'
    '"taggedBuilds":{"latest":{"buildId":"z2EryhbfhgSyqj6Hn","buildNumber":"0.0.2",'
    '"finishedAt":"2019-06-10T11:15:49.286Z"}}}}'
)
_ACTOR_ITEM = (
    '{"id":"%(id)s","createdAt":"2019-07-08T11:27:57.401Z","modifiedAt":"2019-07-08T14:01:05.546Z","name":"%(name)s",'
    '"username":"%(owner)s","title":"%(name)s","stats":{"totalBuilds":9,"totalRuns":16,"totalUsers":6,"totalUsers7Days":2,'
    '"totalUsers30Days":6,"totalUsers90Days":6,"totalMetamorphs":2,"lastRunStartedAt":"2019-07-08T14:01:05.546Z"}}'
)


def iso(at: datetime) -> str:
    """As Apify writes times."""
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


#: How long a run is being aborted, in seconds.
ABORTING_S = 0.5


class ServedRun:
    """A run with its item of the list ready to be sent."""

    __slots__ = ("calm", "crossed", "finished_s", "plain", "run", "started_s")

    def __init__(self, run: FleetRun) -> None:
        self.run = run
        self.started_s = run.started_at.timestamp()
        self.finished_s: float | None = None
        self.plain = {
            "id": run.id,
            "tail": run.id[1:],
            "actor": run.actor.id,
            "started": iso(run.started_at),
            "origin": run.origin,
        }
        self.calm = self._item(run.cost_usd)
        self.crossed = self._item(BREACH_USD) if run.crosses else self.calm

    def _item(self, cost: float) -> bytes:
        return (_ITEM % {**self.plain, "cost": cost}).encode()

    @property
    def is_over(self) -> bool:
        """Whether it has been aborted, and that has come to its end."""
        return self.finished_s is not None and time.time() >= self.finished_s + ABORTING_S

    def ended(self, *, crossed: bool) -> bytes:
        """Its item of the list, once it is over."""
        assert self.finished_s is not None
        finished = iso(datetime.fromtimestamp(self.finished_s, UTC)).encode()
        item = self.crossed if crossed else self.calm
        item = item.replace(b'"status":"RUNNING"', b'"status":"ABORTED"')
        return item.replace(b'"finishedAt":null', b'"finishedAt":"%b"' % finished)

    def detail(self, *, crossed: bool) -> bytes:
        """The detail as of now."""
        end_s = time.time() if self.finished_s is None else self.finished_s
        seconds = max(0.0, end_s - self.started_s)
        memory = self.run.memory_mbytes
        over = self.is_over
        status = "ABORTED" if over else "RUNNING" if self.finished_s is None else "ABORTING"
        values = {
            **self.plain,
            "finished": f'"{iso(datetime.fromtimestamp(end_s, UTC))}"' if over else "null",
            "status": status,
            "message": "Actor was aborted" if over else "Actor is running",
            "seconds": seconds,
            "millis": int(seconds * 1000),
            "memory": memory,
            "disk": 2 * memory,
            "units": memory / 1024 * seconds / 3600,
            "cost": BREACH_USD if crossed and self.run.crosses else self.run.cost_usd,
        }
        return (_DETAIL % values).encode()


class Fleet:
    """The runs of one account, and what has become of them."""

    def __init__(self, spec: FleetSpec) -> None:
        self.runs = {run.id: ServedRun(run) for run in make_runs(spec)}
        actors = make_actors(spec.actors, spec.seed)
        self.actors = {actor.id: _of_actor(_ACTOR, actor) for actor in actors}
        self._listed_actors = [_of_actor(_ACTOR_ITEM, actor) for actor in actors]
        self.crossed = False
        self._prompt = False
        self._items: list[bytes] | None = None
        self._pages: dict[tuple[int, int], bytes] = {}

    def reset(self, *, crossed: bool, prompt: bool = False) -> None:
        """Everything runs again; the crossing runs have crossed their limits, or are still calm. `prompt`: the list of
        active runs shows no run that has been aborted."""
        self._prompt = prompt
        for served in self.runs.values():
            served.finished_s = None
        self.crossed = crossed
        self._changed()
        for offset in range(0, len(self.runs), PAGE_MAX):
            self.page(offset, PAGE_MAX)

    def abort(self, served: ServedRun) -> None:
        """Stop it; a run that is over stays as it is."""
        if served.finished_s is None:
            served.finished_s = time.time()
            if self._prompt:
                self._changed()

    def aborted_page(self, offset: int, limit: int) -> bytes:
        """A page of the runs that have been aborted."""
        over = [served for served in self.runs.values() if served.is_over]
        items = [served.ended(crossed=self.crossed) for served in over[offset : offset + limit]]
        return _page(items, len(over), offset, limit)

    def actors_page(self, offset: int, limit: int) -> bytes:
        """A page of the Actors."""
        return _page(self._listed_actors[offset : offset + limit], len(self._listed_actors), offset, limit)

    def tasks_page(self, offset: int, limit: int) -> bytes:
        """A page of the tasks: there are none."""
        return _page([], 0, offset, limit)

    def _changed(self) -> None:
        self._items = None
        self._pages.clear()

    def page(self, offset: int, limit: int) -> bytes:
        """A page of the active runs; kept until a run changes."""
        known = self._pages.get((offset, limit))
        if known is None:
            known = self._pages[offset, limit] = self._make_page(offset, limit)
        return known

    def _make_page(self, offset: int, limit: int) -> bytes:
        if self._items is None:
            self._items = [
                served.crossed if self.crossed else served.calm
                for served in self.runs.values()
                if served.finished_s is None or not self._prompt
            ]
        return _page(self._items[offset : offset + limit], len(self._items), offset, limit)


def _page(items: list[bytes], total: int, offset: int, limit: int) -> bytes:
    head = f'{{"data":{{"total":{total},"offset":{offset},"limit":{limit},"desc":true,"count":{len(items)},"items":['
    return b"".join((head.encode(), b",".join(items), b"]}}"))


def _of_actor(text: str, actor: Actor) -> bytes:
    return (text % {"id": actor.id, "name": actor.name, "owner": actor.owner}).encode()


class Site:
    """Every account by its token, what was asked, and when aborts came (epoch seconds, first request of each run)."""

    def __init__(self, specs: Mapping[str, FleetSpec]) -> None:
        self.fleets = {token: Fleet(spec) for token, spec in specs.items()}
        self.counts: Counter[str] = Counter()
        self.aborts: dict[str, float] = {}
        self._date = b""
        self._date_of = 0

    def reset(self, crossed: bool = False, prompt: bool = False) -> None:
        """Begin anew."""
        for fleet in self.fleets.values():
            fleet.reset(crossed=crossed, prompt=prompt)
        self.counts.clear()
        self.aborts.clear()

    def seen(self) -> tuple[dict[str, int], dict[str, float]]:
        """How many requests of each kind came, and when the aborts did."""
        return dict(self.counts), dict(self.aborts)

    def answer(self, method: bytes, target: bytes, token: str) -> tuple[int, bytes]:
        """Status and body for a request."""
        fleet = self.fleets.get(token)
        if fleet is None:
            self.counts["refused"] += 1
            return 401, b'{"error":{"type":"token-not-provided","message":"Authentication token is not valid."}}'
        path, _, query = target.partition(b"?")
        parts = path.decode("ascii").split("/")[2:]
        match parts:
            case ["actor-runs"]:
                return self._list(fleet, query)
            case ["actor-runs", run_id]:
                return self._run(fleet, run_id, "detail" if method == b"GET" else "update")
            case ["actor-runs", run_id, "abort"]:
                return self._abort(fleet, run_id)
            case ["actors" | "acts"]:
                return self._page_of("actors", fleet.actors_page, _asked(query))
            case ["actor-tasks"]:
                return self._page_of("tasks", fleet.tasks_page, _asked(query))
            case ["actors" | "acts", actor_id] if actor_id in fleet.actors:
                self.counts["actor"] += 1
                return 200, fleet.actors[actor_id]
        self.counts["other"] += 1
        return 404, _NOT_FOUND

    def _list(self, fleet: Fleet, query: bytes) -> tuple[int, bytes]:
        asked = _asked(query)
        if asked.get("status") == "ABORTED":
            return self._page_of("ended", fleet.aborted_page, asked)
        return self._page_of("list", fleet.page, asked)

    def _page_of(self, kind: str, page: Callable[[int, int], bytes], asked: Mapping[str, str]) -> tuple[int, bytes]:
        self.counts[kind] += 1
        return 200, page(int(asked.get("offset", 0)), min(int(asked.get("limit", 0)) or PAGE_MAX, PAGE_MAX))

    def _run(self, fleet: Fleet, run_id: str, kind: str) -> tuple[int, bytes]:
        self.counts[kind] += 1
        served = fleet.runs.get(run_id)
        return (404, _NOT_FOUND) if served is None else (200, served.detail(crossed=fleet.crossed))

    def _abort(self, fleet: Fleet, run_id: str) -> tuple[int, bytes]:
        self.aborts.setdefault(run_id, time.time())
        if (served := fleet.runs.get(run_id)) is not None:
            fleet.abort(served)
        return self._run(fleet, run_id, "abort")

    def head(self, status: int, length: int) -> bytes:
        """Status line and headers, with the date of this second."""
        now = int(time.time())
        if now != self._date_of:
            self._date_of, self._date = now, formatdate(now, usegmt=True).encode()
        reason = b"200 OK" if status == 200 else b"404 Not Found" if status == 404 else b"401 Unauthorized"
        return (
            b"HTTP/1.1 %b\r\nDate: %b\r\nContent-Type: application/json; charset=utf-8\r\n"
            b"X-RateLimit-Limit: 60\r\nContent-Length: %d\r\nConnection: keep-alive\r\n\r\n"
        ) % (reason, self._date, length)


def _asked(query: bytes) -> dict[str, str]:
    return dict(parse_qsl(query.decode("ascii")))


class _Http(asyncio.Protocol):
    """HTTP/1.1 as far as the clients here speak it: keep-alive, bodies with a length."""

    def __init__(self, site: Site) -> None:
        self._site = site
        self._got = b""
        self._transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._got += data
        while (end := self._got.find(b"\r\n\r\n")) >= 0:
            head = self._got[:end]
            after = end + 4 + _length(head)
            if len(self._got) < after:
                return
            self._got = self._got[after:]
            self._respond(head)

    def _respond(self, head: bytes) -> None:
        method, target, _ = head.split(b" ", 2)
        status, body = self._site.answer(method, target, _token(head))
        top = self._site.head(status, len(body))
        if len(body) < 65536:
            self._transport.write(top + body)
        else:
            # Not joined: that would copy the page.
            self._transport.write(top)
            self._transport.write(body)


def _header(head: bytes, name: bytes) -> bytes:
    """A header's value; b"" if it is not there."""
    at = head.lower().find(b"\r\n" + name + b":")
    return b"" if at < 0 else head[at + len(name) + 3 :].split(b"\r\n", 1)[0].strip()


def _length(head: bytes) -> int:
    return int(_header(head, b"content-length") or 0)


def _token(head: bytes) -> str:
    return _header(head, b"authorization").rpartition(b" ")[2].decode("ascii")


# --- the process -----------------------------------------------------------------------------------------------------


class Server:
    """The parent's side: starts it, tells it what to do, ends it."""

    def __init__(self, specs: Mapping[str, FleetSpec] | FleetSpec, token: str = "bench") -> None:
        given = {token: specs} if isinstance(specs, FleetSpec) else dict(specs)
        self._child = Child(serve, {name: spec.now() for name, spec in given.items()})
        self.token = token

    @property
    def url(self) -> str:
        """Its address, once it serves."""
        return f"http://127.0.0.1:{self._child.greeting}"

    def reset(self, *, crossed: bool = False, prompt: bool = False) -> None:
        """Every run is active again, nothing was asked yet; `crossed`: the crossing runs are over their limits;
        `prompt`: aborted runs leave the list of active ones at once."""
        self._child.call("reset", crossed, prompt)

    def seen(self) -> tuple[dict[str, int], dict[str, float]]:
        """Requests by kind since the reset, and when each run's first abort came (epoch seconds)."""
        counts, aborts = self._child.call("seen")
        return counts, aborts

    def close(self) -> None:
        """End the process."""
        self._child.close()

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()


def serve(pipe: Connection, specs: Mapping[str, FleetSpec]) -> None:
    """The child: serve until the pipe closes."""
    asyncio.run(_serve(pipe, Site(specs)))


async def _serve(pipe: Connection, site: Site) -> None:
    loop = asyncio.get_running_loop()
    ended = loop.create_future()
    site.reset()
    server = await loop.create_server(lambda: _Http(site), "127.0.0.1", 0, backlog=1024)
    loop.add_reader(pipe.fileno(), _obey, pipe, site, ended)
    pipe.send(("ok", server.sockets[0].getsockname()[1]))
    await ended
    loop.remove_reader(pipe.fileno())
    server.close()


def _obey(pipe: Connection, site: Site, ended: asyncio.Future[None]) -> None:
    try:
        method, args = pipe.recv()
    except (EOFError, OSError):
        if not ended.done():
            ended.set_result(None)
        return
    try:
        pipe.send(("ok", getattr(site, method)(*args)))
    except Exception:  # noqa: BLE001  # the parent must hear of it
        pipe.send(("error", traceback.format_exc()))


# --- the judge -------------------------------------------------------------------------------------------------------

Validate = Callable[[str, str, int, bytes], None]


def check_shapes(description: Path) -> int:
    """Judge an answer of each kind by Apify's published description; how many were judged. Raises on the first that is
    not as described. Needs openapi-core."""
    validate = _validator(description)
    site = Site({"bench": FleetSpec(runs=5, actors=2, crossing=1)})
    site.reset(crossed=True)
    calls = list(_calls(site))
    for method, target in calls:
        status, body = site.answer(method.encode(), target.encode(), "bench")
        validate(method, target, status, body)
    return len(calls)


def _calls(site: Site) -> Iterable[tuple[str, str]]:
    fleet = site.fleets["bench"]
    run, actor = next(iter(fleet.runs)), next(iter(fleet.actors))
    yield "GET", "/v2/actor-runs?status=READY,RUNNING&limit=2&offset=0&desc=true"
    yield "GET", f"/v2/actor-runs/{run}"
    yield "POST", f"/v2/actor-runs/{run}/abort"
    yield "GET", f"/v2/actor-runs/{run}"
    yield "PUT", f"/v2/actor-runs/{run}"
    yield "GET", "/v2/actor-runs?limit=1000&offset=0"
    yield "GET", f"/v2/actors/{actor}"
    yield "GET", "/v2/actors?limit=1000&offset=0&desc=true&sortBy=stats.lastRunStartedAt"
    yield "GET", "/v2/actor-tasks?limit=1000&offset=0&desc=true"
    yield "GET", "/v2/actor-runs/unknown"


def _validator(description: Path) -> Validate:
    import yaml
    from openapi_core import OpenAPI
    from openapi_core.testing import MockRequest, MockResponse

    loader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    api = OpenAPI.from_dict(yaml.load(description.read_text("utf-8"), Loader=loader))

    def validate(method: str, target: str, status: int, body: bytes) -> None:
        path, _, query = target.partition("?")
        request = MockRequest("https://api.apify.com", method.lower(), path, args=dict(parse_qsl(query)))
        api.validate_response(request, MockResponse(body, status, content_type="application/json"))

    return validate
