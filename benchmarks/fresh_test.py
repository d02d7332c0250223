"""Photographs of hands, or recordings, with a test split of its own: to confirm what was chosen with another in view.

    python benchmarks/fresh_test.py SIGN_DIGITS DIGIT_PAIRS OUT
    python benchmarks/fresh_test.py SPOKEN_DIGITS DIGIT_PAIRS OUT --column audio

Links, in OUT, the training examples of the first as train/ and all pictures (or sounds) of DIGIT_PAIRS, which come from
the same collection and are none of the first's own, as test/.
"""

import argparse
import csv
import hashlib
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("learnt", "digit_pairs", "out"):
        parser.add_argument(name, type=Path)
    parser.add_argument("--column", default="image", choices=("image", "audio"))
    given = parser.parse_args()
    learnt = {path: path.parent.name for path in sorted((given.learnt / "train").glob("*/*"))}
    fresh: dict[Path, str] = {}
    for table in sorted(given.digit_pairs.glob("*.csv")):
        for row in csv.DictReader(table.read_text().splitlines()):
            fresh[given.digit_pairs / row[given.column]] = row["label"]
    known = {digest(path) for path in given.learnt.glob("*/*/*")}
    if any(digest(path) in known for path in fresh):
        raise SystemExit("An example of DIGIT_PAIRS is in the other set too: it would not be fresh.")
    for split, pictures in (("train", learnt), ("test", fresh)):
        for path, label in pictures.items():
            place = given.out / split / label / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path.resolve())
        print(f"{split}: {len(pictures)} examples")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
