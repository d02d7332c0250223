"""co_tuning: relationship and loss against another implementation's numbers; the source's head stays as it is."""

import numpy as np
import pytest
import torch

from transfuse.core.nouns import Source, Task
from transfuse.core.runs import Run
from transfuse.sources.images.preprocessing import normalise
from transfuse.sources.opening import open_source
from transfuse.training.options import Fit
from transfuse.transferring.methods.co_tuning import co_tuning, relationship, soft_cross_entropy, source_probabilities
from transfuse.tuning.tune import workbench

FIT = Fit(steps=20, rate=3e-3, batch_size=8, average=0.0)


def numbers() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Source head's logits, probabilities p of ten examples, their three target classes, soft targets' logits."""
    generator = np.random.default_rng(0)
    for shape in ((8, 12), (4, 6), 4, (4, 6), 4, (2, 3, 4, 4), (2, 3, 4, 4)):
        generator.normal(size=shape)
    logits = generator.normal(size=(10, 5))
    p = np.exp(generator.normal(size=(10, 5)))
    return logits, p / p.sum(1, keepdims=True), np.arange(10) % 3, generator.normal(size=(10, 5))


def test_relationship_and_loss_equal_those_of_the_transfer_learning_library():
    """Golden values: thuml/Transfer-Learning-Library c4aa59e, `Relationship` (direct) and `CoTuningLoss`."""
    logits, p, y, _ = numbers()
    related = relationship(p, y, 3)
    golden = [0.26085405099790854, 0.12114765977812508, 0.30863487224195596, 0.09104412203397377, 0.21831929494803665]
    np.testing.assert_allclose(related[0], golden, rtol=1e-12)
    loss = soft_cross_entropy(torch.from_numpy(logits), torch.from_numpy(related[y]))
    assert loss.item() == pytest.approx(1.9952284196672196, rel=1e-6)


def test_a_class_without_examples_is_related_to_all_alike():
    related = relationship(np.array([[0.9, 0.1], [0.7, 0.3]]), np.array([0, 0]), 2)
    np.testing.assert_allclose(related, [[0.8, 0.2], [0.5, 0.5]])


def test_the_sources_probabilities_are_those_of_its_whole_network(small: Source, task: Task):
    opened = open_source(small)
    bench = workbench(task, small.preprocessing, FIT)
    found = source_probabilities(opened.body, opened.source_head, bench)
    x_Bchw = normalise(np.stack(task.splits["train"].items), small.preprocessing)
    with torch.inference_mode():
        expected = torch.softmax(opened.source_head(opened.body(x_Bchw)), 1).numpy()
    np.testing.assert_allclose(found, expected, atol=1e-6)
    assert found.shape == (24, 5)


def test_the_trade_off_pulls_the_features_towards_the_related_source_classes(small: Source, task: Task):
    opened = open_source(small)
    bench = workbench(task, small.preprocessing, FIT)
    y = task.splits["train"].targets
    towards = torch.from_numpy(relationship(source_probabilities(opened.body, opened.source_head, bench), y, 3))[y]
    x_Bchw = normalise(np.stack(task.splits["train"].items), small.preprocessing)
    losses = []
    for trade_off in (0.0, 20.0):
        outcome = co_tuning(small, task, run=Run(), fit=FIT, trade_off=trade_off, interpolate=False)
        with torch.inference_mode():
            logits = opened.source_head(outcome.network.body.eval()(x_Bchw))
        losses.append(soft_cross_entropy(logits, towards).item())
    assert losses[1] < losses[0]
