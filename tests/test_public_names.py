"""What the packages show to the outside: public names, the tree of errors, and what each says it is."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
from collections.abc import Iterator
from types import ModuleType

import pytest

import schemas
import streams.dead
from tests.imports import PACKAGES, ROOT, modules, name_of

SCHEMAS = {
    *("Catalog", "Codec", "CorruptPayload", "HeaderInvalid", "JobSchema", "Metadata", "MissingPayload", "ModelInvalid"),
    *("Origin", "Payload", "PayloadInvalid", "Registry", "RegistryRefused", "RegistrySettings", "RegistryUnavailable"),
    *("SchemaInvalid", "SchemaMismatch", "SchemasError", "SubjectStrategy", "TrailingBytes", "TruncatedPayload"),
    *("Undecodable", "UnknownFraming", "UnknownJobType", "UnknownSchema", "shipped"),
}
DEAD = {
    *("BrokerSilent", "DeadError", "DeadLetters", "DeliveryStopped", "FilterInvalid", "Filters", "Letter", "MapFull"),
    *("NotesUnreadable", "Part", "Payload", "Plan", "Progress", "Purged", "Skipped", "SomebodyElse", "UnknownQueue"),
    "parse_time",
}


@pytest.mark.parametrize(("package", "public"), [(schemas, SCHEMAS), (streams.dead, DEAD)])
def test_public_names(package: ModuleType, public: set[str]) -> None:
    assert list(package.__all__) == sorted(public)
    for name in public:
        assert hasattr(package, name)


def test_streams_says_what_is_public() -> None:
    public = {
        "DEFAULT_RETRY",
        "DefinitionError",
        "Exponential",
        "Fixed",
        "FollowUpRefused",
        "HandlerCrashed",
        "HandlerExited",
        "JobContext",
        "JobError",
        "JobExpired",
        "JobLogger",
        "JobTimeout",
        "KilledItsWorkers",
        "NO_RETRY",
        "NoHandler",
        "PermanentError",
        "Queue",
        "Retry",
        "RetryPolicy",
        "SetupError",
        "Snooze",
        "StreamsError",
        "app",
    }
    assert set(streams.__all__) == public
    assert list(streams.__all__) == sorted(streams.__all__, key=lambda name: (not name.isupper(), name))
    for name in public - {"app", "DEFAULT_RETRY", "NO_RETRY"}:
        assert getattr(streams, name).__name__ == name
    with pytest.raises(AttributeError, match="no attribute 'nonsense'"):
        streams.nonsense  # noqa: B018


def test_every_error_is_in_the_drawn_tree() -> None:
    """The tree at the top of the errors' file is the documentation: it names every one, and nothing else."""
    for package in PACKAGES:
        tree = ast.parse((ROOT / package / "errors.py").read_text("utf-8"))
        drawn = ast.get_docstring(tree) or ""
        defined = {node.name for node in tree.body if isinstance(node, ast.ClassDef)}
        assert {name for name in defined if name not in drawn} == set()


@pytest.mark.parametrize("package", PACKAGES)
def test_every_module_says_what_it_is(package: str) -> None:
    silent = [
        name_of(path)
        for path in modules(package)
        if path.read_text("utf-8").strip()
        and not ast.get_docstring(ast.parse(path.read_text("utf-8")))
        and not path.read_text("utf-8").startswith("#!")
    ]
    assert silent == []


@pytest.mark.parametrize("package", [*PACKAGES, "streams.dead"])
def test_what_a_package_lists_is_there_and_documented(package: str) -> None:
    """What users import is in `__all__` of these four."""
    module = importlib.import_module(package)
    listed = [name for name in module.__all__ if name != "app"]  # made on demand
    assert len(listed) == len(set(listed))
    things = {name: getattr(module, name) for name in listed}
    silent = [name for name, thing in things.items() if callable(thing) and not inspect.getdoc(thing)]
    assert silent == []


#: Public names without a docstring: what each does is said by the library that calls it.
CALLED_BY_LIBRARIES = {
    "streams.api.context.JobLogger.process": "logging.LoggerAdapter's",
    "streams.application.faust_app.Worker.on_setup_root_logger": "Faust's",
}

_Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef


def test_every_public_name_says_what_it_is() -> None:
    """Functions, classes and their methods; of a protocol's members the class says it."""
    silent = [
        name
        for package in PACKAGES
        for path in modules(package)
        for name, node in public(ast.parse(path.read_text("utf-8")), name_of(path))
        if not ast.get_docstring(node) and name not in CALLED_BY_LIBRARIES
    ]
    assert not silent, "add a docstring, of one plain sentence first: " + ", ".join(silent)


def public(node: ast.Module | ast.ClassDef, name: str) -> Iterator[tuple[str, _Documented]]:
    """What has to say what it is, in a module or a class."""
    for each in node.body:
        if isinstance(each, _Documented) and not each.name.startswith("_") and not _is_overload(each):
            yield f"{name}.{each.name}", each
            if isinstance(each, ast.ClassDef) and not _is_protocol(each):
                yield from public(each, f"{name}.{each.name}")


def _is_protocol(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base).partition("[")[0] == "Protocol" for base in node.bases)


def _is_overload(node: _Documented) -> bool:
    return any(ast.unparse(decorator) == "overload" for decorator in node.decorator_list)


def test_the_rule_finds_what_says_nothing() -> None:
    source = "class A:\n    def f(self): ...\nclass P(Protocol[T]):\n    '''P.'''\n    def g(self): ...\ndef _h(): ..."
    assert [name for name, node in public(ast.parse(source), "m") if not ast.get_docstring(node)] == ["m.A", "m.A.f"]


def test_loggers_are_called_as_their_modules_but_for_two_that_users_filter_by() -> None:
    found = {
        name
        for path in modules("streams")
        for name in re.findall(r'^_?logger = logging\.getLogger\("([^"]+)"\)', path.read_text("utf-8"), re.MULTILINE)
    }
    assert found == {"streams.outcome", "streams.job"}
