import numpy as np

from stages.lib.confusion_blocks import MOST_IN_BLOCK, confusion_blocks


def test_planted_blocks_are_found_with_their_images_and_errors():
    counts = 20 * np.eye(60, dtype=np.int64)
    for group in ((3, 4, 40), (10, 50)):
        for a in group:
            for b in group:
                counts[a, b] += 3 * (a != b)
    counts[7, 8] = 1  # one error is chance
    found = confusion_blocks(counts)
    assert [one.classes for one in found] == [(3, 4, 40), (10, 50)]
    assert [one.errors for one in found] == [18, 6]
    assert [one.n for one in found] == [3 * 26, 2 * 23]


def test_a_chain_of_confusions_is_cut_at_its_weakest_links():
    counts = 100 * np.eye(30, dtype=np.int64)
    for k in range(29):
        counts[k, k + 1] = 3 if k % 5 == 4 else 20
    found = confusion_blocks(counts)
    assert max(len(one.classes) for one in found) <= MOST_IN_BLOCK
    assert [one.classes for one in found] == [tuple(range(at, at + 5)) for at in range(0, 30, 5)]


def test_without_confusion_there_is_no_block():
    assert confusion_blocks(np.diag([5, 6, 7])) == []
