"""The command line without Faust's own variables: `python -m streams worker` is `faust -A streams worker`.

Faust reads a few variables (`FAUST_WEB_PORT`, `F_LOOP` ...) as soon as it is imported, before anything of this project
runs. Kubernetes sets the first for a service that is called `faust-web`.
"""

from __future__ import annotations

import os
import sys

from streams.settings.faust_variables import remove_foreign


def main() -> None:
    """Run a command of the application."""
    remove_foreign(os.environ)
    # Faust looks for the application in what was typed.
    sys.argv = [sys.argv[0], "-A", "streams", *sys.argv[1:]]
    from faust.cli.faust import cli  # noqa: PLC0415 - it reads the environment

    cli()


if __name__ == "__main__":
    main()
