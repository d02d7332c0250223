"""Keras 3's `.keras`: a zip archive of a configuration, weights in HDF5, and assets."""

from collections.abc import Iterator

from transfuse.weights.scanning.archives.zips import unpacked_members
from transfuse.weights.scanning.contents import Content
from transfuse.weights.scanning.findings import Finding, located
from transfuse.weights.scanning.inspecting import inspect
from transfuse.weights.scanning.keras.keras_configs import keras_config
from transfuse.weights.scanning.settings.documents import parsed


def keras(content: Content) -> Iterator[Finding]:
    """Each member by its bytes; the configuration as what Keras rebuilds."""
    for member in unpacked_members(content):
        name = member.name.rpartition("!")[2]
        if name == "config.json":
            yield from located(keras_config(parsed(member.read(0, member.size))), name)
        else:
            yield from located(inspect(member), name)
