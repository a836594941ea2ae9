"""The helper that the rules about imports rest on finds what it is to find."""

from __future__ import annotations

from tests.imports import condensed, cycles, longest_chain


def test_cycles() -> None:
    graph = {"a": {"b"}, "b": {"c", "d"}, "c": {"a"}, "d": {"e"}, "e": {"d"}, "f": {"a"}}
    assert cycles(graph) == [["c", "a", "b", "c"], ["e", "d", "e"]]
    assert cycles({"a": {"b"}, "b": set()}) == []


def test_the_longest_chain() -> None:
    assert longest_chain({"a": {"b", "d"}, "b": {"c"}, "c": {"d"}, "d": set()}) == ["a", "b", "c", "d"]


def test_groups() -> None:
    graph = {"a.x": {"a.y", "b.x"}, "a.y": set(), "b.x": {"a.y", "c"}, "c": set()}
    assert condensed(graph, lambda name: name[0]) == {"a": {"b"}, "b": {"a", "c"}, "c": set()}
