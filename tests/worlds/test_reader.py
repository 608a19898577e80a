from __future__ import annotations

from importlib import resources
from pathlib import Path

import numpy as np
import pytest
import torch

from storymem.errors import MediaError, ModelError
from storymem.worlds.storyland import ATTRIBUTES, ground_truth, reader_drawings, render, sample_shot
from storymem.worlds.storyland.reader import Reader, ShotReading, follow_heads, load_reader
from storymem.worlds.storyland.reader_drawings import Example, Pool
from storymem.worlds.storyland.reader_network import (
    CLASSES,
    HEIGHT,
    WIDTH,
    ReaderNetwork,
    crops,
    frame_indices,
    steady,
)
from storymem.worlds.storyland.reader_training import measure_reader, refine_reader, save_reader, train_reader

SEEDS = range(50_000, 50_016)  # not those that its accuracy was measured on


@pytest.fixture(scope="module")
def reader() -> Reader:
    return load_reader()


def drawn(seed: int, height: int = 64, width: int = 112) -> np.ndarray:
    return render([sample_shot(seed, "test")], 17, height, width)[0].transpose(0, 1).contiguous().numpy()


def share_read_right(readings: list[ShotReading], height: int, width: int) -> tuple[float, float]:
    """Of heroes and of scenes."""
    looks, scenes = [], []
    for seed, reading in zip(SEEDS, readings, strict=True):
        truth = ground_truth(sample_shot(seed, "test"), 17, height, width)
        scenes += [reading.place == truth["place"], reading.shot_type == truth["shot_type"]]
        for number, hero in enumerate(truth["heroes"]):
            read = reading.heroes[number].attributes if len(reading.heroes) == len(truth["heroes"]) else {}
            looks += [
                read.get(name, "") == hero["attributes"][name]
                for name in ATTRIBUTES
                if name in hero["visible"] and name != "build"
            ]
    return float(np.mean(looks)), float(np.mean(scenes))


@pytest.mark.parametrize(("height", "width"), [(64, 112), (128, 224)])
def test_it_reads_heroes_and_layouts_it_never_saw(reader: Reader, height: int, width: int) -> None:
    looks, scenes = share_read_right([reader.read(drawn(seed, height, width)) for seed in SEEDS], height, width)
    assert looks > 0.8
    assert scenes > 0.85


def test_it_says_how_good_it_is_and_says_the_truth(reader: Reader) -> None:
    assert set(reader.accuracy) == {"heroes", *CLASSES}
    assert reader.about["steps"] > 0
    again = measure_reader(reader.network, 20)
    told = np.mean([reader.accuracy[name] for name in again])
    assert np.mean(list(again.values())) == pytest.approx(told, abs=0.08)


def test_it_is_small() -> None:
    weights = resources.files("storymem.worlds.storyland") / "reader.safetensors"
    assert len(weights.read_bytes()) < 3_000_000


def test_noise_is_read_without_complaint(reader: Reader) -> None:
    noise = np.random.default_rng(0).uniform(-1, 1, (5, 3, 128, 208)).astype(np.float32)
    reading = reader.read(noise)
    assert reading.place in CLASSES["place"]
    assert len(reading.heroes) <= 2


def test_a_single_frame_can_be_read(reader: Reader) -> None:
    assert reader.read(drawn(SEEDS[0])[:1]).place == sample_shot(SEEDS[0], "test").place.kind


def test_what_is_no_shot_is_refused(reader: Reader) -> None:
    with pytest.raises(MediaError, match="3, height, width"):
        reader.read(np.zeros((64, 112, 3), np.float32))


def test_a_file_that_holds_no_reader_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="train one"):
        load_reader(tmp_path / "missing.safetensors")
    (tmp_path / "text").write_text("no weights")
    with pytest.raises(ModelError, match="train one"):
        load_reader(tmp_path / "text")


def test_training_gives_the_same_reader_each_time_and_it_is_kept(tmp_path: Path) -> None:
    losses: list[float] = []
    first = train_reader(3, batch_size=3, on_step=lambda _, loss: losses.append(loss))
    second = train_reader(3, batch_size=3)
    assert np.isfinite(losses).all()
    begun = ReaderNetwork()
    for name, tensor in first.state_dict().items():
        assert torch.equal(tensor, second.state_dict()[name]), name
    assert begun.state_dict().keys() == first.state_dict().keys()
    save_reader(first, tmp_path / "reader.safetensors", {"place": 0.5}, {"steps": 3})
    kept = load_reader(tmp_path / "reader.safetensors")
    assert kept.accuracy == {"place": 0.5}
    assert kept.about["steps"] == 3
    weight = first.state_dict()["trunk.0.0.weight"]
    assert torch.equal(kept.network.state_dict()["trunk.0.0.weight"], weight.half().float())


def test_training_goes_on_with_a_reader_that_there_is() -> None:
    before = load_reader().network
    gone_on = train_reader(1, start=load_reader().network, batch_size=3).state_dict()
    anew = train_reader(1, batch_size=3).state_dict()
    for name in ("trunk.0.0.weight", "action.2.weight"):
        near, far = ((weights[name] - before.state_dict()[name]).abs().mean() for weights in (gone_on, anew))
        assert 0 < near < 0.2 * far


def test_the_second_stage_teaches_to_read_and_leaves_the_finding_alone(reader: Reader) -> None:
    before = {name: tensor.clone() for name, tensor in reader.network.state_dict().items()}
    once = refine_reader(load_reader().network, 2, batch_size=2).state_dict()
    again = refine_reader(load_reader().network, 2, batch_size=2).state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], once[name])}
    assert changed == {"hero", "light", "joined", "hero_heads", "step", "action"}
    assert all(torch.equal(once[name], again[name]) for name in once)


def test_drawings_are_the_same_from_another_process() -> None:
    def drawn_by(*, beside: bool) -> list[np.ndarray]:
        with Pool(70, 3, begin=3, fresh=2, beside=beside) as pool:
            for _ in range(3):
                pool.renew()
            return [example.frames for example in pool.examples]

    here, there = drawn_by(beside=False), drawn_by(beside=True)
    assert len(here) == len(there) == 7
    assert all(np.array_equal(one, other) for one, other in zip(here, there, strict=True))
    assert not np.array_equal(here[0], here[1])


def test_drawings_can_be_learned_from_as_a_vae_gives_them_back(monkeypatch: pytest.MonkeyPatch) -> None:
    vae = Path(str(resources.files("storymem"))) / "models" / "packaged" / "storyland" / "vae"
    monkeypatch.setattr(reader_drawings, "_DAMAGED", 0.0)

    def drawn_by(share: float, through: Path | None) -> list[Example]:
        monkeypatch.setattr(reader_drawings, "_THROUGH", share)
        with Pool(70, 3, begin=4, fresh=2, through=through) as pool:
            pool.renew()
            return pool.examples

    def error(ours: Example, others: Example) -> float:  # root of the mean square, of 255
        return float(np.sqrt(np.mean((ours.frames.astype(float) - others.frames) ** 2)))

    clean, larger, coded, again = (
        drawn_by(share, through) for share, through in ((1.0, None), (0.0, vae), (1.0, vae), (1.0, vae))
    )
    assert all(error(*pair) < 8 for pair in zip(larger, clean, strict=True))  # drawn large and made smaller
    assert all(10 < error(*pair) < 40 for pair in zip(coded, clean, strict=True))
    assert all(np.array_equal(one.frames, other.frames) for one, other in zip(coded, again, strict=True))
    assert [one.heroes for one in coded] == [one.heroes for one in clean]
    assert [one.boxes for one in coded] == [one.boxes for one in clean]


def test_a_full_pool_lets_the_oldest_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reader_drawings, "_KEPT", 3)
    with Pool(70, 3, begin=3, fresh=2) as pool:
        pool.renew()
        last = pool.examples[-1]
        pool.renew()
        assert len(pool.examples) == 3
        assert pool.examples[0] is last


def test_heads_found_in_several_frames_get_one_size() -> None:
    boxes = torch.tensor([[[10.0, 9.0, 8.0, 6.0], [12.0, 9.0, 12.0, 10.0], [0.0, 0.0, 99.0, 99.0]]])
    out = steady(boxes, torch.tensor([[1.0, 1.0, 0.0]]))
    assert out[0, :, 2:].tolist() == [[10.0, 8.0]] * 3
    assert torch.equal(out[..., :2], boxes[..., :2])


def test_a_crop_shows_the_hero_in_one_size_wherever_the_head_is() -> None:
    frames = torch.zeros(2, 3, HEIGHT, WIDTH)
    boxes = torch.tensor([[30.0, 24.0, 12.0, 12.0], [76.0, 40.0, 24.0, 24.0]])
    for frame, (x, y, width, height) in zip(frames, boxes.long().tolist(), strict=True):
        frame[:, y - height // 2 : y + height // 2, x - width // 2 : x + width // 2] = 1
    cut = crops(frames, boxes)
    assert cut.shape == (2, 4, 60, 48)
    for one in cut:
        rows, columns = (one[0] > 0.5).nonzero(as_tuple=True)
        assert columns.float().mean().item() == pytest.approx(23.5, abs=0.6)
        assert rows.float().mean().item() == pytest.approx(60 * 1.25 / 3.5 - 0.5, abs=0.6)
        assert columns.max() - columns.min() + 1 == pytest.approx(48 / 2.8, abs=1.1)
    # Beyond the picture's lower edge there is nothing, and the crop says so.
    assert cut[1, 3, -1].max() == 0
    assert cut[1, 3, 0].min() == 1


def test_the_frames_looked_at_are_spread_over_the_shot() -> None:
    assert frame_indices(17) == [0, 4, 8, 12, 16]
    assert frame_indices(1) == [0, 0, 0, 0, 0]
    assert frame_indices(33) == [8, 12, 16, 20, 24]


def test_as_many_heroes_as_most_frames_show() -> None:
    left, right = (np.array([x, 30, 20, 20], np.float32) for x in (30, 80))
    one = follow_heads([[right], [right], [], [left, right], [right]])
    assert len(one) == 1
    assert [None if box is None else box[0] for box in one[0]] == [80, 80, None, 80, 80]
    two = follow_heads([[left, right], [left], [left, right], [left, right], []])
    assert [[None if box is None else box[0] for box in track] for track in two] == [
        [30, None, 30, 30, None],
        [80, None, 80, 80, None],
    ]
    assert follow_heads([[], [], [left], [], []]) == []
