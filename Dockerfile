# The image of budget-watchdog. How to build and run it: docs/container.md
#
# Everything is in exec form: neither the build nor the image needs a shell. (So the steps cannot be joined with &&.)
# hadolint global ignore=DL3059

# A build takes the newest patch release of its base; for the same bytes every time, give --build-arg BASE=...@sha256:...
ARG BASE=docker.io/library/python:3.12-slim-bookworm

# --- an environment with the daemon and what it needs, and nothing else -----------------------------------------------
FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /build

# pip and the builder of the wheel stay behind in /opt/tools.
RUN ["python3", "-m", "venv", "/opt/tools"]
RUN ["python3", "-m", "venv", "--without-pip", "/opt/budget-watchdog"]

# Before the code, so that a change of code alone fetches nothing.
COPY requirements/runtime.txt deploy/container/build-requirements.txt ./
RUN ["/opt/tools/bin/pip", "install", "--require-hashes", "-r", "build-requirements.txt"]
RUN ["/opt/tools/bin/pip", "--python", "/opt/budget-watchdog/bin/python", "install", \
     "--no-compile", "--require-hashes", "-r", "runtime.txt"]

COPY pyproject.toml README.md LICENSE ./
COPY watchdog ./watchdog
RUN ["/opt/tools/bin/pip", "wheel", "--no-build-isolation", "--no-deps", "--no-index", "--wheel-dir", "dist", "."]
RUN ["/opt/tools/bin/pip", "--python", "/opt/budget-watchdog/bin/python", "install", \
     "--no-compile", "--no-deps", "--no-index", "--find-links", "dist", "budget-watchdog"]
COPY deploy/container/entrypoint.py /opt/budget-watchdog/

# Compiled here, since nothing can be written there; by unchecked hash, so that the bytecode stays good whatever a cache
# or a registry does to the times of files.
RUN ["python3", "-m", "compileall", "-f", "-q", "-j", "0", "--invalidation-mode", "unchecked-hash", \
     "/opt/budget-watchdog/lib"]
RUN ["python3", "-c", "import os; os.makedirs('state/budget-watchdog', 0o700)"]

# --- the image --------------------------------------------------------------------------------------------------------
FROM ${BASE}
LABEL org.opencontainers.image.title="budget-watchdog" \
      org.opencontainers.image.description="Stops runs on paid scraping platforms before they eat the budget" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.vendor="The budget-watchdog authors"

# The base brings the standard library without its bytecode, which every start and every health check would make anew.
RUN ["python3", "-c", "import compileall, py_compile, re, sysconfig; compileall.compile_dir(\
sysconfig.get_path('stdlib'), quiet=1, invalidation_mode=py_compile.PycInvalidationMode.UNCHECKED_HASH, rx=re.compile(\
'/(site-packages|dist-packages|test|tests|idlelib|lib2to3|tkinter|turtledemo|ensurepip|pydoc_data|config-[^/]*)/'))"]

COPY --from=build /opt/budget-watchdog /opt/budget-watchdog
# Empty, and the daemon's own: a new volume takes owner and mode from here.
COPY --from=build --chown=65532:65532 /build/state/ /var/lib/

# STATE_DIRECTORY is where the ledger goes unless the configuration says otherwise, SQLITE_TMPDIR where SQLite sorts what
# does not fit into memory. The address is for everybody in the container's network; without an admin token that is
# metrics and health alone.
ENV PATH="/opt/budget-watchdog/bin:${PATH}" \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    STATE_DIRECTORY=/var/lib/budget-watchdog \
    SQLITE_TMPDIR=/var/lib/budget-watchdog \
    BUDGET_WATCHDOG_LISTEN=0.0.0.0:9877

# Where config.yaml and rules/ are looked for.
WORKDIR /etc/budget-watchdog
VOLUME ["/var/lib/budget-watchdog"]
EXPOSE 9877
USER 65532:65532

# The process, not the platforms: /healthz. A platform that is down must not get the watchdog killed.
HEALTHCHECK --interval=30s --timeout=5s --start-period=30s --retries=3 CMD ["budget-watchdog", "healthcheck"]
# As the first process it needs no init beside it: it starts no others, and hears SIGTERM from its first moment on.
ENTRYPOINT ["python", "/opt/budget-watchdog/entrypoint.py"]
CMD ["run"]
