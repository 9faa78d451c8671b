"""Images from a real registry: once open, once with htpasswd."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import io
import json
import logging
import os
import secrets
import shutil
import stat
import subprocess
import tarfile
import urllib.request
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import bcrypt
import httpx
import pytest
import services
from docker import DockerClient
from kosuke_docker import DockerService, ImageNotFoundError, PullProgress, Settings
from relay import relay

USER, PASSWORD = "kosuke", "a-registry-password"
BYTES = 4_000_000


@contextlib.contextmanager
def registry(folder: Path, htpasswd: str | None = None) -> Iterator[int]:
    """Debian's docker-registry on a free port."""
    if shutil.which("docker-registry") is None:
        services.BUILD.mkdir(exist_ok=True)
        services.install("docker-registry")
    port = services.free_port()
    lines = [
        "version: 0.1",
        "log: {level: error}",
        f"storage: {{filesystem: {{rootdirectory: {folder / 'data'}}}}}",
        f"http: {{addr: 127.0.0.1:{port}}}",
    ]
    if htpasswd is not None:
        (folder / "htpasswd").write_text(htpasswd)
        lines.append(f"auth: {{htpasswd: {{realm: kosuke, path: {folder / 'htpasswd'}}}}}")
    config = folder / "config.yml"
    config.write_text("\n".join(lines))
    process = subprocess.Popen(
        ["docker-registry", "serve", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
                return True
        except OSError:
            return False

    try:
        services.wait_for(answers, lambda: process.poll() is not None, "docker-registry did not start")
        yield port
    finally:
        process.terminate()
        process.wait()


@pytest.fixture(scope="module")
def open_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with registry(tmp_path_factory.mktemp("registry")) as port:
        yield port


@pytest.fixture(scope="module")
def closed_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    entry = f"{USER}:{bcrypt.hashpw(PASSWORD.encode(), bcrypt.gensalt(4)).decode()}\n"
    with registry(tmp_path_factory.mktemp("registry"), entry) as port:
        yield port


@pytest.fixture(autouse=True)
def docker_config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configuration of docker without credentials."""
    folder = tmp_path / "docker-config"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    monkeypatch.setenv("DOCKER_CONFIG", str(folder))
    return folder / "config.json"


def auths(port: int, password: str) -> str:
    entry = base64.b64encode(f"{USER}:{password}".encode()).decode()
    return json.dumps({"auths": {f"localhost:{port}": {"auth": entry}}})


def push(engine: DockerClient, port: int, **login: Any) -> str:
    """A new image in the registry, which this machine does not have."""
    repository, tag = f"localhost:{port}/kosuke/image", secrets.token_hex(4)
    data = secrets.token_bytes(BYTES)
    archive = io.BytesIO()
    with tarfile.open(fileobj=archive, mode="w") as tar:
        entry = tarfile.TarInfo("data")
        entry.size = len(data)
        tar.addfile(entry, io.BytesIO(data))
    engine.api.import_image_from_data(archive.getvalue(), repository=repository, tag=tag)
    for line in engine.images.push(repository, tag=tag, stream=True, decode=True, **login):
        assert "error" not in line, line
    engine.images.remove(f"{repository}:{tag}")
    return f"{repository}:{tag}"


@pytest.fixture
def public(engine: DockerClient, open_registry: int) -> Iterator[str]:
    reference = push(engine, open_registry)
    yield reference
    with contextlib.suppress(Exception):
        engine.images.remove(reference)


@pytest.fixture
def private(engine: DockerClient, closed_registry: int) -> Iterator[str]:
    reference = push(engine, closed_registry, auth_config={"username": USER, "password": PASSWORD})
    yield reference
    with contextlib.suppress(Exception):
        engine.images.remove(reference)


def service_for(world: Any, image: str, **changes: Any) -> DockerService:
    service: DockerService = world.service(preview_default_image=image, **{"preview_pull_policy": "missing", **changes})
    return service


class Gate:
    """A way to the registry that lets nothing through until it is opened."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self.opened = asyncio.Event()
        self.asked = asyncio.Event()
        self.port = 0

    async def serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.asked.set()
        await self.opened.wait()
        await relay((reader, writer), await asyncio.open_connection("127.0.0.1", self._behind))


@pytest.fixture
async def gate(open_registry: int) -> AsyncIterator[Gate]:
    made = Gate(open_registry)
    server = await made.serve()
    yield made
    made.opened.set()
    server.close()


async def test_a_missing_image_is_pulled_with_progress(
    world: Any, engine: DockerClient, public: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG, "kosuke_docker")
    steps: list[PullProgress] = []
    await service_for(world, public).ensure_image(steps.append)
    assert engine.images.get(public)
    assert all(step.model_fields_set == set(PullProgress.model_fields) for step in steps)
    assert any(step.status.startswith("Status: Downloaded") or step.status == "Pull complete" for step in steps), steps
    assert f"pulling image {public}" in caplog.messages
    assert f"pulled image {public}" in caplog.messages


async def test_a_start_tells_progress_to_an_async_handler_and_the_phase(
    world: Any, engine: DockerClient, gate: Gate, public: str
) -> None:
    """The image cannot run anything: what is looked at comes before that."""
    world.project(7)
    steps: list[PullProgress] = []

    async def hear(step: PullProgress) -> None:
        steps.append(step)

    reference = f"localhost:{gate.port}/{public.partition('/')[2]}"
    service = service_for(world, reference)
    start = asyncio.create_task(service.start_preview(7, on_progress=hear))
    await gate.asked.wait()
    assert (await service.get_preview(7)).phase == "pulling"  # type: ignore[union-attr]
    gate.opened.set()
    await asyncio.gather(start, return_exceptions=True)
    assert steps
    await service.stop_preview(7)
    engine.images.remove(reference)


async def test_a_handler_that_raises_is_the_callers_own_error(world: Any, public: str) -> None:
    def hear(step: PullProgress) -> None:
        raise LookupError(step.status)

    with pytest.raises(LookupError):
        await service_for(world, public).ensure_image(hear)


async def test_concurrent_callers_share_one_pull_and_the_last_one_keeps_it(
    world: Any, engine: DockerClient, gate: Gate, public: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kosuke_docker")
    reference = f"localhost:{gate.port}/{public.partition('/')[2]}"
    service = service_for(world, reference)
    calls = [asyncio.create_task(service.ensure_image()) for _ in range(6)]
    await gate.asked.wait()
    for call in calls[:-1]:
        call.cancel()
    await asyncio.gather(*calls[:-1], return_exceptions=True)
    gate.opened.set()
    await calls[-1]
    assert engine.images.get(reference)
    assert caplog.messages.count(f"pulling image {reference}") == 1
    engine.images.remove(reference)


async def test_a_pull_that_nobody_waits_for_ends(world: Any, engine: DockerClient, gate: Gate, public: str) -> None:
    reference = f"localhost:{gate.port}/{public.partition('/')[2]}"
    service = service_for(world, reference)
    call = asyncio.create_task(service.ensure_image())
    await gate.asked.wait()
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)
    await service.aclose()
    gate.opened.set()
    await service.ensure_image()
    assert engine.images.get(reference)
    engine.images.remove(reference)


async def test_an_unknown_image_is_told_in_the_registrys_words(world: Any, open_registry: int) -> None:
    image = f"localhost:{open_registry}/kosuke/none:1"
    with pytest.raises(ImageNotFoundError, match="kosuke/none") as caught:
        await service_for(world, image).ensure_image()
    assert caught.value.engine_message is not None
    assert "manifest unknown" in caught.value.engine_message
    assert caught.value.image == image


async def test_a_private_image_needs_credentials(world: Any, private: str) -> None:
    with pytest.raises(ImageNotFoundError, match=r"no basic auth credentials|unauthorized|authentication required"):
        await service_for(world, private).ensure_image()


async def test_credentials_come_from_dockers_config(
    world: Any, engine: DockerClient, private: str, closed_registry: int, docker_config: Path
) -> None:
    docker_config.write_text(auths(closed_registry, PASSWORD))
    await service_for(world, private).ensure_image()
    assert engine.images.get(private)


async def test_no_configuration_at_all_is_no_credentials(
    world: Any, engine: DockerClient, public: str, docker_config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    docker_config.unlink()
    await service_for(world, public).ensure_image()
    assert engine.images.get(public)
    assert "credentials" not in caplog.text


async def test_concurrent_starts_of_several_previews_share_one_pull_and_each_hears_of_it(
    world: Any, engine: DockerClient, gate: Gate, public: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "kosuke_docker")
    reference = f"localhost:{gate.port}/{public.partition('/')[2]}"
    service = service_for(world, reference)
    heard: dict[int, list[PullProgress]] = {project: [] for project in range(4)}
    for project in heard:
        world.project(project)
    starts = [
        asyncio.create_task(service.start_preview(project, on_progress=heard[project].append)) for project in heard
    ]
    await gate.asked.wait()
    gate.opened.set()
    await asyncio.gather(*starts, return_exceptions=True)
    assert caplog.messages.count(f"pulling image {reference}") == 1
    assert all(heard.values())
    await service.stop_all_previews()
    engine.images.remove(reference)


async def test_a_handler_that_hangs_holds_nobody(world: Any, engine: DockerClient, public: str) -> None:
    async def hang(_: PullProgress) -> None:
        await asyncio.Event().wait()

    call = asyncio.create_task(service_for(world, public).ensure_image(hang))
    async with asyncio.timeout(30):
        while not await asyncio.to_thread(engine.images.list, public):  # noqa: ASYNC110 - nothing else tells
            await asyncio.sleep(0.05)
    call.cancel()
    await asyncio.gather(call, return_exceptions=True)


def helper(folder: Path, body: str) -> None:
    script = folder / "docker-credential-kosuketest"
    script.write_text(f"#!/bin/sh\n{body}\n")
    script.chmod(script.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def helpers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


@pytest.mark.parametrize("kind", ["credHelpers", "credsStore"])
async def test_credentials_come_from_a_credential_helper(
    world: Any, engine: DockerClient, private: str, closed_registry: int, docker_config: Path, helpers: Path, kind: str
) -> None:
    value = "kosuketest" if kind == "credsStore" else {f"localhost:{closed_registry}": "kosuketest"}
    docker_config.write_text(json.dumps({kind: value}))
    answer = json.dumps({"ServerURL": f"localhost:{closed_registry}", "Username": USER, "Secret": PASSWORD})
    helper(helpers, f"cat > /dev/null; echo '{answer}'")
    await service_for(world, private).ensure_image()
    assert engine.images.get(private)


async def test_a_credential_helper_that_hangs_is_not_waited_for_without_end(
    world: Any,
    public: str,
    open_registry: int,
    docker_config: Path,
    helpers: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    docker_config.write_text(json.dumps({"credHelpers": {f"localhost:{open_registry}": "kosuketest"}}))
    helper(helpers, "exec sleep 12")
    pulling = asyncio.create_task(service_for(world, public).ensure_image())
    ticks = 0
    while not pulling.done():
        await asyncio.sleep(0.05)
        ticks += 1
    await pulling
    assert ticks > 100, "the loop went on meanwhile"
    assert "the credential helper did not answer within 10 s" in caplog.text


class TokenFront:
    """In front of an open registry, as public ones have it: everybody gets a token, but a wrong login gets none."""

    def __init__(self, behind: int) -> None:
        self._behind = behind
        self.port = 0
        self.refused = 0

    async def serve(self) -> asyncio.Server:
        server = await asyncio.start_server(self._connection, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _connection(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.readexactly(1)
        if first == b"\x16":  # The engine tries TLS first.
            writer.close()
            return
        request = (first + await reader.readuntil(b"\r\n\r\n")).decode()
        method, path, _ = request.split(" ", 2)
        authorization = next(
            (line.partition(": ")[2] for line in request.splitlines() if line.lower().startswith("authorization")), ""
        )
        if path.startswith("/token"):
            if authorization:
                self.refused += 1
                status, headers, body = 401, {}, b'{"details": "incorrect username or password"}'
            else:
                status, headers, body = 200, {"content-type": "application/json"}, b'{"token": "anybody"}'
        elif not authorization.startswith("Bearer"):
            realm = f'Bearer realm="http://127.0.0.1:{self.port}/token",service="kosuke"'
            status, headers, body = 401, {"www-authenticate": realm}, b""
        else:
            accept = [line.partition(": ")[2] for line in request.splitlines() if line.lower().startswith("accept:")]
            async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self._behind}") as client:
                answer = await client.request(method, path, headers=[("accept", value) for value in accept])
            status, body = answer.status_code, answer.content
            names = ("content-type", "docker-content-digest", "docker-distribution-api-version")
            headers = {name: answer.headers[name] for name in names if name in answer.headers}
            if method == "HEAD":
                headers["content-length"] = answer.headers.get("content-length", "0")
        head = {"content-length": str(len(body)), "connection": "close", **headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in head.items())
        writer.write(f"HTTP/1.1 {status} X\r\n{lines}\r\n".encode() + body)
        await writer.drain()
        writer.close()


async def test_stale_credentials_do_not_keep_a_public_image_away(
    world: Any,
    engine: DockerClient,
    public: str,
    open_registry: int,
    docker_config: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    front = TokenFront(open_registry)
    server = await front.serve()
    docker_config.write_text(auths(front.port, "stale"))
    reference = f"localhost:{front.port}/{public.partition('/')[2]}"
    await service_for(world, reference).ensure_image()
    server.close()
    assert engine.images.get(reference)
    assert front.refused > 0
    assert "the credentials are refused, trying without" in caplog.text
    engine.images.remove(reference)


async def test_wrong_credentials_are_told_without_the_password(
    world: Any, private: str, closed_registry: int, docker_config: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    docker_config.write_text(auths(closed_registry, "wrong-password"))
    with pytest.raises(ImageNotFoundError) as caught:
        await service_for(world, private).ensure_image()
    assert "wrong-password" not in f"{caught.value!r}{caught.value.__dict__}{caplog.text}"


async def test_a_registry_that_is_down_is_a_warning_while_the_image_is_here(
    world: Any, engine: DockerClient, image: str, caplog: pytest.LogCaptureFixture
) -> None:
    reference = f"localhost:{services.free_port()}/kosuke/node:1"
    repository, _, tag = reference.rpartition(":")
    engine.images.get(image).tag(repository, tag)
    world.project(7)
    service = service_for(world, reference, preview_pull_policy="always")
    try:
        await service.start_preview(7, wait="ready")
        assert f"image {reference}: using the one that is here" in caplog.text
    finally:
        await service.stop_preview(7)
        engine.images.remove(reference)


async def test_the_policy_never_does_not_ask_the_registry(world: Any, public: str) -> None:
    with pytest.raises(ImageNotFoundError, match="the pull policy is never"):
        await service_for(world, public, preview_pull_policy="never").ensure_image()


async def test_the_policy_always_fetches_what_changed(world: Any, engine: DockerClient, open_registry: int) -> None:
    first, second = push(engine, open_registry), push(engine, open_registry)
    repository = first.rpartition(":")[0]
    moving = f"{repository}:moving-{secrets.token_hex(3)}"
    tag = moving.rpartition(":")[2]
    identities = []
    for reference in (first, second):
        engine.images.pull(reference).tag(repository, tag)
        engine.images.push(repository, tag=tag)
        identities.append(engine.images.get(moving).id)
    engine.images.get(first).tag(repository, tag)
    assert engine.images.get(moving).id == identities[0]
    await service_for(world, moving, preview_pull_policy="always").ensure_image()
    assert engine.images.get(moving).id == identities[1]
    for reference in (first, second, moving):
        engine.images.remove(reference)


def test_settings_refuse_an_unknown_policy() -> None:
    with pytest.raises(ValueError, match="preview_pull_policy"):
        Settings.model_validate({"preview_pull_policy": "sometimes"})
