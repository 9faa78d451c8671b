#!/usr/bin/env python3
"""Runs a command with an engine of another Debian release, in a network of its own, and ends what it started.

    python3 tools/engines.py docker|podman SUITE -- COMMAND [ARG ...]

The command finds the engine in DOCKER_HOST. It runs in the engine's network namespace, since published ports are there
only: two engines on one network would destroy each other's rules of the packet filter. The way out of it is
slirp4netns, which changes nothing on this machine. Root only. Standard library only.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import debian
import services

INSIDE = "--inside"
TAP = "tap0"
SYS_NET = Path("/sys/class/net")
RESOLVER = "10.0.2.3"
"""The address at which slirp4netns passes questions on to this machine's resolver."""
STOP_SECONDS = 60
DOCKER = (
    "usr/sbin/dockerd",
    "usr/sbin/docker-proxy",
    "usr/bin/docker-init",
    "usr/bin/containerd",
    "usr/bin/containerd-shim-runc-v2",
    "usr/sbin/runc",
)
PODMAN = (
    "usr/bin/podman",
    "usr/bin/conmon",
    "usr/sbin/runc",
    "usr/bin/catatonit",
    "usr/lib/podman/netavark",
    "usr/lib/podman/aardvark-dns",
    "usr/libexec/podman/rootlessport",
)
# What a package would have put into /etc. iptables is this machine's.
PODMAN_CONF = """
[containers]
init_path = "{programs}/catatonit"
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
conmon_path = ["{programs}/conmon"]
helper_binaries_dir = ["{programs}"]
runtime = "runc"
[engine.runtimes]
runc = ["{programs}/runc"]
[network]
firewall_driver = "iptables"
network_config_dir = "{home}/networks"
"""


def prepare(kind: str, suite: str) -> Path:
    """The folder with the engine's programs."""
    if kind == "docker":
        return debian.links(debian.unpacked(suite, "docker.io"), *DOCKER)
    if kind != "podman":
        services.stop(f"no engine is called {kind}: docker or podman")
    return debian.links(debian.unpacked(suite, "podman", "netavark", "aardvark-dns", "runc", "catatonit"), *PODMAN)


def _docker(home: Path) -> list[str]:
    folders = [f"--data-root={home / 'data'}", f"--exec-root={home / 'exec'}", f"--pidfile={home / 'pid'}"]
    return ["dockerd", f"--host=unix://{home / 'docker.sock'}", *folders]


def _podman(home: Path) -> tuple[list[str], dict[str, str]]:
    programs = Path(shutil.which("podman") or services.stop("no podman")).parent
    settings = home / "home" / ".config" / "containers"
    settings.mkdir(parents=True)
    (settings / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    (settings / "registries.conf").write_text("")
    (settings / "containers.conf").write_text(PODMAN_CONF.format(programs=programs, home=home))
    folders = [f"--root={home / 'data'}", f"--runroot={home / 'run'}", f"--tmpdir={home / 'tmp'}"]
    command = ["podman", *folders, "system", "service", "--time=0", f"unix://{home / 'docker.sock'}"]
    return command, {"HOME": str(home / "home"), "CONTAINERS_CONF": str(settings / "containers.conf")}


@contextlib.contextmanager
def engine(kind: str, home: Path) -> Iterator[str]:
    """The engine of PATH for as long as this lasts; gives its address."""
    host, log = f"unix://{home / 'docker.sock'}", home / "log"
    command, variables = (_docker(home), {}) if kind == "docker" else _podman(home)
    with log.open("wb") as output:
        daemon = subprocess.Popen(command, env={**os.environ, **variables}, stdout=output, stderr=output)
    try:
        services.wait_for(
            lambda: services.answers(host), lambda: daemon.poll() is not None, f"no engine started: {log.read_text()}"
        )
        yield host
    finally:
        daemon.send_signal(signal.SIGTERM)
        try:
            daemon.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()


def _settle(home: Path) -> None:
    """Makes a fresh namespace fit to work in."""
    groups, resolvers = home / "cgroup", home / "resolv.conf"
    groups.mkdir()
    resolvers.write_text(f"nameserver {RESOLVER}\n")
    for command in (
        # The interfaces that /sys shows are those of the namespace that it was mounted in. Control groups stay.
        f"mount --rbind /sys/fs/cgroup {groups}",
        "mount -t sysfs sysfs /sys",
        f"mount --rbind {groups} /sys/fs/cgroup",
        f"umount --recursive {groups}",
        f"mount --bind {resolvers} /etc/resolv.conf",
        # podman's namespaces, the names that it serves, and its locks: those of other runs are not its own.
        "mkdir -p /run/netns /run/containers",
        "mount -t tmpfs tmpfs /run/containers",
        "mount -t tmpfs tmpfs /run/netns",
        "mount -t tmpfs tmpfs /dev/shm",
        "ip link set lo up",
    ):
        subprocess.run(command.split(), check=True)
    services.wait_for((SYS_NET / TAP).exists, lambda: False, "slirp4netns does not answer")


def inside(kind: str, home: Path, command: list[str]) -> int:
    """In the namespaces: starts the engine and runs the command."""
    _settle(home)
    with engine(kind, home) as host:
        print(f"engine: {services.version(host)}", flush=True)
        return subprocess.run(command, env={**os.environ, "DOCKER_HOST": host}, check=False).returncode


def _end_all(namespace: Path) -> None:
    """Ends what is left in a network namespace: podman's containers do not end with their engine."""
    for process in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if process.name.isdigit() and (process / "ns" / "net").readlink() == namespace:
                os.kill(int(process.name), signal.SIGKILL)


@contextlib.contextmanager
def _way_out(child: subprocess.Popen[bytes]) -> Iterator[None]:
    """Connects a child's network namespace with the world for as long as this lasts; then ends all that runs in it."""
    own, its = Path("/proc/self/ns/net").readlink(), Path(f"/proc/{child.pid}/ns/net")
    services.wait_for(lambda: its.readlink() != own, lambda: child.poll() is not None, "there is no network namespace")
    namespace = its.readlink()
    slirp = ["slirp4netns", "--configure", "--mtu=65520", "--disable-host-loopback", str(child.pid), TAP]
    with (services.BUILD / "slirp4netns.log").open("wb") as log:
        way = subprocess.Popen(slirp, stdout=log, stderr=log)
    try:
        yield
    finally:
        child.terminate()
        child.wait()
        way.terminate()
        way.wait()
        _end_all(namespace)


def main() -> int:
    """Runs the command."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if sys.argv[1:2] == [INSIDE]:
        return inside(sys.argv[2], Path(sys.argv[3]), sys.argv[4:])
    if sys.argv[3:4] != ["--"] or not sys.argv[4:]:
        services.stop("usage: engines.py docker|podman SUITE -- COMMAND [ARG ...]")
    if os.geteuid() != 0:
        services.stop("an engine of another release needs root")
    programs = prepare(sys.argv[1], sys.argv[2])
    for name, package in (("ip", "iproute2"), ("iptables", "iptables"), ("slirp4netns", "slirp4netns")):
        if shutil.which(name) is None:
            services.install(package)
    environment = {**os.environ, "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}"}
    home = tempfile.mkdtemp(prefix="kosuke-engine-")
    # What the engine mounts goes with the namespace, also if the engine is killed.
    command = ["unshare", "--net", "--mount", sys.executable, __file__, INSIDE, sys.argv[1], home, *sys.argv[4:]]
    child = subprocess.Popen(command, env=environment)
    try:
        with _way_out(child):
            return child.wait()
    finally:
        shutil.rmtree(home, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
