"""E-mail addresses, checked before a mail server sees them."""

from __future__ import annotations

import re
from email.errors import MessageError
from email.headerregistry import Address

from streams.jobs.support.errors import Refused
from streams.jobs.support.text import one_line

_NAMED = re.compile(r'\s*"?(?P<name>[^<>"]*?)"?\s*<(?P<spec>[^<>]*)>\s*\Z')
_DOMAIN = re.compile(r"(?!-)[^\s.@\[\]<>(),;:\\\"]+(\.[^\s.@\[\]<>(),;:\\\"]+)*\Z")
#: RFC 5321, 4.5.3.1.3.
_LONGEST = 254
#: A name that is longer could not be written into a line of a mail. Characters.
_LONGEST_WITH_NAME = 600


def parse_address(text: str, where: str) -> Address:
    """Parse `ada@example.com` or `Ada Lovelace <ada@example.com>`; raises Refused, which names the place in the job."""
    one_line(text, where, _LONGEST_WITH_NAME)
    named = _NAMED.match(text)
    name, spec = (named["name"], named["spec"]) if named else ("", text.strip())
    try:
        address = Address(display_name=name, addr_spec=spec)
    except (ValueError, IndexError, MessageError) as error:
        raise _refused(text, where) from error
    if not address.username or not _DOMAIN.match(address.domain) or len(spec) > _LONGEST or not spec.isprintable():
        raise _refused(text, where)
    return _ascii(address, text, where)


def _ascii(address: Address, text: str, where: str) -> Address:
    """The address with its domain as mail servers know it: bücher.example is xn--bcher-kva.example."""
    if address.domain.isascii():
        return address
    try:
        domain = address.domain.encode("idna").decode()
        return Address(display_name=address.display_name, username=address.username, domain=domain)
    except (ValueError, IndexError, MessageError) as error:
        raise _refused(text, where) from error


def parse_addresses(texts: list[str], where: str) -> tuple[Address, ...]:
    """Parse the addresses of a list; raises Refused when one is wrong or there are none."""
    if not texts:
        raise Refused(f"{where} is empty: name at least one recipient")
    return tuple(parse_address(text, f"{where}[{index}]") for index, text in enumerate(texts))


def _refused(text: str, where: str) -> Refused:
    return Refused(
        f"{where} is no e-mail address: {text[:100]!r}; expected 'ada@example.com' or 'Ada Lovelace <ada@example.com>'"
    )
