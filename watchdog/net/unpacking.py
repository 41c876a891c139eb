"""The body of an answer, unpacked step by step and never beyond a bound.

What a few bytes unpack to may be a thousand times as much, and packed twice a million times. So the bound holds for
what has been unpacked, no step goes far beyond it, and what is packed more than once is not taken.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncGenerator
from contextlib import aclosing
from io import SEEK_END, BytesIO

import httpx

#: What is unpacked at once, before others get their turn of the event loop.
_STEP_BYTES = 256 * 1024
#: For zlib: a head of gzip; a head of zlib; none (some servers call that deflate too).
_GZIP, _ZLIB, _BARE = zlib.MAX_WBITS | 16, zlib.MAX_WBITS, -zlib.MAX_WBITS
_WAYS = {"gzip": _GZIP, "x-gzip": _GZIP, "deflate": _ZLIB}


async def read_body(response: httpx.Response, request: httpx.Request, most: int) -> bytes:
    """The whole body of an answer that comes off the wire, unpacked.

    Raises `httpx.DecodingError` if it has more than `most` bytes, packed or not, or is not as its header says.
    """
    first, whole, size = b"", None, 0
    async with aclosing(_pieces(response, request, most)) as pieces:
        async for piece in pieces:
            size += len(piece)
            if size > most:
                raise _too_large(request)
            if not first:
                first = piece
                continue
            if whole is None:
                # It gives its content away without a copy, unlike a list of pieces that is joined.
                whole = BytesIO(first)
                whole.seek(0, SEEK_END)
            whole.write(piece)
    return first if whole is None else whole.getvalue()


async def _pieces(response: httpx.Response, request: httpx.Request, most: int) -> AsyncGenerator[bytes, None]:
    way = _way(response, request)
    chunks = response.aiter_raw()
    if way is None:
        async for chunk in chunks:
            yield chunk
        return
    size, unpacker = 0, None
    async for chunk in chunks:
        size += len(chunk)
        if size > most:
            raise _too_large(request)
        if unpacker is None:
            unpacker = zlib.decompressobj(_BARE if way == _ZLIB and not _has_head_of_zlib(chunk) else way)
        try:
            yield unpacker.decompress(chunk, _STEP_BYTES)
            while unpacker.unconsumed_tail:
                await asyncio.sleep(0)
                yield unpacker.decompress(unpacker.unconsumed_tail, _STEP_BYTES)
        except zlib.error as error:
            raise httpx.DecodingError(str(error), request=request) from error


def _has_head_of_zlib(chunk: bytes) -> bool:
    """Whether it begins with method 8 and a window of at most 32 KiB (RFC 1950, section 2.2)."""
    return chunk[0] & 0x8F == 0x08


def _way(response: httpx.Response, request: httpx.Request) -> int | None:
    """How the body is packed; None: not at all, or in a way that nobody asked for, which its content will show."""
    words = [word.strip().lower() for word in response.headers.get("Content-Encoding", "").split(",")]
    found = [word for word in words if word not in ("", "identity")]
    if len(found) > 1:
        raise httpx.DecodingError(f"it is packed {len(found)} times over, which nobody asked for", request=request)
    return _WAYS.get(found[0]) if found else None


def _too_large(request: httpx.Request) -> httpx.DecodingError:
    return httpx.DecodingError("the answer is larger than any documented one", request=request)
