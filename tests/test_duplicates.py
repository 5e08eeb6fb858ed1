"""Copies: planted ones are found, look-alikes are not, and findings are named, ordered and joined."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from planting import PHOTOGRAPHIC, Planted, plant

from stages import duplicates, embed
from stages.duplicates import (
    Pair,
    conflicting,
    copies_among,
    exact_pairs,
    find_pairs,
    group_table,
    hubs,
    with_judgments,
)
from stages.lib.alignment import blur
from stages.lib.artifacts import read_csv, read_table, write_npy, write_table
from stages.lib.config import load_section
from stages.lib.duplicate_findings import read_copies
from stages.lib.errors import InputError
from stages.lib.image_store import encode_png, write_images
from stages.lib.judged_pairs import Judgments
from tests.embedded_data import EMBED, write_embedded

PARAMS = load_section(duplicates.Params, "duplicates")


def found_in(planted: Planted) -> list[Pair]:
    vectors = embed.embed_all(planted.pixels, EMBED)
    labels = [str(label) for label in planted.labels]
    return find_pairs(planted.pixels, vectors, planted.sample_ids, labels, PARAMS)


@pytest.mark.parametrize("seed", [100, 101, 102])
def test_planted_copies_are_found_and_next_to_nothing_else(
    digits: tuple[np.ndarray, np.ndarray], seed: int
) -> None:
    planted = plant(*digits, seed=seed)
    pairs = found_in(planted)
    joined = {frozenset((p.first, p.second)) for p in pairs}
    copies = np.flatnonzero(planted.kind != "")
    hit = {copy: frozenset((int(copy), int(planted.family[copy]))) in joined for copy in copies}
    near = [hit[copy] for copy in copies if planted.kind[copy] != "exact"]
    assert all(hit[copy] for copy in copies if planted.kind[copy] == "exact")
    assert np.mean(near) >= 0.95
    false = sum(planted.family[p.first] != planted.family[p.second] for p in pairs)
    assert false <= 0.01 * len(pairs)


def test_clean_digits_hold_no_copies(digits: tuple[np.ndarray, np.ndarray]) -> None:
    assert found_in(plant(*digits, seed=0, share=0)) == []


def test_conflicts_are_exactly_the_pairs_whose_labels_differ(digits: tuple[np.ndarray, np.ndarray]) -> None:
    planted = plant(*digits, seed=7)
    pairs = found_in(planted)
    labels = [str(label) for label in planted.labels]
    expected = [p for p in pairs if planted.labels[p.first] != planted.labels[p.second]]
    assert conflicting(pairs, labels) == expected != []


def test_a_missing_label_conflicts_with_nothing() -> None:
    assert conflicting([Pair(0, 1, 1.0, "exact")], ["7", None]) == []


def test_a_labelled_sample_stands_for_its_picture_so_that_conflicts_show() -> None:
    numbers, ids, labels = np.array([0, 0, 0]), ("a", "b", "c"), [None, "7", "1"]
    pairs = exact_pairs(numbers, hubs(numbers, ids, labels))
    assert {(p.first, p.second) for p in pairs} == {(1, 0), (1, 2)}
    assert len(conflicting(pairs, labels)) == 1


def test_many_equal_pictures_cost_one_pair_each() -> None:
    pixels = np.zeros((500, 8, 8, 1), np.uint8)
    ids = tuple(f"{i:03}" for i in range(500))
    pairs = find_pairs(pixels, np.zeros((500, 4), np.float32), ids, ["a"] * 500, PARAMS)
    assert len(pairs) == 499
    assert set(group_table(pairs, ids)["group_id"].to_pylist()) == {"000"}


def test_a_group_is_named_by_its_smallest_sample_id_and_knows_its_nearest_member() -> None:
    ids = ("d", "c", "b", "a", "alone")
    pairs = [Pair(2, 0, 1.0, "exact"), Pair(2, 1, 0.75, "near"), Pair(3, 1, 0.5, "near")]
    table = group_table(pairs, ids).to_pydict()
    assert table["sample_id"] == ["a", "b", "c", "d"]
    assert set(table["group_id"]) == {"a"}
    assert table["distance"] == [0.5, 0.0, 0.25, 0.0]
    assert table["reason"] == ["near", "exact", "near", "exact"]


def test_without_copies_the_table_is_empty_and_typed() -> None:
    table = group_table([], ("a", "b"))
    assert len(table) == 0
    assert table.schema.field("distance").type == pa.float32()


@pytest.mark.parametrize("count", [0, 1, 2, 4])
def test_tiny_sets_are_searched_without_complaint(count: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 1), np.uint8)
    vectors = np.random.default_rng(0).random((count, 6), np.float32)
    assert find_pairs(pixels, vectors, tuple("abcd"[:count]), ["x"] * count, PARAMS) == []


def test_the_stage_writes_its_findings_best_first_and_the_same_bytes_again(
    digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    planted = plant(digits[0][:300], digits[1][:300], seed=1, share=0.05)
    hostile = ["=1+1" if label == 0 else str(label) for label in planted.labels]
    write_embedded(tmp_path, planted.pixels, list(hostile))
    metrics = duplicates.run(PARAMS, ingest=tmp_path, embed=tmp_path, review=tmp_path, out=tmp_path / "a")
    duplicates.run(PARAMS, ingest=tmp_path, embed=tmp_path, review=tmp_path, out=tmp_path / "b")
    pairs = read_csv(tmp_path / "a/pairs.csv")
    scores = [float(row["score"]) for row in pairs]
    assert scores == sorted(scores, reverse=True)
    assert all(row["sample_id_a"] < row["sample_id_b"] for row in pairs)
    assert metrics["n_exact_pairs"] == sum(row["kind"] == "exact" for row in pairs) == 15
    assert metrics["n_near_pairs"] == sum(row["kind"] == "near" for row in pairs)
    assert metrics["n_conflicts"] == len(read_csv(tmp_path / "a/conflicts.csv"))
    groups = read_table(tmp_path / "a/groups.parquet")
    assert groups.column_names == ["sample_id", "group_id", "distance", "reason"]
    assert metrics["n_groups"] == len(set(groups["group_id"].to_pylist()))
    for name in ("pairs.csv", "conflicts.csv", "groups.parquet"):
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_embeddings_of_other_images_are_refused(
    digits: tuple[np.ndarray, np.ndarray], tmp_path: Path
) -> None:
    write_embedded(tmp_path, digits[0][:6], ["a"] * 6)
    write_npy(tmp_path / "embeddings.npy", np.zeros((5, 3), np.float32))
    with pytest.raises(InputError, match="different samples"):
        duplicates.run(PARAMS, ingest=tmp_path, embed=tmp_path, review=tmp_path, out=tmp_path)


def test_what_people_judge_overrules_what_was_found() -> None:
    found = [Pair(0, 1, 1.0, "exact"), Pair(2, 3, 0.9, "near"), Pair(1, 2, 0.8, "near")]
    judged = Judgments(same=((0, 1), (2, 3), (4, 5)), different=((1, 2), (0, 5)))
    assert with_judgments(found, judged) == [
        Pair(0, 1, 1.0, "exact"),
        Pair(2, 3, 1.0, "judged"),
        Pair(4, 5, 1.0, "judged"),
    ]


def test_look_alikes_that_people_judge_leave_the_list() -> None:
    found = [Pair(0, 1, 0.9, "near"), Pair(2, 3, 0.4, "look_alike"), Pair(4, 5, 0.3, "look_alike")]
    judged = Judgments(same=((2, 3),), different=((4, 5),))
    assert with_judgments(found, judged) == [Pair(2, 3, 1.0, "judged"), Pair(0, 1, 0.9, "near")]


def test_a_judged_pair_that_nobody_found_is_a_group_and_a_conflict(tmp_path: Path) -> None:
    pixels, labels = np.random.default_rng(0).integers(0, 256, (40, 8, 8, 1)).astype(np.uint8), range(40)
    ids = [f"s{k:02d}" for k in range(40)]
    write_images(tmp_path / "images.parquet", zip(ids, map(encode_png, pixels), strict=True), 8, 1, "made")
    write_table(
        tmp_path / "manifest.parquet", pa.table({"sample_id": ids, "label": [str(k) for k in labels]})
    )
    write_npy(tmp_path / "embeddings.npy", embed.embed_all(pixels, EMBED))
    row = "s03,s01,same,Ada,,the same stroke"
    (tmp_path / "pairs.csv").write_text(f"sample_id_a,sample_id_b,judgment,who,when,note\n{row}\n")
    metrics = duplicates.run(PARAMS, ingest=tmp_path, embed=tmp_path, review=tmp_path, out=tmp_path / "out")
    assert (metrics["n_judged_same"], metrics["n_judged_same_not_found"], metrics["n_groups"]) == (1, 1, 1)
    [conflict] = read_csv(tmp_path / "out" / "conflicts.csv")
    assert (conflict["sample_id_a"], conflict["kind"], conflict["score"]) == ("s01", "judged", "1.0")
    assert read_table(tmp_path / "out" / "groups.parquet")["reason"].to_pylist() == ["judged", "judged"]


PHOTOGRAPHS = PARAMS.model_copy(update={"mirror": True})
MIRROR = embed.mirrored(EMBED, 32, 3)


def photographs(count: int, seed: int) -> np.ndarray:
    """Discs of all sizes and colours that cover each other, (count, 32, 32, 3).

    The dead leaves model (Lee, Mumford & Huang, "Occlusion models for natural images", IJCV 2001), which has
    the edges and the scales of photographs."""
    generator = np.random.default_rng(seed)
    y, x = np.mgrid[:32, :32]
    pictures = np.full((count, 32, 32, 3), 128)
    for _ in range(80):
        radius = 2 / np.sqrt(generator.uniform(0.02, 1, (count, 1, 1)))  # many small ones, few large ones
        down, right = generator.uniform(-4, 36, (2, count, 1, 1))
        covered = (y - down) ** 2 + (x - right) ** 2 < radius**2
        pictures = np.where(covered[..., None], generator.integers(0, 256, (count, 1, 1, 3)), pictures)
    soft = blur(pictures.transpose(0, 3, 1, 2).reshape(-1, 32, 32).astype(np.float32), 0.6)
    return np.clip(soft, 0, 255).astype(np.uint8).reshape(count, 3, 32, 32).transpose(0, 2, 3, 1)


def skies(count: int, seed: int) -> np.ndarray:
    """Smooth slopes of one blue or another with a little grain, some with a plain ground: (count, 32, 32,
    3)."""
    generator = np.random.default_rng(seed)
    top, bottom = generator.uniform(80, 160, (count, 1, 3)), generator.uniform(170, 240, (count, 1, 3))
    down = np.linspace(0, 1, 32)[None, :, None]
    slope = (top * (1 - down) + bottom * down)[:, :, None, :].repeat(32, 2)
    ground = generator.integers(20, 40, count)
    slope[np.arange(32)[None] >= ground[:, None]] = 90
    grain = generator.normal(0, 1.5, slope.shape)
    return np.clip(np.rint(slope + grain), 0, 255).astype(np.uint8)


def search(pixels: np.ndarray, params: duplicates.Params = PHOTOGRAPHS) -> list[Pair]:
    ids = tuple(f"s{row:05}" for row in range(len(pixels)))
    vectors = embed.embed_all(pixels, EMBED)
    mirror = MIRROR if params.mirror else None
    return duplicates.list_pairs(pixels, vectors, ids, ["x"] * len(ids), params, mirror)


@pytest.fixture(scope="module")
def planted_photographs() -> tuple[Planted, list[Pair]]:
    planted = plant(photographs(350, seed=0), np.arange(350) % 2, 3, PHOTOGRAPHIC, 0.3)
    skied = np.concatenate([planted.pixels, skies(250, seed=1)])
    return planted, search(skied)


@pytest.mark.parametrize("kind", list(PHOTOGRAPHIC))
def test_each_kind_of_copy_of_a_photograph_is_found(
    planted_photographs: tuple[Planted, list[Pair]], kind: str
) -> None:
    planted, pairs = planted_photographs
    joined = {(p.first, p.second) for p in copies_among(pairs)}
    rows = np.flatnonzero(planted.kind == kind)
    assert len(rows) >= 15
    assert np.mean([(planted.family[row], row) in joined for row in rows]) >= 0.9


def test_nothing_else_is_taken_for_a_copy_not_even_one_clear_sky_for_another(
    planted_photographs: tuple[Planted, list[Pair]],
) -> None:
    planted, pairs = planted_photographs
    family = np.concatenate([planted.family, np.arange(10_000, 10_250)])
    false = [p for p in copies_among(pairs) if family[p.first] != family[p.second]]
    assert len(false) <= 0.01 * len(copies_among(pairs))


def test_a_clean_set_holds_no_copies_of_any_kind() -> None:
    assert copies_among(search(np.concatenate([photographs(150, seed=5), skies(150, seed=6)]))) == []


def test_mirrored_copies_are_sought_only_where_they_are_copies() -> None:
    pictures = photographs(60, seed=2)
    both = np.concatenate([pictures, pictures[:10, :, ::-1]])
    assert len(copies_among(search(both))) == 10
    assert copies_among(search(both, PHOTOGRAPHS.model_copy(update={"mirror": False}))) == []


def test_look_alikes_are_listed_behind_the_copies_and_acted_on_by_nobody(tmp_path: Path) -> None:
    pictures = photographs(100, seed=4)
    write_embedded(tmp_path, np.concatenate([pictures, pictures[:5, :, ::-1]]), ["a", "b", "c"] * 35)
    write_npy(tmp_path / "mirror.npy", MIRROR)
    metrics = duplicates.run(PHOTOGRAPHS, ingest=tmp_path, embed=tmp_path, review=tmp_path, out=tmp_path)
    rows = read_csv(tmp_path / "pairs.csv")
    scores = [float(row["score"]) for row in rows]
    assert (metrics["n_near_pairs"], metrics["n_look_alikes"]) == (5, 21)
    assert scores == sorted(scores, reverse=True)
    assert [score >= 0.5 for score in scores] == [True] * 5 + [False] * 21
    assert [row["kind"] for row in rows] == ["near"] * 5 + ["look_alike"] * 21
    assert [row["kind"] for row in read_copies(tmp_path / "pairs.csv")] == ["near"] * 5
    assert len(read_table(tmp_path / "groups.parquet")) == 10
    assert all(float(row["score"]) >= 0.5 for row in read_csv(tmp_path / "conflicts.csv"))


def test_mirrored_copies_need_what_embed_says_of_mirroring(tmp_path: Path) -> None:
    write_embedded(tmp_path, photographs(6, seed=0), ["a"] * 6)
    with pytest.raises(InputError, match="dvc repro"):
        duplicates.run(PHOTOGRAPHS, ingest=tmp_path, embed=tmp_path, review=tmp_path, out=tmp_path)


def test_the_inverted_file_finds_the_copies_that_exact_search_finds(
    planted_photographs: tuple[Planted, list[Pair]], monkeypatch: pytest.MonkeyPatch
) -> None:
    planted, pairs = planted_photographs
    exact = {(p.first, p.second) for p in copies_among(pairs)}
    monkeypatch.setattr("stages.lib.neighbours.EXACT_UP_TO", 100)
    again = search(np.concatenate([planted.pixels, skies(250, seed=1)]))
    inverted = {(p.first, p.second) for p in copies_among(again)}
    assert len(exact & inverted) >= 0.98 * len(exact | inverted)
