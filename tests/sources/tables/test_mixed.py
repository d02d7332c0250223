"""Cells through networks of their own: the features are those of the network on the cell, missing ones are the mean."""

from pathlib import Path

import numpy as np
import pytest
import torch
from tests.conftest import write_mixed

from transfuse.core.nouns import TablePreprocessing
from transfuse.sources import inputs
from transfuse.sources.opening import Opened, open_source, rebuild
from transfuse.sources.references import find
from transfuse.sources.tables import parts
from transfuse.sources.tables.mixed import of_column, side_by_side
from transfuse.tasks.tables.opening import open_table
from transfuse.tasks.tables.rows import Rows


@pytest.fixture(scope="module")
def rows(tmp_path_factory: pytest.TempPathFactory) -> Rows:
    path = write_mixed(tmp_path_factory.mktemp("mixed"), 40)
    items = open_table(path, target="label").splits["train"].items
    return Rows(items.cells, np.arange(40))  # type: ignore[attr-defined]


@pytest.fixture(scope="module")
def pictures() -> Opened:
    return open_source(find("random:timm:test_resnet", size=32))


@pytest.fixture(scope="module")
def texts(tiny_networks: dict[str, Path]) -> Opened:
    return open_source(find(tiny_networks["bert"]))


def ask(opened: Opened, items: object) -> torch.Tensor:
    with torch.inference_mode():
        return opened.body(inputs.tensor_of(items, opened.source.preprocessing))  # type: ignore[arg-type]


def test_a_cell_is_seen_as_its_source_alone_sees_it(rows: Rows, pictures: Opened, texts: Opened) -> None:
    folder, table = rows.cells.folder, rows.cells.table
    assert folder is not None
    for opened, column in ((pictures, "photo"), (texts, "note")):
        found_BD = ask(of_column(opened, column), rows)
        cells = [table.column(column)[place].as_py() for place in rows.places.tolist()]
        gone = [cell is None for cell in cells]
        assert 0 < sum(gone) < 6 and found_BD[:, -1].tolist() == [float(g) for g in gone]
        assert not found_BD[gone, :-1].any()
        there = [folder / cell if column == "photo" else cell for cell in cells if cell is not None]
        expected_BD = ask(opened, there)
        torch.testing.assert_close(found_BD[[not g for g in gone], :-1], expected_BD, atol=1e-5, rtol=1e-4)


def test_missing_cells_get_the_mean(rows: Rows, pictures: Opened) -> None:
    column = of_column(pictures, "photo")
    column.body.mean_D.fill_(3.0)  # type: ignore[operator, union-attr]
    found_BD = ask(column, rows)
    gone = found_BD[:, -1] == 1
    assert (found_BD[gone, :-1] == 3).all() and not (found_BD[~gone, :-1] == 3).all()


def test_parts_stand_side_by_side_and_are_built_again(rows: Rows, pictures: Opened, texts: Opened) -> None:
    parts = [of_column(pictures, "photo"), of_column(texts, "note")]
    together = side_by_side(parts)
    found_BD = ask(together, rows)
    torch.testing.assert_close(found_BD, torch.cat([ask(part, rows) for part in parts], 1), atol=1e-5, rtol=1e-4)
    again = rebuild(together.source.builder)
    again.load_state_dict(together.body.state_dict())
    with torch.inference_mode():
        torch.testing.assert_close(again(inputs.tensor_of(rows, together.source.preprocessing)), found_BD)


def test_the_preprocessing_is_written_with_its_tokenizers(rows: Rows, texts: Opened, tmp_path: Path) -> None:
    preprocessing = side_by_side([of_column(texts, "note"), of_column(texts, "photo")]).source.preprocessing
    document = inputs.written(preprocessing, tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["part0", "part1"]
    again = inputs.from_plain(document, tmp_path)
    assert isinstance(again, TablePreprocessing) and [part.column for part in again.parts] == ["note", "photo"]
    torch.testing.assert_close(inputs.tensor_of(rows, again), inputs.tensor_of(rows, preprocessing), equal_nan=True)
    assert inputs.identity(again) == inputs.identity(preprocessing)


def test_texts_alone_are_batched_by_length(rows: Rows, texts: Opened) -> None:
    preprocessing = of_column(texts, "note").source.preprocessing
    places = np.concatenate(inputs.blocks(rows, preprocessing, 4))
    assert sorted(places.tolist()) == list(range(40))
    assert isinstance(preprocessing, TablePreprocessing)
    assert inputs.bytes_each(preprocessing) == 4 * parts.width(preprocessing.parts[0])
