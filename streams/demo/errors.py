"""Why the demonstration ends early.

DemoFailed
└── Interrupted    somebody stopped it before the examples were done
"""

from __future__ import annotations


class DemoFailed(Exception):
    """Something did not happen as it should; the message says what, and where to look."""


class Interrupted(DemoFailed):
    """Somebody stopped the demonstration before the examples were done."""
