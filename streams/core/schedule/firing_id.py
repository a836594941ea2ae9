"""The id of a firing's job, which follows from its schedule and its nominal time.

So a firing that is published twice is told by its id, whoever published it: two owners, a repeated request, a tool.
"""

from __future__ import annotations

from uuid import UUID, uuid5

#: The namespace of all firings of this project. Another one would give every firing another id.
NAMESPACE = UUID("d5551fa9-f89a-4980-a04c-593950c75e8a")


def firing_id(schedule_id: str, nominal_ms: int) -> str:
    """The job id of a firing: of a schedule and a nominal time in epoch milliseconds (UUID version 5, RFC 9562)."""
    # No id of a schedule has an @ in it, so no two firings have the same name.
    return str(uuid5(NAMESPACE, f"{schedule_id}@{nominal_ms}"))
