"""A workload at a glance: sums against the recorded graph, folding, the drawing and its page."""

import re
from collections import Counter
from dataclasses import replace
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hardplace.report.layers import HEIGHT, WIDTH, drawing
from hardplace.report.layers_graph import links, nodes
from hardplace.report.layers_places import places
from hardplace.report.workload import page
from hardplace.report.workload_rows import dims_text, facts, heaviest, notes
from hardplace.units import percent
from hardplace.workload.folding import order_text, runs
from hardplace.workload.item_sizes import ITEM_BYTES
from hardplace.workload.load import catalogue, load
from hardplace.workload.sharding.degrees import rank_layers
from hardplace.workload.summary import Summary, summarise
from hardplace.workload.types import Edge, OperatorKind, Parallelism, Phase, Workload

SAMPLE = ("llama2-7b", "deepseek-v3", "t5-large", "u-net", "dlrm", "whisper-medium", "resnet-50", "mamba2-2.7b")


def summary_of(workload: Workload, parallelism: Parallelism | None = None, micro_batch: int = 1) -> Summary:
    degrees = parallelism or Parallelism()
    return summarise(workload, degrees, micro_batch, *rank_layers(workload, degrees))


# Folding


@given(st.lists(st.integers(0, 3), max_size=40))
def test_folded_runs_expand_to_the_order(order: list[int]) -> None:
    assert [index for run in runs(order) for index in run.pattern * run.count] == order
    for before, after in pairwise(runs(order)):
        assert after.start == before.start + before.count * len(before.pattern)


@given(st.lists(st.integers(0, 3), min_size=1, max_size=6), st.integers(2, 20))
def test_a_repeated_pattern_is_one_run(pattern: list[int], times: int) -> None:
    (run,) = runs(pattern * times)
    assert len(run.pattern) <= len(pattern)
    assert run.count >= times


@given(st.lists(st.integers(0, 3), min_size=1, max_size=40))
def test_nodes_take_every_position_once(order: list[int]) -> None:
    found = nodes(order)
    assert sorted(position for node in found for position in node.positions) == list(range(len(order)))
    assert all(order[position] == node.layer for node in found for position in node.positions)


@pytest.mark.parametrize(
    ("name", "text", "count"),
    [
        ("llama3-405b", "embedding | 126 x block | head", 3),
        ("deepseek-v3", "embedding | 3 x block 1 | 58 x block 2 | head", 4),
        ("mamba2-2.7b", "embedding | block 1 | 63 x block 2 | head", 4),
    ],
)
def test_orders_are_compact(name: str, text: str, count: int) -> None:
    workload = load(name)
    assert summary_of(workload).order == text
    assert len(nodes(workload.order)) == count


def test_alternating_layers_fold() -> None:
    assert order_text([0, *[1, 2] * 13, 3], ["embedding", "local", "global", "head"].__getitem__) == (
        "embedding | 13 x (local | global) | head"
    )


# Sums


@pytest.mark.parametrize("name", SAMPLE)
def test_totals_are_the_workload_s_and_shares_sum_to_one(name: str) -> None:
    workload = load(name)
    found = summary_of(workload, micro_batch=3)
    assert found.forward_flops_per_sample + found.backward_flops_per_sample == workload.flops_per_sample()
    assert found.flops == 3 * workload.flops_per_sample()
    assert sum(kind.flops_share for kind in found.kinds) == pytest.approx(1)
    assert sum(kind.bytes_share for kind in found.kinds) == pytest.approx(1)
    assert sum(layer.count for layer in found.layers) == len(workload.order) == found.positions
    assert sum(layer.count * layer.moved_bytes for layer in found.layers) == found.moved_bytes
    assert found.held_parameters == workload.parameters
    counted = Counter(
        operator.kind
        for index in workload.order
        for operator in workload.layers[index].operators
        if operator.kind is not OperatorKind.VIEW
    )
    assert {kind.kind: kind.operators for kind in found.kinds} == counted


def test_bytes_of_a_product_and_of_a_look_up_by_hand() -> None:
    found = summary_of(load("llama2-7b"), micro_batch=2)
    up = next(one for one in found.operators if one.module == "mlp.up_proj" and one.phase is Phase.FORWARD)
    assert up.dims == (1, 8192, 11008, 4096)
    assert (up.read_bytes, up.written_bytes) == (2 * (8192 * 4096 + 4096 * 11008), 2 * 8192 * 11008)
    table = next(one for one in found.operators if one.kind is OperatorKind.EMBEDDING and one.phase is Phase.FORWARD)
    rows = 2 * 4096 * 4096 * 2
    assert (table.read_bytes, table.written_bytes) == (rows + 2 * 4096 * 8, rows)


@pytest.mark.parametrize("name", ["llama2-7b", "u-net", "dlrm"])
def test_no_operator_moves_more_than_its_storages_and_none_less_than_it_must(name: str) -> None:
    workload = load(name)
    found = summary_of(workload)
    each = iter(found.operators)
    for index in dict.fromkeys(workload.order):
        layer = workload.layers[index]
        for operator in layer.operators:
            if operator.kind is OperatorKind.VIEW:
                continue
            facts = next(each)
            storages = [layer.storages[one].bytes.at(1) for one in layer.storages_of(operator.writes)]
            assert facts.written_bytes <= sum(storages)
            if operator.kind is OperatorKind.MATMUL:
                _, m, n, k = facts.dims
                item = ITEM_BYTES[layer.tensors[operator.writes[0]].dtype]
                assert facts.moved_bytes >= item * facts.dims[0] * m * n
                assert facts.flops == 2 * facts.dims[0] * m * n * k


def test_a_tensor_parallel_rank_has_its_share_and_collectives() -> None:
    workload = load("llama2-7b")
    whole, rank = summary_of(workload), summary_of(workload, Parallelism(tensor=8))
    block, part = (next(one for one in found.layers if one.name == "block") for found in (whole, rank))
    assert part.forward_flops * 8 == block.forward_flops
    assert block.collectives == block.collective_bytes == 0
    # Megatron's f and g: an all-reduce of s h elements after attention and MLP, forward and backward.
    assert (part.collectives, part.collective_bytes) == (4, 4 * 4096 * 4096 * 2)
    assert rank.forward_flops_per_sample == whole.forward_flops_per_sample
    collective = next(kind for kind in rank.kinds if kind.kind is OperatorKind.COLLECTIVE)
    assert collective.moved_bytes == collective.flops == 0


def test_what_stays_whole_is_named_once() -> None:
    (note,) = notes(summary_of(load("gpt2-xl"), Parallelism(tensor=2)))
    assert note.endswith("block: attn.c_attn, attn.c_proj")


def test_the_heaviest_are_the_heaviest_over_all_repetitions() -> None:
    found = summary_of(load("t5-large"))
    for by in ("flops", "moved_bytes"):
        top = heaviest(found, by)
        costs = sorted((one.count * getattr(one, by) for one in found.operators), reverse=True)
        assert [one.count * getattr(one, by) for one in top] == costs[:10]


def test_operators_without_a_model_are_named_with_their_share() -> None:
    workload = load("llama2-7b")
    block = workload.layers[1]
    place, chosen = max(enumerate(block.operators), key=lambda pair: pair[1].flops.factor)
    odd = replace(chosen, kind=OperatorKind.OTHER, name="fft", dims=chosen.dims[:1])
    changed = replace(block, operators=(*block.operators[:place], odd, *block.operators[place + 1 :]))
    strange = replace(workload, layers=(workload.layers[0], changed, workload.layers[2]))
    (note,) = notes(summary_of(strange))
    share = 32 * chosen.flops.factor / workload.flops_per_sample()
    assert note.startswith(f"without a model of their own: fft (32 operators, {percent(share, 2)} of the FLOPs")


@pytest.mark.parametrize("name", catalogue())
def test_every_operator_has_its_dimensions_in_words(name: str) -> None:
    for operator in summary_of(load(name)).operators:
        assert dims_text(operator)


# The drawing


@pytest.mark.parametrize("name", catalogue())
def test_links_carry_every_edge_and_places_do_not_collide(name: str) -> None:
    workload = load(name)
    found = nodes(workload.order)
    joined = links(found, workload.edges, workload.layers, 1)
    assert sum(sum(link.edges) for link in joined) == len(workload.edges)
    made = drawing(workload, *_parts(workload))
    corners = [(box.x, box.y) for box in made.boxes]
    assert len(set(corners)) == len(corners) == len(found)
    assert all(0 <= x <= made.width - WIDTH and 0 <= y <= made.height - HEIGHT for x, y in corners)
    assert sum(box.flops_bar for box in made.boxes) == pytest.approx(250)
    assert sum(box.parameters_bar for box in made.boxes) == pytest.approx(250)


def _parts(workload: Workload) -> tuple[dict, Summary]:  # type: ignore[type-arg]
    layers, whole = rank_layers(workload, Parallelism())
    return layers, summarise(workload, Parallelism(), 1, layers, whole)


def test_skip_connections_of_the_u_net_are_level() -> None:
    workload = load("u-net")
    made = drawing(workload, *_parts(workload))
    at = {box.name: (box.x, box.y) for box in made.boxes}
    for number in range(1, 5):
        left, right = at[f"encoder {number}"], at[f"decoder {5 - number}"]
        assert left[1] == right[1]
        assert left[0] < right[0]
    labels = [line.label for line in made.lines]
    for size in ("41.3 MB", "20.1 MB", "9.47 MB", "4.19 MB"):
        assert labels.count(size) == 2, "each goes to the next encoder and to its decoder"


def test_the_encoder_feeds_every_decoder_block_across_two_columns() -> None:
    workload = load("t5-large")
    made = drawing(workload, *_parts(workload))
    columns = {box.name: box.x for box in made.boxes}
    assert len(set(columns.values())) == 2
    assert columns["between"] == columns["22 × encoder.block 2"] < columns["22 × decoder.block 2"] == columns["head"]
    found = nodes(workload.order)
    joined = links(found, workload.edges, workload.layers, 1)
    names = [workload.layers[node.layer].name for node in found]
    reached = {names[link.target] for link in joined if names[link.source] == "between"}
    assert reached == {"decoder.block 1", "decoder.block 2", "decoder.block 3"}


def test_two_towers_stand_side_by_side_and_join_below() -> None:
    found = places(5, [(0, 1, 1), (1, 4, 1), (2, 3, 1), (3, 4, 1)])
    assert [place.column for place in found] == [0, 0, 1, 1, 1]
    assert found[4].row > max(found[1].row, found[3].row)


@given(st.integers(2, 14), st.data())
def test_places_of_any_graph_do_not_collide(count: int, data: st.DataObject) -> None:
    pairs = st.tuples(st.integers(0, count - 1), st.integers(0, count - 1), st.integers(1, 30))
    drawn = [one for one in data.draw(st.lists(pairs, max_size=30)) if one[0] != one[1]]
    found = places(count, drawn)
    assert len(set(found)) == count
    assert all(place.row >= 0 and place.column >= 0 for place in found)


def test_alternating_layers_hand_on_to_the_next_round() -> None:
    workload = load("deepseek-v3")
    order = (0, *(1, 2) * 4, 3)
    edges = tuple(Edge(one, 0, one + 1, 0) for one in range(len(order) - 1))
    other = replace(workload, order=order, edges=edges)
    made = drawing(other, *_parts(other))
    assert [box.name for box in made.boxes] == ["embedding", "4 × block 1", "4 × block 2", "head"]
    assert "58.7 MB to the next" in [line.label for line in made.lines]


@pytest.mark.parametrize("name", ["llama2-7b", "t5-large", "u-net"])
def test_the_page_stands_alone(name: str) -> None:
    workload = load(name)
    layers, found = _parts(workload)
    text = page(found, drawing(workload, layers, found), listed=found.layers[0].name)
    assert not re.search(r'(src|href)="(?!#|data:)|https?://', text)
    assert text.count("<script>") == 1
    assert text.count("<svg") == text.count("</svg>") == 1
    for layer in found.layers:
        assert f"<th>{layer.name}</th>" in text
    assert f"Every operator of {found.layers[0].name}" in text


def test_names_of_a_strange_file_are_shown_as_they_are() -> None:
    workload = load("llama2-7b")
    odd = replace(workload, layers=tuple(replace(one, name="<b>[x]</b>") for one in workload.layers))
    layers, found = _parts(odd)
    assert [one.name for one in found.layers] == [f"<b>[x]</b> #{index}" for index in range(3)]
    assert "<b>[x]" not in page(found, drawing(odd, layers, found))


def test_data_enters_where_the_model_reads_it() -> None:
    def entering(name: str) -> list[str]:
        workload = load(name)
        return [line.label for line in drawing(workload, *_parts(workload)).lines if line.label.startswith("data")]

    assert entering("dlrm") == ["data 26.0 B", "data 208 B"]  # 13 numbers of bf16, 26 indices of int64
    assert entering("t5-large") == ["data 4.10 kB", "data 4.10 kB"]
    assert entering("llama2-7b") == ["data 32.8 kB"]


def test_an_inference_graph_has_no_backward_pass() -> None:
    workload = load("resnet-50")
    forward = tuple(
        replace(layer, operators=tuple(one for one in layer.operators if one.phase is Phase.FORWARD))
        for layer in workload.layers
    )
    inference = replace(workload, training=False, layers=forward)
    layers, found = _parts(inference)
    assert found.backward_flops_per_sample == 0
    assert facts(found).endswith("FLOP; inference")
    text = page(found, drawing(inference, layers, found))
    assert "forward and backward" not in text
    assert "gradients" not in text
