"""Log lines of pool processes: sent to the worker, whose log shows them in its own format.

Logging never waits and never fails, whatever becomes of the worker: lines that it does not take in time are dropped
beyond a megabyte, and the next that goes through says how many.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import socket
import sys
from typing import Any

from streams.worker.process_pool.frames import Kind, frame

#: Bytes of lines that may wait for the worker, and of one line.
_WAITING = 1_000_000
_LONGEST = 64_000

_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}
_SENT = ("name", "levelno", "levelname", "pathname", "filename", "module", "lineno", "funcName", "created", "msecs",
         "relativeCreated", "thread", "threadName", "process", "processName")  # fmt: skip

_plain = logging.Formatter()


class ToWorker(logging.Handler):
    """Sends lines, and everything else, through a process's socket to its worker."""

    def __init__(self, connection: socket.socket) -> None:
        super().__init__()
        self._connection = connection
        self._process = os.getpid()
        self._waiting = bytearray()
        self._dropped = 0

    def emit(self, record: logging.LogRecord) -> None:
        """Send a line, or keep it for the next time; called with the handler's lock held."""
        if os.getpid() != self._process:
            # A fork of the handler's: the socket is not its own.
            with contextlib.suppress(Exception):
                sys.stderr.write(_plain.format(record) + "\n")
            return
        # Any object may be in a line, and fail to become text.
        with contextlib.suppress(Exception):
            self._keep(record)
        with contextlib.suppress(OSError):
            self._send_what_goes()

    def send(self, kind: Kind, body: bytes) -> None:
        """Send a frame behind all lines; waits for the worker to take it."""
        with self.lock or contextlib.nullcontext():
            self._connection.sendall(bytes(self._waiting) + frame(kind, body))
            self._waiting.clear()

    def _keep(self, record: logging.LogRecord) -> None:
        line = frame(Kind.LINE, _encode(record, self._dropped))
        if len(self._waiting) + len(line) > _WAITING:
            self._dropped += 1
            return
        self._waiting += line
        self._dropped = 0

    def _send_what_goes(self) -> None:
        while self._waiting:
            try:
                sent = self._connection.send(self._waiting, socket.MSG_DONTWAIT)
            except BlockingIOError:
                return
            del self._waiting[:sent]


def _encode(record: logging.LogRecord, dropped: int) -> bytes:
    fields: dict[str, Any] = {name: getattr(record, name) for name in _SENT}
    fields["msg"] = _message(record)
    fields["exc_text"] = _traceback(record)
    fields["dropped"] = dropped
    fields["extra"] = {name: _simple(value) for name, value in vars(record).items() if name not in _OWN}
    return json.dumps(fields, default=str).encode()


def _message(record: logging.LogRecord) -> str:
    try:
        text = record.getMessage()
    except Exception as error:
        text = f"{record.msg!r} with arguments that do not fit it: {type(error).__name__}: {error}"
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]}… ({len(text):,} characters)"


def _traceback(record: logging.LogRecord) -> str | None:
    text = record.exc_text
    if not text and record.exc_info:
        text = _plain.formatException(record.exc_info)
    if record.stack_info:
        text = f"{text}\n{record.stack_info}" if text else record.stack_info
    return text[-_LONGEST:] if text else None


def _simple(value: object) -> object:
    if value is None or isinstance(value, bool | int | float):
        return value
    return str(value)[:_LONGEST]


def show(body: bytes) -> None:
    """Log a line of a pool process as if it were the worker's own."""
    fields = json.loads(body)
    extra, dropped = fields.pop("extra"), fields.pop("dropped")
    record = logging.makeLogRecord(extra | fields)
    logger = logging.getLogger(record.name)
    if dropped:
        logger.warning("%d lines of process %s were dropped: they came faster than they can be logged", dropped,
                       record.process)  # fmt: skip
    if logger.isEnabledFor(record.levelno):
        logger.handle(record)


def levels() -> dict[str, int]:
    """The levels that were set in this process, by logger; the root's is that of the empty name."""
    found = {name: each.level for name, each in logging.root.manager.loggerDict.items()
             if isinstance(each, logging.Logger) and each.level}  # fmt: skip
    return found | {"": logging.root.getEffectiveLevel()}


def set_levels(wanted: dict[str, int]) -> None:
    """Log in this process what another one shows."""
    for name, level in wanted.items():
        logging.getLogger(name or None).setLevel(level)
