"""A dockerd of a test's own: it may be stopped, killed and frozen, which no test may do to another."""

from __future__ import annotations

import contextlib
import secrets
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import docker
import services
from docker.errors import APIError, NotFound

NETWORK_PREFIX = "kosuke-private-"
STOP_SECONDS = 60


class NotOursError(Exception):
    """There is no daemon that this object started."""


class PrivateEngine:
    """A dockerd with its own data, socket and bridge. (With `--bridge=none` it would remove the machine's docker0.)"""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.host = f"unix://{home / 'docker.sock'}"
        self.bridge = f"kosuke{secrets.token_hex(2)}"
        self.network = f"{NETWORK_PREFIX}{secrets.token_hex(2)}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        if self._process is not None and self._process.poll() is None:
            raise NotOursError("it runs already")
        if not self._has_bridge():
            self._make_bridge()
        flags = [
            f"--bridge={self.bridge}",
            "--iptables=false",
            "--ip6tables=false",
            "--ip-masq=false",
            f"--host={self.host}",
        ]
        folders = [f"--data-root={self.home / 'data'}", f"--exec-root={self.home / 'exec'}"]
        # One that was killed leaves these numbers behind. Its containerd dies with it, and where nobody reaps that, the
        # next daemon would wait for it to answer.
        for left in (self.home / "pid", self.home / "exec" / "containerd" / "containerd.pid"):
            left.unlink(missing_ok=True)
        with (self.home / "log").open("ab") as log:
            process = self._process = subprocess.Popen(
                ["dockerd", *flags, *folders, f"--pidfile={self.home / 'pid'}"], stdout=log, stderr=log
            )
        services.wait_for(
            lambda: services.answers(self.host), lambda: process.poll() is not None, f"see {self.home / 'log'}"
        )

    def stop(self) -> None:
        """As `systemctl stop docker` does: containers end."""
        process = self._ours()
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_SECONDS)

    def kill(self) -> None:
        """As the kernel does when it is out of memory: containers go on, until the next daemon finds them."""
        process = self._ours()
        process.kill()
        process.wait(STOP_SECONDS)

    def freeze(self) -> None:
        """It keeps its connections and its socket, and answers nothing."""
        process = self._ours()
        process.send_signal(signal.SIGSTOP)
        # The signal is sent and not waited for, and a thread that still runs would answer.
        threads = Path(f"/proc/{process.pid}/task")
        services.wait_for(
            lambda: all(_is_stopped(thread) for thread in threads.iterdir()),
            lambda: process.poll() is not None,
            f"{self.host} does not stop running",
        )

    def thaw(self) -> None:
        self._ours().send_signal(signal.SIGCONT)

    def restart(self) -> None:
        self.stop()
        self.start()

    def empty(self) -> None:
        """Lets it run, in whatever state a test left it, and takes away its containers and networks."""
        if self._process is not None and self._process.poll() is None:
            self.thaw()
        else:
            self.start()
        with contextlib.closing(docker.DockerClient(self.host)) as client:
            for container in client.containers.list(all=True, ignore_removed=True):
                # The service of the test may be at it, too.
                with contextlib.suppress(NotFound, APIError):
                    container.remove(force=True)
            for network in client.networks.list():
                if str(network.name).startswith(NETWORK_PREFIX):
                    network.remove()  # Its bridge would outlive the daemon.

    def clean_up(self) -> None:
        """Ends it with all that it runs, in whatever state a test left it."""
        with contextlib.ExitStack() as stack:
            stack.callback(shutil.rmtree, self.home, ignore_errors=True)
            stack.callback(self._unmount)
            stack.callback(self._remove_bridge)
            if self._process is not None:
                stack.callback(self.stop)
                self.empty()

    def _ours(self) -> subprocess.Popen[bytes]:
        if self._process is None or self._process.poll() is not None:
            raise NotOursError(f"{self.host} was not started here, or has ended")
        return self._process

    def _unmount(self) -> None:
        """What a daemon that was killed left mounted."""
        mounted = [line.split()[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
        for path in reversed(mounted):
            if path.startswith(f"{self.home}/"):
                subprocess.run(["umount", "--lazy", path], check=True)

    def _has_bridge(self) -> bool:
        return (Path("/sys/class/net") / self.bridge).exists()

    def _make_bridge(self) -> None:
        if shutil.which("ip") is None:
            services.install("iproute2")
        address = f"10.213.{secrets.randbelow(256)}.1/24"
        for command in (
            f"ip link add {self.bridge} type bridge",
            f"ip addr add {address} dev {self.bridge}",
            f"ip link set {self.bridge} up",
        ):
            subprocess.run(command.split(), check=True)

    def _remove_bridge(self) -> None:
        if self._has_bridge():
            subprocess.run(["ip", "link", "del", self.bridge], check=True)


def _is_stopped(thread: Path) -> bool:
    try:
        stat = (thread / "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True  # It ended meanwhile.
    # The state follows the name, which is in parentheses and may hold any character.
    return stat.rpartition(")")[2].split()[0] == "T"


@contextlib.contextmanager
def running() -> Iterator[PrivateEngine]:
    """A private engine that runs for as long as this lasts."""
    made = PrivateEngine(Path(tempfile.mkdtemp(prefix="kosuke-docker-")))
    try:
        made.start()
        yield made
    finally:
        made.clean_up()
