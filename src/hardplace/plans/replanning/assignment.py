"""The linear assignment problem, exactly: rows to columns, one each, so that the sum is largest."""

from __future__ import annotations

import numpy as np

from hardplace.ndtypes import Floats, Ints


def assign(value: Floats) -> Ints:
    """Return the column of every row, no column twice, that maximise the sum of value[row, column].

    Shortest augmenting paths (Jonker, Volgenant 1987, Computing 38) after a first pass that gives each row a best
    column while there is one left: O(rows^2 columns) at worst.

    Args:
        value: Shape (rows, columns), finite, rows <= columns.
    """
    rows, columns = value.shape
    assert rows <= columns
    cost = -value
    row_price, column_price = cost.min(axis=1), np.zeros(columns)
    row_of, column_of = np.full(columns, -1), np.full(rows, -1)
    for row in range(rows):
        best = np.flatnonzero((cost[row] <= row_price[row]) & (row_of < 0))
        if len(best):
            row_of[best[0]], column_of[row] = row, best[0]
    for row in np.flatnonzero(column_of < 0).tolist():
        _augment(cost, row, row_price, column_price, row_of, column_of)
    return column_of


def _augment(cost: Floats, start: int, row_price: Floats, column_price: Floats, row_of: Ints, column_of: Ints) -> None:
    """Give one more row a column, along the path of least reduced cost."""
    columns = cost.shape[1]
    least, before = np.full(columns, np.inf), np.full(columns, -1)
    done = np.zeros(columns, dtype=bool)
    row, reached, path = start, 0.0, [start]
    while True:
        through = reached + cost[row] - row_price[row] - column_price
        shorter = ~done & (through < least)
        least[shorter], before[shorter] = through[shorter], row
        open_least = np.where(done, np.inf, least)
        reached = float(open_least.min())
        ties = np.flatnonzero(open_least == reached)
        free = ties[row_of[ties] < 0]
        column = int(free[0] if len(free) else ties[0])
        done[column] = True
        if len(free):
            break
        row = int(row_of[column])
        path.append(row)
    inner = np.array(path[1:], dtype=np.int64)
    row_price[start] += reached
    row_price[inner] += reached - least[column_of[inner]]
    column_price[done] -= reached - least[done]
    while True:
        row = int(before[column])
        row_of[column] = row
        column_of[row], column = column, int(column_of[row])
        if row == start:
            return
