"""An engine that restarts: a private one, which this test started."""

from __future__ import annotations

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import docker
import node_image
import pytest
import services

FIRST, LAST = 21600, 21601


class PrivateEngine:
    """A dockerd with its own data, socket and bridge. (With `--bridge=none` it would remove the machine's docker0.)"""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.host = f"unix://{home / 'docker.sock'}"
        self.bridge = f"kosuke{secrets.token_hex(2)}"
        self._process: subprocess.Popen[bytes] | None = None

    def make_bridge(self) -> None:
        if shutil.which("ip") is None:
            services.install("iproute2")
        address = f"10.213.{secrets.randbelow(256)}.1/24"
        for command in (
            f"ip link add {self.bridge} type bridge",
            f"ip addr add {address} dev {self.bridge}",
            f"ip link set {self.bridge} up",
        ):
            subprocess.run(command.split(), check=True)

    def remove_bridge(self) -> None:
        subprocess.run(["ip", "link", "del", self.bridge], check=True)

    def start(self) -> None:
        flags = [
            f"--bridge={self.bridge}",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-masq=false",
            f"--host={self.host}",
        ]
        folders = [f"--data-root={self.home / 'data'}", f"--exec-root={self.home / 'exec'}"]
        with (self.home / "log").open("ab") as log:
            self._process = subprocess.Popen(
                ["dockerd", *flags, *folders, f"--pidfile={self.home / 'pid'}"], stdout=log, stderr=log
            )
        process = self._process
        services.wait_for(
            lambda: services.answers(self.host), lambda: process.poll() is not None, f"see {self.home / 'log'}"
        )

    def stop(self) -> None:
        if self._process is not None:
            self._process.send_signal(signal.SIGTERM)
            self._process.wait(60)


@pytest.fixture
def private_engine(monkeypatch: pytest.MonkeyPatch, engine: object) -> Iterator[PrivateEngine]:
    if os.geteuid() != 0:
        pytest.fail("a private dockerd needs root: run `make test` as root")
    home = Path(tempfile.mkdtemp(prefix="kosuke-docker-"))
    made = PrivateEngine(home)
    made.make_bridge()
    made.start()
    monkeypatch.setenv("DOCKER_HOST", made.host)
    yield made
    with contextlib.closing(docker.DockerClient(made.host)) as client:
        for container in client.containers.list(all=True):
            container.remove(force=True)
        for network in client.networks.list(names=["kosuke-private"]):
            network.remove()  # Its bridge would outlive the daemon.
    made.stop()
    made.remove_bridge()
    shutil.rmtree(home, ignore_errors=True)


async def test_after_a_restart_of_the_engine_the_port_is_read_again(
    world: Any, private_engine: PrivateEngine, until: Any
) -> None:
    with contextlib.closing(docker.DockerClient(private_engine.host)) as client:
        image = await asyncio.to_thread(node_image.image, client)
    for project in (1, 2):
        world.project(project)
    service = world.service(
        preview_default_image=image,
        preview_network=f"kosuke-private-{secrets.token_hex(2)}",
        preview_port_range_start=FIRST,
        preview_port_range_end=LAST,
    )
    first = await service.start_preview(1, wait="ready")
    other = LAST if first.endswith(str(FIRST)) else FIRST
    await asyncio.to_thread(private_engine.stop)
    preview = await service.get_preview(1)
    assert preview.phase == "engine_unreachable"
    await asyncio.to_thread(private_engine.start)

    assert (await until(service, 1, "exited")).url is None
    with socket.create_server(("127.0.0.1", int(first.rpartition(":")[2]))):
        url = await service.restart_preview(1)
    assert url == f"http://localhost:{other}"
    assert (await until(service, 1, "ready")).url == url
    assert service.containers[1].url == url
    second = await service.start_preview(2)
    assert second == first, "the only port that is left"
    assert len({preview.url for preview in await service.list_previews()}) == 2
