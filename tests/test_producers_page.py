"""docs/producers.md says what is true; its samples run in tests/integration/test_foreign_producers.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from schemas import headers
from tests.pages import Page
from tests.workers import ROOT

PAGE = Page(ROOT / "docs" / "producers.md")
SCHEMA = "billing/schemas/invoices/SendInvoice.v1.avsc"

#: Files that the samples are made of, and those of the one that no test runs.
RUN = {SCHEMA, "pom.xml", "PublishInvoice.java", "package.json", "publish.js", "go.mod", "publish.go", "publish.sh"}
BY_HAND = {"Cargo.toml", "src/main.rs"}


def test_every_block_is_a_file_or_a_command() -> None:
    assert PAGE.files.keys() == RUN | BY_HAND
    consoles = [language for language, _ in PAGE.blocks if language == "console"]
    assert len(PAGE.blocks) == len(PAGE.files) + len(consoles)


def test_the_command_prints_the_prefix_that_the_samples_have(tmp_path: Path) -> None:
    file = tmp_path / SCHEMA
    file.parent.mkdir(parents=True)
    file.write_text(PAGE.files[SCHEMA])
    (command,) = [line for line in PAGE.commands if "schemas.fingerprints" in line]
    run = subprocess.run(
        [sys.executable, *command.split()[1:]], cwd=tmp_path, env={"PYTHONPATH": str(ROOT)}, capture_output=True,
        text=True, check=True,
    )  # fmt: skip
    assert run.stdout == PAGE.commands[command]
    prefix = run.stdout.split()[0]
    for name in ("publish.js", "publish.go"):
        assert f'"{prefix}"' in PAGE.files[name]
    assert f"hex {' '.join(re.findall('..', prefix))};" in PAGE.files["publish.sh"]
    assert ", ".join(f"0x{byte}" for byte in re.findall("..", prefix)) in PAGE.files["src/main.rs"]


def test_the_table_lists_every_header_once() -> None:
    listed = re.findall(r"`([\w-]+)`", " ".join(PAGE.column("header")))
    known = [
        value
        for name, value in vars(headers).items()
        if name.isupper() and isinstance(value, str) and not name.startswith("_")
    ]
    assert sorted(listed) == sorted(known)


def test_links_and_headers_that_are_mentioned_exist() -> None:
    for link in PAGE.links():
        name, _, anchor = link.partition("#")
        target = (PAGE.path.parent / name).resolve()
        assert target.exists(), link
        assert not anchor or anchor in Page(target).anchors(), link
    known = {value for value in vars(headers).values() if isinstance(value, str)}
    assert set(re.findall(r"`(job-[a-z-]+)`", PAGE.prose)) <= known
