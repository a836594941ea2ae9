"""E-mail addresses, checked before a mail server sees them."""

from __future__ import annotations

import re
from email.errors import MessageError
from email.headerregistry import Address

from streams.jobs.support.errors import Refused

_NAMED = re.compile(r'\s*"?(?P<name>[^<>"]*?)"?\s*<(?P<spec>[^<>]*)>\s*\Z')
_DOMAIN = re.compile(r"(?!-)[^\s.@\[\]<>(),;:\\\"]+(\.[^\s.@\[\]<>(),;:\\\"]+)*\Z")
#: RFC 5321, 4.5.3.1.3.
_LONGEST = 254


def parse_address(text: str, where: str) -> Address:
    """Parse `ada@example.com` or `Ada Lovelace <ada@example.com>`; raises Refused, which names the place in the job."""
    named = _NAMED.match(text)
    name, spec = (named["name"], named["spec"]) if named else ("", text.strip())
    try:
        address = Address(display_name=name, addr_spec=spec)
    except (ValueError, IndexError, MessageError) as error:
        raise _refused(text, where) from error
    if not address.username or not _DOMAIN.match(address.domain) or len(spec) > _LONGEST or not spec.isprintable():
        raise _refused(text, where)
    return address


def parse_addresses(texts: list[str], where: str) -> tuple[Address, ...]:
    """Parse the addresses of a list; raises Refused when one is wrong or there are none."""
    if not texts:
        raise Refused(f"{where} is empty: name at least one recipient")
    return tuple(parse_address(text, f"{where}[{index}]") for index, text in enumerate(texts))


def _refused(text: str, where: str) -> Refused:
    return Refused(
        f"{where} is no e-mail address: {text[:100]!r}; expected 'ada@example.com' or 'Ada Lovelace <ada@example.com>'"
    )
