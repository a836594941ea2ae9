"""Makes sure that `schemas` and `producers` are this project's own. Imported before anything of them is.

Other programs have modules of these names, too, and Python takes whichever comes first on its path: that of the
directory where a program is started, for one.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

_HERE = Path(__file__).resolve().parent.parent


def _require(name: str) -> None:
    spec = importlib.util.find_spec(name)
    found = Path(spec.origin) if spec is not None and spec.origin is not None else None
    if found is None or found.resolve().parent == _HERE / name:
        return  # What is not there at all, Python says itself.
    raise ImportError(
        f"{found} hides the package {name!r} that kafka-jobs brings ({_HERE / name}): give that module or package of"
        f" yours another name, or start the program where {found.parent} does not come first on Python's path",
        name=name,
        path=str(found),
    )


_require("schemas")
_require("producers")
