"""Variables that Faust reads from the environment, and which are none of this project's settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, MutableMapping

_PREFIXES = ("FAUST_", "F_")
#: What Faust reads as soon as it is imported, and what its command line goes by.
_NAMES = (
    "BLOCKING_TIMEOUT",
    "CONSOLE_PORT",
    "DATADIR",
    "DEBUG",
    "FORCE_BLOCKING_TIMEOUT",
    "F_WEB_BIND",
    "LOOP",
    "STRICT",
    "WEB_PORT",
    "WEB_TRANSPORT",
    "WORKDIR",
)


def foreign(environment: Mapping[str, str]) -> Iterator[str]:
    """The variables that are set of those that Faust reads by itself."""
    yield from (name for prefix in _PREFIXES for part in _NAMES if (name := prefix + part) in environment)


def remove_foreign(environment: MutableMapping[str, str]) -> None:
    """Take out of an environment what Faust would read. It must not have been imported yet."""
    for name in list(foreign(environment)):
        del environment[name]
