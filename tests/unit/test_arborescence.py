"""The graph algorithm against trying everything out."""

from __future__ import annotations

from itertools import product
from random import Random
from typing import TYPE_CHECKING

from hypothesis import given
from hypothesis import strategies as st

from buttersink.planning.arborescence import ROOT, minimum_arborescence

if TYPE_CHECKING:
    from collections.abc import Sequence

Edge = tuple[int, int, int]


def hangs_on_root(parents: dict[int, int]) -> bool:
    for start in parents:
        node, steps = start, 0
        while node != ROOT:
            node, steps = parents[node], steps + 1
            if steps > len(parents):
                return False
    return True


def reachable(edges: Sequence[Edge]) -> set[int]:
    found = {ROOT}
    while more := {t for s, t, _ in edges if s in found} - found:
        found |= more
    return found - {ROOT}


def least_cost_by_trying_all(edges: Sequence[Edge]) -> int:
    nodes = sorted(reachable(edges))
    entering = [[e for e in edges if e[1] == node and e[0] in {ROOT, *nodes}] for node in nodes]
    return min(
        sum(weight for _, _, weight in choice)
        for choice in product(*entering)
        if hangs_on_root({target: source for source, target, _ in choice})
    )


def check(count: int, edges: Sequence[Edge]) -> None:
    chosen = minimum_arborescence(count, edges)
    parents = {}
    cost = 0
    for node, index in enumerate(chosen):
        if index is not None:
            source, target, weight = edges[index]
            assert target == node
            parents[node] = source
            cost += weight
    assert parents.keys() == reachable(edges)
    assert hangs_on_root(parents)
    assert cost == least_cost_by_trying_all(edges)


def all_pairs(count: int) -> list[tuple[int, int]]:
    return [(s, t) for s in range(ROOT, count) for t in range(count) if s != t]


def check_all_graphs(count: int, weights: Sequence[int | None]) -> None:
    pairs = all_pairs(count)
    for combination in product(weights, repeat=len(pairs)):
        weighted = zip(pairs, combination, strict=True)
        check(count, [(s, t, weight) for (s, t), weight in weighted if weight is not None])


def test_all_graphs_of_up_to_two_nodes_with_weights_up_to_three() -> None:
    for count in (0, 1, 2):
        check_all_graphs(count, (None, 0, 1, 2, 3))


def test_all_graphs_of_three_nodes_with_two_weights() -> None:
    check_all_graphs(3, (None, 1, 2))


def test_every_graph_of_four_nodes_with_a_chain_from_the_root() -> None:
    pairs = all_pairs(4)
    chain = [(node - 1, node) for node in range(4)]
    others = [pair for pair in pairs if pair not in chain]
    for present in product((False, True), repeat=len(others)):
        graph = chain + [pair for pair, there in zip(others, present, strict=True) if there]
        check(4, [(s, t, (5 * s + 3 * t) % 4) for s, t in graph])


def edge_lists(count: int) -> st.SearchStrategy[list[Edge]]:
    node = st.integers(0, count - 1)
    return st.lists(st.tuples(st.integers(ROOT, count - 1), node, st.integers(-3, 6)), max_size=14)


@given(edge_lists(4))
def test_any_graph_of_four_nodes_with_loops_parallel_edges_and_negative_weights(
    edges: list[Edge],
) -> None:
    check(4, edges)


@given(edge_lists(5), st.lists(st.integers(0, 9), min_size=5, max_size=5))
def test_any_graph_of_five_nodes_that_are_all_reachable(
    edges: list[Edge], direct: list[int]
) -> None:
    check(5, [*edges, *((ROOT, node, weight) for node, weight in enumerate(direct))])


def test_a_node_without_a_way_from_the_root_is_none_and_does_not_disturb_the_others() -> None:
    edges = [(ROOT, 0, 7), (0, 1, 3), (2, 3, 1), (3, 2, 1), (2, 1, 0)]
    assert minimum_arborescence(4, edges) == [0, 1, None, None]


def test_a_cycle_is_entered_where_that_costs_least_in_total() -> None:
    edges = [(ROOT, 0, 10), (ROOT, 1, 12), (0, 1, 1), (1, 0, 5)]
    assert minimum_arborescence(2, edges) == [0, 2]


def test_weights_may_be_larger_than_any_machine_word() -> None:
    huge = 1 << 200
    edges = [(ROOT, 0, huge + 1), (ROOT, 1, huge), (0, 1, huge - 1), (1, 0, huge)]
    assert minimum_arborescence(2, edges) == [0, 2]


def test_long_chains_and_deeply_nested_cycles_need_no_recursion() -> None:
    count = 20_000
    forth = [(node - 1, node, 1) for node in range(1, count)]
    back = [(node, node - 1, 1) for node in range(1, count)]
    chosen = minimum_arborescence(count, [*forth, *back, (ROOT, count - 1, 5)])
    assert chosen == [*range(count - 1, 2 * count - 2), 2 * count - 2]


def test_the_same_edges_give_the_same_choice() -> None:
    random = Random(1)
    edges = [
        (random.randrange(ROOT, 50), random.randrange(50), random.randrange(3)) for _ in range(400)
    ]
    assert minimum_arborescence(50, edges) == minimum_arborescence(50, edges)
