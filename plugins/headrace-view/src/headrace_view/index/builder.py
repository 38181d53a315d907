"""Builds the index of a journal in small steps, and keeps up with the journal as it grows."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

from headrace_view.index.counted_row import CountedRow
from headrace_view.index.journal_file import JournalFile, ReadPosition
from headrace_view.index.line_facts import LineFacts, read_facts
from headrace_view.index.place import IndexPlace
from headrace_view.index.schema import VERSION, facet_words, note_numbers_before, open_for_building, spaced
from headrace_view.index.totals import Totals

_MOST_TERMS = 2000
"""Short answers, kinds of errors and finish reasons each, by which rows can be filtered."""

_COLUMNS = 16
_INSERT_ROW = f"INSERT INTO rows VALUES ({', '.join('?' * _COLUMNS)})"
_INSERT_TEXTS = "INSERT INTO texts VALUES (?, ?, ?, ?)"
_INSERT_WORDS = "INSERT INTO words(rowid, name, answer, message, facets) VALUES (?, ?, ?, ?, ?)"
_SUPERSEDED = """
SELECT rows.id, failed, status, code, reason, answer, elapsed, cost, attempts, tokens_in, tokens_out, done_at
FROM json_each(?) JOIN rows ON rows.key = value
"""


class _State(msgspec.Struct):
    """What a later process needs to continue an index."""

    position: ReadPosition = ReadPosition()
    next_id: int = 1
    totals: Totals = msgspec.field(default_factory=Totals)


class IndexBuilder:
    """Makes the index of one journal, and continues one that is there.

    It is used by one thread at a time. The journal is only read.

    Args:
        journal: The output of a run.
        place: Where the index is.

    Attributes:
        totals: Of the rows in the index.
        version: A number that grows with each change.
        error: Why the journal cannot be read now; empty if it can.
        is_whole: Whether the journal had no further line when it was read last.
    """

    def __init__(self, journal: Path, place: IndexPlace) -> None:
        self.place = place
        self.version: int = 0
        self.error: str = ""
        self.is_whole: bool = False
        self._file = JournalFile(journal)
        self._terms: dict[tuple[str, str], int] = {}
        self._names: dict[int, str] = {}
        self._kinds: Counter[str] = Counter()
        self._state = _State()
        self._connection: sqlite3.Connection | None = None
        self._inode: int | None = None

    @property
    def totals(self) -> Totals:
        """Of the rows in the index."""
        return self._state.totals

    @property
    def indexed(self) -> int:
        """The bytes of the journal that are in the index."""
        return self._state.position.offset

    @property
    def size(self) -> int:
        """The bytes of the journal when it was read last."""
        return max(self._file.size, self.indexed)

    @property
    def is_lost(self) -> bool:
        """Whether the file of the open index was deleted or replaced, so that nobody can open it."""
        return self._connection is not None and _inode(self.place.database) != self._inode

    def open(self) -> None:
        """Open the index, so that it can be queried; `step` does so too."""
        with suppress(sqlite3.Error, OSError):  # `step` will say why
            if self._connection is None:
                self._open()

    def close(self) -> None:
        """Close the index."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def step(self) -> bool:
        """Index the next lines; returns whether there were any.

        An index that is damaged or deleted, or of a journal that was replaced or cut, is made anew.
        """
        try:
            if self.is_lost:
                self.close()
                self.place.take_again()
                self.version += 1
            if self._connection is None:
                self._open()
            read = self._file.read(self._state.position)
            self.error = ""
            if read is None:
                self._begin_anew()
                return True
            position, offset, lines = read
            if lines:
                self._add(position, offset, lines)
            self.is_whole = not lines
            return bool(lines)
        except OSError as error:
            self.error = f"the output cannot be read: {error.strerror}"
        except sqlite3.Error as error:
            self.error = (
                f"the index cannot be written: {error}; free some space, or delete {self.place.folder}"
            )
            with suppress(sqlite3.Error, OSError):
                self._begin_anew()
        return False

    def _open(self) -> None:
        connection = None
        try:
            connection = open_for_building(self.place.database)
            found = connection.execute("SELECT version, content FROM state").fetchone()
            if found is not None and found[0] != VERSION:
                raise sqlite3.DatabaseError("an index of another version")
            state = (
                self._first_state(connection) if found is None else msgspec.json.decode(found[1], type=_State)
            )
            terms = connection.execute("SELECT kind, text, id FROM terms").fetchall()
        except (sqlite3.Error, msgspec.DecodeError):
            if connection is not None:
                connection.close()
            self._begin_anew()
            return
        self._connection, self._state = connection, state
        self._inode = _inode(self.place.database)
        self._terms = {(kind, text): id for kind, text, id in terms}
        self._names = {id: text for _, text, id in terms}
        self._kinds = Counter(kind for kind, _, _ in terms)

    def _begin_anew(self) -> None:
        database = self.place.next_database()
        connection = open_for_building(database)
        self.close()
        self.place.use(database)
        self._state, self._terms, self._names, self._kinds = self._first_state(connection), {}, {}, Counter()
        self.version += 1
        self._connection, self._inode = connection, _inode(database)

    def _first_state(self, connection: sqlite3.Connection) -> _State:
        """The state of an index without rows. Numbers go on: a page may still know those of other rows."""
        state = _State(next_id=self._state.next_id)
        note_numbers_before(connection, state.next_id - 1)
        return state

    def _add(self, position: ReadPosition, offset: int, lines: Sequence[bytes]) -> None:
        assert self._connection is not None
        latest: dict[int, tuple[LineFacts, int, int]] = {}
        damaged = 0
        for raw in lines:
            facts = read_facts(raw)
            if facts is None:
                damaged += 1
            else:
                latest.pop(facts.key, None)  # the row has the place of its last line
                latest[facts.key] = facts, offset, len(raw)
            offset += len(raw) + 1
        state = msgspec.json.decode(msgspec.json.encode(self._state), type=_State)
        state.position = position
        state.totals.damaged += damaged
        self._connection.execute("BEGIN IMMEDIATE")
        try:
            self._take_out(state, list(latest))
            self._insert(state, list(latest.values()))
            self._connection.execute("DELETE FROM state")
            self._connection.execute("INSERT INTO state VALUES (?, ?)", [VERSION, msgspec.json.encode(state)])
            self._connection.execute("COMMIT")
        except BaseException:
            self._connection.execute("ROLLBACK")
            raise
        self._state = state
        self.version += 1

    def _take_out(self, state: _State, keys: Sequence[int]) -> None:
        """Delete the rows that later lines supersede."""
        assert self._connection is not None
        found = self._connection.execute(_SUPERSEDED, [msgspec.json.encode(keys).decode()]).fetchall()
        for _, failed, status, code, reason, answer, *rest in found:
            named = (None if each is None else self._names[each] for each in (code, reason, answer))
            code, reason, answer = named
            state.totals.add(CountedRow(bool(failed), status, code or "", reason or "", answer, *rest), -1)
        for table in ("rows", "texts"):
            self._connection.executemany(f"DELETE FROM {table} WHERE id = ?", [row[:1] for row in found])
        self._connection.executemany("INSERT INTO superseded(row) VALUES (?)", [row[:1] for row in found])

    def _insert(self, state: _State, latest: Sequence[tuple[LineFacts, int, int]]) -> None:
        assert self._connection is not None
        rows, texts, words = [], [], []
        for id, (facts, start, length) in enumerate(latest, state.next_id):
            code, reason = self._term("code", facts.code), self._term("reason", facts.reason)
            answer = self._term("answer", facts.answer or "")
            label = facts.answer if answer is not None else None
            counts = (facts.elapsed, facts.cost, facts.attempts, facts.tokens_in, facts.tokens_out)
            state.totals.add(
                CountedRow(
                    facts.failed,
                    facts.status,
                    facts.code if code is not None else "",
                    facts.reason if reason is not None else "",
                    label,
                    *counts,
                    facts.done_at,
                )
            )
            about = (facts.failed, facts.status, code, reason, answer, facts.digest)
            rows.append((id, facts.key, start, length, *about, *counts, facts.done_at))
            texts.append((id, facts.name, facts.preview, facts.message))
            facets = facet_words(facts.failed, facts.status, [code, reason, answer])
            words.append((id, spaced(facts.name), spaced(facts.text), spaced(facts.message), facets))
        state.next_id += len(rows)
        self._connection.executemany(_INSERT_ROW, rows)
        self._connection.executemany(_INSERT_TEXTS, texts)
        self._connection.executemany(_INSERT_WORDS, words)

    def _term(self, kind: str, text: str) -> int | None:
        """The number of a word that many rows may have; None for an empty one, and if there are too many."""
        assert self._connection is not None
        if not text:
            return None
        id = self._terms.get((kind, text))
        if id is None and self._kinds[kind] < _MOST_TERMS:
            self._kinds[kind] += 1
            id = len(self._terms) + 1
            self._connection.execute("INSERT INTO terms VALUES (?, ?, ?)", [id, kind, text])
            self._terms[kind, text] = id
            self._names[id] = text
        return id


def _inode(path: Path) -> int | None:
    """What tells a file from another of its name; None without one."""
    try:
        return path.stat().st_ino
    except OSError:
        return None
