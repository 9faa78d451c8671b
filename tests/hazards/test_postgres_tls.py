"""`sslmode` with libpq's meaning, against a server with a real certificate."""

from __future__ import annotations

import asyncio
import contextlib
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pg
import pytest
import services
from pg import Server


@dataclass
class Secured:
    """A server with TLS."""

    server: Server
    home: Path
    root: Path
    other: Path

    def url(self, host: str, parameters: dict[str, str]) -> str:
        query = "&".join(f"{name}={quote(value, safe='')}" for name, value in parameters.items())
        settings = self.server.settings
        login = f"postgres:{settings['postgres_password']}"
        return f"postgresql://{login}@{host}:{settings['postgres_port']}/postgres?{query}"

    async def outcome(
        self, world: Any, caplog: pytest.LogCaptureFixture, project_id: int, host: str, parameters: dict[str, str]
    ) -> str:
        """`encrypted` or `plain`, as the server says; else why there is no database."""
        log = self.home.parent / "log"
        before = len(log.read_text())
        service = world.service(preview_postgres_url=self.url(host, parameters))
        await service._ensure_project_database(project_id)
        if "Error creating database" in caplog.text:
            assert self.server.settings["postgres_password"] not in caplog.text
            return caplog.text
        ours = [
            line
            for line in log.read_text()[before:].splitlines()
            if "connection authorized" in line and "kosuke-docker" in line
        ]
        assert ours
        return "encrypted" if all("SSL enabled" in line for line in ours) else "plain"

    def reload(self) -> None:
        """Makes the server read its files again, and waits until it has."""
        command = [str(services.postgres_programs() / "pg_ctl"), "reload", "-D", str(self.home)]
        owner = self.home.stat()
        log = self.home.parent / "log"
        before = log.read_text().count("received SIGHUP")
        subprocess.run(command, user=owner.st_uid, group=owner.st_gid, cwd=self.home, check=True, capture_output=True)
        services.wait_for(
            lambda: log.read_text().count("received SIGHUP") > before, lambda: False, "the server did not reload"
        )

    @contextlib.contextmanager
    def only(self, rule: str) -> Iterator[None]:
        """With `hostssl` or `hostnossl` rules alone."""
        file = self.home / "pg_hba.conf"
        before = file.read_text()
        file.write_text(re.sub(r"(?m)^host\b", rule, before))
        self.reload()
        try:
            yield
        finally:
            file.write_text(before)
            self.reload()


def openssl(folder: Path, *arguments: str) -> None:
    subprocess.run(["openssl", *arguments], cwd=folder, check=True, capture_output=True)


def certificates(folder: Path) -> None:
    """A CA, another CA, and a server's certificate of the first one, for the name `localhost` only."""
    for name in ("root", "other"):
        subject = ["-subj", f"/CN=kosuke test {name}", "-days", "2", "-nodes", "-newkey", "rsa:2048"]
        openssl(folder, "req", "-x509", *subject, "-keyout", f"{name}.key", "-out", f"{name}.crt")
    openssl(
        folder, "req", "-new", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=localhost",
        "-keyout", "server.key", "-out", "server.csr",
    )  # fmt: skip
    (folder / "names").write_text("subjectAltName=DNS:localhost\nbasicConstraints=CA:FALSE\n")
    openssl(
        folder, "x509", "-req", "-in", "server.csr", "-CA", "root.crt", "-CAkey", "root.key", "-CAcreateserial",
        "-days", "2", "-extfile", "names", "-out", "server.crt",
    )  # fmt: skip


@pytest.fixture(scope="module")
def secured(engine: object, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("certificates")
    certificates(folder)
    with pg.cluster("log_connections = on") as server:
        home = Path(asyncio.run(server.value("SHOW data_directory")))
        for name in ("server.key", "server.crt"):
            shutil.copy(folder / name, home / name)
            shutil.chown(home / name, home.stat().st_uid, home.stat().st_gid)
        (home / "server.key").chmod(0o600)
        with (home / "postgresql.conf").open("a") as lines:
            lines.write("ssl = on\n")
        made = Secured(server, home, folder / "root.crt", folder / "other.crt")
        made.reload()
        yield made


MODES = [
    ("disable", None, "127.0.0.1", "plain"),
    ("allow", None, "127.0.0.1", "plain"),
    ("prefer", None, "127.0.0.1", "encrypted"),
    ("require", None, "127.0.0.1", "encrypted"),
    ("require", "root", "127.0.0.1", "encrypted"),
    ("require", "other", "127.0.0.1", "certificate"),
    ("verify-ca", "root", "localhost", "encrypted"),
    ("verify-ca", "root", "127.0.0.1", "encrypted"),
    ("verify-ca", "other", "localhost", "certificate"),
    ("verify-ca", None, "localhost", "certificate"),
    ("verify-full", "root", "localhost", "encrypted"),
    ("verify-full", "root", "127.0.0.1", "certificate"),
    ("verify-full", "other", "localhost", "certificate"),
    ("verify-full", "missing", "localhost", "No such file"),
]


@pytest.mark.parametrize(("mode", "root", "host", "expected"), MODES)
async def test_a_mode_means_what_libpq_means(
    world: Any,
    secured: Secured,
    project_id: int,
    caplog: pytest.LogCaptureFixture,
    mode: str,
    root: str | None,
    host: str,
    expected: str,
) -> None:
    parameters = {"sslmode": mode}
    if root is not None:
        parameters["sslrootcert"] = str(secured.root.with_name(f"{root}.crt"))
    told = await secured.outcome(world, caplog, project_id, host, parameters)
    assert told == expected if expected in ("plain", "encrypted") else expected in told, told


@pytest.mark.parametrize(
    ("rule", "mode", "expected"),
    [
        ("hostssl", "disable", "no encryption"),
        ("hostssl", "allow", "encrypted"),
        ("hostssl", "prefer", "encrypted"),
        ("hostnossl", "allow", "plain"),
        ("hostnossl", "prefer", "plain"),
        ("hostnossl", "require", "SSL encryption"),
    ],
)
async def test_allow_and_prefer_go_the_other_way_where_they_are_turned_away(
    world: Any,
    secured: Secured,
    project_id: int,
    caplog: pytest.LogCaptureFixture,
    rule: str,
    mode: str,
    expected: str,
) -> None:
    with secured.only(rule):
        told = await secured.outcome(world, caplog, project_id, "127.0.0.1", {"sslmode": mode})
    assert told == expected if expected in ("plain", "encrypted") else expected in told, told


async def test_a_preview_over_verify_full(world: Any, secured: Secured, project_id: int) -> None:
    url = secured.url("localhost", {"sslmode": "verify-full", "sslrootcert": str(secured.root)})
    world.project(project_id)
    service = world.service(preview_postgres_url=url, postgres_required=True)
    await service.start_preview(project_id)
    assert (await service.get_preview(project_id)).database == "ready"
    await service.stop_preview(project_id, remove_database=True)
    assert await secured.server.exists(f"kosuke_project_{project_id}") == (False, False)
