"""The search for the cheapest tree against trying everything out."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import combinations, pairwise
from random import Random
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from buttersink.planning.arborescence import ROOT, minimum_arborescence
from buttersink.planning.steiner import steiner_tree

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

Edge = tuple[int, int, int]


def cost(edges: Sequence[Edge], chosen: Sequence[int]) -> int:
    return sum(edges[index][2] for index in chosen)


def reachable(edges: Sequence[Edge]) -> set[int]:
    found = {ROOT}
    while more := {t for s, t, _ in edges if s in found} - found:
        found |= more
    return found - {ROOT}


def least_cost_by_trying_all(count: int, edges: Sequence[Edge], goals: Collection[int]) -> int:
    """Try out all sets of nodes that contain the goals."""
    others = sorted(set(range(count)).difference(goals))
    costs = []
    for size in range(len(others) + 1):
        for over in combinations(others, size):
            among = [e for e in edges if {e[0], e[1]} <= {ROOT, *goals, *over}]
            tree = minimum_arborescence(count, among)
            if all(tree[node] is not None for node in goals):
                costs.append(cost(among, [index for index in tree if index is not None]))
    return min(costs)


def cheapest_paths_cost(edges: Sequence[Edge], goals: Collection[int]) -> int:
    """Return the cost of all edges on the cheapest paths to the goals."""
    entering: dict[int, Edge] = {}
    waiting: list[tuple[int, Edge]] = [(e[2], e) for e in sorted(edges) if e[0] == ROOT]
    waiting.sort()
    while waiting:
        distance, edge = heappop(waiting)
        if edge[1] not in entering:
            entering[edge[1]] = edge
            for onward in edges:
                if onward[0] == edge[1]:
                    heappush(waiting, (distance + onward[2], onward))
    used = set()
    for goal in goals:
        node = goal
        while node != ROOT:
            used.add(entering[node])
            node = entering[node][0]
    return sum(weight for _, _, weight in used)


def check_shape(edges: Sequence[Edge], goals: Collection[int], chosen: Sequence[int]) -> None:
    """Check that it is a tree that ends in goals only."""
    tree = [edges[index] for index in chosen]
    inner = {source for source, _, _ in tree}
    nodes = {target for _, target, _ in tree}
    assert list(chosen) == sorted(chosen)
    assert len(nodes) == len(tree)
    assert reachable(tree) == nodes
    assert nodes >= set(goals) & reachable(edges)
    assert nodes - inner <= set(goals)


@st.composite
def graphs(draw: st.DrawFn) -> tuple[int, list[Edge], set[int]]:
    count = draw(st.integers(1, 7))
    ends = st.tuples(st.integers(-1, count - 1), st.integers(0, count - 1), st.integers(1, 9))
    edges = draw(st.lists(ends, max_size=24))
    return count, edges, draw(st.sets(st.integers(0, count - 1)))


@given(graphs())
def test_the_cost_is_the_least_of_all_trees(graph: tuple[int, list[Edge], set[int]]) -> None:
    count, edges, goals = graph
    chosen = steiner_tree(count, edges, goals)
    check_shape(edges, goals, chosen)
    assert cost(edges, chosen) == least_cost_by_trying_all(count, edges, goals & reachable(edges))


def dense(seed: int, *, count: int, degree: int) -> tuple[list[Edge], list[int]]:
    """Return a graph in which nearly every node has several ways in and out."""
    random = Random(seed)
    edges = [
        (random.randrange(count), random.randrange(count), random.randint(1, 1000))
        for _ in range(count * degree)
    ]
    edges += [(ROOT, random.randrange(count), random.randint(500, 3000)) for _ in range(count // 4)]
    return edges, [node for node in sorted(reachable(edges)) if random.random() < 0.2]


@pytest.mark.parametrize("seed", range(10))
def test_with_too_many_combinations_it_costs_no_more_than_the_cheapest_paths(seed: int) -> None:
    edges, goals = dense(seed, count=60, degree=3)
    chosen = steiner_tree(60, edges, goals)
    check_shape(edges, goals, chosen)
    assert cost(edges, chosen) <= cheapest_paths_cost(edges, goals)


def test_what_the_cheapest_paths_miss_is_found_by_changing_single_nodes() -> None:
    # A way over a hub costs a little more to each goal, but all goals can share it; and so much
    # is undecided besides that combinations can't be tried.
    goals, hubs = range(20), range(20, 40)
    edges = [(ROOT, hub, 100) for hub in hubs]
    edges += [(hub, goal, 1) for hub in hubs for goal in goals]
    edges += [(ROOT, goal, 100) for goal in goals]
    assert cost(edges, steiner_tree(40, edges, goals)) == 120


def test_many_small_parts_are_each_solved_exactly() -> None:
    # In each, the shared way is cheapest, though not for either goal by itself.
    edges: list[Edge] = []
    for start in range(0, 3000, 3):
        one, other, shared = start, start + 1, start + 2
        edges += [(ROOT, shared, 10), (shared, one, 1), (shared, other, 1)]
        edges += [(ROOT, one, 8), (ROOT, other, 9)]
    goals = [node for node in range(3000) if node % 3 != 2]
    assert cost(edges, steiner_tree(3000, edges, goals)) == 12 * 1000


@pytest.mark.parametrize("step", [1, -1])
def test_a_long_chain_needs_no_recursion(step: int) -> None:
    nodes = list(range(5000))[::step]
    edges = [(ROOT, nodes[0], 7)]
    edges += [(source, target, 1) for source, target in pairwise(nodes)]
    assert len(steiner_tree(5000, edges, [nodes[-1]])) == 5000
    alternatives = [(ROOT, node, 100) for node in nodes]
    both = [*edges, *alternatives]
    assert len(steiner_tree(5000, both, [nodes[50]])) == 51
    assert steiner_tree(5000, both, [nodes[2000]]) == [5000 + nodes.index(nodes[2000])]
