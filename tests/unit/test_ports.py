"""Ports that the scripts in docker/ give out: to one at a time, as whoever has one needs a while to listen on it."""

from __future__ import annotations

import importlib.util
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import ModuleType

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "docker" / "ports.py"
#: Below what kernels and this project's own processes use.
FEW = range(18_000, 18_024)


@pytest.fixture
def ports(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location("ports_under_test", SCRIPT)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    monkeypatch.setattr(module, "NOTES", tmp_path / "build" / "ports")
    monkeypatch.setattr(module, "RANGE", FEW)
    return module


def test_nobody_is_given_a_port_that_another_is_about_to_listen_on(
    ports: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    free = [port for port in FEW if ports.is_free(port)]
    with ThreadPoolExecutor(8) as threads:
        given = list(threads.map(lambda _: ports.free_port(), free))
    assert sorted(given) == free
    with pytest.raises(OSError, match="no free port"):
        ports.free_port()
    monkeypatch.setattr(ports, "KEPT_SECONDS", 0.0)
    assert ports.free_port(but=free[0]) in free[1:], "they are given out again later"


def test_a_port_that_somebody_listens_on_is_not_given_out(ports: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    taken = next(port for port in FEW if ports.is_free(port))
    monkeypatch.setattr(ports, "RANGE", range(taken, taken + 1))
    with socket.create_server(("127.0.0.1", taken)), pytest.raises(OSError, match="no free port"):
        ports.free_port()
