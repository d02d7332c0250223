"""Tables from databases: SQLite by the standard library, DuckDB files and any SQLAlchemy URL by the extra `[sql]`.

    sqlite:///shop.db   shop.sqlite   duckdb:///shop.duckdb   postgresql+psycopg://user:password@host/shop

Databases are opened for reading only where they can be. Passwords are never repeated.
"""

import re
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from transfuse.core.errors import DataError, MissingExtra, UsageError
from transfuse.core.tables import chosen
from transfuse.tasks.tables.reading import Read, checked, table_of

_FILES = {".db": "sqlite", ".sqlite": "sqlite", ".sqlite3": "sqlite", ".duckdb": "duckdb"}
_URL = re.compile(r"^([a-z][a-z0-9_+.]*)://", re.IGNORECASE)


def is_database(data: Any) -> bool:
    """Whether `data` is a URL of a database or a database's file."""
    text = str(data)
    return isinstance(data, str | Path) and bool(_URL.match(text) or Path(text).suffix.lower() in _FILES)


def read_database(data: str | Path, query: str | None = None) -> Read:
    """What `query` selects; without one, the only table.

    Raises `DataError` for what the database refuses, `UsageError` when there are several tables and no query,
    `MissingExtra` when its library is not installed.
    """
    text = str(data)
    found = _URL.match(text)
    dialect = found.group(1).lower() if found else _FILES[Path(text).suffix.lower()]
    path = Path(text[found.end() :].removeprefix("/") if found else text)
    readers = {"sqlite": _read_sqlite, "duckdb": _read_duckdb}
    place = without_password(text)
    if dialect in readers:
        if not path.is_file():
            raise DataError(f"There is no database '{path}'.")
        return checked(Read(table=readers[dialect](path, query), place=place))
    return checked(Read(table=_read_sqlalchemy(text, place, query), place=place))


def without_password(url: str) -> str:
    """The URL with `***` for its password."""
    return re.sub(r"(://[^:/@]*):[^@]*@", r"\1:***@", url)


def _read_sqlite(path: Path, query: str | None) -> pa.Table:
    connection = sqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
    try:
        listing = "select name from sqlite_master where type in ('table', 'view') and name not like 'sqlite_%'"
        names = [row[0] for row in connection.execute(listing)] if query is None else []
        cursor = connection.execute(query or f"select * from {_quoted(_only(names, path))}")
        if cursor.description is None:
            raise DataError(f"The query must select rows, but '{query}' gives none.")
        return _of_rows([column[0] for column in cursor.description], cursor.fetchall())
    except sqlite3.Error as problem:
        raise DataError(f"{path} cannot answer the query: {problem}.") from None
    finally:
        connection.close()


def _read_duckdb(path: Path, query: str | None) -> pa.Table:
    try:
        import duckdb
    except ImportError:
        raise _missing("duckdb") from None
    try:
        with duckdb.connect(str(path), read_only=True) as connection:
            names = [row[0] for row in connection.execute("show tables").fetchall()] if query is None else []
            found = connection.sql(query or f"select * from {_quoted(_only(names, path))}")
            if found is None:
                raise DataError(f"The query must select rows, but '{query}' gives none.")
            return found.to_arrow_table()
    except duckdb.Error as problem:
        raise DataError(f"{path} cannot answer the query: {str(problem).splitlines()[0]}.") from None


def _read_sqlalchemy(url: str, place: str, query: str | None) -> pa.Table:
    try:
        import sqlalchemy
    except ImportError:
        raise _missing("sqlalchemy") from None
    try:
        engine = sqlalchemy.create_engine(url)
        with engine.connect() as connection:
            names = sqlalchemy.inspect(connection).get_table_names() if query is None else []
            wanted = query or f"select * from {engine.dialect.identifier_preparer.quote(_only(names, place))}"
            result = connection.execute(sqlalchemy.text(wanted))
            return _of_rows(list(result.keys()), [tuple(row) for row in result])
    except ImportError as problem:
        raise MissingExtra(f"{place} needs a driver that is not installed: {problem}.") from None
    except sqlalchemy.exc.SQLAlchemyError as problem:
        said = without_password(str(problem).splitlines()[0])
        raise DataError(f"{place} cannot answer the query: {said}.") from None


def _of_rows(names: Sequence[str], rows: Sequence[Sequence[Any]]) -> pa.Table:
    if not rows:
        return pa.table({name: pa.array([], pa.string()) for name in names})
    twice = [name for name in names if list(names).count(name) > 1]
    if twice:
        raise DataError(
            f"A query must name each column once, but '{twice[0]}' occurs twice. Give one another name (AS)."
        )
    return table_of([dict(zip(names, row, strict=True)) for row in rows])


def _only(names: Sequence[str], place: Any) -> str:
    if len(names) == 1:
        return names[0]
    if not names:
        raise DataError(f"{without_password(str(place))} has no tables.")
    raise UsageError(
        f"`query` must say which rows of {without_password(str(place))} are meant, for it has the tables"
        f' {", ".join(names)}: for example "select * from {names[0]}".'
    )


def _quoted(name: str) -> str:
    return '"' + chosen("table", name, [name]).replace('"', '""') + '"'


def _missing(package: str) -> MissingExtra:
    return MissingExtra(f"Reading this database needs {package}: pip install 'transfuse[sql]'.")
