"""The metadata table on disk, and the commands that make it."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from PIL import Image
from typer.testing import CliRunner

from ich_triage.errors import TrainingDataError
from train import metadata
from train.__main__ import app
from train.sources.config import Sources, load
from train.sources.source import TABLE


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two sources of pictures, of which one has a file that is none."""
    for name, bleed in (("one", 0), ("two", 1)):
        (tmp_path / name).mkdir()
        lines = ["file,patient,slice,any"]
        for number in range(3):
            grey = np.full((8, 8), 100, dtype=np.uint8)
            Image.fromarray(grey).save(tmp_path / name / f"{number}.png")
            lines.append(f"{number}.png,p{number},1,{bleed}")
        (tmp_path / name / "labels.csv").write_text("\n".join(lines))
    (tmp_path / "two" / "2.png").write_bytes(b"none")
    entry = '{{ kind = "pictures", name = "{0}", path = "{1}/{0}", labels = "{1}/{0}/labels.csv", {2} }}'
    window = "level = 40, width = 80"
    entries = [
        entry.format("one", tmp_path, window),
        entry.format("two", tmp_path, window + ", weight = 2.5"),
    ]
    (tmp_path / "sources.toml").write_text(f"sources = [{', '.join(entries)}]")
    return tmp_path


@pytest.fixture
def sources(folder: Path) -> Sources:
    """Both."""
    return load(folder / "sources.toml")


def test_tables_come_back_with_labels_and_weights(folder: Path, sources: Sources) -> None:
    """One table of all sources, labels nullable, each row with the weight of its source."""
    summaries = list(metadata.build(sources, folder / "out", workers=0))
    assert [(each.slices, each.positive_slices, each.problems) for each in summaries] == [
        (3, 0.0, {}),
        (2, 1.0, {"corrupt_pixels": 1}),
    ]
    table = metadata.read(sources, folder / "out")
    assert list(table.columns) == [*TABLE.names, "weight"]
    assert table.groupby("source")["weight"].unique().map(list).to_dict() == {"one": [1.0], "two": [2.5]}
    assert table["any"].to_list() == [False] * 3 + [True] * 2
    assert table["epidural"].to_list() == [False] * 3 + [pd.NA] * 2
    listed = pd.read_csv(summaries[1].problems_file)
    assert listed[["kind", "where"]].to_numpy().tolist() == [["corrupt_pixels", "2.png"]]


def test_the_same_files_give_the_same_table(folder: Path, sources: Sources) -> None:
    """Byte for byte, so that what is made from it can be addressed by its content."""
    for _ in range(2):
        list(metadata.build(sources, folder / "out", workers=0))
        content = (folder / "out" / "one.parquet").read_bytes()
        (folder / "out" / "one.parquet").unlink()
    list(metadata.build(sources, folder / "out", workers=0))
    assert (folder / "out" / "one.parquet").read_bytes() == content


def test_patients_are_the_same_only_with_the_same_key(folder: Path, sources: Sources) -> None:
    """Another folder of tables has a key of its own: its hashes cannot be put beside these."""
    patients = []
    for out in ("out", "out", "other"):
        list(metadata.build(sources, folder / out, workers=0))
        patients.append(set(metadata.read(sources, folder / out)["patient"]))
    assert patients[0] == patients[1]
    assert patients[0].isdisjoint(patients[2])


def test_a_source_without_a_usable_slice_stops(folder: Path, sources: Sources) -> None:
    """With the file that says why; a table that is missing names the command that makes it."""
    with pytest.raises(TrainingDataError, match="python -m train metadata"):
        metadata.read(sources, folder / "out")
    for path in (folder / "two").glob("*.png"):
        path.write_bytes(b"none")
    with pytest.raises(TrainingDataError, match=r"source two has no slice .*two\.problems\.csv says why"):
        list(metadata.build(sources, folder / "out", workers=0))
    assert len(pd.read_csv(folder / "out" / "two.problems.csv")) == 3


def test_the_commands(folder: Path) -> None:
    """Phantoms, then their table: from a seed to a summary, with nothing else to be written by hand."""
    drawn = folder / "drawn"
    command = ["phantoms", str(drawn), "--n", "1", "--seed", "54078", "--matrix", "32", "--workers", "0"]
    told = CliRunner().invoke(app, command, catch_exceptions=False)
    assert told.exit_code == 0 and "python -m train metadata" in told.output
    command = ["metadata", str(drawn / "sources.toml"), "--out", str(folder / "out"), "--workers", "0"]
    told = CliRunner().invoke(app, command, catch_exceptions=False)
    assert told.exit_code == 0 and "21" in told.output
    assert len(metadata.read(load(drawn / "sources.toml"), folder / "out")) == 21


def test_an_error_is_one_line(folder: Path) -> None:
    """What happened and what to do, no traceback; what was listed before is told, too."""
    (folder / "two" / "labels.csv").unlink()
    command = ["metadata", str(folder / "sources.toml"), "--out", str(folder / "out"), "--workers", "0"]
    told = CliRunner().invoke(app, command, catch_exceptions=False)
    assert told.exit_code == 1 and "source one" in told.output
    assert "correct `labels`" in told.output and "Traceback" not in told.output
