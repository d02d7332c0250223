"""Sources made to suit a task: a table's columns are matched, sources of pictures are given sounds as pictures."""

from transfuse.core.nouns import Source, Task
from transfuse.sources import sound_sources, table_sources


def suited(source: Source, task: Task) -> Source:
    """The source for the task's data; as it is where nothing has to be known of them."""
    return sound_sources.suited(table_sources.suited(source, task), task)
