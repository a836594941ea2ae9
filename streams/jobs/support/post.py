"""One guarded HTTP POST."""

from __future__ import annotations

from collections.abc import Mapping

import aiohttp
from yarl import URL

from streams.jobs.support.errors import DeliveryRejected, ReceiverGone, Refused
from streams.jobs.support.guard import AddressNotPublic, connector

_SHOWN = 200
#: A character of UTF-8 has four bytes at most.
_READ = _SHOWN * 4

_GONE = 410


def checked_url(text: str) -> URL:
    """Parse the address of a webhook; raises Refused unless it is http or https with a host."""
    try:
        url = URL(text)
        if url.scheme in {"http", "https"} and url.host and url.port:
            return url
    except ValueError:
        pass
    raise Refused(f"url must be http:// or https:// with a host, not {text[:200]!r}")


async def post(url: URL, headers: Mapping[str, str], body: bytes, *, timeout: float, allow_private: bool) -> int:
    """Post a body and return the status, 200 to 299. Redirects are not followed, no proxy is used.

    timeout is in seconds, for everything together. Raises DeliveryRejected for other statuses and when time is up
    (ReceiverGone for 410), Refused for an address that is not public, and aiohttp.ClientError when there is no
    connection.
    """
    try:
        async with (
            aiohttp.ClientSession(
                connector=connector(allow_private=allow_private),
                timeout=aiohttp.ClientTimeout(total=timeout),
                auto_decompress=False,
                cookie_jar=aiohttp.DummyCookieJar(),
            ) as session,
            session.post(url, data=body, headers=headers, allow_redirects=False) as response,
        ):
            if not 200 <= response.status < 300:
                beginning = await _beginning(response.content)
                kind = ReceiverGone if response.status == _GONE else DeliveryRejected
                raise kind(f"{_shown(url)} answered {response.status} {response.reason}: {beginning}")
            return response.status
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, AddressNotPublic):
            raise Refused(
                f"{url.host} has no public address; STREAMS_WEBHOOK_ALLOW_PRIVATE=true allows deliveries inside the"
                " network"
            ) from None
        raise
    except aiohttp.InvalidURL as error:
        raise Refused(f"url cannot be used: {error}") from None
    except TimeoutError:
        raise DeliveryRejected(f"{_shown(url)} did not answer within {timeout:g} s") from None


async def _beginning(content: aiohttp.StreamReader) -> str:
    read = b""
    while len(read) < _READ and (piece := await content.read(_READ - len(read))):
        read += piece
    text = read.decode("utf-8", "replace")[:_SHOWN]
    return "".join(character if character.isprintable() else " " for character in text)


def _shown(url: URL) -> str:
    # User, password and query may hold secrets.
    return str(url.origin().with_path(url.path))
