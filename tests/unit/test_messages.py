"""What is said when something is missing: what happened, why, and the fix with the name of the environment variable."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
from kosuke_docker import (
    DatabaseError,
    DockerService,
    DockerUnavailableError,
    EngineError,
    InvalidInputError,
    KosukeDockerError,
    ProjectFolderError,
    Settings,
)


@pytest.fixture
def nothing_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home of this test's own, and no variable that names an engine."""
    for name in ("DOCKER_HOST", "DOCKER_CONTEXT", "DOCKER_CONFIG", "XDG_RUNTIME_DIR", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)
    home = tmp_path / "home"
    (home / ".docker").mkdir(parents=True)
    monkeypatch.setenv("HOME", str(home))
    return home


def has(error: pytest.ExceptionInfo[KosukeDockerError], *words: str) -> None:
    text = str(error.value)
    for word in words:
        assert word in text, text


async def unreachable(settings: Settings) -> pytest.ExceptionInfo[DockerUnavailableError]:
    with pytest.raises(DockerUnavailableError) as caught:
        await DockerService(settings).start_preview(7)
    assert "hyper" not in str(caught.value)
    return caught


async def test_no_engine_at_the_socket(settings: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/none.sock")
    has(await unreachable(settings), "no Docker Engine at", f"{tmp_path}/none.sock", "DOCKER_HOST", "running?")


async def test_a_connection_that_is_refused(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    monkeypatch.setenv("DOCKER_HOST", f"tcp://127.0.0.1:{port}")
    has(
        await unreachable(settings), f"no Docker Engine at tcp://127.0.0.1:{port}", "DOCKER_HOST", "refused", "running?"
    )


def test_no_right_on_the_socket(tmp_path: Path) -> None:
    path = tmp_path / "engine.sock"
    script = (
        "import asyncio, os\n"
        "from kosuke_docker import DockerService, Settings\n"
        "if os.geteuid() == 0: os.setuid(65534)\n"
        "async def main():\n"
        "    try:\n"
        "        await DockerService(Settings(postgres_host=None)).list_previews()\n"
        "    except Exception as error:\n"
        "        print(type(error).__name__, error)\n"
        "asyncio.run(main())\n"
    )
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))
        server.listen()
        path.chmod(0)
        environment = {**os.environ, "DOCKER_HOST": f"unix://{path}"}
        said = subprocess.run(
            [sys.executable, "-c", script], env=environment, capture_output=True, text=True, check=True
        ).stdout
    assert said.startswith("DockerUnavailableError ")
    for word in ("no permission for the socket", str(path), "group docker", "log in again", "DOCKER_HOST"):
        assert word in said, said


async def test_an_engine_over_ssh(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DOCKER_HOST", "ssh://me:s3cret@box")
    caught = await unreachable(settings)
    has(caught, "DOCKER_HOST", "ssh://box", "not supported", "unix://", "tcp://")
    assert "s3cret" not in str(caught.value)


async def test_the_context_of_the_docker_cli(
    settings: Settings, nothing_named: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def context(name: str, host: str) -> None:
        folder = nothing_named / ".docker/contexts/meta" / hashlib.sha256(name.encode()).hexdigest()
        folder.mkdir(parents=True)
        (folder / "meta.json").write_text(json.dumps({"Name": name, "Endpoints": {"docker": {"Host": host}}}))

    context("colima", "unix:///of/colima.sock")
    context("far", "unix:///of/far.sock")
    (nothing_named / ".docker/config.json").write_text(json.dumps({"currentContext": "colima"}))
    has(await unreachable(settings), "/of/colima.sock", "context colima", "currentContext", ".docker/config.json")
    service = DockerService(settings)
    with pytest.raises(DockerUnavailableError):
        await service.list_previews()
    monkeypatch.setenv("DOCKER_CONTEXT", "far")
    # Another address is another core, also with equal settings.
    has(await unreachable(settings), "/of/far.sock", "context far of DOCKER_CONTEXT")
    monkeypatch.setenv("DOCKER_CONTEXT", "gone")
    has(await unreachable(settings), "context gone of DOCKER_CONTEXT does not exist", "colima, default, far")
    monkeypatch.setenv("DOCKER_HOST", "unix:///of/host.sock")
    has(await unreachable(settings), "/of/host.sock", "DOCKER_HOST")


def test_docker_py_is_led_to_the_same_engine(
    settings: Settings, nothing_named: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = nothing_named / ".docker/contexts"
    digest = hashlib.sha256(b"far").hexdigest()
    (folder / "meta" / digest).mkdir(parents=True)
    meta = folder / "meta" / digest / "meta.json"
    tls = folder / "tls" / digest / "docker"
    monkeypatch.setenv("DOCKER_CONTEXT", "far")

    def client(host: str) -> dict[str, Any]:
        meta.write_text(json.dumps({"Name": "far", "Endpoints": {"docker": {"Host": host}}}))
        service = DockerService(settings)
        with monkeypatch.context() as patched:
            patched.setattr("docker.from_env", lambda **options: options.get("environment", {}))
            found: dict[str, Any] = service.client
        return found

    assert client("unix:///of/far away.sock")["DOCKER_HOST"] == "unix:///of/far away.sock"
    assert client("tcp://far:2375").get("DOCKER_TLS_VERIFY") is None
    tls.mkdir(parents=True)
    (tls / "ca.pem").touch()
    found = client("tcp://far:2376")
    assert (found["DOCKER_HOST"], found["DOCKER_TLS_VERIFY"]) == ("tcp://far:2376", "1")
    assert found["DOCKER_CERT_PATH"] == str(tls)
    monkeypatch.setenv("DOCKER_HOST", "unix:///of/host.sock")
    assert client("tcp://far:2376") == {}


async def test_the_folder_of_all_projects_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with EngineThatSays(b'{"ApiVersion":"1.41"}', b'{"message":"No such container: x"}') as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        with pytest.raises(ProjectFolderError) as caught:
            await DockerService(Settings(postgres_host=None)).start_preview(7)
        has(caught, str(tmp_path / "projects"), "PROJECTS_DIR", "working directory", "create it", "set")
        (tmp_path / "projects").mkdir()
        with pytest.raises(ProjectFolderError) as caught:
            await DockerService(Settings(postgres_host=None)).start_preview(7)
        has(caught, str(tmp_path / "projects" / "7"), "does not exist", "PROJECTS_DIR")


class Server(http.server.BaseHTTPRequestHandler):
    """Answers /version with one body, and everything else with 404 and another."""

    version: ClassVar[bytes | None] = None
    other: ClassVar[bytes] = b""

    def do_GET(self) -> None:
        known = self.version is not None and self.path.endswith("/version")
        body = self.version if known and self.version is not None else self.other
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_DELETE = do_HEAD = do_GET

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - http.server's name
        pass


class EngineThatSays:
    def __init__(self, version: bytes | None, other: bytes) -> None:
        handler = type("Handler", (Server,), {"version": version, "other": other})
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)

    def __enter__(self) -> str:
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"tcp://127.0.0.1:{self._server.server_address[1]}"

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture(
    params=[
        (None, b"<html><title>404 Not Found</title></html>"),
        (None, b""),
        (None, b'{"detail":"Not Found"}'),
        (None, b'{"message":"No such container: kosuke-preview-7"}'),
        (b"<html>hello</html>", b""),
        (b"{}", b'{"message":"Not Found"}'),
        (b'{"ApiVersion":"1.41"}', b"<html>a container was not found</html>"),
        (b'{"ApiVersion":"1.41"}', b""),
        (b'{"ApiVersion":"1.41"}', b'{"message":"page not found"}'),
    ],
    ids=["html", "empty", "json", "no version", "a page", "an api", "html later", "empty later", "an engine's route"],
)
def web_server(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with EngineThatSays(*request.param) as host:
        monkeypatch.setenv("DOCKER_HOST", host)
        yield


async def test_a_web_server_is_no_engine_without_containers(settings: Settings, web_server: None) -> None:
    async with DockerService(settings) as service:
        for call in (
            lambda: service.stop_preview(7),
            lambda: service.get_preview(7),
            lambda: service.get_preview_status(7),
            lambda: service.is_container_running(7),
            lambda: service.start_preview(7),
            lambda: service.restart_preview(7),
            service.list_previews,
            service.stop_all_previews,
            service.ensure_image,
        ):
            with pytest.raises(EngineError) as caught:
                await call()
            assert "Docker Engine" in str(caught.value)


async def test_a_variable_that_no_program_can_be_started_with(settings: Settings) -> None:
    service = DockerService(settings)
    for name, size in (("SERVICE_ACCOUNT", 131072 - 4), ("X" * 131072, 1)):
        with pytest.raises(InvalidInputError) as caught:
            await service.start_preview(7, {"OK": "1", name: "s3cret"[:1] * size})
        has(caught, f'env_vars["{name[:80]}', "too long", "128 KiB")
        assert len(str(caught.value)) < 400
    with pytest.raises(DockerUnavailableError):
        await service.start_preview(7, {"A": "x" * (131072 - 3)})


async def test_a_database_that_is_to_be_removed_without_a_server(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    service = DockerService(settings)
    for call in (service.drop_project_database, service.reset_database):
        with pytest.raises(DatabaseError) as caught:
            await call(7)
        has(caught, "no database server is configured", "POSTGRES_HOST", "PREVIEW_POSTGRES_URL")
    with pytest.raises(DatabaseError, match="POSTGRES_HOST"):
        await service.remove_orphan_databases()
    assert await service.orphan_databases() == []
