"""Tests on several workers of pytest-xdist: those that are marked `alone` run while no other test does."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
import services

FOLDERS = ("unit", "ticket", "e2e", "docker", "hazards")
"""The order of their tests: first what needs no engine, then what takes long."""


def worker() -> int:
    """This worker's number, from 0."""
    return int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))


def next_number() -> int:
    """One more than any worker got before."""
    with services.locked("numbers"):
        file = services.BUILD / "numbers"
        number = int(file.read_text()) + 1 if file.exists() else 0
        file.write_text(str(number))
    return number


def _place(item: pytest.Item) -> int:
    return FOLDERS.index(item.path.relative_to(Path(__file__).parent.parent).parts[0])


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders the tests; those that run alone are the last, all on one worker."""
    items.sort(key=lambda item: (item.get_closest_marker("alone") is not None, _place(item)))
    for item in items:
        if item.get_closest_marker("alone"):
            item.add_marker(pytest.mark.xdist_group("alone"))


# Outside of pytest-timeout's: a test's time begins when it has its turn.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Lets a test that is marked `alone` wait for all others, and those for it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    with services.locked("alone", shared=item.get_closest_marker("alone") is None):
        return (yield)
