"""A job's id where only plain text may stand: mail headers, HTTP headers."""

from __future__ import annotations

import hashlib
from urllib.parse import quote

_LONGEST = 128


def plain_id(job_id: str) -> str:
    """The id as up to 128 letters, digits and `-_~%`; a UUID stays as it is, and different ids stay different."""
    # The dot is escaped, too: it separates the parts of what a webhook's signature covers.
    quoted = quote(job_id, safe="").replace(".", "%2E")
    return quoted if len(quoted) <= _LONGEST else hashlib.sha256(job_id.encode()).hexdigest()
