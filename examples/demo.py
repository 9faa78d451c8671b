"""The demo: a real Next.js app becomes a live preview with its own database, and is removed again.

Run it with `make demo`.
"""

import asyncio
import contextlib
import re
import sys
import time
import urllib.request
from pathlib import Path

import docker

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tools"))
import nextjs
import node_image
from kosuke_docker import DockerService, Preview, Settings

PROJECT = 1
NETWORK = "kosuke-demo"
READY_SECONDS = 120


def fetch(url: str) -> str:
    """The status and the body."""
    with urllib.request.urlopen(url, timeout=30) as response:
        return f"{response.status} {response.read().decode()}"


def remove_networks() -> None:
    """Removes the networks, which the service leaves for the next preview."""
    with contextlib.closing(docker.from_env()) as client:
        for name in (NETWORK, "kosuke-demo-isolated"):
            for network in client.networks.list(names=[name]):
                network.remove()


def node() -> str:
    """The name of an image with Node."""
    with contextlib.closing(docker.from_env()) as client:
        return node_image.image(client)


async def main() -> None:
    """Starts, shows, stops."""
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    image = await asyncio.to_thread(node)
    say(f"image     {image}")
    projects = node_image.BUILD / "demo"
    await asyncio.to_thread(nextjs.copy, projects / str(PROJECT))
    say(f"project   {PROJECT}: the Next.js app in examples/nextjs")

    settings = Settings.from_env().model_copy(
        update={
            "preview_default_image": image,
            "projects_dir": str(projects),
            "preview_network": NETWORK,
            "preview_container_name_prefix": "kosuke-demo-",
        }
    )
    service = DockerService(settings)
    try:
        start = asyncio.create_task(service.start_preview(PROJECT, {"GREETING": "hello"}))
        phase = None
        preview: Preview | None = None
        while phase != "ready":
            if start.done():
                start.result()
            preview = await service.get_preview(PROJECT)
            if preview is not None and preview.phase != phase:
                phase = preview.phase
                say(f"phase     {phase}")
            if phase in ("exited", "oom_killed") or time.monotonic() - began > READY_SECONDS:
                sys.exit(f"the preview did not come up: {preview}")
            await asyncio.sleep(0.1)
        url = await start
        page = await asyncio.to_thread(fetch, url)
        title = re.search(r"<title>(.*?)</title>", page)
        identity = re.search(r'id="database">(.*?)</p>', page)
        status = await service.get_preview_status(PROJECT)
        say(f"url       {url}")
        say(f"answer    {page[:3]}, compiled {status.compilation_complete}, responding {status.is_responding}")
        say(f"title     {title.group(1) if title else 'none'}")
        assert preview is not None
        say(f"database  {preview.database_name} ({preview.database}, isolation: {preview.database_isolation})")
        say(f"walls     {preview.network_isolation}")
        say(f"the app   is {identity.group(1) if identity else 'silent'}")
    finally:
        stopping = time.monotonic()
        await service.stop_preview(PROJECT)
        say(f"stopped   in {time.monotonic() - stopping:.2f} s, preview: {await service.get_preview(PROJECT)}")
        await service.aclose()
        await asyncio.to_thread(remove_networks)


if __name__ == "__main__":
    asyncio.run(main())
