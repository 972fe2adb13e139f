"""Answers beside the truth: what does not fit together is refused."""

from __future__ import annotations

import numpy as np
import pytest

from train.scored import Scored


@pytest.mark.parametrize(
    ("probability", "labels", "slices", "named"),
    [
        (np.zeros((2, 1)), np.zeros((3, 1), bool), 3, "probabilities"),
        (np.zeros(3), np.zeros(3, bool), 3, "labels"),
        (np.zeros((0, 1)), np.zeros((0, 1), bool), 0, "0 slices"),
        (np.full((2, 1), np.nan), np.zeros((2, 1), bool), 2, "not a number from 0 to 1"),
        (np.full((2, 1), 1.5), np.zeros((2, 1), bool), 2, "not a number from 0 to 1"),
    ],
)
def test_what_is_no_answer_is_refused(
    probability: np.ndarray, labels: np.ndarray, slices: int, named: str
) -> None:
    """Other shapes, no slice at all, and what is no probability."""
    with pytest.raises(ValueError, match=named):
        Scored(probability=probability, labels=labels, patients=np.array(["p"] * slices, dtype=str))


def test_a_column_is_one_label_of_the_same_slices() -> None:
    """Its answers, its truth, and whose slices they are."""
    scored = Scored(
        probability=np.array([[0.1, 0.9], [0.2, 0.8]]),
        labels=np.array([[False, True], [True, False]]),
        patients=np.array(["a", "b"]),
    )
    one = scored.column(1)
    np.testing.assert_array_equal(one.probability, [[0.9], [0.8]])
    np.testing.assert_array_equal(one.labels, [[True], [False]])
    assert one.patients is scored.patients
