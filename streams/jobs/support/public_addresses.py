"""Connections to public addresses only: jobs must not reach into the worker's own network (SSRF)."""

from __future__ import annotations

import errno
import socket
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address

import aiohttp
from aiohttp import AddrInfoType

#: RFC 6052: how an IPv6-only network reaches IPv4 addresses.
_NAT64 = IPv6Network("64:ff9b::/96")


class AddressNotPublic(OSError):
    """A host's address is not public, so no connection was made."""

    def __init__(self) -> None:
        super().__init__(errno.EACCES, "the address is not public")


def is_public(address: IPv4Address | IPv6Address) -> bool:
    """Whether an address belongs to the internet at large, also when it wraps an IPv4 address."""
    if isinstance(address, IPv6Address):
        inner = _wrapped(address)
        if inner is not None:
            return is_public(inner)
        if address.is_site_local or address.teredo is not None:
            return False
    return address.is_global and not address.is_multicast and not address.is_reserved


def _wrapped(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFF_FFFF)
    return address.ipv4_mapped or address.sixtofour


def public_socket(info: AddrInfoType) -> socket.socket:
    """The socket for an address that is about to be connected to; raises AddressNotPublic.

    This is the last step before the connection: whatever the host was, a literal or a name that resolves differently
    every time, the address checked is the address used.
    """
    family, kind, protocol, _, address = info
    if not is_public(ip_address(str(address[0]))):
        raise AddressNotPublic
    return socket.socket(family, kind, protocol)


def connector(*, allow_private: bool) -> aiohttp.TCPConnector:
    """A connector for one request."""
    factory = None if allow_private else public_socket
    return aiohttp.TCPConnector(socket_factory=factory, force_close=True, use_dns_cache=False)
