"""/metrics, /healthz and /registrations, to be read and nothing else. On loopback unless somebody says otherwise."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

REQUEST_S = 5.0  # for a request to be whole
MAX_REQUEST = 8192  # bytes
Page = tuple[int, str, str]  # status, content type, text

_PHRASES = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
PLAIN = "text/plain; charset=utf-8"


class Http:
    """Serves pages: path -> a function that makes it."""

    def __init__(self, pages: dict[str, Callable[[], Page]]) -> None:
        self._pages = pages
        self._server: asyncio.Server | None = None

    async def listen(self, ip: str, port: int) -> tuple[str, int]:
        """Serve; return the address bound. Raises OSError."""
        self._server = await asyncio.start_server(self._serve, ip, port, limit=MAX_REQUEST)
        host, bound = self._server.sockets[0].getsockname()[:2]
        return str(host), int(bound)

    async def close(self) -> None:
        """Serve no more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One request a connection: whoever asks is a scraper or a person, not a browser under load."""
        try:
            async with asyncio.timeout(REQUEST_S):
                head = await reader.readuntil(b"\r\n\r\n")
                status, kind, text = self._page(head)
                body = text.encode()
                writer.write(
                    f"HTTP/1.1 {status} {_PHRASES[status]}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n"
                    "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\nConnection: close\r\n\r\n".encode()
                    + (b"" if head.startswith(b"HEAD ") else body)
                )
                await writer.drain()
        except TimeoutError:
            writer.transport.abort()  # close() would wait, as long as he likes, for him to read what is queued
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # nobody is left to tell
        finally:
            writer.close()

    def _page(self, head: bytes) -> Page:
        words = head.partition(b"\r\n")[0].split(b" ")
        if len(words) != 3:
            return 400, PLAIN, "bad request\n"
        if words[0] not in {b"GET", b"HEAD"}:
            return 405, PLAIN, "read-only\n"
        page = self._pages.get(words[1].partition(b"?")[0].decode("latin-1"))
        return page() if page else (404, PLAIN, f"there are {', '.join(self._pages)}\n")
