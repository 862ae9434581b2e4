from __future__ import annotations

import json
import lzma
from pathlib import Path

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


def lines(name: str) -> list[str]:
    return lzma.decompress((bundled.path("glosses").parent / name).read_bytes()).decode("ascii").splitlines()


def test_glosses_ask_for_entries_that_are_there_and_share_none_between_parts():
    corpus = {row["_id"]: row for row in map(json.loads, lines("glosses/corpus.jsonl.xz"))}
    queries = {row["_id"]: row["text"] for row in map(json.loads, lines("glosses/queries.jsonl.xz"))}
    assert (len(corpus), len(queries)) == (27_191, 27_105) and not corpus.keys() & queries.keys()
    # WordNet 3.1, sense "dog" of nouns.
    assert corpus["n02086723"]["title"] == "dog, domestic dog, Canis familiaris"
    assert corpus["n02086723"]["text"] == "(noun, a kind of canine or domestic animal): the dog barked all night"
    assert queries["q-n02086723"].startswith("a member of the genus Canis (probably descended from the common wolf)")
    asked, answers = {}, {}
    for part in ("train", "dev", "test"):
        head, *rows = (line.split("\t") for line in lines(f"glosses/qrels/{part}.tsv.xz"))
        assert head == ["query-id", "corpus-id", "score"] and {score for *_, score in rows} == {"1"}
        asked[part], answers[part] = ({row[side] for row in rows} for side in (0, 1))
    assert set.union(*asked.values()) == queries.keys() and set.union(*answers.values()) == corpus.keys()
    assert sum(map(len, asked.values())) == len(queries) and sum(map(len, answers.values())) == len(corpus)
    assert len({(row["title"], row["text"]) for row in corpus.values()}) == len(corpus)
    assert len(set(queries.values())) == len(queries)
    sentences = lines("sentences.txt.xz")
    assert len(set(sentences)) == 20_000 and not set(sentences) & set(queries.values())


def test_licence_and_origin_are_next_to_the_data():
    folder = bundled.path().parent
    assert "Copyright (c) 2017 Zalando SE" in (folder / "fashion.LICENSE.txt").read_text()
    assert "WordNet 3.1 Copyright 2011 by Princeton University" in (folder / "glosses.LICENSE.txt").read_text()
    readme = (folder / "README.md").read_text()
    assert "tools/bundle_fashion.py" in readme and "tools/bundle_glosses.py" in readme


def test_names():
    assert bundled.names() == ["fashion", "glosses", "sentences"]
    with pytest.raises(
        ConfigError, match="no data set named 'mnist' comes with nearfar; there are: fashion, glosses, sentences"
    ):
        bundled.path("mnist")


def test_data_by_name():
    assert bundled.located("bundled:sentences") == bundled.path("sentences")
    assert bundled.located(Path("bundled:glosses")) == bundled.path("glosses")
    assert bundled.located("photos") == "photos" and bundled.located(3) == 3
    with pytest.raises(ConfigError, match="no data set named 'gloss'"):
        bundled.located("bundled:gloss")
