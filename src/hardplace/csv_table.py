"""A CSV table with strict cells: what is wrong is named by file, line, column and value."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from hardplace.errors import BadInput


@dataclass(frozen=True, slots=True, kw_only=True)
class Table:
    """The rows of a CSV file as texts; lines: where each row stands in the file, from 1."""

    place: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    lines: tuple[int, ...]

    def has(self, *names: str) -> bool:
        """Return whether all of these columns exist."""
        return all(name in self.columns for name in names)

    def where(self, row: int, column: str) -> str:
        """Return the place of a cell for a message."""
        return f"{self.place}: line {self.lines[row]}: {column}"

    def texts(self, column: str) -> list[str]:
        """Return a column."""
        index = self.columns.index(column)
        return [row[index].strip() for row in self.rows]

    def whole(
        self, column: str, largest: int, default: int | None = None
    ) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
        """Return a column of whole numbers from 1 to largest; `default` for a column that is not there or a cell
        that is empty."""
        if column not in self.columns and default is not None:
            return np.full(len(self.rows), default, dtype=np.int64)
        values = []
        for row, text in enumerate(self.texts(column)):
            if not text and default is not None:
                values.append(default)
                continue
            if not text.isascii() or not text.isdigit() or len(text) > 40 or not 1 <= int(text) <= largest:
                raise BadInput(f"{self.where(row, column)}: {text!r}: expected a whole number from 1 to {largest}")
            values.append(int(text))
        return np.array(values, dtype=np.int64)

    def flags(self, column: str) -> list[bool]:
        """Return a column of 0 or 1, true or false; an empty cell is false. BadInput for anything else."""
        values = []
        for row, text in enumerate(self.texts(column)):
            if text.lower() not in ("", "0", "1", "false", "true"):
                raise BadInput(f"{self.where(row, column)}: {text!r}: expected 0 or 1")
            values.append(text.lower() in ("1", "true"))
        return values

    def latencies_s(self, columns: Sequence[str], unit_s: float) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Return columns of latencies in seconds, shape (rows, columns), nan where a cell is empty.

        Raises BadInput for what is no positive number, and for a row without any.
        """
        values = np.full((len(self.rows), len(columns)), np.nan)
        for at, column in enumerate(columns):
            for row, text in enumerate(self.texts(column)):
                if text:
                    values[row, at] = self._positive(row, column, text) * unit_s
        missing = np.flatnonzero(np.isnan(values).all(axis=1))
        if len(missing):
            raise BadInput(f"{self.where(int(missing[0]), ', '.join(columns))}: empty: expected at least one latency")
        return values

    def _positive(self, row: int, column: str, text: str) -> float:
        try:
            value = float(text)
        except ValueError:
            value = math.nan
        if not 0 < value < math.inf:
            raise BadInput(f"{self.where(row, column)}: {text!r}: expected a positive latency")
        return value

    def take(self, rows: Sequence[int]) -> Table:
        """Return the table with these rows only."""
        return Table(
            place=self.place,
            columns=self.columns,
            rows=tuple(self.rows[row] for row in rows),
            lines=tuple(self.lines[row] for row in rows),
        )


def parse(text: str, place: str) -> Table:
    """Return the table of a CSV text with a header; BadInput if a row has not as many cells as the header."""
    reader = csv.reader(io.StringIO(text, newline=""))
    header: tuple[str, ...] = ()
    rows, lines = [], []
    try:
        for cells in reader:
            if not cells or cells[0].startswith("#"):
                continue
            if not header:
                header = tuple(cell.strip() for cell in cells)
                if len(header) == 1 and (mark := next((one for one in ";\t" if one in cells[0]), "")):
                    raise BadInput(f"{place}: line {reader.line_num}: cells apart by {mark!r}: expected commas")
            elif len(cells) != len(header):
                raise BadInput(f"{place}: line {reader.line_num}: {len(cells)} cells: expected {len(header)}")
            else:
                rows.append(tuple(cells))
                lines.append(reader.line_num)
    except csv.Error as problem:
        raise BadInput(f"{place}: line {reader.line_num}: expected CSV: {problem}") from None
    if not rows:
        raise BadInput(f"{place}: no rows: expected a CSV with a header and one row a measurement")
    return Table(place=place, columns=header, rows=tuple(rows), lines=tuple(lines))
