"""Sections of a space: which memories share one."""

from dataclasses import replace

from hardplace.design.search.sections import sections
from hardplace.hardware.settings import HBM3
from hardplace.hardware.types import Budget
from hardplace.units import GIB
from search_questions import OPEN, small_space


def test_memories_that_have_a_price_are_sections_of_their_own() -> None:
    space, budget = small_space(), Budget(area_mm2=900.0)
    sizes = (80.0 * GIB, 40.0 * GIB, 60.0 * GIB)
    assert [one.capacities for one in sections(space, HBM3, sizes, budget, apart=False)] == [tuple(sorted(sizes))]
    assert [one.capacities for one in sections(space, HBM3, sizes, budget, apart=True)] == [
        (40.0 * GIB,), (60.0 * GIB,), (80.0 * GIB,)
    ]  # fmt: skip
    held = replace(budget, memory_bytes=60.0 * GIB)
    for apart in (False, True):
        found = sections(space, HBM3, sizes, held, apart=apart)
        assert sorted(size for one in found for size in one.capacities) == [40.0 * GIB, 60.0 * GIB]
        assert sections(space, HBM3, sizes, replace(budget, memory_bytes=1.0), apart=apart) == ()


def test_memories_of_a_space_each_with_each_link() -> None:
    found = sections(small_space(**OPEN), HBM3, (80.0 * GIB,), Budget(area_mm2=900.0), apart=False)
    links = [one.setting.cluster.levels[0].bandwidth_bytes_per_s for one in found]
    assert [(one.capacities, link) for one, link in zip(found, links, strict=True)] == [
        ((64.0 * GIB,), 150e9), ((64.0 * GIB,), 450e9), ((96.0 * GIB,), 150e9), ((96.0 * GIB,), 450e9)
    ]  # fmt: skip
    assert [one.setting.memory_bandwidth_bytes_per_s for one in found] == [2.68e12, 2.68e12, 4.02e12, 4.02e12]
