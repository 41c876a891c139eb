"""Small files read whole, and in plain words why one cannot be."""

from __future__ import annotations

import errno
from pathlib import Path

from watchdog.errors import ConfigurationError, Problem

MAX_BYTES = 4 * 1024 * 1024


def read_bytes(path: Path, limit: int = MAX_BYTES) -> bytes:
    """The content of a small file; ConfigurationError says in a sentence why it cannot be had."""
    try:
        if path.is_fifo() or path.is_socket():
            # Reading it would wait for ever.
            raise ConfigurationError([Problem(str(path), 0, 0, "is not a regular file")])
        with path.open("rb") as file:
            data = file.read(limit + 1)
    except (OSError, ValueError) as error:
        is_dangling = isinstance(error, FileNotFoundError) and path.is_symlink()
        sentence = "is a link to nothing" if is_dangling else os_sentence(error)
        raise ConfigurationError([Problem(str(path), 0, 0, sentence)]) from None
    if len(data) > limit:
        raise ConfigurationError([Problem(str(path), 0, 0, f"is larger than {limit} bytes")])
    return data


_OS_SENTENCES = {
    errno.ENOENT: "no such file or folder",
    errno.EISDIR: "is a folder, not a file",
    errno.EACCES: "may not be read by this user (permission denied)",
    errno.EPERM: "may not be read by this user (permission denied)",
    errno.ENOTDIR: "a part of the path is not a folder",
    errno.ELOOP: "its symbolic links run in a circle",
    errno.ENAMETOOLONG: "the name is too long",
}


def os_sentence(error: OSError | ValueError) -> str:
    """Why the operating system would not give us a file, in plain words."""
    if isinstance(error, OSError):
        return _OS_SENTENCES.get(error.errno or 0, f"cannot be read: {error.strerror or type(error).__name__}")
    return "is not a possible file name"
