"""``DockerService.containers``: the cache as a mapping."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from unittest.mock import MagicMock

import pytest
from kosuke_docker import ContainerInfo, DockerService

MakeEntry = Callable[..., ContainerInfo]


def test_it_begins_empty(service: DockerService) -> None:
    assert isinstance(service.containers, MutableMapping)
    assert len(service.containers) == 0
    assert list(service.containers) == []
    assert not service.containers
    assert 1 not in service.containers
    assert service.containers.get(1) is None
    with pytest.raises(KeyError):
        service.containers[1]


def test_setting_getting_deleting(service: DockerService, client: MagicMock, entry: MakeEntry) -> None:
    containers = service.containers
    two, one = entry(2), entry(1)
    containers[2] = two
    containers[1] = one
    assert containers[1] == entry(1)
    assert 1 in containers
    assert len(containers) == 2
    assert sorted(containers) == [1, 2]
    assert dict(containers) == {1: one, 2: two}
    assert sorted(containers.keys()) == [1, 2]
    del containers[1]
    assert 1 not in containers
    assert list(containers.items()) == [(2, two)]
    assert client.mock_calls == []


def test_deleting_what_is_not_there(service: DockerService) -> None:
    with pytest.raises(KeyError):
        del service.containers[1]
    with pytest.raises(KeyError):
        service.containers.pop(1)
    assert service.containers.pop(1, None) is None


def test_the_rest_of_the_protocol(service: DockerService, entry: MakeEntry) -> None:
    containers = service.containers
    containers.update({1: entry(1), 2: entry(2), 3: entry(3)})
    assert containers.pop(2) == entry(2)
    assert containers.setdefault(1, entry(1, container_id="other")).container_id == "id-1"
    assert containers == {1: entry(1), 3: entry(3)}
    containers.clear()
    assert containers == {}


def test_values_are_stable(service: DockerService, entry: MakeEntry) -> None:
    info = service.containers[1] = entry(1)
    assert service.containers[1] is info
    assert service.containers.get(1) is info
    assert next(iter(service.containers.values())) is info


async def test_values_of_a_start_are_stable(service: DockerService) -> None:
    await service.start_preview(123)
    info = service.containers[123]
    assert isinstance(info, ContainerInfo)
    assert service.containers[123] is info


def test_a_changed_value_stays_changed(service: DockerService, entry: MakeEntry) -> None:
    service.containers[1] = entry(1)
    service.containers[1].compilation_complete = True
    service.containers[1].is_responding = True
    assert service.containers[1] == entry(1, compilation_complete=True, is_responding=True)


async def test_the_core_works_with_the_changed_value(
    service: DockerService, client: MagicMock, entry: MakeEntry
) -> None:
    client.containers.get.side_effect = None
    info = service.containers[1] = entry(1)
    info.container_id, info.url, info.port = "moved", "http://localhost:2", 2
    assert (await service.get_preview_status(1)).url == "http://localhost:2"
    client.containers.get.assert_called_once_with("moved")


def test_an_entry_may_be_replaced(service: DockerService, entry: MakeEntry) -> None:
    service.containers[1] = entry(1)
    other = service.containers[1] = entry(1, container_id="other")
    assert service.containers[1] is other
    assert len(service.containers) == 1


def test_deleting_while_iterating_over_a_list(service: DockerService, entry: MakeEntry) -> None:
    service.containers.update({project_id: entry(project_id) for project_id in range(5)})
    for project_id in list(service.containers.keys()):
        del service.containers[project_id]
    assert len(service.containers) == 0


def test_an_entry_under_a_wrong_key_is_refused(service: DockerService, entry: MakeEntry) -> None:
    with pytest.raises(ValueError, match="project_id"):
        service.containers[2] = entry(1)
    assert len(service.containers) == 0


def test_services_with_a_client_do_not_share(entry: MakeEntry) -> None:
    client = MagicMock()
    one, other = DockerService(client=client), DockerService(client=client)
    one.containers[1] = entry(1)
    assert 1 not in other.containers
