"""How processes share the tests (``pytest -n 2 --dist loadgroup``, as scripts/test.sh has it)."""

import sys

import pytest

pytest.register_assert_rewrite("hebbian_runs", "interruption", "two_machines")


@pytest.fixture(autouse=True)
def stand_ins_are_announced_again() -> None:
    """Which a process does once."""
    if real := sys.modules.get("datasets.real"):
        real._announced.clear()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """The tests of a file stay together, for they share what was trained for them; those that take
    a notebook each do not."""
    if not config.pluginmanager.hasplugin("xdist"):
        return
    for item in items:
        group = item.name if item.path.stem == "test_notebooks" else str(item.path)
        item.add_marker(pytest.mark.xdist_group(group))
