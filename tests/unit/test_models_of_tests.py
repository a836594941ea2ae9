"""The models that tests use come from schemas of their own, as a user's do."""

from __future__ import annotations

from pathlib import Path

from schemas import generate

TESTS = Path(__file__).resolve().parents[1]


def test_the_models_are_current() -> None:
    options = ["--schemas", str(TESTS / "schemas"), "--models", str(TESTS / "models")]
    assert generate.main([*options, "--check"]) == 0, f"run python -m schemas.generate {' '.join(options)}"
