"""The fake engine of the hazard tests answers as a real one does, word for word."""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import services
from fake_engine import FakeEngine

REAL = services.socket_path()
ID = re.compile(r"\b[0-9a-f]{64}\b")


class Connection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=30)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect(self._path)


def ask(path: str, method: str, target: str, body: object = None) -> tuple[int, Any]:
    """The status, and the message where there is one."""
    with contextlib.closing(Connection(path)) as connection:
        data = None if body is None else json.dumps(body)
        connection.request(method, target, data, {"Content-Type": "application/json"} if data else {})
        response = connection.getresponse()
        text = response.read().decode(errors="replace")
    message = json.loads(text).get("message") if text.startswith('{"message"') else None
    return response.status, message and ID.sub("ID", message)


@pytest.fixture
def fake_path(image: str) -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="kosuke-fake-"))
    engine = FakeEngine(folder / "docker.sock")
    engine.images.add(image)
    engine.open()
    yield str(engine.path)
    engine.close()
    shutil.rmtree(folder)
    assert engine.problems == []


def transcript(path: str, image: str, name: str) -> list[tuple[str, int, Any]]:
    """A container's life with all the calls that are refused."""
    one, create = f"/containers/{name}", f"/containers/create?name={name}"
    body = {"Image": image, "Cmd": ["sleep", "300"], "HostConfig": {"Init": True}}
    missing = {"Type": "bind", "Source": "/no/such/folder", "Target": "/app"}
    bad_bind = {**body, "HostConfig": {"Mounts": [missing]}}
    filters = quote(json.dumps({"name": [name]}))
    steps: list[tuple[str, str, object]] = [
        ("GET", "/_ping", None),
        ("HEAD", "/_ping", None),
        ("GET", f"{one}/json", None),
        ("POST", f"{one}/start", None),
        ("POST", f"{one}/stop?t=1", None),
        ("DELETE", f"{one}?force=1", None),
        ("GET", f"{one}/logs?stdout=1", None),
        ("GET", "/images/kosuke-no-such-image/json", None),
        ("POST", create, {**body, "Image": "kosuke-no-such-image"}),
        ("POST", create, bad_bind),
        ("GET", "/networks/kosuke-no-such-network", None),
        ("DELETE", "/networks/kosuke-no-such-network", None),
        ("POST", create, body),
        ("POST", create, body),
        ("POST", f"{one}/stop?t=1", None),
        ("POST", f"{one}/kill", None),
        ("POST", f"{one}/pause", None),
        ("GET", f"/containers/json?filters={filters}", None),
        ("POST", f"{one}/start", None),
        ("POST", f"{one}/start", None),
        ("POST", f"{one}/pause", None),
        ("POST", f"{one}/pause", None),
        ("POST", f"{one}/start", None),
        ("DELETE", one, None),
        ("POST", f"{one}/unpause", None),
        ("POST", f"{one}/unpause", None),
        ("DELETE", one, None),
        ("POST", f"{one}/restart?t=1", None),
        ("GET", f"{one}/logs?stdout=1&tail=1", None),
        ("POST", f"{one}/stop?t=1", None),
        ("POST", f"{one}/stop?t=1", None),
        ("POST", f"{one}/start", None),
        ("DELETE", f"{one}?force=1", None),
        ("DELETE", f"{one}?force=1", None),
    ]
    return [(f"{method} {target}", *ask(path, method, target, body)) for method, target, body in steps]


def test_what_the_fake_engine_answers_a_real_one_answers(fake_path: str, image: str, engine: Any) -> None:
    name = f"kt-{secrets.token_hex(3)}"
    fake, real = transcript(fake_path, image, name), transcript(REAL, image, name)
    assert [step[:2] for step in fake] == [step[:2] for step in real]
    if engine.version()["Version"].startswith("20.10"):
        assert fake == real, "the words are those of 20.10"


def test_the_version_may_stand_before_the_path(fake_path: str) -> None:
    assert ask(fake_path, "GET", "/v1.41/containers/x/json") == ask(fake_path, "GET", "/containers/x/json")
