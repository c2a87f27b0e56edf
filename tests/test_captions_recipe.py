"""recipes/captions: the pictures and what is right to say of them, the networks, a tiny run."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from tests.recipe_scripts import Script, imported, run, script_runner

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "captions"
HELD_OUT = ["green triangle", "blue square"]


@pytest.fixture(scope="module")
def recipe() -> Iterator[SimpleNamespace]:
    with imported(RECIPE, ("pictures", "networks", "train", "score", "show")) as modules:
        yield modules


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Script:
    return script_runner(RECIPE, capsys)


def kind(recipe: SimpleNamespace, name: str) -> int:
    number: int = recipe.pictures.KINDS.index(tuple(name.split()))
    return number


@pytest.mark.parametrize(
    ("first", "second", "relation"),
    [
        ((8.0, 20.0), (30.0, 22.0), "left of"),
        ((30.0, 22.0), (8.0, 20.0), "right of"),
        ((20.0, 8.0), (22.0, 30.0), "above"),
        ((22.0, 30.0), (20.0, 8.0), "below"),
        ((20.0, 20.0), (20.4, 19.7), "around"),
    ],
)
def test_captions_say_where_things_are(
    recipe: SimpleNamespace,
    first: tuple[float, float],
    second: tuple[float, float],
    relation: str,
) -> None:
    kinds = [kind(recipe, "big red circle"), kind(recipe, "small blue diamond")]
    scenes = recipe.pictures.Scenes(
        np.array([kinds, [kinds[0], -1]]), np.array([[first, second]] * 2), np.array([[7, 3]] * 2)
    )
    pair, single = scenes.captions()
    assert pair == f"a big red circle {relation} a small blue diamond"
    assert single == "a big red circle"


def test_what_is_held_out_is_in_no_picture_of_training(recipe: SimpleNamespace) -> None:
    parts = recipe.pictures.choices(0.25, HELD_OUT, 3)
    names = [" ".join(each[1:]) for each in recipe.pictures.KINDS]

    def pairs(part: str) -> set[tuple[int, int]]:
        return {tuple(sorted(pair)) for pair in parts[part].pairs.tolist()}

    known, new, new_things = (pairs(part) for part in ("known", "new pairs", "new things"))
    assert not known & new
    assert not new_things & (known | new)
    assert len(known | new | new_things) == 40 * 41 // 2
    assert len(new) == pytest.approx(0.25 * len(known | new), abs=1)
    seen = {number for pair in known | new for number in pair}
    assert {names[number] for number in seen}.isdisjoint(HELD_OUT)
    assert all(any(names[number] in HELD_OUT for number in pair) for pair in new_things)
    assert {names[number] for number in parts["new things"].singles} == set(HELD_OUT)
    assert {names[number] for number in parts["known"].singles}.isdisjoint(HELD_OUT)


def test_scenes_hold_whole_things_that_one_can_tell_apart(recipe: SimpleNamespace) -> None:
    parts = recipe.pictures.choices(0.2, HELD_OUT, 0)
    generator = np.random.default_rng(0)
    scenes = recipe.pictures.make_scenes(
        parts["known"], 500, generator,
        picture_size=40, single_fraction=0.2, inside_fraction=0.4,
    )  # fmt: skip
    captions = scenes.captions()
    assert sum(len(caption.split()) == 4 for caption in captions) == 100
    known = {tuple(sorted(pair)) for pair in parts["known"].pairs.tolist()}
    relations = set()
    for caption, kinds, centres, radii in zip(
        captions, scenes.kinds.tolist(), scenes.centres, scenes.radii, strict=True
    ):
        n_things = 1 + (kinds[1] >= 0)
        assert (centres[:n_things] >= radii[:n_things, None]).all()
        assert (centres[:n_things] <= 40 - radii[:n_things, None]).all()
        if n_things == 1:
            continue
        assert tuple(sorted(kinds)) in known
        words = caption.split()
        relations.add(words[4])
        # The bigger one is named first, of equal ones the left or the upper one.
        order = words[1], words[-3]
        assert order != ("small", "big")
        if order[0] == order[1]:
            assert words[4] in ("left", "above")
        if words[4] == "around":
            assert order == ("big", "small")
            assert words[2] != words[-2]
        else:
            assert np.abs(centres[0] - centres[1]).max() > radii.sum()
    assert relations == {"left", "right", "above", "below", "around"}


def test_drawn_things_have_their_colour_place_and_shape(recipe: SimpleNamespace) -> None:
    kinds = [[kind(recipe, "big red square"), kind(recipe, "small green circle")]] * 2
    kinds[1] = [kinds[0][0], -1]
    scenes = recipe.pictures.Scenes(
        np.array(kinds), np.array([[[12.0, 20.0], [32.0, 10.0]]] * 2), np.array([[8.0, 4.0]] * 2)
    )
    generator = np.random.default_rng(0)
    pictures = recipe.pictures.draw(scenes, generator, picture_size=40, noise=0.0)
    assert pictures.shape == (2, 3, 40, 40)
    assert pictures.dtype == np.float32
    for picture, has_second in zip(pictures, (True, False), strict=True):
        background = picture[:, 0, 0]
        assert np.ptp(background) == 0
        is_thing = (np.abs(picture - background[:, None, None]) > 1e-3).any(0)
        # The square's side is 1.5 radii: its corner is inside, a diamond's or circle's is not.
        assert is_thing[20 - 5, 12 - 5]
        assert not is_thing[20 - 7, 12]
        assert picture[:, 20, 12].argmax() == 0
        assert is_thing[10, 32] == has_second
        assert not is_thing[10 - 4, 32 - 4]
        if has_second:
            assert picture[:, 10, 32].argmax() == 1


def tiny(recipe: SimpleNamespace) -> object:
    return recipe.train.load_toml(recipe.networks.CaptionsConfig, RECIPE / "conf" / "tiny.toml")


def test_batches_follow_from_the_seed_and_go_on_in_the_middle(recipe: SimpleNamespace) -> None:
    config = tiny(recipe)
    batches = recipe.train.PictureBatches(config, "captions")
    whole = [*batches.epoch(2, 7)]
    (last,) = batches.epoch(2, 9)
    assert torch.equal(whole[-1].pictures, last.pictures)
    assert torch.equal(whole[-1].captions, last.captions)
    assert not torch.equal(whole[0].pictures, last.pictures)
    assert last.weight == float(last.lengths.sum())
    assert len(recipe.train.right_captions(last)[0].split()) == int(last.lengths[0]) - 1
    singles = next(recipe.train.PictureBatches(config, "plain").epoch(0, 0))
    assert set(singles.lengths.tolist()) == {5}
    assert singles.weight == 32


@pytest.mark.parametrize("model", ["plain", "convolutions", "captions", "attention"])
def test_the_loss_is_that_of_what_is_right(recipe: SimpleNamespace, model: str) -> None:
    config = tiny(recipe)
    network = recipe.networks.make_network(config, model).eval()
    batch = next(recipe.train.PictureBatches(config, model).epoch(0, 0))
    loss = float(recipe.train.PictureTraining(network)(batch).detach())
    expected = 0.0
    with torch.no_grad():
        for row, picture in enumerate(batch.pictures[:, None]):
            if model in ("plain", "convolutions"):
                expected -= float(network(picture)[0, batch.kinds[row]])
                continue
            state, token = network.start(picture), torch.tensor([0])
            for word in batch.captions[row, : batch.lengths[row]]:
                log_probs, state = network.decoder.step(state, token)
                expected -= float(log_probs[0, word])
                token = word[None]
    assert loss == pytest.approx(expected, rel=1e-4)


def test_attention_looks_at_all_places_of_one_picture(recipe: SimpleNamespace) -> None:
    config = tiny(recipe)
    network = recipe.networks.make_network(config, "attention").eval()
    batch = next(recipe.train.PictureBatches(config, "attention").epoch(0, 0))
    weights = recipe.show.look(network, batch.pictures, batch.captions)
    assert weights.shape == (*batch.captions.shape, 10, 10)
    torch.testing.assert_close(weights.sum((-1, -2)), torch.ones(batch.captions.shape))


@pytest.mark.parametrize(
    ("program", "arguments", "part"),
    [
        ("train.py", ["{tiny}", "{exp}", "rnn"], "model 'rnn'"),
        ("train.py", ["{tiny}", "{exp}", "--set", "pictures.size=20"], "pictures.size"),
        ("score.py", ["{exp}", "captions"], "train captions first"),
        ("score.py", ["{exp}"], "nothing to score"),
        ("show.py", ["{exp}", "attention", "{exp}/x.png"], "train attention first"),
    ],
)
def test_what_cannot_be_done(
    script: Script, tmp_path: Path, program: str, arguments: list[str], part: str
) -> None:
    names = {"tiny": RECIPE / "conf" / "tiny.toml", "exp": tmp_path}
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(RECIPE)
        done = script(program, *(argument.format(**names) for argument in arguments))
    assert done.returncode == 2
    assert part in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.recipe
def test_tiny_recipe(tmp_path: Path) -> None:
    command = ("bash", RECIPE / "run.sh", "--conf", "tiny", "--exp", tmp_path)
    done = run(*command)
    assert done.returncode == 0, done.stdout + done.stderr
    score = json.loads((tmp_path / "score.json").read_text())
    assert set(score["models"]) == {"plain", "convolutions", "captions", "attention"}
    assert 0 <= score["exact_match"] <= 1
    assert set(score["models"]["plain"]["exact_match"]) == {"known"}
    for name in ("captions.png", "attention.png"):
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    other = run(*command, "--set", "model.decoder_size=8")
    assert other.returncode == 2
    assert "another [model]" in other.stderr
