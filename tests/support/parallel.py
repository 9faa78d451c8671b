"""Tests on several workers of pytest-xdist: those that are marked `alone` run while no other test does."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

import pytest
import services
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling

FIRST = ("unit", "ticket", "e2e")
"""Folders in the order of their tests, before all others: what needs no engine, then what takes long."""
TOGETHER = {"test_deployment.py", "test_frozen_engine.py"}
"""Files that one worker runs, for a costly set-up that their tests share."""


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
    folder = item.path.relative_to(Path(__file__).parent.parent).parts[0]
    return FIRST.index(folder) if folder in FIRST else len(FIRST)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Orders the tests; those that run alone are the last."""
    items.sort(key=lambda item: (item.get_closest_marker("alone") is not None, _place(item)))


class _Scheduling(LoadScopeScheduling):  # type: ignore[misc]  # It has no types.
    """Gives each worker the next test, or the next file of TOGETHER."""

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return file if Path(file).name in TOGETHER else nodeid


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> _Scheduling:
    """Keeps the order of the tests."""
    config.option.loadscopereorder = False
    return _Scheduling(config, log)


# Outside of pytest-timeout's: a test's time begins when it has its turn.
@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Lets a test that is marked `alone` wait for all others, and those for it."""
    if "PYTEST_XDIST_WORKER" not in os.environ:
        return (yield)
    with services.locked("alone", shared=item.get_closest_marker("alone") is None):
        return (yield)
