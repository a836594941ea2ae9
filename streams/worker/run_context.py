"""The context (of context variables) that every run begins with: as the job modules left it, and never as a run did."""

from __future__ import annotations

import decimal
from contextvars import Context, copy_context

_DECIMALS = ("prec", "rounding", "Emin", "Emax", "capitals", "clamp", "traps")


class RunContext:
    """What runs inherit: the context variables that are set where this is made.

    `clean` is to be copied, never entered. A decimal context is an object that arithmetic and handlers change in place,
    so it is left out of `clean`: Python then makes one for each context that needs it. Where the job modules have
    changed theirs, `decimals` is what each run has to have a copy of.
    """

    def __init__(self) -> None:
        self.clean, found = _without_decimals(copy_context())
        self.decimals = None if found is None or _as_python_makes_it(found) else found


def _without_decimals(context: Context) -> tuple[Context, decimal.Context | None]:
    clean, found = Context(), None
    for variable, value in context.items():
        if isinstance(value, decimal.Context):
            found = value.copy()
            found.clear_flags()
        else:
            clean.run(variable.set, value)
    return clean, found


def _as_python_makes_it(found: decimal.Context) -> bool:
    default = decimal.DefaultContext
    return all(getattr(found, name) == getattr(default, name) for name in _DECIMALS)
