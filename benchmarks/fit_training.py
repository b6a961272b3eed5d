"""Fit what training steps reach, by device and software, and write the package's file; or leave out source by source.

    python benchmarks/fit_training.py [--dry] [--choose] [--without SOURCE]

Only rows that count (grade A or B, no flag) of the calibration splits are read; the test splits never are. Prints for
each source the error with it and with it left out (leave one source out). --choose: search the widths of the priors
that make the second least, and print them; --without: leave out sources whose name has SOURCE in it and print the
errors of each of their rows.
"""

from __future__ import annotations

import argparse
import math
import random
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from memory_spread import half_of
from training_tables import FITTED

from hardplace.cost.layers.software import ON_ARRAY_SOFTWARE, ON_ARRAYS, TORCHTITAN_EAGER, on_arrays_of
from hardplace.cost.layers.work import AttentionWork, GemmWork, Work
from hardplace.csv_table import parse
from hardplace.errors import BadInput
from hardplace.files import read_text, write, write_text
from hardplace.hardware.catalogue import device
from hardplace.hardware.device import Multiprocessors
from hardplace.plans.anchoring import posterior
from hardplace.plans.chain import LayerChain, of_shape, of_workload
from hardplace.plans.efficiencies import (
    ARRAYS,
    EAGER,
    FIGURES,
    GPUS,
    UNFUSED,
    FittedEfficiencies,
    fitted,
    flags_of,
    with_values,
)
from hardplace.plans.estimate import estimate_plan
from hardplace.plans.fleet import Fleet, Pricers, fleet_of, node_of
from hardplace.plans.intervals import DEVICE, KNOWN, LONG, MIXTURE, SOFTWARE, Spread, Spreads, kind_of, spreads
from hardplace.plans.plan import Plan
from hardplace.plans.pooling import Pooled, Slopes, fit, slopes_of, start, values_at
from hardplace.plans.published.rows import NotModelled, rows_of, source_of
from hardplace.plans.published.runs import run_of
from hardplace.plans.published.scores import fleet_of_run, settled
from hardplace.plans.published_best import BestRun, best_runs
from hardplace.plans.timing import Known
from hardplace.workload.load import load

ROOT = Path(__file__).parent.parent
OUT = ROOT / "src/hardplace/plans/data/training.json"
SPREADS = OUT.with_name("intervals.json")
# sd of the prior of offsets, by group of figures; which offsets there are
GROUPS = {
    "products": ("products", "low"),
    "attention": ("attention",),
    "streams": ("streams",),
    "traffic": ("tensor", "sync_s", "expert", "context", "exposed", "looped", "shown", "contention", "reduction"),
    "host": ("launch_s", "step_s"),
}
KERNELS = ("products", "attention", "streams")
MOST_SLOWED = 4.0  # of kernels of plans that name no software
SIMPLE = ("llama2-7b", "llama2-13b", "llama3-8b")  # models of the plans that they hold
OF_DEVICE = ("products", "attention")
OF_ARRAYS = (*OF_DEVICE, "shown")  # what a loop of layers hides differs by generation of TPU
FLAGS = {"tensor": ("tensor",), "dispatcher": ("expert",), "experts": ("expert",)}
WIDTHS = {  # of a logarithm, by the least error with a source left out and priced, of what --choose goes through
    "centre products": 0.2,
    "centre low": 0.02,
    "centre attention": 0.7,
    "centre streams": 0.05,
    "centre traffic": 0.8,
    "centre host": 0.7,
    "device products": 0.2,
    "device attention": 0.02,
    "device traffic": 0.8,  # judged, as the centre's: of `shown` alone
    "software products": 0.05,
    "software attention": 0.05,
    "software streams": 0.1,
    "software traffic": 0.3,
    "software host": 0.3,
    "flags": 0.5,
    "neuron": 0.3,
}
FITS = 4  # rounds of slopes and fits
MANY, SOME, TRIES = 10, 6, 40  # rows of a source, and of a system, to be anchored; random choices of runs
LEFT_OUT = ROOT / "validation/training/left_out.md"
FEW = 2  # sources of a class below which all rows say how far off it can be
MANY_SOURCES = 5  # from which the quantile of their rows is width enough
GRID = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.8)
STEPS, NEAR_STEPS = 40, 10  # of reweighted least squares, and from a fit that is near
LEAST_GAIN = 1e-4  # of the mean error for which a width moves


@dataclass(slots=True, kw_only=True)
class Case:
    """A row with what is priced once."""

    id: str
    source: str
    table: str
    split: str
    plan: Plan
    chain: LayerChain
    fleet: Fleet
    measured_s: float
    keys: tuple[str, ...]
    known: Known = field(default_factory=dict)

    def step_s(self, values: Mapping[str, float]) -> float:
        """Return the seconds of a step with these figures."""
        pricer = self.fleet.sites[0].pricer
        pricer.efficiencies = with_values(pricer.efficiencies, values, flash=self.plan.flash)
        return estimate_plan(self.chain, self.plan, self.fleet, self.known).step_s

    def slopes(self, at: Pooled) -> Slopes:
        """Return the row near the figures."""
        point = at.point(self.keys)
        predicted, slopes = slopes_of(self.step_s, point, telling(self.plan))
        return Slopes(
            id=self.id,
            source=self.source,
            keys=self.keys,
            measured=math.log(self.measured_s),
            predicted=predicted,
            at=point,
            slopes=slopes,
        )


def telling(plan: Plan) -> set[str]:
    """Return the figures that a plan's seconds depend on."""
    found = {"products", "attention", "streams", "step_s"}
    found |= {"tensor", "sync_s"} if plan.tensor > 1 else set()
    found |= {"low"} if plan.precision.low else set()
    found |= {"expert"} if plan.expert > 1 else set()
    found |= {"context"} if plan.context > 1 else set()
    found |= {"exposed", "reduction"} if plan.replicas > 1 else set()
    found |= {"contention"} if plan.zero >= 2 else set()
    found |= {"looped", "shown"} if plan.zero >= 2 and plan.habits.loops else set()
    return found | (set() if plan.software in ON_ARRAY_SOFTWARE else {"launch_s"})


def cases(*, everything: bool = False) -> Iterator[Case]:
    """Yield the rows that count of the calibration splits; everything: of the test splits too, to be looked at."""
    pricers: Pricers = {}
    for path in FITTED:
        for row in rows_of(parse(read_text(path), str(path))):
            counted = row["grade"] != "C" and not row["flag"] and row["target_iter_s"]
            if not counted or (row["split"] != "calibration" and not everything):
                continue
            try:
                run = settled(run_of(row), pricers)
                fleet = fleet_of_run(run, pricers)
                one = Case(
                    id=row["id"],
                    source=source_of(row),
                    table=path.name,
                    split=row["split"],
                    plan=run.plan,
                    chain=of_shape(run.shape, run.plan),
                    fleet=fleet,
                    measured_s=float(row["target_iter_s"]),
                    keys=keys_of(run.plan, fleet),
                )
                estimate_plan(one.chain, one.plan, one.fleet, one.known)
            except (NotModelled, BadInput) as problem:
                print(f"{row['id']}: {problem}")
                continue
            yield one


def holding() -> list[BestRun]:
    """Return the runs in 16 bit whose MFU no plan is to pass: of a generation the best, on whichever device (H800, H200
    and H100 have the same tensor cores)."""
    by_speed = sorted((one for one in best_runs().values() if one.precision == "bf16"), key=lambda one: one.mfu)
    return sorted({one.kind: one for one in by_speed}.values(), key=lambda one: one.device)


def unnamed(listed: Sequence[Case], known: Pooled, software: str = "", *, flash: bool = True) -> dict[str, float]:
    """Return, by generation, the least factor of kernels of plans that name no software with which simple plans do not
    pass the best published run (`holding`): no plan is taken to beat all who tried. software: of those plans, which no
    fitted run has; flash: their attention is one kernel.

    `best_runs` has the best of every device, of both splits (the one thing that is taken of the test split; no row that
    is scored depends on it but those that name no software).
    """
    fitted_kinds = {one.fleet.sites[0].pricer.kind for one in listed}
    return {
        run.kind: max(
            1.0, *(slowed(*simple(run.device, model, software, flash=flash), run.mfu, known) for model in SIMPLE)
        )
        for run in holding()
        if run.kind in fitted_kinds
    }


def slowed(plan: Plan, chain: LayerChain, fleet: Fleet, mfu: float, known: Pooled) -> float:
    """Return the factor of kernels, 1 or more, with which a plan does not pass an MFU, by bisection."""
    pricer = fleet.sites[0].pricer
    values = values_at(known.point(keys_of(plan, fleet)))
    low, high = 1.0, MOST_SLOWED

    def passes(factor: float) -> bool:
        changed = {name: values[name] * factor for name in KERNELS}
        pricer.efficiencies = with_values(pricer.efficiencies, values | changed, flash=plan.flash)
        return estimate_plan(chain, plan, fleet).mfu > mfu

    if not passes(low):
        return low
    while high / low > 1.001:
        middle = math.sqrt(low * high)
        low, high = (middle, high) if passes(middle) else (low, middle)
    return high


def worked(chain: LayerChain) -> float:
    """Return the FLOPs that a chain's layers run, with recompute, over those without it."""

    def flops(works: Iterable[Work]) -> float:
        products = sum(one.flops for one in works if isinstance(one, GemmWork))
        return products + sum(
            (8.0 if one.backward else 4.0) * one.batch * one.heads * one.queries * one.keys * one.head_dim
            for one in works
            if isinstance(one, AttentionWork)
        )

    once = sum(flops((*one.forward, *one.backward)) for one in chain.whole)
    return 1.0 + sum(flops(one.again) for one in chain.whole) / once


def simple(name: str, model: str, software: str = "", *, flash: bool = True) -> tuple[Plan, LayerChain, Fleet]:
    """Return the data-parallel plan of a model that reaches most on a device, with this software, or none named (on
    arrays: their own); it recomputes nothing."""
    chip = device(name)
    arrays = not isinstance(chip.engine, Multiprocessors)
    usual = on_arrays_of(chip.vendor) if arrays else software
    count, tries = (64 if arrays else 8), []
    for zero, micro_batch in ((1, 1), (1, 2), (2, 2), (3, 1), (3, 2)):
        plan = Plan(
            global_batch=count * micro_batch * 8,
            data=count,
            zero=zero,
            micro_batch=micro_batch,
            software=usual,
            flash=flash,
        )
        chain = of_workload(load(model), plan)
        fleet = fleet_of([(chip, node_of(name), count)], plan)
        tries.append((estimate_plan(chain, plan, fleet).mfu, plan, chain, fleet))
    _, plan, chain, fleet = max(tries, key=lambda item: item[0])
    return plan, chain, fleet


def keys_of(plan: Plan, fleet: Fleet) -> tuple[str, ...]:
    """Return whose offsets a row has: of the kind of device, the device, the software, the flags."""
    kind = fleet.sites[0].pricer.kind
    if plan.software in ON_ARRAY_SOFTWARE:
        return (ARRAYS, f"device {kind}", f"software {plan.software}")
    flags = tuple(f"flag {flag}" for flag in flags_of(plan.ways))
    return (GPUS, f"device {kind}", *((f"software {plan.software}",) if plan.software else ()), *flags)


def width_of(widths: Mapping[str, float], key: str, figure: str) -> float:
    """Return the sd of a key's offset of a figure; 0: it has none."""
    what, _, name = key.partition(" ")
    group = next(group for group, figures in GROUPS.items() if figure in figures)
    if key in (GPUS, ARRAYS):
        return widths[f"centre {figure if figure == 'low' else group}"]
    if figure == "low":
        return 0.0
    if what == "device":
        own = OF_DEVICE if name.startswith(("nvidia-", "amd-")) else OF_ARRAYS
        return widths[f"device {group}"] if figure in own else 0.0
    if name == ON_ARRAYS:
        return 0.0  # the centre of its kind
    if name == "neuron":
        return widths["neuron"]
    if what == "software":
        return widths[f"software {group}"]
    if what == "flag":
        return widths["flags"] if figure in FLAGS[name.partition(" ")[0]] else 0.0
    return 0.0


def pooled(listed: Sequence[Slopes], widths: Mapping[str, float], near: Pooled | None = None) -> Pooled:
    """Return the fit; near: figures that are nearly it, from which a few steps are enough."""
    steps = STEPS if near is None else NEAR_STEPS
    return fit(listed, lambda key, figure: width_of(widths, key, figure), steps, centres=(GPUS, ARRAYS), near=near)


def error(row: Slopes, found: Pooled) -> float:
    """Return the relative error of a row."""
    return math.expm1(row.log_s(found.point(row.keys)) - row.measured)


def converged(listed: Sequence[Case], start: Pooled, widths: Mapping[str, float]) -> tuple[Pooled, list[Slopes]]:
    """Return the figures with the least error of the sources as priced, and the rows there.

    Steps have kinks (what hides, what the host bounds), over which slopes say too much: from the second fit on each
    goes half of the way.
    """
    known, best = start, (math.inf, start, list[Slopes]())
    for number in range(FITS):
        rows = [one.slopes(known) for one in listed]
        own: dict[str, list[float]] = defaultdict(list)
        for row in rows:
            own[row.source].append(math.expm1(row.predicted - row.measured))
        reached = mean_of_sources(own)
        print(f"fit {number}: mean of sources {reached:.2%}", flush=True)
        best = min(best, (reached, known, rows), key=lambda item: item[0])
        new, share = pooled(rows, widths), 1.0 if number == 0 else 0.5
        names = {*known.values, *new.values}
        known = Pooled(
            values={
                name: (1.0 - share) * known.values.get(name, 0.0) + share * new.values.get(name, 0.0) for name in names
            }
        )
    return best[1], best[2]


def left_out(
    rows: Sequence[Slopes],
    widths: Mapping[str, float],
    priced: Mapping[str, Case] | None = None,
    near: Pooled | None = None,
) -> dict[str, list[float]]:
    """Return the errors of each source's rows, fitted without it; priced: by id, to price them instead of taking their
    slopes' word; near: the fit of all."""
    found = {}
    for source in dict.fromkeys(row.source for row in rows):
        others = pooled([row for row in rows if row.source != source], widths, near)
        own = [row for row in rows if row.source == source]
        if priced is None:
            found[source] = [error(row, others) for row in own]
            continue
        found[source] = [
            priced[row.id].step_s(values_at(others.point(row.keys))) / math.exp(row.measured) - 1.0 for row in own
        ]
    return found


def mean_of_sources(errors: Mapping[str, Sequence[float]]) -> float:
    return float(np.mean([np.mean(np.abs(one)) for one in errors.values()]))


def median_of_sources(errors: Mapping[str, Sequence[float]]) -> float:
    """Return the median over sources of their median errors."""
    return float(np.median([np.median(np.abs(one)) for one in errors.values()]))


def choose(rows: Sequence[Slopes], widths: Mapping[str, float]) -> dict[str, float]:
    """Return the widths with the least error of sources left out, one width a step wider or narrower after another
    until none helps."""
    reached = pooled(rows, widths)

    def judged(tried: Mapping[str, float]) -> float:
        """Sources unseen, and seen: a width that only a source of its own software needs does not show in the first."""
        known = pooled(rows, tried, reached)
        own: dict[str, list[float]] = defaultdict(list)
        for row in rows:
            own[row.source].append(error(row, known))
        return 0.5 * (mean_of_sources(left_out(rows, tried, near=known)) + mean_of_sources(own))

    best, found = judged(widths), dict(widths)
    better = True
    while better:
        better = False
        for name in [
            one for one in found if one != "neuron"
        ]:  # of one source alone, which would choose it as wide as it can be
            for value in neighbours(found[name]):
                tried = found | {name: value}
                got = judged(tried)
                if got < best - LEAST_GAIN:
                    best, found, better = got, tried, True
        print(f"{best:.2%} with {found}", flush=True)
    return found


def neighbours(value: float) -> tuple[float, ...]:
    """Return the widths of the grid beside one: the next below and the next above."""
    return (*sorted(one for one in GRID if one < value)[-1:], *sorted(one for one in GRID if one > value)[:1])


def as_file(found: Pooled, rows: Sequence[Slopes], cases_: Sequence[Case]) -> FittedEfficiencies:
    """Return what the package reads."""
    tables: dict[str, dict[str, dict[str, float]]] = {name: {} for name in ("centre", "device", "software", "flag")}
    for term, value in found.values.items():
        key, _, figure = term.rpartition("/")
        if key in (GPUS, ARRAYS):
            number = math.exp(value) + FIGURES[figure].floor
            tables["centre"].setdefault(key, {})[figure] = float(f"{number:.4g}")
        else:
            what, _, name = key.partition(" ")
            tables[what].setdefault(name, {})[figure] = float(f"{math.exp(value):.4g}")
    held, eager = unnamed(cases_, found), unnamed(cases_, found, TORCHTITAN_EAGER)
    plain = unnamed(cases_, found, flash=False)
    slower = {kind: value for kind, value in held.items() if value > 1.0}
    slower |= {f"{kind} {EAGER}": eager[kind] for kind, value in held.items() if eager[kind] < value}
    slower |= {f"{kind} {UNFUSED}": plain[kind] for kind, value in held.items() if plain[kind] < value}
    often = Counter(f"{one.fleet.sites[0].pricer.kind} {one.plan.software}" for one in cases_)
    return FittedEfficiencies(
        method="benchmarks/fit_training.py on the calibration splits of validation/training",
        centre=tables["centre"],
        devices=tables["device"],
        software=tables["software"],
        flags=tables["flag"],
        rows=dict(sorted(often.items())),
        fabrics=fitted().fabrics,
        unnamed={kind: dict.fromkeys(KERNELS, float(f"{value:.4g}")) for kind, value in slower.items()},
    )


def class_of(one: Case, others: Sequence[Case]) -> str:
    """Return the class that a row is of to a fit on the other sources' rows."""
    kind = one.fleet.sites[0].pricer.kind
    return kind_of(
        experts=any(layer.expert_parameters for layer in one.chain.layers),
        sequence=one.chain.sequence_length,
        fitted_device=any(other.fleet.sites[0].pricer.kind == kind for other in others),
        together=any(
            (other.fleet.sites[0].pricer.kind, other.plan.software) == (kind, one.plan.software) for other in others
        ),
    )


def quantile(errors: Mapping[str, Sequence[float]], share: float = 0.8) -> float:
    """Return the absolute error that so much of the weight is below, sources weighing alike."""
    pairs = sorted((abs(one), 1.0 / len(listed)) for listed in errors.values() for one in listed)
    reached, whole = 0.0, float(len(errors))
    for one, weight in pairs:
        reached += weight
        if reached >= share * whole - 1e-9:
            return one
    return pairs[-1][0]


def width(errors: Mapping[str, Sequence[float]]) -> float:
    """Return half the width that a class of these sources has: of few, what one more source may be off as well."""
    return max(quantile(errors), half_of(errors) if len(errors) < MANY_SOURCES else 0.0)


def spread_of(errors: Mapping[str, Sequence[float]], wider: Mapping[str, Sequence[float]]) -> Spread:
    """Return the spread of a class; wider: the errors to take the width from where the class has one source."""
    base = errors if len(errors) >= FEW else wider
    inside = []
    for source, listed in errors.items():
        half = width({name: one for name, one in base.items() if name != source})
        inside.append(float(np.mean([abs(one) <= half for one in listed])))
    return Spread(
        half=float(f"{width(base):.3g}"),
        rows=sum(map(len, errors.values())),
        sources=len(errors),
        coverage=float(f"{np.mean(inside) if inside else 0.8:.2g}"),
    )


def measured_spreads(listed: Sequence[Case], left: Mapping[str, Sequence[float]]) -> Spreads:
    """Return the intervals that ship, from the errors of sources left out (logarithms of measured over predicted)."""
    by: dict[str, dict[str, list[float]]] = {kind: {} for kind in (MIXTURE, LONG, KNOWN, SOFTWARE, DEVICE)}
    everything: dict[str, list[float]] = {}
    for source, errors in left.items():
        others = [one for one in listed if one.source != source]
        own = [one for one in listed if one.source == source]
        for one, off in zip(own, errors, strict=True):
            by[class_of(one, others)].setdefault(source, []).append(-math.log1p(off))
            everything.setdefault(source, []).append(-math.log1p(off))
    step = {kind: spread_of(errors, everything) for kind, errors in by.items()}
    least = step[KNOWN].half
    for kind, floor in (
        (SOFTWARE, 1.0),
        (LONG, 1.0),
        (MIXTURE, 1.0),
        (DEVICE, 1.2),
    ):  # no class is surer than what is known
        step[kind] = replace(step[kind], half=max(step[kind].half, float(f"{floor * least:.3g}")))
    alike: dict[tuple[str, int, str], list[float]] = {}  # runs of one model on one kind of device of a source
    for source, errors in left.items():
        own = [one for one in listed if one.source == source]
        for one, off in zip(own, errors, strict=True):
            size = sum(layer.parameters + layer.expert_parameters for layer in one.chain.whole) * one.plan.tensor
            key = source, round(20.0 * math.log(size)), one.fleet.sites[0].pricer.kind
            alike.setdefault(key, []).append(-math.log1p(off))
    pairs: dict[str, list[float]] = {}
    for (source, _, _), errors in alike.items():
        pairs.setdefault(source, []).extend(errors[a] - errors[b] for a in range(len(errors)) for b in range(a))
    pairs = {source: found for source, found in pairs.items() if found}
    return Spreads(
        method="benchmarks/fit_training.py: errors of whole sources of the calibration splits that the fit did not see",
        step=step,
        memory=spreads().memory,  # benchmarks/memory_spread.py
        memory_software=spreads().memory_software,
        pairs=float(f"{quantile(pairs):.3g}"),
    )


def after_anchors(
    listed: Sequence[Case], left: Mapping[str, Sequence[float]], rows: Sequence[Slopes], sure: Spreads
) -> str:
    """Return the table of errors of runs left out of the fit after so many of their source's, or of their system's (a
    device and a software of a source), were seen; best constant: what one factor for all its runs leaves; all seen:
    what figures of its own leave of the runs that they were learned from."""
    half, pairs = sure.step[SOFTWARE].half, sure.pairs
    off, system = dict[str, float](), dict[str, str]()
    for source, errors in left.items():
        own = [one for one in listed if one.source == source]
        for one, error_ in zip(own, errors, strict=True):
            off[one.id] = -math.log1p(error_)
            system[one.id] = f"{source} {one.fleet.sites[0].device} {one.plan.software}"
    counts = (0, 1, 2, 3, 5)
    lines = [
        "**One's own system: errors left out of the fit, after so many measured runs**",
        "",
        f"| runs of | groups | {' | '.join(map(str, counts))} | best constant | all seen | inside after 1 and 3 |",
        "|---|---:|" + "---:|" * (len(counts) + 3),
    ]
    for title, group, least in (
        (f"a source, {MANY} or more", lambda row: row.source, MANY),
        (f"a device and software of a source, {SOME} or more", lambda row: system[row.id], SOME),
    ):
        groups: dict[str, list[Slopes]] = defaultdict(list)
        for row in rows:
            groups[group(row)].append(row)
        several = [one for one in groups.values() if len(one) >= least]
        found = {
            count: np.mean([anchored_errors(one, off, count, half, pairs) for one in several], axis=0)
            for count in counts
        }
        centred = [np.array([off[row.id] for row in one]) for one in several]
        constant = np.mean([np.mean(np.abs(np.expm1(one - np.median(one)))) for one in centred])
        seen = np.mean([seen_errors(one, off, half, pairs) for one in several])
        means = " | ".join(f"{found[count][0]:.1%}" for count in counts)
        inside = f"{found[1][1]:.0%}, {found[3][1]:.0%}"
        lines.append(f"| {title} | {len(several)} | {means} | {constant:.1%} | {seen:.1%} | {inside} |")
    return "\n".join([*lines, ""])


def anchored_errors(
    own: Sequence[Slopes], off: Mapping[str, float], count: int, half: float, pairs: float
) -> tuple[float, float]:
    """Return the mean error of a group's other runs after `count` of them were seen, and the share inside the interval,
    over random choices."""
    chance, errors, inside = random.Random(16), list[float](), list[bool]()
    for _ in range(TRIES if count else 1):
        seen = set(chance.sample(range(len(own)), count))
        found = posterior([own[one].slopes for one in seen], [off[own[one].id] for one in seen], half, pairs)
        for one, row in enumerate(own):
            if one not in seen:
                left = off[row.id] - found.log_factor(row.slopes)
                errors.append(abs(math.expm1(-left)))
                inside.append(abs(left) <= found.half(row.slopes))
    return float(np.mean(errors)), float(np.mean(inside))


def seen_errors(own: Sequence[Slopes], off: Mapping[str, float], half: float, pairs: float) -> float:
    """Return the mean error of a group's runs when all of them were seen: what figures of its own leave."""
    found = posterior([row.slopes for row in own], [off[row.id] for row in own], half, pairs)
    return float(np.mean([abs(math.expm1(found.log_factor(row.slopes) - off[row.id])) for row in own]))


def show(title: str, errors: Mapping[str, Sequence[float]], fitted_: Mapping[str, Sequence[float]]) -> None:
    print(f"{title:62} rows  fitted  left out   bias")
    for source, listed in errors.items():
        mean, own = np.mean(np.abs(listed)), np.mean(np.abs(fitted_[source]))
        print(f"{source[-60:]:62} {len(listed):4} {own:7.1%} {mean:8.1%} {np.mean(listed):+7.1%}")
    rows = [abs(one) for listed in errors.values() for one in listed]
    print(f"{'rows':62} {len(rows):4} {'':7} {np.mean(rows):8.1%}")
    print(f"{'mean of sources':62} {'':4} {mean_of_sources(fitted_):7.1%} {mean_of_sources(errors):8.1%}")


def document(left: Mapping[str, Sequence[float]], own: Mapping[str, Sequence[float]], listed: Sequence[Case]) -> str:
    """Return the table of docs/validation.md: each source with and without itself in the fit."""
    lines = [
        "**Sources left out of the fit, calibration splits**",
        "",
        "| source | rows | fitted | left out | bias | worst |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for source, errors in left.items():
        sizes, fitted_off = np.abs(errors), np.mean(np.abs(own[source]))
        shares = f"{fitted_off:.1%} | {np.mean(sizes):.1%} | {np.mean(errors):+.1%} | {max(sizes):.1%}"
        lines.append(f"| {source} | {len(errors)} | {shares} |")
    count = sum(map(len, left.values()))
    means = f"{mean_of_sources(own):.1%} | {mean_of_sources(left):.1%}"
    on_arrays, before = defaultdict(list), set[str]()
    for case in listed:
        on_arrays[case.source].append(case.keys[0] == ARRAYS)
        before |= {case.source} if not case.table.startswith("gathered") else set()
    gpus = {source: one for source, one in left.items() if np.mean(on_arrays[source]) < 0.5}
    first = {source: one for source, one in left.items() if source in before}
    lines.append(f"| mean of the sources | {count} | {means} | | |")
    medians = f"{median_of_sources(own):.1%} | {median_of_sources(left):.1%}"
    lines.append(f"| median of the sources | | {medians} | | |")
    rows = [[abs(one) for errors in every.values() for one in errors] for every in (own, left)]
    lines.append(f"| median of the rows | {count} | {np.median(rows[0]):.1%} | {np.median(rows[1]):.1%} | | |")
    lines.append(f"| mean of those on GPUs | {sum(map(len, gpus.values()))} | | {mean_of_sources(gpus):.1%} | | |")
    means = f"{mean_of_sources(first):.1%}, {median_of_sources(first):.1%}"
    lines.append(f"| mean, median of the {len(first)} of training.csv and runs-2026b.csv | | | {means} | | |")
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--without", default="", help="leave out the sources whose name contains this")
    parser.add_argument("--choose", action="store_true", help="search the widths of the priors")
    parser.add_argument("--dry", action="store_true", help="write nothing")
    asked = parser.parse_args()
    listed, widths = list(cases()), WIDTHS
    known = Pooled(values={f"{key}/{n}": v for key in (GPUS, ARRAYS) for n, v in start(key).items()})
    known, rows = converged(listed, known, widths)
    if asked.choose:
        widths = choose(rows, widths)
        known, rows = converged(listed, known, widths)
    own = defaultdict(list)
    for one in rows:  # priced at these figures: no slopes in it
        own[one.source].append(math.expm1(one.predicted - one.measured))
    left = left_out(rows, widths, {one.id: one for one in listed})
    show("source", left, own)
    sure = measured_spreads(listed, left)
    for kind, spread in sure.step.items():
        found = f"{spread.rows:4} rows {spread.sources:2} sources  80 %: x {math.exp(spread.half):.2f}"
        print(f"{kind:52} {found}  inside {spread.coverage:.0%}")
    print(f"two runs of a source x {math.exp(sure.pairs):.2f}")
    anchors = after_anchors(listed, left, rows, sure)
    print(anchors)
    if asked.without:
        others = pooled([one for one in rows if asked.without not in one.source], widths)
        for one in rows:
            if asked.without in one.source:
                print(f"{one.id:16} {error(one, others):+7.1%}")
    if not asked.dry:
        write(OUT, as_file(known, rows, listed))
        write(SPREADS, sure)
        write_text(LEFT_OUT, document(left, own, listed) + "\n" + anchors)


if __name__ == "__main__":
    main()
