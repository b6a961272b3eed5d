"""Tables that fit a width: numbers are never cut, text wraps at words, columns that have no room go to a next block."""

from __future__ import annotations

import re
from copy import copy
from dataclasses import dataclass, replace

from rich.cells import cell_len
from rich.table import Column, Table
from rich.text import Text

_WHOLE = 20  # characters of a cell up to which it is never wrapped
_LONGEST_WORD = 24  # of text that wraps: longer words fold
_NUMBER = re.compile(r"[-+]?[\d.,]+([*×x]|[ \u00a0]?%|[ \u00a0][µnmkMGTP]?i?[A-Za-z]{1,7}(/s)?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class ColumnNeed:
    """Characters that a column needs at least, and those with which nothing in it wraps."""

    least: int
    whole: int


def fitted(table: Table, width: int) -> list[Table]:
    """Return a table in as many blocks as the width asks for, numbers aligned to the right.

    Args:
        table: Cells are text.
        width: Columns of characters of the screen.

    Returns:
        The table itself where it fits, with its text wrapped where only that makes it fit; else blocks of its
        columns, each of which begins with the first one.
    """
    for column in table.columns:
        if column.justify == "left" and _is_numeric(column):
            column.justify = "right"
    needs = [_need(column) for column in table.columns]
    around = _around(table)
    if not needs or sum(one.whole + around for one in needs) + _edge(table) <= width:
        return [table]
    blocks: list[list[int]] = [[0]]
    taken = needs[0].least + around + _edge(table)
    for place in range(1, len(needs)):
        if len(blocks[-1]) > 1 and taken + needs[place].least + around > width:
            blocks.append([0])
            taken = needs[0].least + around + _edge(table)
        blocks[-1].append(place)
        taken += needs[place].least + around
    found = [_part(table, block, needs, width) for block in blocks]
    for block in found[1:]:
        block.title = None
    return found


def _part(table: Table, places: list[int], needs: list[ColumnNeed], width: int) -> Table:
    """Return a table of some columns, as wide as there is room: first what is short gets what it needs, then the
    rest."""
    room = width - _edge(table) - len(places) * _around(table)
    widths = {place: needs[place].least for place in places}
    left = room - sum(widths.values())
    for place in sorted(places, key=lambda place: needs[place].whole - needs[place].least):
        more = max(0, min(left, needs[place].whole - widths[place]))
        widths[place] += more
        left -= more
    part = copy(table)
    part.columns = [
        replace(table.columns[place], _index=number, width=max(1, widths[place]), no_wrap=False, overflow="fold")
        for number, place in enumerate(places)
    ]
    return part


def _texts(column: Column) -> list[str]:
    return [one.plain if isinstance(one, Text) else str(one) for one in column.cells]


def _is_numeric(column: Column) -> bool:
    """Return whether all cells are numbers with their units; some may be empty, or a dash."""
    texts = [text for text in _texts(column) if text.strip() not in ("", "-", "...")]
    return bool(texts) and all(_NUMBER.fullmatch(text) for text in texts)


def _need(column: Column) -> ColumnNeed:
    """Return what a column needs: short cells whole, long ones by their longest word, headings by theirs."""
    head = column.header.plain if isinstance(column.header, Text) else str(column.header)
    texts = _texts(column)
    longest = max((_widest(text) for text in texts), default=0)
    short = longest <= _WHOLE or _is_numeric(column)
    words = [word for text in (*([] if short else texts), head) for word in text.split()]
    least = max([longest if short else 12, *(min(cell_len(word), _LONGEST_WORD) for word in words)])
    return ColumnNeed(least=min(least, max(longest, cell_len(head))), whole=max(longest, cell_len(head)))


def _widest(text: str) -> int:
    return max((cell_len(line) for line in text.splitlines()), default=0)


def _around(table: Table) -> int:
    """Return the characters beside a cell: its padding and, of a table in a box, the line after it."""
    _, right, _, left = table.padding
    return left + right + (1 if table.box is not None else 0)


def _edge(table: Table) -> int:
    return 1 if table.box is not None else 0
