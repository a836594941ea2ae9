"""Addresses and texts that become part of a mail, checked before a mail library or a server sees them."""

from __future__ import annotations

import re
import unicodedata
from email.errors import MessageError
from email.headerregistry import Address

from streams.jobs.support.errors import Refused

#: Categories of Unicode: controls (C0, C1, DEL), halves of surrogate pairs, separators of lines and of paragraphs.
_NO_TEXT = frozenset({"Cc", "Cs", "Zl", "Zp"})
#: Controls of writing direction: with them a name or an address is read as another one.
_DIRECTIONS = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
#: RFC 2047's `=?charset?encoding?text?=`. Mail libraries decode what looks like it, line ends included.
_ENCODED_WORD = re.compile(r"=\?[^?]*\?[^?]*\?")
#: NUL, which no mail may hold (RFC 5321, 4.5.2), and halves of surrogate pairs.
_NO_BODY = re.compile("[\0\ud800-\udfff]")


def one_line(text: str, where: str, longest: int) -> str:
    """The text, if a header can hold it as it is; raises Refused, which names the place in the job.

    longest  characters
    """
    if any(_breaks(character) for character in text):
        raise Refused(f"{where} must be one line of text, without controls, not {text[:100]!r}")
    if _ENCODED_WORD.search(text):
        raise Refused(f"{where} must be the text itself, not encoded as a header (=?...?=): {text[:100]!r}")
    if len(text) > longest:
        raise Refused(f"{where} must be of {longest} characters or fewer, not {len(text)}")
    return text


def body_text(text: str, where: str) -> str:
    """The text, if a mail can hold it; raises Refused, which names the place in the job."""
    wrong = _NO_BODY.search(text)
    if wrong is not None:
        raise Refused(f"{where} must be text, without {wrong[0]!r}")
    return text


def _breaks(character: str) -> bool:
    return character in _DIRECTIONS or (character != "\t" and unicodedata.category(character) in _NO_TEXT)


_NAMED = re.compile(r'\s*"?(?P<name>[^<>"]*?)"?\s*<(?P<spec>[^<>]*)>\s*\Z')


_DOMAIN = re.compile(r"(?!-)[^\s.@\[\]<>(),;:\\\"]+(\.[^\s.@\[\]<>(),;:\\\"]+)*\Z")


#: RFC 5321, 4.5.3.1.3.
_LONGEST_ADDRESS = 254


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
    if (
        not address.username
        or not _DOMAIN.match(address.domain)
        or len(spec) > _LONGEST_ADDRESS
        or not spec.isprintable()
    ):
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
