#!/usr/bin/env bash
# Crawlee's `max_requests_per_crawl=10` opens 910 pages when the site blocks: the cap counts URLs that are done with, not requests.
#
# Guess:      "maximum number of pages to open during a crawl", which "may slightly exceed this value" from concurrency: with
#             max_requests_per_crawl=10 and one request at a time, 10 pages; with retries perhaps 10 x 4.
# Behaviour:  a URL counts when it is finished or finally given up. Every attempt before that is free, and retries go to the end of the
#             queue, so with 100 start URLs all 100 are opened again and again before the tenth is given up: 310 requests when every
#             answer is 500 (3 rounds of 100, then 10), 910 when it is 403 (session rotations have their own limit of 10 and
#             do not count as retries). 404 is not retried: 10.
# Versions:   crawlee 1.11.0 (PyPI), HttpCrawler, concurrency 1.
# Matters:    this cap is what people set to keep an Actor cheap, and it fails just when a crawl goes wrong: requests, proxy
#             traffic and compute are spent, results are not. A budget must be held from outside, on what the platform meters,
#             not on results or on the crawler's own counter.
# Output seen (the script compares with these lines):
#   > answer  max_requests_per_crawl  HTTP requests  different URLs opened  requests_total in the statistics
#   > 200     10                      10             10                     10
#   > 404     10                      10             10                     10
#   > 500     10                      310            100                    10
#   > 403     10                      910            100                    10
set -euo pipefail
self=$(realpath "$0")
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$tmp"

python3 -m venv venv
venv/bin/pip install -qq --disable-pip-version-check crawlee==1.11.0

cat > probe.py <<'PY'
import asyncio
import logging
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from crawlee import ConcurrencySettings
from crawlee.crawlers import HttpCrawler
from crawlee.storage_clients import MemoryStorageClient

logging.disable(logging.CRITICAL)
opened = []


class Site(BaseHTTPRequestHandler):
    """/CODE/NUMBER answers with CODE."""

    def do_GET(self):
        opened.append(self.path)
        body = b"<html>a page</html>"
        self.send_response(int(self.path.split("/")[1]))
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


async def crawl(code, port):
    opened.clear()
    one_at_a_time = ConcurrencySettings(max_concurrency=1, desired_concurrency=1)
    crawler = HttpCrawler(max_requests_per_crawl=10, concurrency_settings=one_at_a_time, configure_logging=False,
                          storage_client=MemoryStorageClient())

    @crawler.router.default_handler
    async def handle(context):
        pass

    statistics = await crawler.run([f"http://127.0.0.1:{port}/{code}/{number}" for number in range(100)])
    print(f"{code:<7} {10:<23} {len(opened):<14} {len(set(opened)):<22} {statistics.requests_total}", flush=True)


server = ThreadingHTTPServer(("127.0.0.1", 0), Site)
threading.Thread(target=server.serve_forever, daemon=True).start()
asyncio.run(crawl(int(sys.argv[1]), server.server_port))
PY
{
  echo "answer  max_requests_per_crawl  HTTP requests  different URLs opened  requests_total in the statistics"
  for code in 200 404 500 403; do timeout 60 venv/bin/python probe.py "$code"; done
} | tee seen

diff -u <(sed -n 's/^#   > //p' "$self") seen || { echo "CHANGED: crawlee's cap counts otherwise now" >&2; exit 1; }
