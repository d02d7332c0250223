"""Several depths side by side as one source."""

import pytest

from transfuse.sources.depths import deep, spread
from transfuse.sources.extraction import features
from transfuse.sources.opening import open_source
from transfuse.sources.references import find


def test_several_depths_are_a_source_of_their_own():
    opened = open_source(find("random:timm:test_resnet", size=32))
    several = deep(opened, spread(opened.depths, 3))
    fewer = deep(opened, spread(opened.depths, 2))
    assert len({one.source.digest for one in (opened, several, fewer)}) == 3
    assert several.feature_size > fewer.feature_size > opened.feature_size


def test_the_cache_tells_them_apart(tmp_path, task):
    opened = open_source(find("random:timm:test_resnet", size=32))
    several = deep(opened, spread(opened.depths, 3))
    plain = features(opened, task, "train", cache=tmp_path).x_ND
    assert features(several, task, "train", cache=tmp_path).x_ND.shape[1] == several.feature_size
    assert features(opened, task, "train", cache=tmp_path).x_ND == pytest.approx(plain)
