"""fastai's fine_tune on a timm checkpoint, offline.

The library's own defaults where nothing is given: batch 64, rate 2e-3, one epoch with the body frozen, its usual
augmentation. `fine_tune` has no default number of epochs: 6 are taken. Its own validation after every epoch is
switched off, which makes it faster, and cannot choose anything anyway.
"""

import contextlib
import time

import peer_common as common

EPOCHS, RATE, BATCH = 6, 2e-3, 64


def loaders(given, batch: int):
    from fastai.vision.all import ImageDataLoaders, Normalize, Resize, aug_transforms

    return ImageDataLoaders.from_folder(
        given.data,
        train="train",
        valid="test",  # never looked at before the end
        seed=given.seed,
        item_tfms=Resize(given.size),
        batch_tfms=[*aug_transforms(), Normalize.from_stats(list(given.mean), list(given.std))],
        bs=batch,
        num_workers=0,
    )


def learner(given, dls):
    """A learner as `pretrained=True` would make it, with the tensors of our file instead of downloaded ones."""
    from fastai.vision.all import vision_learner

    learn = vision_learner(dls, given.name, pretrained=False, normalize=False)
    tensors, described = common.body_tensors(given.weights, given.name)
    body = learn.model[0]
    prefix = "model." if any(key.startswith("model.") for key in body.state_dict()) else ""
    own = {key.removeprefix(prefix): value for key, value in body.state_dict().items()}
    fitting = {key: value for key, value in tensors.items() if key in own and own[key].shape == value.shape}
    body.load_state_dict({prefix + key: value for key, value in fitting.items()}, strict=False)
    opened = {key.removeprefix(prefix): value for key, value in body.state_dict().items()}
    loaded = common.report_loaded(tensors, opened, described)
    learn.freeze()
    return learn, loaded


def main() -> None:
    given = common.arguments(__doc__)
    from fastai.vision.all import set_seed

    set_seed(given.seed, reproducible=True)
    epochs, rate, batch = given.epochs or EPOCHS, given.lr or RATE, given.batch or BATCH
    dls = loaders(given, batch)
    learn, loaded = learner(given, dls)
    test_paths, test_labels, classes = common.pictures(given.data, "test")
    if list(dls.vocab) != classes:
        raise SystemExit(f"fastai orders the classes otherwise: {list(dls.vocab)}")
    learn._do_epoch_validate = lambda *args, **options: None
    ready = time.perf_counter()
    with contextlib.ExitStack() as quiet:
        quiet.enter_context(learn.no_bar())
        quiet.enter_context(learn.no_logging())
        learn.fine_tune(epochs, rate)
        fitted = time.perf_counter()
        del learn._do_epoch_validate
        scores, _ = learn.get_preds(dl=dls.test_dl(test_paths))
    common.answer(
        given,
        "fastai",
        test_labels,
        scores.argmax(1).numpy(),
        loaded=loaded,
        n_train=len(dls.train_ds),
        epochs=epochs,
        lr=rate,
        batch=batch,
        setup_seconds=ready - common.STARTED,
        fit_seconds=fitted - ready,
        predict_seconds=time.perf_counter() - fitted,
    )


if __name__ == "__main__":
    main()
