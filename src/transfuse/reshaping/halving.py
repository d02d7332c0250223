"""Which of many things hold, when most do and a trial is dear: all at once, then halves of what fails."""

from collections.abc import Callable, Sequence


def passing(numbers: Sequence[int], holds: Callable[[Sequence[int]], bool]) -> set[int]:
    """Numbers that hold together. `holds` is asked about several at once; what fails alone may hold with its like."""
    good: set[int] = set()

    def search(chosen: Sequence[int]) -> None:
        if not chosen:
            return
        if holds([*good, *chosen]):
            good.update(chosen)
        elif len(chosen) > 1:
            half = len(chosen) // 2
            search(chosen[:half])
            search(chosen[half:])

    search(numbers)
    rest = [number for number in numbers if number not in good]
    if len(rest) > 1 and holds([*good, *rest]):
        good.update(rest)
    return good
