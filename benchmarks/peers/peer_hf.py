"""transformers' Trainer on a timm checkpoint, offline.

The library's own defaults where nothing is given: 3 epochs, batch 8, AdamW at 5e-5 with linear decay, and the
training augmentation of timm's processor (random crop and flip).
"""

import json
import tempfile
import time
from pathlib import Path

import peer_common as common


def model_folder(given, folder: Path) -> tuple[dict, dict]:
    """The checkpoint in the form that transformers opens as `timm_wrapper`."""
    from safetensors.torch import save_file

    tensors, described = common.body_tensors(given.weights, given.name)
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    config = {
        "architecture": given.name,
        "num_classes": 0,
        "pretrained_cfg": common.timm_config(given, described),
    }
    (folder / "config.json").write_text(json.dumps(config))
    return tensors, described


class Pictures:
    """A map-style data set: decoded once, as all sides may, transformed at every access."""

    def __init__(self, paths, labels, transform):
        from PIL import Image

        self.images = [Image.open(path).convert("RGB") for path in paths]
        self.labels, self.transform = labels, transform

    def __len__(self):
        return len(self.images)

    def __getitem__(self, row):
        return {"pixel_values": self.transform(self.images[row]), "labels": self.labels[row]}


def training_arguments(given, folder: Path):
    from transformers import TrainingArguments

    chosen = {
        "num_train_epochs": given.epochs,
        "learning_rate": given.lr,
        "per_device_train_batch_size": given.batch,
    }
    return TrainingArguments(
        output_dir=str(folder / "out"),
        seed=given.seed,
        use_cpu=True,
        remove_unused_columns=False,
        per_device_eval_batch_size=64,
        save_strategy="no",
        report_to=[],
        disable_tqdm=True,
        **{name: value for name, value in chosen.items() if value is not None},
    )


def main() -> None:
    given = common.arguments(__doc__)
    import numpy as np
    from transformers import AutoImageProcessor, AutoModelForImageClassification, Trainer, set_seed

    set_seed(given.seed)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        tensors, described = model_folder(given, folder)
        train_paths, train_labels, classes = common.pictures(given.data, "train")
        test_paths, test_labels, _ = common.pictures(given.data, "test")
        model = AutoModelForImageClassification.from_pretrained(
            folder, num_labels=len(classes), ignore_mismatched_sizes=True
        )
        loaded = common.report_loaded(tensors, model.timm_model.state_dict(), described)
        processor = AutoImageProcessor.from_pretrained(folder)
        settings = training_arguments(given, folder)
        train = Pictures(train_paths, train_labels, processor.train_transforms)
        trainer = Trainer(model=model, args=settings, train_dataset=train)
        ready = time.perf_counter()
        trainer.train()
        fitted = time.perf_counter()
        test = Pictures(test_paths, test_labels, processor.val_transforms)
        predicted = np.argmax(trainer.predict(test).predictions, axis=1)
        common.answer(
            given,
            "transformers Trainer",
            test_labels,
            predicted,
            loaded=loaded,
            n_train=len(train),
            epochs=settings.num_train_epochs,
            lr=settings.learning_rate,
            batch=settings.per_device_train_batch_size,
            setup_seconds=ready - common.STARTED,
            fit_seconds=fitted - ready,
            predict_seconds=time.perf_counter() - fitted,
        )


if __name__ == "__main__":
    main()
