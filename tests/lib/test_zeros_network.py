import numpy as np

from stages.lib.zeros_network import zeros_network_probs


def test_a_network_that_sees_nothing_learns_the_class_shares() -> None:
    labels = np.repeat(np.arange(3, dtype=np.int64), [700, 250, 50])
    probs = zeros_network_probs(labels, 3, (32, 32, 3), seed=0)
    assert probs.dtype == np.float32
    assert abs(float(probs.sum()) - 1) < 1e-6
    np.testing.assert_allclose(probs, [0.7, 0.25, 0.05], atol=0.05)


def test_it_is_the_same_each_time() -> None:
    labels = np.arange(40, dtype=np.int64) % 4
    one, other = (zeros_network_probs(labels, 4, (8, 8, 1), seed=3) for _ in range(2))
    np.testing.assert_array_equal(one, other)
