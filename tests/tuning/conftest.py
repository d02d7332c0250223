"""The sources and tasks of the room above, which is where tuning is used."""

from tests.transferring.conftest import family, folder, small, task, tasks, thin_vgg, vit

__all__ = ["family", "folder", "small", "task", "tasks", "thin_vgg", "vit"]
