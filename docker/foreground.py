"""Run a command so that Ctrl-C reaches it and nobody else.

`make` would get the same Ctrl-C and call a program that stopped in order "interrupted", with exit code 130. So the
command becomes the terminal's foreground process group alone; make sees only its exit code.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from types import FrameType


def controlling_terminal() -> int | None:
    """The terminal whose Ctrl-C would reach us now, or None."""
    try:
        terminal = os.open("/dev/tty", os.O_RDWR)
    except OSError:
        return None
    return terminal if os.tcgetpgrp(terminal) == os.getpgrp() else None


def run_in_foreground(command: list[str], terminal: int) -> int:
    """Run the command as the terminal's foreground group; returns its exit code, and takes the terminal back."""
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)  # else the kernel stops who takes the terminal from behind

    def take_terminal() -> None:
        os.setpgid(0, 0)
        os.tcsetpgrp(terminal, os.getpgrp())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        signal.signal(signal.SIGTSTP, signal.SIG_IGN)  # no shell knows this group, so none could continue it

    ours = os.getpgrp()
    child = subprocess.Popen(command, preexec_fn=take_terminal)  # noqa: PLW1509 - one thread

    def pass_on(number: int, _frame: FrameType | None) -> None:
        child.send_signal(number)

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, pass_on)
    code = child.wait()
    os.tcsetpgrp(terminal, ours)
    return 128 - code if code < 0 else code


def main() -> None:
    command = sys.argv[1:]
    terminal = controlling_terminal()
    if terminal is None:
        os.execvp(command[0], command)  # noqa: S606 - the command is the caller's own
    sys.exit(run_in_foreground(command, terminal))


if __name__ == "__main__":
    main()
