from pathlib import Path

import pytest
import torch

from stages.lib import followed
from stages.lib.artifacts import read_csv
from stages.lib.history import write_history


def test_few_images_are_all_chosen_and_many_are_spread_from_the_first_to_the_last() -> None:
    assert followed.chosen(0) == ()
    assert followed.chosen(3) == (0, 1, 2)
    spread = followed.chosen(1000)
    assert (len(set(spread)), spread[0], spread[-1]) == (followed.MOST, 0, 999)


def test_an_epoch_says_what_the_labels_of_the_followed_images_got_and_curves_leave_it_out(
    tmp_path: Path,
) -> None:
    logits, labels = torch.tensor([[0.0, 0.0], [5.0, 0.0], [0.0, 1.0]]), torch.tensor([0, 1, 1])
    found = followed.probs_of_label(logits, labels, (0, 2))
    assert list(found) == ["followed/0", "followed/2"]
    assert found["followed/2"] == pytest.approx(0.7310586)
    assert followed.probs_of_label(logits, labels, ()) == {}
    history = [{"epoch": at + 1, "val_loss": 0.5, **found} for at in range(2)]
    followed.write_followed(tmp_path / "followed.csv", history, ["a", "b", "c"])
    rows = read_csv(tmp_path / "followed.csv")
    assert [row["epoch"] + row["sample_id"] for row in rows] == ["1a", "1c", "2a", "2c"]
    assert float(rows[0]["prob_of_label"]) == pytest.approx(0.5)
    write_history(tmp_path / "history.csv", history)
    assert list(read_csv(tmp_path / "history.csv")[0]) == ["epoch", "val_loss"]
