"""Photographs of hands with a test split of its own: to confirm what was chosen with another test split in view.

    python benchmarks/fresh_test.py SIGN_DIGITS DIGIT_PAIRS OUT

Links, in OUT, the training pictures of SIGN_DIGITS as train/ and all pictures of DIGIT_PAIRS, which come from the same
collection and are none of SIGN_DIGITS' own, as test/.
"""

import argparse
import csv
import hashlib
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("sign_digits", "digit_pairs", "out"):
        parser.add_argument(name, type=Path)
    given = parser.parse_args()
    learnt = {path: path.parent.name for path in sorted((given.sign_digits / "train").glob("*/*"))}
    fresh: dict[Path, str] = {}
    for table in sorted(given.digit_pairs.glob("*.csv")):
        for row in csv.DictReader(table.read_text().splitlines()):
            fresh[given.digit_pairs / row["image"]] = row["label"]
    known = {digest(path) for path in (given.sign_digits).glob("*/*/*")}
    if any(digest(path) in known for path in fresh):
        raise SystemExit("A picture of DIGIT_PAIRS is in SIGN_DIGITS too: it would not be fresh.")
    for split, pictures in (("train", learnt), ("test", fresh)):
        for path, label in pictures.items():
            place = given.out / split / label / path.name
            place.parent.mkdir(parents=True, exist_ok=True)
            place.symlink_to(path.resolve())
        print(f"{split}: {len(pictures)} pictures")


def digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
