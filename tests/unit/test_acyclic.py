"""The check of the core's modules: no circle, and no call to a higher room."""

from __future__ import annotations

import io

import acyclic
import pytest

MODULES = ("service", "service::start", "sync", "sync::page", "state", "state::store")


def graph(*uses: tuple[str, str]) -> str:
    nodes = [
        f'    "kosuke_docker::{name}" [label="pub(crate) mod|{name}", fillcolor="#fff"]; // "mod" node'
        for name in MODULES
    ]
    edges = [
        f'    "kosuke_docker::{user}" -> "kosuke_docker::{used}" [label="uses", color="#7f7f7f"]; // "uses" edge'
        for user, used in uses
    ]
    return "\n".join(['    "kosuke_docker" [label="crate|kosuke_docker"]; // "crate" node', *nodes, *edges])


def check(monkeypatch: pytest.MonkeyPatch, text: str) -> int:
    monkeypatch.setattr("sys.stdin", io.StringIO(text))
    return acyclic.main()


def test_calls_down_are_fine(monkeypatch: pytest.MonkeyPatch) -> None:
    down = graph(("service::start::Start::call", "sync::page::PageProbe"), ("sync::page", "state::store::Store"))
    assert check(monkeypatch, down) == 0
    own = graph(("service", "service::start::Start"), ("service::start", "service"), ("sync::page", "state::store"))
    assert check(monkeypatch, own) == 0


def test_a_circle_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    circle = graph(("sync::page::PageProbe::ask", "state::store::Store"), ("state::store::Store::ask", "sync::page"))
    assert check(monkeypatch, circle) == 1
    assert "a circle: " in capsys.readouterr().err


def test_a_call_to_a_higher_room_is_named(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert check(monkeypatch, graph(("state::store::Store", "service::start::Start"))) == 1
    told = "error: kosuke_docker::state::store names kosuke_docker::service::start, which is above it"
    assert told in capsys.readouterr().err


def test_no_graph_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    assert check(monkeypatch, "") == 1
