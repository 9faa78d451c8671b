"""kosuke_docker, as an agent uses it."""

from __future__ import annotations

from job import ANSWER_SECONDS, BenchError, Job
from kosuke_docker import DockerService, Settings

LIVE = ("lifecycle", "status_live", "threads")
"""Where each status asks for the page. Elsewhere an answer is reused for the default time."""


def settings(job: Job) -> Settings:
    """What the service is set to: nothing of the environment, and what concerns the place; else the defaults."""
    given: dict[str, object] = {
        "preview_default_image": job.image,
        "preview_pull_policy": "never",
        "preview_command": ["node", "server.js"],
        "projects_dir": job.projects,
        "preview_network": job.network,
        # It costs 0.5 s once, and the others have nothing like it.
        "preview_network_isolation": "off",
        "preview_container_name_prefix": job.prefix,
        "preview_owner": f"bench-{job.token}",
        "preview_port_range_start": job.first_port,
        "preview_port_range_end": job.last_port,
        "postgres_host": None,
    }
    if job.workload in LIVE:
        given["preview_probe_ttl"] = 0
    return Settings(**{**dict(Settings.from_env({})), **given})


class Ours:
    """One service."""

    def __init__(self, job: Job) -> None:
        self.service = DockerService(settings(job))

    async def open(self) -> None:
        """The service connects at its first call."""
        if not await self.service.is_docker_available():
            raise BenchError("no Docker Engine answers")

    async def start(self, project: int) -> None:
        """Starts and waits until the page has answered."""
        await self.service.start_preview(project, wait="ready", timeout=ANSWER_SECONDS)

    async def find(self, project: int) -> None:
        """Adopts the container that another process started."""
        await self.service.wait_until_ready(project, timeout=ANSWER_SECONDS)

    async def status(self, project: int) -> bool:
        """The short answer."""
        return (await self.service.get_preview_status(project)).is_responding

    async def stop(self, project: int) -> None:
        """Stops and removes."""
        await self.service.stop_preview(project)

    async def listing(self) -> int:
        """All of this owner."""
        return len(await self.service.list_previews())

    async def close(self) -> None:
        """Ends the service."""
        await self.service.aclose()
