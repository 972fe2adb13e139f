"""How pixels are stored: bits, sign and intercept, and what had to be repaired."""

from __future__ import annotations

import pandas as pd

from .part import Json, Part

#: Most intercepts that are listed of one group.
_INTERCEPTS = 8


def storage(part: Part) -> Json:
    """A row for each BitsStored and PixelRepresentation, the largest first."""
    table = part.table
    groups = group_of(table)
    found: list[tuple[int, Json]] = []
    for bits, signed in groups.drop_duplicates().itertuples(index=False):
        rows = ((groups["BitsStored"] == bits) & (groups["PixelRepresentation"] == signed)).to_numpy()
        row: Json = {
            "bits_stored": int(bits),
            "pixel_representation": int(signed),
            "slices": int(rows.sum()),
            "share": float(rows.mean()),
            "studies": int(table.loc[rows, "StudyInstanceUID"].nunique()),
            "labels": part.slices.counts("any", rows),
            "positive": part.slices.share("any", rows),
            "repaired": int(table.loc[rows, "repaired"].sum()),
            "intercepts": _intercepts(table[rows]),
        }
        found.append((int(rows.sum()), row))
    return [row for _, row in sorted(found, key=lambda each: -each[0])]


def group_of(table: pd.DataFrame) -> pd.DataFrame:
    """The columns that make a group."""
    return table[["BitsStored", "PixelRepresentation"]]


def _intercepts(rows: pd.DataFrame) -> Json:
    """The commonest stated intercepts, HU, with their slices, and how many of these were repaired."""
    each = rows.groupby("RescaleIntercept")["repaired"].agg(["size", "sum"])
    each = each.sort_values("size", ascending=False, kind="stable")
    listed: list[Json] = [
        {"intercept": float(value), "slices": int(row["size"]), "repaired": int(row["sum"])}
        for value, row in each.head(_INTERCEPTS).iterrows()
    ]
    return {"listed": listed, "others": int(each["size"].iloc[_INTERCEPTS:].sum())}
