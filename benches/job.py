"""What one process of the benchmark is to do, as JSON in a file: the coordinator writes it, a worker reads it."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

READY = "Ready in"
"""What the app prints once it listens: as Next.js does, so that our core knows it, too."""
ANSWER_SECONDS = 60
"""How long a page may take to answer after the start of its container."""
STOP_SECONDS = 5
LABEL = "kosuke-docker-bench"


class BenchError(RuntimeError):
    """A measurement that cannot be used: its words say which one and why."""


@dataclass(frozen=True)
class Job:
    """One piece of work for one peer.

    Attributes:
        peer: Who does it.
        workload: What is done; ``worker.py`` has the names.
        token: Marks the containers of this run.
        image: The image that previews run in.
        projects: The folder of the projects' folders.
        network: The network that previews join.
        first_port: The first port that the engine may publish.
        last_port: The last one.
        previews: How many.
        calls: How many statuses, GETs, listings or constructions.
        at_once: How many of these are on their way at a time.
        apart: Whether no two statuses of one preview are on their way at a time.
        changes_at_once: How many containers start or end at a time.
        ticker: Whether a ticker runs on the loop.
        create: The body of a create, as the engine takes it; empty for a peer that makes its own.
        urls: The pages of previews that run already.
    """

    peer: str
    workload: str
    token: str
    image: str
    projects: str
    network: str
    first_port: int
    last_port: int
    previews: int = 1
    calls: int = 0
    at_once: int = 32
    apart: bool = False
    changes_at_once: int = 4
    ticker: bool = False
    create: dict[str, Any] = field(default_factory=dict)
    urls: list[str] = field(default_factory=list)

    @property
    def warm_up(self) -> int:
        """How many calls are made before those that are measured, since connections are made once."""
        return self.at_once * 4

    @property
    def prefix(self) -> str:
        """The beginning of each container's name."""
        return f"kt-bench-{self.token}-"

    def name(self, project: int) -> str:
        """The name of a project's container."""
        return f"{self.prefix}{project}"

    def body(self, project: int) -> dict[str, Any]:
        """The body of a create of this project's container."""
        body = copy.deepcopy(self.create)
        body["HostConfig"]["Mounts"][0]["Source"] = str(Path(self.projects) / str(project))
        return body

    def write(self, file: Path) -> None:
        """Writes it into a file."""
        file.write_text(json.dumps(asdict(self)))

    @classmethod
    def read(cls, file: Path) -> Job:
        """Reads it from a file."""
        return cls(**json.loads(file.read_text()))
