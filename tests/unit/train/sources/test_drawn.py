"""Phantoms as a source: all is known of them, where the bleeds are, too."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from ich_triage.domain.input_spec import InputSpec
from ich_triage.domain.labels import LABELS
from ich_triage.errors import SettingsError, TrainingDataError
from ich_triage.phantom.generate import Phantom, generate
from ich_triage.phantom.records import PhantomSpec
from ich_triage.phantom.spec import draw
from train import cache, data, metadata, runs
from train.cases import Case
from train.drawn import to_case
from train.fit import Stage
from train.parallel import one_thread
from train.recipe import StudyRecipe
from train.sources import drawn as drawn_source
from train.sources.config import Sources, load
from train.sources.dicom import brain_share
from train.sources.drawn import PhantomSource
from train.sources.scan import Scanner
from train.sources.source import STUDY_LABELS, TABLE
from train.training_mix import training_spec

#: With three bleeds, without any, with two.
FIRST, COUNT = 20_000_021, 3
MATRIX = 48
SPEC = InputSpec(size=64)


@pytest.fixture(scope="module")
def source() -> PhantomSource:
    """Three small phantoms."""
    return PhantomSource(kind="phantoms", name="drawn", count=COUNT, first_seed=FIRST, matrix=MATRIX)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the scanner keeps things; tests that change it take their own."""
    return tmp_path_factory.mktemp("scan")


@pytest.fixture(scope="module")
def rows(source: PhantomSource, folder: Path) -> pd.DataFrame:
    """Their table."""
    return source.table(Scanner(folder=folder, workers=0)).rows


@pytest.fixture(scope="module")
def bleeding() -> Phantom:
    """The first of them."""
    return _generate(training_spec(FIRST))


def _generate(spec: PhantomSpec) -> Phantom:
    """On one thread, as the source draws: more round sums otherwise."""
    with one_thread():
        return generate(spec, matrix=MATRIX)


def _of(rows: pd.DataFrame, seed: int) -> pd.DataFrame:
    return rows[rows["path"] == str(seed)]


def test_labels_of_the_rows_are_the_truth(rows: pd.DataFrame, bleeding: Phantom) -> None:
    """Slice by slice from feet to head, and of each study; each is drawn, and of a patient of its own."""
    assert list(rows.columns) == TABLE.names
    assert rows["synthetic"].all() and rows["patient"].nunique() == COUNT
    first = _of(rows, FIRST)
    np.testing.assert_array_equal(first[list(LABELS)].to_numpy(bool), bleeding.truth.slice_labels.numpy())
    assert tuple(first[list(STUDY_LABELS)].iloc[0]) == bleeding.truth.labels
    assert first["position_mm"].is_monotonic_increasing
    assert first["brain_share"].to_list() == [brain_share(hu) for hu in bleeding.hu.numpy()]
    assert not _of(rows, FIRST + 1)["study_any"].any()


def test_a_study_is_drawn_again_as_it_was(
    source: PhantomSource, rows: pd.DataFrame, bleeding: Phantom
) -> None:
    """Its volume has the images of the rows, and its bleeds are marked and measured."""
    study = source.load(_of(rows, FIRST))
    np.testing.assert_array_equal(study.volume.hu, bleeding.hu.numpy())
    assert [each.sop_instance_uid for each in study.volume.images] == _of(rows, FIRST)[
        "SOPInstanceUID"
    ].to_list()
    assert study.masks is not None and study.true_ml is not None
    np.testing.assert_array_equal(study.masks, bleeding.masks.numpy())
    truth = {bleed.subtype: bleed.volume_ml for bleed in bleeding.truth.bleeds}
    assert study.true_ml == pytest.approx([truth.get(label, 0.0) for label in LABELS[1:]], rel=0.05)
    np.testing.assert_array_equal(study.slice_labels, bleeding.truth.slice_labels.numpy())


def test_its_case_is_that_of_the_phantom_and_marked(
    source: PhantomSource, rows: pd.DataFrame, bleeding: Phantom
) -> None:
    """Input, masks and volumes are those that the embedded package is trained on."""
    first = _of(rows, FIRST)
    case, phantom = cache.to_case(source.load(first), first, SPEC), to_case(bleeding, SPEC)
    for name in ("x", "masks", "labels", "study", "height"):
        np.testing.assert_array_equal(getattr(case, name), getattr(phantom, name))
    assert case.marked and case.facts.true_ml == phantom.facts.true_ml
    assert case.facts.patient == first["patient"].iloc[0] and case.facts.seed is None


def test_nothing_is_drawn_twice(source: PhantomSource, rows: pd.DataFrame, tmp_path: Path) -> None:
    """A run that was cut off goes on, and one more phantom is one drawn; the table is the same."""
    scanner = Scanner(folder=tmp_path, workers=0)
    source.model_copy(update={"count": 1}).table(scanner)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    again = source.table(scanner).rows
    after = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*.parquet")}
    assert len(before) == 1 and len(after) == COUNT and before.items() <= after.items()
    unlike = {"patient"}  # its hash has another key
    pd.testing.assert_frame_equal(again.drop(columns=unlike), rows.drop(columns=unlike))


def test_other_options_draw_other_phantoms_of_the_same_patient(
    source: PhantomSource, rows: pd.DataFrame, folder: Path
) -> None:
    """Style and mix are heeded; the same head is one patient, and so in one fold, however it is drawn."""
    natural = source.model_copy(update={"mix": "natural", "count": 1})
    other = natural.model_copy(update={"style": "b"})
    for drawn, style in ((natural, "a"), (other, "b")):
        found = drawn.table(Scanner(folder=folder, workers=0)).rows
        wanted = _generate(draw(FIRST, style=style))
        np.testing.assert_array_equal(drawn.load(found).volume.hu, wanted.hu.numpy())
        assert not set(found["StudyInstanceUID"]) & set(rows["StudyInstanceUID"])
        same = set(found["patient"]) == set(_of(rows, FIRST)["patient"])
        assert same == (style == "a")


def test_phantoms_of_other_code_are_refused(
    source: PhantomSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Their table must be drawn anew, and then names other studies, so that no case of before is used."""
    sources = Sources(sources=(source.model_copy(update={"count": 1}),))
    list(metadata.build(sources, tmp_path, workers=0))
    before = metadata.read(sources, tmp_path)
    monkeypatch.setattr(drawn_source, "mix_sha256", lambda: "changed")
    with pytest.raises(TrainingDataError, match="source drawn were drawn by another version of this code"):
        metadata.read(sources, tmp_path)
    list(metadata.build(sources, tmp_path, workers=0))
    after = metadata.read(sources, tmp_path)
    assert set(after["patient"]) == set(before["patient"])
    for uid in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID"):
        assert not set(after[uid]) & set(before[uid])


@pytest.mark.parametrize("first_seed", [0, 999_999, 2_500_000, 3_999_999])
def test_seeds_of_the_shipped_package_are_refused(tmp_path: Path, first_seed: int) -> None:
    """Evaluating on what was trained on would flatter, and the other way round."""
    path = tmp_path / "sources.toml"
    entry = 'sources = [{{ kind = "phantoms", first_seed = {}, count = 1 }}]'
    path.write_text(entry.format(first_seed))
    with pytest.raises(SettingsError, match=r"seeds below 4000000 .* set first_seed to 4000000 or more"):
        load(path)
    path.write_text(entry.format(4_000_000))
    assert load(path).sources[0].name == "phantoms"


@pytest.mark.timeout(300)
@pytest.mark.filterwarnings("ignore:.*LeafSpec.*:FutureWarning", "ignore:Checkpoint directory:UserWarning")
def test_a_site_and_phantoms_train_together(drawn: Path, tmp_path: Path) -> None:
    """Files without marks and phantoms with them, by weight, in one run of a study recipe."""
    path = tmp_path / "sources.toml"
    phantoms = f'kind = "phantoms"\nname = "drawn"\nfirst_seed = {FIRST}\ncount = {COUNT}\nmatrix = {MATRIX}'
    path.write_text(f"{(drawn / 'sources.toml').read_text()}[[sources]]\n{phantoms}\nweight = 0.5\n")
    list(metadata.build(load(path), tmp_path / "data", workers=0))
    _deal(tmp_path / "data")
    found = data.load(tmp_path / "data", SPEC, workers=0)
    marked = {row.source: Case.load(Path(row.path)).marked for row in found.studies.itertuples()}
    assert marked == {"phantoms": False, "drawn": True}
    assert sorted(found.weights("train")) == [0.5] * COUNT + [1.0]
    recipe = StudyRecipe(
        about="test",
        backbone="regnetx_002",
        size=SPEC.size,
        precision="32-true",
        stages=(Stage(epochs=2, studies=4, window=2, crop=0.5, learning_rate=1e-3),),
    )
    runs.train(recipe, found, tmp_path / "run", runs.Start())
    record, _ = runs.trained(tmp_path / "run")
    assert record.synthetic and record.data["sources"] == "drawn, phantoms"


def _deal(folder: Path) -> None:
    """Patients with a bleed to calibration and test, the others and all of the phantoms to training."""
    table = metadata.read(metadata.sources_of(folder), folder)
    bleeding = table.loc[table["study_any"] & (table["source"] == "phantoms"), "patient"].unique()
    patients = table["patient"].unique()
    fold = dict.fromkeys(patients, "train") | dict(zip(bleeding, ("calibration", "test"), strict=True))
    pd.DataFrame(fold.items(), columns=["patient", "fold"]).to_csv(folder / data.FOLDS_FILE, index=False)
