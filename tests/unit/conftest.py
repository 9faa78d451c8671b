"""Settings of a test's own, and an engine address where nobody is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from kosuke_docker import Settings, configure


@pytest.fixture(autouse=True)
def bare_environment(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No settings in the environment, and no Docker."""
    for name in Settings.model_fields:
        monkeypatch.delenv(name.upper(), raising=False)
    monkeypatch.delenv("DOCKER_TLS_VERIFY", raising=False)
    monkeypatch.setenv("DOCKER_HOST", "unix:///nonexistent.sock")
    configure(None)
    yield
    configure(None)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Without databases, with a folder for project 7; equal to no other test's."""
    (tmp_path / "7").mkdir()
    return Settings(postgres_host=None, projects_dir=str(tmp_path))
