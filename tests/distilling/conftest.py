"""A small task of pictures, a teacher that knows it, and a student of another architecture."""

import pytest
from tests.transferring.conftest import folder, small, task, tasks, thin_vgg, vit

import transfuse as tr
from transfuse.core.nouns import Model, Source, Task

__all__ = ["folder", "small", "task", "tasks", "thin_vgg", "vit"]
QUICK = {"steps": 6, "rate": 1e-3, "batch_size": 8, "patience": 0, "validate_every": 3}


@pytest.fixture(scope="session")
def teacher(small: Source, task: Task) -> Model:
    """A few steps of fine-tuning."""
    return tr.transfer(small, task, method="finetune", steps=20, rate=1e-2)


@pytest.fixture(scope="session")
def student() -> Source:
    """A network of timm without weights, of other sizes than the teacher's."""
    return tr.source("random:timm:test_efficientnet", size=32)
