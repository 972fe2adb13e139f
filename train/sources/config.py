"""The list of sources: a TOML file."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from ich_triage.errors import SettingsError, wrong_value

from .drawn import PhantomSource
from .pictures import PicturesSource
from .rsna import RsnaSource
from .service import ServiceSource
from .source import Source
from .studies import StudiesSource

AnySource = Annotated[
    RsnaSource | StudiesSource | PicturesSource | ServiceSource | PhantomSource, Field(discriminator="kind")
]


class Sources(BaseModel):
    """Any mix of sources."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    #: at least one
    sources: tuple[AnySource, ...] = Field(min_length=1)

    @model_validator(mode="after")
    def _unique_names(self) -> Sources:
        names = [source.name for source in self.sources]
        if len(names) != len(set(names)):
            raise ValueError("two sources have the same name")
        return self

    def named(self, name: str) -> Source:
        """The source of that name, as a table's rows state it. Raises SettingsError."""
        for source in self.sources:
            if source.name == name:
                return source
        raise SettingsError(f"there is no source {name} in the list of sources; the tables are of another")


def load(path: Path) -> Sources:
    """Read a list of sources. Raises SettingsError naming the key and what is wrong with it."""
    try:
        return Sources.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    except OSError as error:
        raise SettingsError(f"cannot read {path}: {error.strerror}") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} is not valid TOML: {error}") from error
    except ValidationError as error:
        # A source that is wrong is taken out, so that the list may seem too short; that is no news then.
        found = [item for item in error.errors() if len(item["loc"]) > 1] or error.errors()
        wrong = "; ".join(
            f"{'.'.join(map(str, item['loc'])) or 'sources'}: {wrong_value(item)}" for item in found
        )
        raise SettingsError(f"{path}: {wrong} (a list of `[[sources]]`: docs/howto/train.md)") from error
