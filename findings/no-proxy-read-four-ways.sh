#!/usr/bin/env bash
# One NO_PROXY, five libraries, four readings: which HTTP library made a call decides whether it leaves through the proxy.
#
# Guess:      NO_PROXY is a settled convention: `*` is everything, 10.0.0.0/8 is a network, host:port is that port, and Python's
#             HTTP libraries agree. In particular `*` always means "no proxy at all".
# Behaviour:  only a plain address means the same to all five. A network (CIDR) is understood by requests and impit; for httpx, aiohttp
#             and urllib it matches nothing, silently. `*` is not understood by impit, the transport of Apify's own client. host:port
#             is understood by httpx and urllib only, a leading dot in front of part of an address by all but impit.
# Versions:   requests 2.34.2, httpx 0.28.1, aiohttp 3.14.5, impit 0.15.1 (PyPI), urllib of Python's standard library (3.11).
# Matters:    in a cluster NO_PROXY is mostly networks. A sidecar on httpx or aiohttp then sends its calls for addresses inside (an
#             exporter, a webhook, a simulated platform) to the proxy, where curl on the same machine goes straight. A watchdog
#             has to read NO_PROXY itself, or say at start which calls go through which proxy.
# Output seen (the script compares with these lines; the server is on 127.0.0.1:PORT):
#   > NO_PROXY           requests  httpx   aiohttp  urllib  impit
#   > (empty)            proxy     proxy   proxy    proxy   proxy
#   > 127.0.0.1          direct    direct  direct   direct  direct
#   > 127.0.0.0/8        direct    proxy   proxy    proxy   direct
#   > *                  direct    direct  direct   direct  proxy
#   > 127.0.0.1:PORT     proxy     direct  proxy    direct  proxy
#   > .0.0.1             direct    direct  direct   direct  proxy
set -euo pipefail
self=$(realpath "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check requests==2.34.2 httpx==0.28.1 aiohttp==3.14.5 impit==0.15.1

cat > probe.py <<'PY'
import asyncio
import os
import threading
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import aiohttp
import httpx
import impit
import requests

went = []


class Server(BaseHTTPRequestHandler):
    """Both the server and the proxy: a proxy is asked for a whole URL, a server for a path."""

    def do_GET(self):
        went.append("proxy" if self.path.startswith("http://") else "direct")
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def log_message(self, *_):
        pass


def listen():
    server = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    return server.server_port


async def with_aiohttp(url):
    async with aiohttp.ClientSession(trust_env=True) as session, session.get(url) as response:
        await response.read()


CLIENTS = {
    "requests": lambda url: requests.get(url, timeout=5),
    "httpx": lambda url: httpx.get(url, timeout=5),
    "aiohttp": lambda url: asyncio.run(with_aiohttp(url)),
    "urllib": lambda url: urllib.request.urlopen(url, timeout=5).read(),
    "impit": lambda url: impit.get(url, timeout=5),
}
for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
    os.environ.pop(name, None)
    os.environ.pop(name.upper(), None)
port = listen()
os.environ["http_proxy"] = os.environ["HTTP_PROXY"] = f"http://127.0.0.1:{listen()}"


def row(first, cells):
    widths = (10, 8, 9, 8, 8)
    print((f"{first:<19}" + "".join(f"{cell:<{width}}" for cell, width in zip(cells, widths, strict=True))).rstrip())


row("NO_PROXY", CLIENTS)
for no_proxy in ("", "127.0.0.1", "127.0.0.0/8", "*", "127.0.0.1:PORT", ".0.0.1"):
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = no_proxy.replace("PORT", str(port))
    cells = []
    for get in CLIENTS.values():
        went.clear()
        get(f"http://127.0.0.1:{port}/")
        cells.append(went[0])
    row(no_proxy or "(empty)", cells)
PY
timeout 60 venv/bin/python probe.py | tee seen

diff -u <(sed -n 's/^#   > //p' "$self") seen || { echo "CHANGED: NO_PROXY is read otherwise now" >&2; exit 1; }
