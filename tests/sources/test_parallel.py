import torch

from transfuse.sources.parallel import on_threads


def test_threads_share_the_processors_and_leave_the_setting_as_it_was():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(3)
        inside = list(on_threads(lambda n: torch.get_num_threads(), range(6)))
        assert inside == [1] * 6
        assert torch.get_num_threads() == 3
    finally:
        torch.set_num_threads(before)


def test_many_processors_are_shared_by_few_batches(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr("transfuse.sources.parallel.MOST", 2)
    try:
        torch.set_num_threads(4)
        assert list(on_threads(lambda n: torch.get_num_threads(), range(4))) == [2] * 4
    finally:
        torch.set_num_threads(before)
