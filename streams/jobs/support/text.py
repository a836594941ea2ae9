"""Text that becomes part of a mail, checked before a mail library or a server sees it."""

from __future__ import annotations

import re
import unicodedata

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
