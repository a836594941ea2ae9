"""The models that tests use come from schemas of their own, as a user's do."""

from __future__ import annotations

from pathlib import Path

from schemas.generate import outdated

TESTS = Path(__file__).resolve().parents[1]


def test_the_models_are_current() -> None:
    assert not outdated(TESTS / "schemas", TESTS / "models"), (
        "run python -m schemas.generate --schemas tests/schemas --models tests/models"
    )
