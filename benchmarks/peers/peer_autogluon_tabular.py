"""AutoGluon's TabularPredictor with its defaults, within a budget."""

import argparse
import json
import tempfile
from pathlib import Path

import pandas as pd
from autogluon.tabular import TabularPredictor


def main() -> None:
    """Train on FOLDER/train.csv, write the answers for FOLDER/test.csv as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--budget", type=int, required=True, help="seconds")
    parser.add_argument("--seed", type=int, default=0, help="unused: the predictor keeps its own")
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    train, test = pd.read_csv(given.folder / "train.csv"), pd.read_csv(given.folder / "test.csv")
    with tempfile.TemporaryDirectory() as path:
        predictor = TabularPredictor(given.target, path=path, verbosity=1).fit(train, time_limit=given.budget)
        answers = predictor.predict(test.drop(columns=given.target))
    given.out.write_text(json.dumps([value.item() if hasattr(value, "item") else value for value in answers]))


if __name__ == "__main__":
    main()
