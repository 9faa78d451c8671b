"""Those that are compared: each makes the same calls to the engine and to the pages, in its own way."""

from __future__ import annotations

from typing import Protocol


class Peer(Protocol):
    """One way to run previews from asyncio."""

    async def open(self) -> None:
        """Makes the clients: no part of what is measured."""

    async def start(self, project: int) -> None:
        """Starts a project's preview, and waits until its page has answered."""

    async def find(self, project: int) -> None:
        """Learns of a preview that runs already."""

    async def status(self, project: int) -> bool:
        """Asks a preview for its page, and tells whether it answers."""

    async def stop(self, project: int) -> None:
        """Stops and removes a preview."""

    async def listing(self) -> int:
        """Lists the previews that exist; gives how many there are."""
        ...

    async def close(self) -> None:
        """Ends the clients."""
