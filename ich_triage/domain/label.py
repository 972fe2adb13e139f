"""The honest label that everything we show or send carries."""

from __future__ import annotations

#: on every report, picture, page and list
PRIORITISATION_ONLY = "For prioritisation only; not flagged is not negative."

#: on everything that a package trained on synthetic data has said
SYNTHETIC = "Synthetic training data: not for clinical use."
