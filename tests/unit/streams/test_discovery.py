"""How job modules are found: explicitly, and loudly when something is wrong."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from streams.api.discovery import load_queues
from streams.errors import SetupError

Write = Callable[[str, str], None]


@pytest.fixture
def write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Write]:
    """Writes a module of the test's own; all are forgotten afterwards."""
    monkeypatch.syspath_prepend(tmp_path)
    before = set(sys.modules)

    def write(path: str, source: str) -> None:
        file = tmp_path / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(textwrap.dedent(source), "utf-8")

    yield write
    for name in set(sys.modules) - before:
        del sys.modules[name]


def queue(name: str) -> str:
    return f"from streams import Queue\nqueue_{name} = Queue({name!r})\n"


def names(*packages: str) -> list[str]:
    return [found.name for found in load_queues(packages)]


def test_the_shipped_jobs() -> None:
    assert names("streams.jobs") == ["email", "image", "webhook"]


def test_a_module(write: Write) -> None:
    write("mine.py", queue("b") + queue("a"))
    assert names("mine") == ["a", "b"]


def test_a_package_with_all_its_modules(write: Write) -> None:
    write("pack/__init__.py", queue("top"))
    write("pack/one.py", queue("one"))
    write("pack/inner/__init__.py", "")
    write("pack/inner/two.py", queue("two"))
    assert names("pack") == ["one", "top", "two"]
    assert names("pack.inner") == ["two"]


def test_a_queue_that_is_imported_elsewhere_is_one_queue(write: Write) -> None:
    write("pack/__init__.py", "")
    write("pack/queues.py", queue("one"))
    write("pack/handlers.py", "from pack.queues import queue_one\nalias = queue_one")
    assert names("pack") == ["one"]
    assert names("pack", "pack.handlers") == ["one"]


def test_two_queues_of_one_name(write: Write) -> None:
    write("first.py", queue("email"))
    write("second.py", queue("email"))
    with pytest.raises(SetupError, match=r"first and second both declare a queue 'email': declare it in one"):
        load_queues(["first", "second"])


def test_two_queues_of_one_name_in_one_module(write: Write) -> None:
    write("both.py", f"{queue('email')}\nother = Queue('email')")
    with pytest.raises(SetupError, match="both declares two queues 'email': remove one, or give it another name"):
        load_queues(["both"])


@pytest.mark.parametrize("package", ["nosuchthing", "nosuchthing.jobs", "pack.nosuchthing"])
def test_a_package_that_is_not_there(write: Write, package: str) -> None:
    write("pack/__init__.py", queue("one"))
    with pytest.raises(SetupError, match=rf"no module '{package}' .*STREAMS_JOBS.*PYTHONPATH"):
        load_queues([package])


def test_a_package_without_queues(write: Write) -> None:
    write("nothing.py", "x = 1")
    with pytest.raises(SetupError, match="declares no queue"):
        load_queues(["nothing"])


@pytest.mark.parametrize("place", ["pack/__init__.py", "pack/one.py", "pack/inner/__init__.py", "pack/inner/two.py"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("import nosuchlibrary", ModuleNotFoundError),
        ("def broken(:", SyntaxError),
        ("raise ValueError('at import')", ValueError),
        ("from streams import Nothing", ImportError),
    ],
)
def test_an_error_in_a_module_is_raised_as_it_is(write: Write, place: str, fault: str, error: type[Exception]) -> None:
    """Faust's autodiscovery only logs it, and agents vanish silently."""
    for path in ("pack/__init__.py", "pack/one.py", "pack/inner/__init__.py", "pack/inner/two.py"):
        write(path, fault if path == place else "")
    with pytest.raises(error) as raised:
        load_queues(["pack"])
    assert not isinstance(raised.value, SetupError)


def test_a_wrong_definition_is_told_with_its_line(write: Write) -> None:
    write("pack/__init__.py", "")
    write("pack/one.py", "from streams import Queue\n\nQueue('a b')\n")
    with pytest.raises(SetupError, match=r'File ".*/pack/one\.py", line 3: \'a b\' cannot name a queue'):
        load_queues(["pack"])


@pytest.mark.parametrize("package", ["", ".jobs", "a b", "pack."])
def test_a_name_that_no_module_has(write: Write, package: str) -> None:
    write("pack/__init__.py", queue("one"))
    with pytest.raises(SetupError, match="STREAMS_JOBS"):
        load_queues([package])
