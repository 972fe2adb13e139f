"""The list of sources."""

from __future__ import annotations

from pathlib import Path

import pytest

from ich_triage.errors import SettingsError
from train.sources.config import load

MIX = """
sources = [
  { kind = "rsna", name = "challenge", path = "a", labels = "a.csv", weight = 1.0 },
  { kind = "studies", name = "site", path = "b", labels = "b.csv", weight = 3 },
  { kind = "pictures", name = "small", path = "c", labels = "c.csv", level = 40, width = 80 },
  { kind = "service", config = "site.toml", weight = 0.5 },
  { kind = "phantoms", count = 200 },
]
"""


def test_any_mix_with_weights(tmp_path: Path) -> None:
    """Each entry becomes the source of its kind; its name, or else its kind, finds it again."""
    path = tmp_path / "sources.toml"
    path.write_text(MIX)
    mix = load(path)
    assert [(type(each).__name__, each.weight) for each in mix.sources] == [
        ("RsnaSource", 1.0),
        ("StudiesSource", 3.0),
        ("PicturesSource", 1.0),
        ("ServiceSource", 0.5),
        ("PhantomSource", 1.0),
    ]
    assert mix.named("site") is mix.sources[1]
    assert mix.named("service") is mix.sources[3]
    with pytest.raises(SettingsError, match="no source other"):
        mix.named("other")


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("sources = []", "at least 1 item"),
        ('sources = [{kind = "rsnaa", name = "a"}]', "sources.0: .*'rsnaa'"),
        ('sources = [{kind = "rsna", name = "a", path = "a"}]', r"sources\.0\.rsna\.labels: missing"),
        (MIX.replace('"site"', '"small"'), "two sources have the same name"),
        (MIX.replace("0.5", "0"), "weight: Input should be greater than 0"),
        ("sources = [", "not valid TOML"),
    ],
)
def test_a_wrong_list_names_the_key(tmp_path: Path, content: str, message: str) -> None:
    """File, key and what is wrong with it."""
    path = tmp_path / "sources.toml"
    path.write_text(content)
    with pytest.raises(SettingsError, match=message):
        load(path)
    with pytest.raises(SettingsError, match="cannot read"):
        load(tmp_path / "gone.toml")
