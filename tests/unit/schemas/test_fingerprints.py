"""The command that prints how the values of each schema begin."""

from __future__ import annotations

from pathlib import Path

import pytest

from schemas.catalog import shipped
from schemas.codec import Codec
from schemas.fingerprints import main
from schemas.models.email import SendEmail

LOGICAL = """{"type": "record", "name": "Pay", "namespace": "shop.till", "fields": [
    {"name": "at", "type": {"type": "long", "logicalType": "timestamp-millis"}}]}"""


def test_a_value_of_ours_begins_with_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    lines = {line.split()[1]: line.split()[0] for line in capsys.readouterr().out.splitlines()}
    value = Codec(shipped()).encode(SendEmail(to=["a@b.c"], subject="", text=""), "jobs.email")
    assert lines["jobs.email.SendEmail"] == value[:10].hex()


def test_logical_types_are_no_part_of_a_fingerprint(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "till").mkdir()
    (tmp_path / "till" / "Pay.v1.avsc").write_text(LOGICAL)
    (tmp_path / "till" / "Pay.v2.avsc").write_text(LOGICAL.replace(', "logicalType": "timestamp-millis"', ""))
    assert main(["--schemas", str(tmp_path)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.split()[0] == second.split()[0]
    assert first.split()[1:3] == ["shop.till.Pay", "v1"]


@pytest.mark.parametrize(("name", "text"), [(None, ""), ("Pay.v1.avsc", "{"), ("Pay.v1.avsc", "\xff")])
def test_what_cannot_be_read_is_told_in_a_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], name: str | None, text: str
) -> None:
    if name is not None:
        (tmp_path / "till").mkdir()
        (tmp_path / "till" / name).write_bytes(text.encode("latin-1"))
    assert main(["--schemas", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("error: ")
    assert str(tmp_path) in said.err or "utf-8" in said.err
