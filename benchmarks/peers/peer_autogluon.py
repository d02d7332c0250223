"""AutoGluon's MultiModalPredictor on a timm checkpoint, offline.

The library's own defaults where nothing is given: AdamW at 1e-4 with layer-wise decay, at most 20 epochs of batch 128,
validation on its own share of the training pictures twice an epoch, patience 10, greedy soup of the best three.
"""

import json
import logging
import tempfile
import time
from pathlib import Path

import peer_common as common

RATE, EPOCHS, BATCH = 1e-4, 20, 128  # of its configuration, for the record only


def model_folder(given, folder: Path) -> tuple[dict, dict]:
    """The only local form that it opens: a torch file without a head, beside timm's configuration."""
    import timm
    import torch

    tensors, described = common.body_tensors(given.weights, given.name)
    torch.save(tensors, folder / "pytorch_model.bin")
    config = {
        "architecture": given.name,
        "num_classes": 0,
        "num_features": timm.create_model(given.name, num_classes=0).num_features,
        "pretrained_cfg": common.timm_config(given, described),
    }
    (folder / "config.json").write_text(json.dumps(config))
    return tensors, described


def hyperparameters(given, model: Path) -> dict:
    chosen = {
        "optim.max_epochs": given.epochs,
        "optim.lr": given.lr,
        "env.batch_size": given.batch,
        "env.per_gpu_batch_size": given.batch,
    }
    fixed = {
        "model.names": ["timm_image"],
        "model.timm_image.checkpoint_name": str(model),
        "model.timm_image.image_size": given.size,
        "env.num_workers": 0,
        "env.num_workers_inference": 0,
        "env.num_gpus": 0,
        "env.precision": "32",
    }
    return fixed | {name: value for name, value in chosen.items() if value is not None}


def frame(paths, labels, classes):
    import pandas as pd

    return pd.DataFrame({"image": [str(path.resolve()) for path in paths], "label": [classes[c] for c in labels]})


def main() -> None:
    given = common.arguments(__doc__)
    common.heal_torchvision()
    from autogluon.multimodal import MultiModalPredictor
    from autogluon.multimodal.models.timm_image import TimmAutoModelForImagePrediction

    logging.disable(logging.WARNING)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        (folder / "model").mkdir()
        tensors, described = model_folder(given, folder / "model")
        opened = TimmAutoModelForImagePrediction("timm_image", str(folder / "model"), num_classes=2)
        loaded = common.report_loaded(tensors, opened.model.state_dict(), described)
        train_paths, train_labels, classes = common.pictures(given.data, "train")
        test_paths, test_labels, _ = common.pictures(given.data, "test")
        predictor = MultiModalPredictor(
            label="label",
            problem_type="multiclass",
            path=str(folder / "fitted"),
            verbosity=0,
            enable_progress_bar=False,
        )
        train = frame(train_paths, train_labels, classes)
        ready = time.perf_counter()
        predictor.fit(train, hyperparameters=hyperparameters(given, folder / "model"), seed=given.seed)
        fitted = time.perf_counter()
        answers = predictor.predict(frame(test_paths, test_labels, classes).drop(columns="label"))
        common.answer(
            given,
            "AutoGluon",
            test_labels,
            [classes.index(str(label)) for label in answers],
            loaded=loaded,
            n_train=len(train),
            epochs=given.epochs or EPOCHS,
            lr=given.lr or RATE,
            batch=given.batch or BATCH,
            setup_seconds=ready - common.STARTED,
            fit_seconds=fitted - ready,
            predict_seconds=time.perf_counter() - fitted,
        )


if __name__ == "__main__":
    main()
