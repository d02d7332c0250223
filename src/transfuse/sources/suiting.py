"""Sources made to suit a task before they are opened: columns of a table, words of texts, sounds as pictures."""

from collections.abc import Mapping

from transfuse.core.nouns import Source, Task
from transfuse.core.tables import resolve

SUITING: Mapping[str, str] = {
    "text": "transfuse.sources.texts.words:suited",
    "table": "transfuse.sources.tables.references:suited",
    "sound": "transfuse.sources.sounds.suiting:suited",
}


def suited(source: Source, task: Task) -> Source:
    """The source for the task's data; as it is where nothing has to be known of them."""
    if task.modality not in SUITING:
        return source
    found: Source = resolve(SUITING, task.modality, "modality")(source, task)
    return found
