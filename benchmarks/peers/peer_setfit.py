"""SetFit with its defaults but for the number of pairs, on a local sentence encoder."""

import argparse
import json
import tempfile
from pathlib import Path

from datasets import Dataset
from setfit import SetFitModel, Trainer, TrainingArguments


def main() -> None:
    """Train on FOLDER/train.csv, write the answers for FOLDER/test.csv as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--target", required=True)
    parser.add_argument("--encoder", required=True)
    parser.add_argument("--pairs", type=int, required=True)
    parser.add_argument("--budget", type=int, default=0, help="unused: it has no such setting")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True)
    given = parser.parse_args()
    train = Dataset.from_csv(str(given.folder / "train.csv"), keep_in_memory=True)
    test = Dataset.from_csv(str(given.folder / "test.csv"), keep_in_memory=True)
    names = sorted(set(map(str, train[given.target])))
    train = Dataset.from_dict({"text": train["text"], "label": [names.index(str(v)) for v in train[given.target]]})
    model = SetFitModel.from_pretrained(given.encoder)
    with tempfile.TemporaryDirectory() as path:
        options = TrainingArguments(
            output_dir=path, num_iterations=given.pairs, num_epochs=1, seed=given.seed, report_to="none"
        )
        Trainer(model=model, args=options, train_dataset=train).train()
    answers = model.predict(list(test["text"]))
    given.out.write_text(json.dumps([names[int(place)] for place in answers]))


if __name__ == "__main__":
    main()
