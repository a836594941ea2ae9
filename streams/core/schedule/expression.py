"""Cron expressions as text: what is wrong with one, what kind it is, and how it reads in words.

cronsim knows what an expression means. Here is what it does not say: the remedy for a mistake, dates that never come,
the names such as @daily, and words in place of "every second minute".
"""

from __future__ import annotations

import calendar
import difflib
import re
from datetime import date, datetime
from typing import NoReturn

from cronsim import CronSim, CronSimError

#: Characters of an expression. The longest sensible one lists every minute, which is 143.
LONGEST = 256

NAMED = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}

#: Of six fields, as cronsim calls them: how people call them, what may stand there, and how many values there are.
_FIELDS = {
    "second": ("seconds", "0 to 59", 60),
    "minute": ("minutes", "0 to 59", 60),
    "hour": ("hours", "0 to 23", 24),
    "day-of-month": ("day of the month", "1 to 31, L (the last day) or LW (the last weekday)", 31),
    "month": ("month", "1 to 12, or JAN to DEC", 12),
    "day-of-week": (
        "day of the week",
        "0 to 7 (Sunday is both), SUN to SAT, 5L (the last Friday) or 5#2 (the second)",
        8,
    ),
}
_FORMS = "single, as a range (1-5), with a step (*/5) or as a list (1,3)"

#: Any moment will do to have an expression parsed.
_SOME_DAY = datetime(2000, 1, 1)


class CronInvalid(ValueError):
    """A cron expression or its time zone cannot be used; the message says what could."""


def checked(expression: str) -> str:
    """The six fields of an expression, seconds first. Raises CronInvalid with what to write instead."""
    if not isinstance(expression, str):
        raise CronInvalid(f'a cron expression is a text such as "0 9 * * mon-fri", not {expression!r}')
    if len(expression) > LONGEST:
        raise CronInvalid(
            f"the cron expression has {len(expression)} characters, more than {LONGEST}: use ranges (1-5) and steps"
            " (*/5), or several schedules"
        )
    fields = _named(expression.strip()).upper().split()
    if len(fields) not in {5, 6}:
        raise CronInvalid(
            f"{expression!r} has {len(fields)} fields: write five (minutes, hours, day of the month, month, day of the"
            " week), six with the seconds before them, or a name such as @daily"
        )
    six = fields if len(fields) == 6 else ["0", *fields]
    _check_steps(expression, six)
    _check_dates(expression, six, _parsed(expression, six))
    return " ".join(six)


def _named(expression: str) -> str:
    if not expression.startswith("@"):
        return expression
    if (fields := NAMED.get(expression.lower())) is not None:
        return fields
    close = difflib.get_close_matches(expression.lower(), NAMED, n=1)
    meant = f"; did you mean {close[0]}?" if close else ""
    raise CronInvalid(f"{expression!r} is no name of a schedule: there are {', '.join(NAMED)}{meant}")


def _check_steps(expression: str, fields: list[str]) -> None:
    """A step that is wider than its field fires at the first value alone, which nobody means by */90."""
    for text, (name, _, size) in zip(fields, _FIELDS.values(), strict=True):
        for step in re.findall(r"/([0-9]+)", text):
            if int(step) >= size:
                raise CronInvalid(
                    f"{expression!r}: the step {step} in the {name} ({text.lower()}) is wider than all of them, so it"
                    " would fire at the first alone: write that one, or use an interval (every=seconds) for steps that"
                    " do not fit"
                )


def _parsed(expression: str, fields: list[str]) -> CronSim:
    try:
        return CronSim(" ".join(fields), _SOME_DAY)
    except CronSimError as error:
        _complain(expression, fields, str(error).removeprefix("Bad "))


def _complain(expression: str, fields: list[str], field: str) -> NoReturn:
    names = list(_FIELDS)
    text = fields[names.index(field)].lower()
    if field == "day-of-month" and _parses([*fields[:4], "*", "*"]):
        _no_such_date(expression, fields)
    name, values, _ = _FIELDS[field]
    hint = "; write * in place of ?" if "?" in text else ""
    if re.fullmatch(r"[A-Z0-9]+-[A-Z0-9]+", text.upper()) and field == "day-of-week":
        hint = "; a week begins with Sunday (0), so write fri,sat,sun,mon for what goes beyond Saturday"
    raise CronInvalid(f"{expression!r}: the {name} cannot be {text!r}: write {values}, {_FORMS}{hint}")


def _parses(fields: list[str]) -> bool:
    try:
        CronSim(" ".join(fields), _SOME_DAY)
    except CronSimError:
        return False
    return True


def _samples() -> dict[tuple[int, int], tuple[int, int]]:
    """A year and month of each shape: of its first weekday and its length. The dates that match follow from these."""
    months = [(year, month) for year in range(2000, 2028) for month in range(1, 13)]
    return {calendar.monthrange(year, month): (year, month) for year, month in months}


_SAMPLES = _samples()


def _check_dates(expression: str, fields: list[str], parsed: CronSim) -> None:
    """Without this, cronsim would look through fifty years for a date that never comes."""
    lengths = {length for month in parsed.months for length in ({28, 29} if month == 2 else {_length(month)})}
    for (_, length), (year, month) in _SAMPLES.items():
        if length in lengths and any(parsed.match_day(date(year, month, day)) for day in range(1, length + 1)):
            return
    _no_such_date(expression, fields)


def _length(month: int) -> int:
    return calendar.monthrange(2000, month)[1]


def _no_such_date(expression: str, fields: list[str]) -> NoReturn:
    day, month, weekday = (text.lower() for text in fields[3:])
    months = "every month" if month == "*" else f"month {month}"
    also = "" if weekday == "*" else f" that is also day {weekday} of the week"
    raise CronInvalid(
        f"{expression!r} would never fire, since no such date exists: day {day} of {months}{also}; choose days that the"
        " months have, or L for the last one"
    )


def keeps_to_the_clock(fields: str) -> bool:
    """Whether an expression names times of the day, and not every so many minutes or hours.

    Debian's cron treats the two differently when clocks are put forward or back: see cron(8), and MIN_STAR and HR_STAR
    in its source. What begins with `*` is the latter.
    """
    minutes, hours = fields.split()[1:3]
    return not minutes.startswith("*") and not hours.startswith("*")


def words(fields: str) -> str:
    """An expression of six fields in words: "at 09:00 on weekdays"."""
    if (short := _short(fields)) is not None:
        return short
    text = CronSim(fields, _SOME_DAY).explain()
    text = text[0].lower() + text[1:]
    # It counts "21th", and says "every second second".
    text = re.sub(r"\bevery second (?=second|minute|hour|day|month)", "every other ", text)
    text = re.sub(r"\b(\d*)([123])th\b", _ordinal, text)
    return text.replace("on Monday through Friday", "on weekdays")


def _short(fields: str) -> str | None:
    """Every so many seconds, minutes or hours, where these go into a minute, an hour, a day without a rest."""
    for unit, size, pattern in (
        ("seconds", 60, r"\*/(\d+) \* \* \* \* \*"),
        ("minutes", 60, r"0 \*/(\d+) \* \* \* \*"),
        ("hours", 24, r"0 0 \*/(\d+) \* \* \*"),
    ):
        found = re.fullmatch(pattern, fields)
        if found is not None and int(found[1]) > 1 and size % int(found[1]) == 0:
            return f"every {int(found[1])} {unit}"
    return None


_ENDINGS = {"1": "st", "2": "nd", "3": "rd"}


def _ordinal(found: re.Match[str]) -> str:
    tens, ones = found[1], found[2]
    if tens.endswith("1"):
        return found[0]
    return f"{tens}{ones}{_ENDINGS[ones]}"
