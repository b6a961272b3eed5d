"""Embedding tables within a step: the plan with the least seconds of a step under our prices, and a bound."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from hardplace.graph_split.table_plans import TablePlan, TableShortage, plan_tables
from hardplace.graph_split.table_step import StepSystem, StepTime, step_options, step_time, without_exchange
from hardplace.graph_split.tables import EmbeddingTable, TableOption, TableSharding, TableSystem

_ALIKE = 1e-3  # relative, of the step: nothing is gained by a second search below


@dataclass(frozen=True, slots=True, kw_only=True)
class StepPlan:
    """Places with the step's seconds: value_s, of which always_s the dense part takes, and a bound of all plans."""

    plan: TablePlan
    value_s: float
    bound_s: float
    dense: StepTime


def plan_step(
    tables: Sequence[EmbeddingTable],
    system: TableSystem,
    step: StepSystem,
    allowed: Sequence[TableSharding],
    limit_s: float,
) -> StepPlan | TableShortage:
    """Return the plan with the least step that was found, or what is short.

    Two searches: of the busiest device with its exchanges, and, where exchanges hide, without; the bound is made of
    both (docs/model-split.md, "Our prices of tables").
    """
    options = [step_options(table, system, step, allowed) for table in tables]
    dense = step_time(system, step)
    full = plan_tables(tables, system, limit_s=0.6 * limit_s, options=options)
    if isinstance(full, TableShortage):
        return full
    best, value_s = full, _seconds(full, tables, options, system, dense)
    bound_s = dense.bound_s(full.bound_s, 0.0)
    if value_s > bound_s * (1 + _ALIKE):
        bare = [[without_exchange(one) for one in ways] for ways in options]
        local = plan_tables(tables, system, limit_s=0.4 * limit_s, options=bare)
        if not isinstance(local, TableShortage):
            bound_s = max(bound_s, dense.bound_s(full.bound_s, local.bound_s))
            other_s = _seconds(local, tables, options, system, dense)
            if other_s < value_s:
                best, value_s = local, other_s
    return StepPlan(plan=best, value_s=value_s, bound_s=min(bound_s, value_s), dense=dense)


def _seconds(
    plan: TablePlan,
    tables: Sequence[EmbeddingTable],
    options: Sequence[Sequence[TableOption]],
    system: TableSystem,
    dense: StepTime,
) -> float:
    """Return a plan's step, priced again from the options."""
    local, moved = [0.0] * system.devices, [0.0] * system.devices
    for _, ways, place in zip(tables, options, plan.places, strict=True):
        option = next(one for one in ways if one.sharding is place.sharding)
        for shard, device in zip(option.shards, place.devices, strict=True):
            local[device] += shard.forward_s + shard.backward_s
            moved[device] += shard.forward_exchange_s + shard.backward_exchange_s
    return dense.seconds(local, moved)
