"""Sources that learn from the task they are used on before they are opened: columns of a table, words of texts."""

from transfuse.core.nouns import Source, Task
from transfuse.sources.tables import references as table_sources
from transfuse.sources.texts import words


def suited(source: Source, task: Task) -> Source:
    """The source for this task; one that is the same for every task as it is."""
    return words.suited(source, task) if task.modality == "text" else table_sources.suited(source, task)
