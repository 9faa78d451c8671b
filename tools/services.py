#!/usr/bin/env python3
"""Runs a command with a Docker Engine and a Postgres server, and ends what it started.

    python3 tools/services.py -- COMMAND [ARG ...]

A Docker Engine that answers is used; otherwise, as root on Debian or Ubuntu, one is installed and started. Postgres is
always a temporary cluster of its own on a free port; where its programs are missing they are installed. The command
finds the server in POSTGRES_HOST, POSTGRES_PORT, POSTGRES_USER, POSTGRES_PASSWORD and POSTGRES_CONTAINER_HOST (the
address that containers reach it by). Standard library only.
"""

from __future__ import annotations

import contextlib
import fcntl
import http.client
import ipaddress
import json
import os
import pwd
import re
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

BUILD = Path(__file__).resolve().parent.parent / ".build"
SOCKET = "/var/run/docker.sock"
START_SECONDS = 60


class _UnixConnection(http.client.HTTPConnection):
    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=5)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(5)
        self.sock.connect(self._path)


def _engine(path: str, host: str | None = None, method: str = "GET") -> Any:
    """The JSON that the engine at host, else at DOCKER_HOST, answers, if any; raises OSError where none does."""
    host = host or os.environ.get("DOCKER_HOST") or f"unix://{SOCKET}"
    scheme, _, rest = host.partition("://")
    if scheme == "unix":
        connection: http.client.HTTPConnection = _UnixConnection(rest)
    elif scheme in ("tcp", "http"):
        connection = http.client.HTTPConnection(rest.rstrip("/"), timeout=5)
    else:
        stop(f"DOCKER_HOST={host}: only unix:// and plain tcp:// are known here")
    with contextlib.closing(connection):
        connection.request(method, path)
        return json.loads(connection.getresponse().read() or "null")


def answers(host: str | None = None) -> bool:
    """Whether a Docker Engine answers at host, else at DOCKER_HOST."""
    try:
        _engine("/version", host)
    except (OSError, ValueError, http.client.HTTPException):
        return False
    return True


def socket_path() -> str:
    """The socket of the engine at DOCKER_HOST, else of the machine's own."""
    return os.environ.get("DOCKER_HOST", "").removeprefix("unix://") or SOCKET


def version(host: str | None = None) -> str:
    """What the engine calls itself, and its API."""
    found = _engine("/version", host)
    component = (found.get("Components") or [{"Name": "Engine"}])[0]["Name"]
    return f"{component} {found['Version']}, API {found['ApiVersion']}"


def stop(message: str) -> NoReturn:
    """Ends the program with one clear message."""
    sys.exit(f"error: {message}")


@contextlib.contextmanager
def locked(name: str, *, shared: bool = False) -> Iterator[None]:
    """Waits for, and then holds, what one process may have at a time, or with shared=True any number of such."""
    BUILD.mkdir(exist_ok=True)
    with (BUILD / f"{name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_SH if shared else fcntl.LOCK_EX)
        yield


def install(*packages: str) -> None:
    """Installs packages of the distribution; elsewhere, or without root, ends with a message that names them."""
    names = " ".join(packages)
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        stop(f"install {names} and start it, or run this as root on Debian or Ubuntu")
    print(f"installing {names}", file=sys.stderr)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    log = BUILD / "apt.log"
    with locked("apt"), log.open("ab") as output:
        for command in (["apt-get", "update"], ["apt-get", "install", "-y", "--no-install-recommends", *packages]):
            if subprocess.run(command, stdout=output, stderr=output, env=environment, check=False).returncode != 0:
                stop(f"{' '.join(command)} failed; see {log}")


def _remove_stale_pid_file() -> None:
    """A killed dockerd leaves its pid file; once another program has that pid, no dockerd starts any more."""
    file = Path("/var/run/docker.pid")
    with contextlib.suppress(FileNotFoundError, ValueError):
        owner = Path("/proc") / str(int(file.read_text())) / "comm"
        if not owner.exists() or owner.read_text().strip() != "dockerd":
            file.unlink()


# The names that tests and benches give, and nobody else: a developer's own `kt-web` stays.
LEFT_CONTAINER = re.compile(r"/kt-(bench-)?[0-9a-f]{6,}-")
LEFT_NETWORK = re.compile(r"kosuke-test-[0-9a-f]{6}|kt-[0-9a-f]{6}-isolated|kt-bench-[0-9a-f]{6,}")


def _remove_leftovers() -> None:
    """Takes away what killed test runs left on this engine: enough of their networks leave no addresses for new ones.

    Only on an engine that was started just now: on another one a test run may be going on.
    """
    for container in _engine("/containers/json?all=1"):
        if any(LEFT_CONTAINER.match(name) for name in container["Names"]):
            _engine(f"/containers/{container['Id']}?force=1&v=1", method="DELETE")
    for network in _engine("/networks"):
        if LEFT_NETWORK.fullmatch(network["Name"]):
            _engine(f"/networks/{network['Id']}", method="DELETE")


@contextlib.contextmanager
def docker() -> Iterator[None]:
    """A Docker Engine for as long as this lasts."""
    if answers():
        yield
        return
    if os.environ.get("DOCKER_HOST"):
        stop(f"no Docker Engine answers at DOCKER_HOST={os.environ['DOCKER_HOST']}")
    if shutil.which("dockerd") is None or shutil.which("iptables") is None:
        install("docker.io", "iptables")
    if os.geteuid() != 0:
        stop(f"no Docker Engine answers at {SOCKET}: start it, or run this as root")
    if answers():  # Installing may have started it.
        yield
        return
    _remove_stale_pid_file()
    log = BUILD / "dockerd.log"
    print("starting dockerd", file=sys.stderr)
    with log.open("wb") as output:
        daemon = subprocess.Popen(["dockerd"], stdout=output, stderr=output, start_new_session=True)
    try:
        wait_for(answers, lambda: daemon.poll() is not None, f"dockerd did not start; see {log}")
        _remove_leftovers()
        yield
    finally:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(30)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def wait_for(ready: Any, dead: Any, message: str) -> None:
    """Polls until ready() or, with the message, dead()."""
    deadline = time.monotonic() + START_SECONDS
    while not ready():
        if dead() or time.monotonic() > deadline:
            stop(message)
        time.sleep(0.1)


def _programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda path: float(path.parts[-3]))
    if found:
        return found[-1].parent
    initdb = shutil.which("initdb")
    return Path(initdb).resolve().parent if initdb else None


def postgres_programs() -> Path:
    """The folder with initdb and postgres: POSTGRES_PROGRAMS, else the machine's, installed if it is missing."""
    if given := os.environ.get("POSTGRES_PROGRAMS"):
        return Path(given)
    programs = _programs()
    if programs is None:
        install("postgresql")
        programs = _programs()
    if programs is None:
        stop("postgresql was installed, but its initdb was not found")
    return programs


def free_port() -> int:
    """A TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def gateway() -> str:
    """This machine's address on the default bridge, by which every container reaches it."""
    config = _engine("/networks/bridge")["IPAM"]["Config"][0]
    # Engine 20.10 names no gateway where it chose one itself: it takes the first address.
    return str(config.get("Gateway") or next(ipaddress.ip_network(config["Subnet"]).hosts()))


@contextlib.contextmanager
def postgres(*options: str) -> Iterator[dict[str, str]]:
    """A temporary Postgres cluster for as long as this lasts; gives its POSTGRES_* variables.

    Args:
        options: Further lines of postgresql.conf.
    """
    programs = postgres_programs()
    user = pwd.getpwnam("postgres") if os.geteuid() == 0 else pwd.getpwuid(os.geteuid())
    password, port = secrets.token_urlsafe(12), free_port()
    home = Path(tempfile.mkdtemp(prefix="kosuke-postgres-"))
    data, secret, log = home / "data", home / "password", home / "log"

    def run(program: str, *arguments: str, check: bool = True) -> None:
        command = [str(programs / program), *arguments]
        done = subprocess.run(
            command, user=user.pw_uid, group=user.pw_gid, cwd=home, capture_output=True, text=True, check=False
        )
        if check and done.returncode != 0:
            words = log.read_text() if log.exists() else ""
            stop(f"{' '.join(command)}: {done.stderr or done.stdout}{words}")

    try:
        secret.write_text(password)
        for path in (home, secret):
            os.chown(path, user.pw_uid, user.pw_gid)
        run("initdb", "-D", str(data), "-U", "postgres", "-A", "scram-sha-256", f"--pwfile={secret}", "--no-sync")
        secret.unlink()
        with (data / "pg_hba.conf").open("a") as rules:
            rules.write("host all all 0.0.0.0/0 scram-sha-256\n")
        with (data / "postgresql.conf").open("a") as settings:
            lines = [f"port = {port}", "listen_addresses = '*'", f"unix_socket_directories = '{home}'", "fsync = off"]
            settings.write("\n".join([*lines, *options]) + "\n")
        run("pg_ctl", "start", "-w", "-D", str(data), "-l", str(log), "-t", str(START_SECONDS))
        yield {
            "POSTGRES_HOST": "127.0.0.1",
            "POSTGRES_PORT": str(port),
            "POSTGRES_USER": "postgres",
            "POSTGRES_PASSWORD": password,
            "POSTGRES_DB": "postgres",
        }
    finally:
        run("pg_ctl", "stop", "-D", str(data), "-m", "immediate", check=False)
        shutil.rmtree(home, ignore_errors=True)


def main() -> int:
    """Runs the command."""
    command = sys.argv[1:]
    if command[:1] == ["--"]:
        command = command[1:]
    if not command:
        stop("usage: services.py -- COMMAND [ARG ...]")
    BUILD.mkdir(exist_ok=True)
    # Ending this ends what it started, too.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with docker(), postgres() as variables:
        environment = {**os.environ, **variables, "POSTGRES_CONTAINER_HOST": gateway()}
        return subprocess.run(command, env=environment, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
