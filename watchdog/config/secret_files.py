"""Files that hold a secret: how a token is read from one, and who else may.

No message repeats what could be a token.
"""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections.abc import Collection, Iterator
from pathlib import Path

from pydantic import SecretStr

from watchdog.errors import ConfigurationError
from watchdog.text import shown
from watchdog.text.files import read_bytes

MAX_TOKEN_BYTES = 64 * 1024
_CURE = "write the token, and nothing else, into that file, readable by this user"
#: Where container engines mount secrets, for this container alone, with a mode that is not ours to choose (Docker
#: gives 0444).
_CONTAINER_SECRETS = (Path("/run/secrets"), Path("/var/run/secrets"))
#: What the kubelet puts beside the files of a mounted Secret; their mode is set in the manifest (0644 unless told).
_KUBELET_LINK = "..data"
#: Letters and digits in one piece, both, so many: no file is called that, and tokens are (Apify: 36, lobstr: 40).
_LIKE_A_TOKEN = re.compile(r"(?=[A-Za-z]*[0-9])(?=[0-9]*[A-Za-z])[A-Za-z0-9]{20,}")
_QUOTES = "\"'`"
#: A line of a file of variables, and what stands for a variable: no token looks like these.
_ASSIGNMENT = re.compile(r"(export\s+)?[A-Z][A-Z0-9_]{2,}[ \t]*=[ \t]*[^=\s]")
_REFERENCE = re.compile(
    r"\$\{[^{}]*\}|\$[A-Za-z_][A-Za-z0-9_]*|\$\(.*\)|\{\{.*\}\}|%[A-Za-z_][A-Za-z0-9_]*%", re.DOTALL
)


class QuotedToken(ValueError):
    """A token in quotation marks, which would count as a part of it. Its sentence goes on after "the token in ..."."""


def read_token(path: Path, prefixes: Collection[str] = ()) -> SecretStr:
    """The token in a file. ConfigurationError names the file in a sentence, unless that may be a token itself, by its
    look or as `prefixes` say how those begin."""
    # What is caught is not chained: it may repeat a token that was written in place of the path.
    try:
        return clean_token(read_bytes(path, MAX_TOKEN_BYTES).removeprefix(b"\xef\xbb\xbf"))
    except ConfigurationError as error:
        fault = f"cannot read the token file{_named(path, prefixes)}: {error.problems[0].message}"
    except QuotedToken as error:
        raise ConfigurationError(f"the token in the file{_named(path, prefixes)} {error}") from None
    except ValueError as error:
        fault = f"the token file{_named(path, prefixes)} {error}"
    raise ConfigurationError(f"{fault}; {_CURE}")


def clean_token(data: bytes) -> SecretStr:
    """The token without white space around it. The sentences of the ValueError never repeat it."""
    token = data.strip()
    if not token:
        raise ValueError("is empty")
    text = token.decode("utf-8", "replace")
    if text[0] in _QUOTES or text[-1] in _QUOTES:
        raise QuotedToken("is in quotation marks. Remove them (docker's --env-file keeps them).")
    if _ASSIGNMENT.match(text):
        raise ValueError("holds NAME=..., as a file of variables does: leave out the name and the '='")
    if _REFERENCE.fullmatch(text):
        raise ValueError("holds the name of a variable that nothing has replaced, such as ${TOKEN}")
    if any(byte <= 0x20 or byte >= 0x7F for byte in token):
        raise ValueError("holds white space, control or non-ASCII characters, which no token has")
    return SecretStr(text)


def _named(path: Path, prefixes: Collection[str]) -> str:
    """The path, unless its last part is a token that was pasted in place of one."""
    is_token = _LIKE_A_TOKEN.search(path.name) is not None or any(prefix in path.name for prefix in prefixes)
    if is_token and not os.path.lexists(path):
        return ""
    return f" {shown(str(path), limit=1000)}"


def exposure(path: Path, key: str) -> Iterator[str]:
    """A sentence if other users of this machine may read or write the file that `key` names.

    Files whose mode is made outside are left alone: the secrets of a container, which only that container sees. A group
    that may read a file of another owner, or of root, is how a service gets at it, and is no mistake.
    """
    try:
        found = path.stat()
    except OSError:
        return  # which is said where the file is used
    if not stat.S_ISREG(found.st_mode) or _is_made_outside(path):
        return
    mode = found.st_mode
    is_ours = found.st_uid == os.geteuid()
    is_for_a_service = not is_ours or (found.st_uid == 0 and found.st_gid != 0)
    may_write, may_read = mode & 0o022, mode & (0o004 if is_for_a_service else 0o044)
    if not (may_write or may_read):
        return
    what = " and ".join(word for word, may in (("read", may_read), ("changed", may_write)) if may)
    cure = f"chmod 600 {shlex.quote(str(path))}"
    if not is_ours:
        cure = f"chown it to the user that runs this, and {cure}"
    yield (
        f"{key}: {shown(str(path), limit=1000)} can be {what} by other users of this machine "
        f"(mode {stat.S_IMODE(mode):04o}): {cure}"
    )


def _is_made_outside(path: Path) -> bool:
    there = (path.absolute(), path.resolve())
    if any(each.is_relative_to(folder) for each in there for folder in _CONTAINER_SECRETS):
        return True
    return (path.parent / _KUBELET_LINK).is_symlink()
