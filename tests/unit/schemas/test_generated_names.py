"""Every name, type and default that Avro allows is usable in Python, or is refused with a sentence."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas import Catalog, Codec, SchemaInvalid, generate
from schemas.generator.tryout import _Sample
from schemas.generator.values import quoted

Field = dict[str, Any]


def field(name: str, kind: Any = "string", **more: Any) -> Field:
    return {"name": name, "type": kind, **more}


def record(name: str, *fields: Field, **more: Any) -> dict[str, Any]:
    return {"type": "record", "name": name, "fields": list(fields), **more}


class Project:
    """A user's package of models, made anew from schemas."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.schemas, self.models = root / "schemas", root / "models_of_a_test"

    def add(self, schema: dict[str, Any], queue: str = "orders", version: int = 1) -> None:
        folder = self.schemas / queue
        folder.mkdir(parents=True, exist_ok=True)
        simple = schema["name"].rpartition(".")[2]
        (folder / f"{simple}.v{version}.avsc").write_text(json.dumps({"namespace": "shop.orders", **schema}))

    def load(self, queue: str = "orders") -> Any:
        """The module, after every job type of it was written and read, also in JSON form."""
        generate.write(self.schemas, self.models)
        module = importlib.import_module(f"{self.models.name}.{queue}")
        for model in [cls for cls in vars(module).values() if isinstance(cls, type) and "JOB_TYPE" in cls.__dict__]:
            codec = Codec(Catalog())
            codec.catalog.add_model(model)
            job = _Sample(codec.catalog.binding_of(model)).of(codec.catalog.binding_of(model).schema)
            assert codec.decode(codec.encode(job, "t")) == (model.__dict__["JOB_TYPE"], job)
            typing.get_type_hints(model)
        return module


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Project]:
    monkeypatch.syspath_prepend(tmp_path)
    made = Project(tmp_path)
    yield made
    for name in [name for name in sys.modules if name.partition(".")[0] == made.models.name]:
        del sys.modules[name]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("place_order", "PlaceOrder"), ("order", "Order"), ("_order", "Order"), ("orderItem", "OrderItem"),
        ("_1", "_1"), ("_", "_"), ("X" * 200, "X" * 200), ("Enum", "Enum"), ("Decimal", "Decimal"), ("UUID", "UUID"),
        ("ClassVar", "ClassVar"), ("Final", "Final"), ("dataclass", "Dataclass"), ("None_", "None_"),
        ("class", "Class"), ("str", "Str"), ("datetime", "Datetime"), ("SCHEMAS", "SCHEMAS_"), ("CLASSES", "CLASSES_"),
        ("None", "None_"), ("True", "True_"), ("Exception", "Exception"), ("Any", "Any"), ("Optional", "Optional"),
    ],
)  # fmt: skip
def test_a_job_may_have_any_name(project: Project, name: str, expected: str) -> None:
    """Its module uses all that a module of models may import."""
    uses = [
        field("price", {"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, default="\u0001"),
        field("id", {"type": "string", "logicalType": "uuid"}),
        field("at", {"type": "long", "logicalType": "timestamp-millis"}, default=0),
        field("kind", {"type": "enum", "name": "Kind", "symbols": ["A"]}, default="A"),
        field("tags", {"type": "array", "items": "string"}, default=["a"]),
    ]
    project.add(record(name, *uses))
    assert f"shop.orders.{name}" == getattr(project.load(), expected).JOB_TYPE


NESTED = ["Enum", "Decimal", "UUID", "ClassVar", "dataclass", "Final", "order_item", "_id", "str", "int", "list", "Job"]


@pytest.mark.parametrize("name", NESTED)
def test_a_nested_type_may_have_any_name(project: Project, name: str) -> None:
    inner = record(f"shop.other.{name}", field("a", "int", default=1))
    symbols = {"type": "enum", "name": f"shop.third.{name}", "symbols": ["A"]}
    project.add(record("Job", field("one", inner, default={}), field("two", ["null", symbols], default=None)))
    module = project.load()
    assert module.Job(one=module.Job().one, two=None) == module.Job()


ATTRIBUTES = [
    "class", "None", "True", "def", "async", "match", "type", "_id", "_", "copy", "json", "dict", "from", "from_",
    "self", "cls", "model_fields", "model_config", "str", "int", "float", "bool", "bytes", "list", "date", "time",
    "datetime", "field", "dataclass", "Enum", "Decimal", "UUID", "ClassVar", "Final", "JOB_TYPE", "SCHEMAS",
    "Job", "Inner", "annotations", "value", "name", "join", "start", "result", "at", "n", "new", "key", "item",
    "x" * 300,
]  # fmt: skip


def test_fields_may_have_any_names(project: Project) -> None:
    for number, name in enumerate(ATTRIBUTES):
        inner = record(f"Inner{number}", field(name, "int"))
        project.add(record(f"Job{number}", field(name), field("other", ["null", inner], default=None)))
    kinds = ["int", "string", {"type": "int", "logicalType": "date"}, {"type": "array", "items": "int"}]
    all_at_once = [field(name, kinds[number % 4]) for number, name in enumerate(ATTRIBUTES)]
    project.add(record("Job", *all_at_once, field("inner", record("Inner", field("a", "int")))))
    project.load()


def test_symbols_may_have_any_names(project: Project) -> None:
    symbols = ["class", "None", "mro", "name", "value", "_x_", "_x", "x_", "self", "A", "a", "auto", "Enum", "str"]
    project.add(record("Job", *(field(f"f{n}", enum(n, symbol), default=symbol) for n, symbol in enumerate(symbols))))
    project.add(record("All", field("e", enum(99, *symbols))))
    module = project.load()
    assert {member.value for member in module.E99} == set(symbols)


def enum(number: int, *symbols: str) -> dict[str, Any]:
    return {"type": "enum", "name": f"E{number}", "symbols": list(symbols)}


def test_two_records_of_one_simple_name_are_told_apart(project: Project) -> None:
    project.add(record("Job", field("a", record("shop.stock.Item", field("x", "int"))),
                       field("b", record("shop.bills.Item", field("y", "int")))))  # fmt: skip
    module = project.load()
    assert module.Job(a=module.StockItem(x=1), b=module.BillsItem(y=2)).a.x == 1


@pytest.mark.parametrize(
    ("schema", "sentence"),
    [
        (record("Job", field("__secret")), "begin with two underscores"),
        (record("Job", field("e", enum(1, "__a"))), "begin with two underscores"),
        (record("Job", field("e", enum(1, "mro", "mro_"))), "'mro' and 'mro_'"),
        (record("Job", field("ü")), "letters, digits and underscores"),
        (record("Job", field("a-b")), "letters, digits and underscores"),
        (record("Job", field("e", {"type": "enum", "name": "E", "symbols": []})), "symbol"),
        (record("Job", field("d", {"type": "fixed", "name": "D", "size": 12, "logicalType": "duration"})), "'d'"),
        (record("Job", field("d", {"type": "long", "logicalType": "timestamp-nanos"})), "'d'"),
        (record("Job", field("d", {"type": "fixed", "name": "D", "size": 16, "logicalType": "uuid"})), "'d'"),
        (record("Job", field("d", {"type": "bytes", "logicalType": "decimal"})), "'d'"),
        (record("Job", field("d", {"type": "string", "logicalType": "decimal", "precision": 4})), "'d'"),
        (record("Job", field("d", ["int", {"type": "long", "logicalType": "timestamp-millis"}])), "'d'"),
        (record("Job", field("d", "int", default=2**31)), "'d'"),
        (record("Job", field("d", "long", default=2**63)), "'d'"),
        (record("Job", field("d", "int", default=True)), "default"),
        (record("Job", field("d", "float", default=1e39)), "'d'"),
        (record("Job", field("d", "double", default=float("nan"))), "default"),
        (record("Job", field("d", "string", default="\ud800")), "'d'"),
        (record("Job", field("d", enum(1, "A"), default="B")), "default"),
        (record("Job", field("d", {"type": "fixed", "name": "D", "size": 4}, default="abc")), "default"),
        (record("Job", field("d", {"type": "string", "logicalType": "uuid"}, default="x")), "'d'"),
        (record("Job", field("d", {"type": "long", "logicalType": "timestamp-millis"}, default=2**60)), "'d'"),
        (record("Job", field("d", {"type": "array", "items": "int"}, default=["a"])), "default"),
        (record("Job", field("d", record("In", field("a")), default={})), "default"),
        (record("Job", field("d", record("In", field("a", "int", default=2**40)), default={})), "'d'"),
        (record("Job", field("d", "shop.orders.Job")), "contains itself without end"),
        (record("Job", field("d", ["null", "shop.orders.Job"], default={"d": {}})), "default"),
    ],
)
def test_what_no_process_can_use_is_refused_with_its_field(
    project: Project, schema: dict[str, Any], sentence: str
) -> None:
    project.add(schema)
    with pytest.raises(SchemaInvalid, match=sentence):
        generate.write(project.schemas, project.models)
    assert not project.models.exists()


TEXTS = [
    "\U0001f680",
    "ü",
    "a\tb",
    "a/b",
    'say "hi"',
    'ends with "',
    'in """ it',
    "C:\\x\\n",
    "a\nb",
    "a\0b",
    "a\u2028b",
    "\x7f",
    "\\",
]


@pytest.mark.parametrize("text", TEXTS)
def test_docs_and_defaults_may_hold_any_text(project: Project, text: str) -> None:
    project.add(record("Job", field("a", default=text, doc=text), field("b", "bytes", default='\u00ff"\\'), doc=text))
    module = project.load()
    assert module.Job().a == text
    assert inspect.cleandoc(module.Job.__doc__) == inspect.cleandoc(text)
    assert module.Job().b == b'\xff"\\'


@settings(max_examples=200)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_any_text_is_quoted_as_python_reads_it(text: str) -> None:
    assert eval(quoted(text)) == text
    assert "\n" not in quoted(text)


def test_every_kind_of_default_is_made(project: Project) -> None:
    point = record("Point", field("x", "double"), field("y", "double", default=2))
    kinds: list[tuple[Any, Any, str]] = [
        ("null", None, "None"), ("boolean", True, "True"), ("int", -1, "-1"), ("long", 2**62, str(2**62)),
        ("float", 1, "1.0"), ("double", 1e300, "1e+300"), ("string", "s", "'s'"), ("bytes", "\u0000", r"b'\x00'"),
        ({"type": "map", "values": "int"}, {"a": 1}, "{'a': 1}"), (["null", "int"], None, "None"),
        (["int", "null"], 1, "1"), (point, {"x": 1}, "Point(x=1.0, y=2.0)"),
        ({"type": "array", "items": "Point"}, [{"x": 1, "y": 0}], "[Point(x=1.0, y=0.0)]"),
        ({"type": "int", "logicalType": "date"}, 1, "datetime.date(1970, 1, 2)"),
        ({"type": "int", "logicalType": "time-millis"}, 1000, "datetime.time(0, 0, 1)"),
        ({"type": "long", "logicalType": "time-micros"}, 1, "datetime.time(0, 0, 0, 1)"),
        ({"type": "long", "logicalType": "local-timestamp-micros"}, 0, "datetime.datetime(1970, 1, 1, 0, 0)"),
        ({"type": "bytes", "logicalType": "decimal", "precision": 4, "scale": 2}, "\u0001", "Decimal('0.01')"),
    ]  # fmt: skip
    project.add(record("Job", *(field(f"f{n}", kind, default=value) for n, (kind, value, _) in enumerate(kinds))))
    job = project.load().Job()
    assert [repr(getattr(job, f"f{number}")) for number in range(len(kinds))] == [shown for _, _, shown in kinds]


def test_a_job_may_have_no_fields(project: Project) -> None:
    project.add(record("Ping"))
    project.add(
        record(
            "Job",
            field("ping", record("Empty"), default={}),
            field("tree", record("Tree", field("next", ["null", "Tree"]))),
        )
    )
    assert project.load().Ping.JOB_TYPE == "shop.orders.Ping"


@pytest.mark.parametrize("queue", ["my-queue", "class", "1st", "__init__"])
def test_a_folder_that_no_module_can_be_called_after_is_refused(project: Project, queue: str) -> None:
    project.add(record("Job", field("a")), queue)
    with pytest.raises(SchemaInvalid, match=f"'{queue}' cannot give its name to a Python module"):
        generate.write(project.schemas, project.models)
