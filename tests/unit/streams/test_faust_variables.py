"""Variables of other programs change nothing: Faust would let some eighty of them win over what the project says."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from tests.variables import OF_FAUST, OF_FAUSTS_COMMAND

ROOT = Path(__file__).resolve().parents[3]

#: Prints Faust's settings of the application, but for the one that is drawn anew each time.
_SETTINGS = """
import json
from faust.types.settings import Settings
from streams import app
print(json.dumps({name: repr(getattr(app.conf, name)) for name in Settings.SETTINGS if name != "reply_to"}))
print(json.dumps([type(fixup).__name__ for fixup in app.fixups]))
"""

#: As Kubernetes sets it for a service; and one that Faust could use.
_HOSTILE = ("tcp://10.0.0.1:80", "7")


def run(*command: str, **variables: str) -> subprocess.CompletedProcess[str]:
    ours = ("STREAMS_", "KAFKA_", "SCHEMA_REGISTRY_", "FAUST_", "F_")
    clean = {name: value for name, value in os.environ.items() if not name.startswith(ours)}
    return subprocess.run(
        command, cwd=ROOT, env=clean | variables, capture_output=True, text=True, timeout=120, check=False
    )


def test_every_setting_of_fausts_is_the_same_whatever_the_environment_holds() -> None:
    expected = run(sys.executable, "-c", _SETTINGS)
    assert expected.returncode == 0, expected.stderr
    assert len(json.loads(expected.stdout.splitlines()[0])) > 80
    for value in _HOSTILE:
        found = run(sys.executable, "-c", _SETTINGS, **dict.fromkeys(OF_FAUST, value))
        assert found.stdout == expected.stdout, found.stderr


def test_a_command_works_whatever_the_environment_holds() -> None:
    """Also with the variables that Faust reads before anything of this project runs."""
    told = "there is no job type 'x'"
    faust = str(Path(sys.executable).with_name("faust"))
    for command, names in (
        ([faust, "-A", "streams"], OF_FAUST),
        ([sys.executable, "-m", "streams"], [*OF_FAUST, *OF_FAUSTS_COMMAND]),
    ):
        ended = run(*command, "enqueue", "email", "x", "{}", **dict.fromkeys(names, _HOSTILE[0]))
        assert (ended.returncode, ended.stdout) == (2, ""), ended.stderr
        (line,) = ended.stderr.splitlines()
        assert told in line


def test_a_variable_that_fausts_command_goes_by_is_told() -> None:
    """The command has read it before this project can prevent that."""
    faust = str(Path(sys.executable).with_name("faust"))
    ended = run(faust, "-A", "streams", "enqueue", "email", "x", "{}", F_DEBUG="1")
    assert "F_DEBUG is set" in ended.stderr
    assert "python -m streams" in ended.stderr
