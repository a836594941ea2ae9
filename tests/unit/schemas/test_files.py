"""The schema files, the list of released ones, and the models generated from them belong together."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas import Catalog, ModelInvalid, SchemaInvalid, UnknownJobType, generate, released, shipped
from schemas.catalog import SHIPPED_SCHEMAS
from schemas.compatibility import incompatibilities
from schemas.job_schema import read_schema
from schemas.models.email import SendEmail
from tests.unit.schemas.demo.models.demo import Growing
from tests.unit.schemas.samples import DEMO_SCHEMAS

MODELS = Path(generate.__file__).parent / "models"


def test_no_released_schema_was_edited_or_removed() -> None:
    problems = released.problems()
    assert not problems, "\n".join(problems)


def test_every_version_reads_all_before_it() -> None:
    problems = incompatibilities()
    assert not problems, "\n".join(problems)


def test_models_are_current() -> None:
    for schemas, models in ((SHIPPED_SCHEMAS, MODELS), (DEMO_SCHEMAS, DEMO_SCHEMAS.parent / "models")):
        options = ["--schemas", str(schemas), "--models", str(models)]
        assert generate.main([*options, "--check"]) == 0, f"run python -m schemas.generate {' '.join(options)}"


def test_the_shipped_job_types() -> None:
    assert list(Catalog.load(SHIPPED_SCHEMAS)) == []
    expected = {"jobs.email.SendEmail", "jobs.image.ResizeImage", "jobs.webhook.DeliverWebhook"}
    assert expected <= set(shipped())
    assert shipped().model("jobs.email.SendEmail") is SendEmail
    assert shipped().job_type_of(SendEmail) == "jobs.email.SendEmail"


@pytest.fixture
def schemas(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SHIPPED_SCHEMAS, tmp_path / "schemas"))


def edit(path: Path, change: Any, target: Path | None = None) -> None:
    schema = json.loads(path.read_text())
    change(schema)
    (target or path).write_text(json.dumps(schema))


def test_an_edit_of_a_released_schema_is_found_with_its_remedy(schemas: Path) -> None:
    file = schemas / "image" / "ResizeImage.v1.avsc"
    edit(file, lambda schema: schema["fields"][-1].update(default=90))  # the fingerprint stays the same
    (problem,) = released.problems(schemas)
    assert problem.startswith("jobs.image.ResizeImage v1 was edited after its release")
    assert problem.endswith("write the change as the next version, <Type>.v<N+1>.avsc")
    assert released.release(schemas, released.SHIPPED_RELEASES) == [problem]


def test_docs_may_be_corrected(schemas: Path) -> None:
    file = schemas / "image" / "ResizeImage.v1.avsc"
    edit(file, lambda schema: schema.update(doc="Better."))
    edit(file, lambda schema: schema["fields"][4].update(doc="Better, too."))
    edit(file, lambda schema: schema["fields"][4]["type"].pop("doc"))
    assert released.problems(schemas) == []


def test_a_default_whose_key_is_doc_is_no_doc(tmp_path: Path) -> None:
    def line(default: dict[str, str]) -> str:
        field = {"name": "links", "type": {"type": "map", "values": "string"}, "default": default}
        file = tmp_path / "A.v1.avsc"
        file.write_text(json.dumps({"type": "record", "name": "A", "namespace": "n", "fields": [field]}))
        return released.released_line(read_schema(file))

    assert line({"doc": "a"}) != line({"doc": "b"})


def test_a_removed_schema_is_found(schemas: Path) -> None:
    (schemas / "email" / "SendEmail.v1.avsc").unlink()
    (problem,) = released.problems(schemas)
    assert problem.startswith("jobs.email.SendEmail v1 was released and is gone")


def test_a_new_schema_is_released_by_command(schemas: Path, tmp_path: Path) -> None:
    releases = Path(shutil.copy(released.SHIPPED_RELEASES, tmp_path))
    shutil.copy(schemas / "email" / "SendEmail.v1.avsc", schemas / "email" / "SendEmail.v2.avsc")
    (problem,) = released.problems(schemas, releases)
    assert problem == "jobs.email.SendEmail v2 is not in released.txt; run python -m schemas.released to release it"
    assert released.release(schemas, releases) == []
    assert released.problems(schemas, releases) == []


def test_a_change_that_breaks_readers_is_found(schemas: Path) -> None:
    first = schemas / "email" / "SendEmail.v1.avsc"
    edit(first, lambda schema: None, first.with_name("SendEmail.v2.avsc"))
    assert incompatibilities(schemas) == []
    edit(
        first,
        lambda schema: schema["fields"].append({"name": "cc", "type": "string"}),
        first.with_name("SendEmail.v3.avsc"),
    )
    problems = incompatibilities(schemas)
    assert [problem.partition(":")[0] for problem in problems] == [
        "jobs.email.SendEmail v3 cannot read v1",
        "jobs.email.SendEmail v3 cannot read v2",
    ]
    assert "cc" in problems[0]
    assert "give new fields a default" in problems[0]


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("SendEmail.avsc", "{}", r"is named <Type>\.v<N>\.avsc"),
        ("A.v1.avsc", "{", "not a valid Avro schema"),
        ("A.v1.avsc", '"int"', "the schema of a job is a record"),
        ("A.v1.avsc", '{"type": "record", "name": "A", "fields": []}', "needs a namespace"),
        ("A.v1.avsc", '{"type": "record", "name": "n.B", "fields": []}', "called 'B'; file and record have one name"),
        ("A.v1.avsc", '{"type": "record", "name": "n.A", "fields": [{"name": "f", "type": "strin"}]}', "not a valid"),
        ("A.v1.avsc", '{"type": "record", "name": "n.A", "fields": [{"name": "f", "type": "int", "default": "x"}]}',
         "not a valid"),
    ],
)  # fmt: skip
def test_a_schema_file_that_cannot_be_used_is_named(tmp_path: Path, name: str, text: str, message: str) -> None:
    file = tmp_path / name
    file.write_text(text)
    with pytest.raises(SchemaInvalid, match=message) as raised:
        read_schema(file)
    assert name in str(raised.value)


def test_a_model_that_is_not_current_is_refused() -> None:
    catalog = Catalog.load(DEMO_SCHEMAS)
    outdated = type("Growing", (), {"JOB_TYPE": "tests.demo.Growing", "__module__": Growing.__module__})
    with pytest.raises(ModelInvalid, match=r"does not match.*title.*python -m schemas\.generate"):
        catalog.add_model(outdated)


def test_an_unknown_job_type_says_what_to_do() -> None:
    with pytest.raises(
        UnknownJobType, match=r"'jobs\.no\.Such'; declare a handler for it in a package of STREAMS_JOBS"
    ):
        shipped().model("jobs.no.Such")


def test_the_command_writes_a_users_models(tmp_path: Path, schemas: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--schemas", str(schemas), "--models", str(tmp_path / "models")]
    assert generate.main([*arguments, "--check"]) == 1
    assert generate.main(arguments) == 0
    assert generate.main([*arguments, "--check"]) == 0
    assert "written" in capsys.readouterr().out
    (schemas / "email" / "SendEmail.v1.avsc").unlink()
    assert generate.main(arguments) == 0
    assert not (tmp_path / "models" / "email.py").exists()


def test_a_type_that_two_job_types_of_a_queue_share_is_generated_once(tmp_path: Path) -> None:
    address = {"type": "record", "name": "Address", "fields": [{"name": "street", "type": "string"}]}
    queue = tmp_path / "schemas" / "post"
    queue.mkdir(parents=True)
    for name in ("SendLetter", "SendParcel"):
        schema = {"type": "record", "namespace": "my.post", "name": name, "fields": [{"name": "to", "type": address}]}
        (queue / f"{name}.v1.avsc").write_text(json.dumps(schema))
    (code,) = generate.render(queue.parent, tmp_path / "models").values()
    assert code.count("class Address:") == 1
    assert code.count("to: Address") == 2
    edit(queue / "SendParcel.v1.avsc", lambda schema: schema["fields"][0]["type"]["fields"][0].update(type="int"))
    with pytest.raises(SchemaInvalid, match=r"my\.post\.Address is defined differently"):
        generate.render(queue.parent, tmp_path / "models")


def test_importing_schemas_brings_no_worker() -> None:
    code = "import sys, schemas, schemas.generate; print(*{name.partition('.')[0] for name in sys.modules})"
    imported = set(
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    )
    assert not imported & {"faust", "mode", "aiokafka", "streams", "producers"}
