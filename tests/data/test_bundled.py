from __future__ import annotations

import numpy as np
import pytest

from nearfar.data import bundled
from nearfar.errors import ConfigError


def test_fashion_is_balanced_and_whole():
    file = bundled.path()
    assert file == bundled.path("fashion")
    assert file.stat().st_size < 8_000_000
    with np.load(file, allow_pickle=False) as archive:
        assert sorted(archive.files) == ["classes", "images", "labels", "test_images", "test_labels"]
        assert archive["images"].shape == (10_000, 28, 28) and archive["images"].dtype == np.uint8
        assert archive["test_images"].shape == (5_000, 28, 28)
        assert np.bincount(archive["labels"]).tolist() == [1000] * 10
        assert np.bincount(archive["test_labels"]).tolist() == [500] * 10
        assert archive["classes"].tolist()[:2] == ["T-shirt/top", "Trouser"]
        # A pixel mean of the published training set is 72.94 (0.2860 of 255).
        assert abs(archive["images"].mean() - 72.94) < 1


def test_licence_and_origin_are_next_to_the_data():
    folder = bundled.path().parent
    assert "Copyright (c) 2017 Zalando SE" in (folder / "fashion.LICENSE.txt").read_text()
    assert "tools/bundle_fashion.py" in (folder / "README.md").read_text()


def test_names():
    assert bundled.names() == ["fashion"]
    with pytest.raises(ConfigError, match="no data set named 'mnist' comes with nearfar; there are: fashion"):
        bundled.path("mnist")
