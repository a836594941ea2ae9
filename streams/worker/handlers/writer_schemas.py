"""Waits for writers' schemas: a registry that is down must not turn good jobs into dead letters."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from schemas.codec import Codec
from schemas.errors import RegistryUnavailable, UnknownSchema

logger = logging.getLogger(__name__)

#: Seconds before the schema registry is asked again.
_RETRY_AFTER = 1.0


async def await_schema(codec: Codec, schema_id: int, who: str, wanted: Callable[[], bool]) -> None:
    """Return when a schema is at hand, or the registry knows none of that id: decoding says so again.

    who     waits for it, for the log
    wanted  whether it still does
    """
    while wanted():
        try:
            await codec.load_schema(schema_id)
        except UnknownSchema:
            return
        except RegistryUnavailable as error:
            logger.error(
                "%s waits for the schema registry (schema %d): %s; asking again in %g s",
                who, schema_id, error, _RETRY_AFTER,
            )  # fmt: skip
            await asyncio.sleep(_RETRY_AFTER)
        else:
            return
