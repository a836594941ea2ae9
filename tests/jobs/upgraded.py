"""The failing queue, in a process that notes which version of the worker it is of."""

from __future__ import annotations

import os
from pathlib import Path

import streams
from tests import ledger, released
from tests.jobs.failing import failing

__all__ = ["failing"]

released.note(Path(os.environ[ledger.DIRECTORY]).parent, streams.__file__ or "")
