"""One guarded HTTP POST."""

from __future__ import annotations

import re
from collections.abc import Mapping

import aiohttp
from yarl import URL

from streams.jobs.support.errors import DeliveryRejected, ReceiverGone, Refused
from streams.jobs.support.public_addresses import AddressNotPublic, connector

_SHOWN = 200
#: A character of UTF-8 has four bytes at most.
_READ = _SHOWN * 4

_GONE = 410

#: Parts of an address that are shorter are no secret, and are common words. Characters.
_SECRET = 6


def checked_url(text: str) -> URL:
    """Parse the address of a webhook; raises Refused unless it is http or https with a host."""
    try:
        url = URL(text)
        if url.scheme in {"http", "https"} and url.host and url.port:
            return url
    except ValueError:
        pass
    # Not shown: what is wrong with it does not say which part of it is secret.
    raise Refused(f"url must be http:// or https:// with a host; this one is of {len(text)} characters{_scheme(text)}")


def _scheme(text: str) -> str:
    found = re.match(r"[A-Za-z][A-Za-z0-9+.-]{0,19}(?=://)", text)
    return f" and begins with {found[0]}://" if found else ""


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
                said = _redacted(f"{response.reason}: {beginning}", url)
                raise kind(f"{_shown(url)} answered {response.status} {said}")
            return response.status
    except aiohttp.ClientConnectorError as error:
        if isinstance(error.os_error, AddressNotPublic):
            raise Refused(
                f"{url.host} has no public address; STREAMS_WEBHOOK_ALLOW_PRIVATE=true allows deliveries inside the"
                " network"
            ) from None
        raise
    except aiohttp.InvalidURL as error:
        raise Refused(f"url of {_shown(url)} cannot be used: {_redacted(error.description or '', url)}") from None
    except aiohttp.ClientResponseError as error:
        # Its own words hold the whole address.
        said = _redacted(error.message, url)
        raise DeliveryRejected(f"{_shown(url)} gave an answer that is no HTTP: {said}") from None
    except TimeoutError:
        raise DeliveryRejected(f"{_shown(url)} did not answer within {timeout:g} s") from None


async def _beginning(content: aiohttp.StreamReader) -> str:
    read = b""
    while len(read) < _READ and (piece := await content.read(_READ - len(read))):
        read += piece
    text = read.decode("utf-8", "replace")[:_SHOWN]
    return "".join(character if character.isprintable() else " " for character in text)


def _shown(url: URL) -> str:
    """Scheme, host and port: user, password and query may be secret, and often the path is (hooks.slack.com)."""
    return str(url.origin())


def _redacted(text: str, url: URL) -> str:
    """What a receiver says, without the parts of its address that may be secret: some repeat them."""
    parts = {url.path_qs, url.raw_path_qs, url.path, url.raw_path, url.query_string, url.raw_query_string, url.fragment}
    parts |= {url.user or "", url.password or "", *url.query.values(), *url.parts}
    for part in sorted(parts, key=len, reverse=True):
        if len(part) >= _SECRET:
            text = text.replace(part, "...")
    return text
