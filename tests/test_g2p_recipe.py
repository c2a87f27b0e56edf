"""recipes/g2p: the split of a dictionary, pronunciations, error rates; a tiny model."""

import json
from pathlib import Path

import pytest

from asr.lexicon import read_lexicon
from asr.translator import Translator
from lm.table import NgramTable
from tests.g2p_models import save_g2p_model
from tests.lm_models import small_model
from tests.recipe_scripts import Script, run, script_runner

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "g2p"


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Script:
    return script_runner(RECIPE, capsys)


def test_all_pronunciations_of_a_word_are_in_one_part(script: Script, tmp_path: Path) -> None:
    letters = [a + b + c for a in "ABCDEFGH" for b in "AEIOU" for c in "KLMNOP"]
    lines = [f"{word} {word[0]} AH0 {word[2]}" for word in letters]
    lines += [f"{word.lower()}(2) {word[0]} IY1 {word[2]}" for word in letters[::3]]
    lines += ["A.M. EY1 EH1 M", "3D TH R IY1 D IY1", "'BOUT B AW1 T", "' AH0"]
    (tmp_path / "cmudict.dict").write_text("".join(f"{line}\n" for line in lines))
    for output in ("one", "again"):
        done = script("prepare.py", tmp_path, tmp_path / output)
        assert done.returncode == 0, done.stderr
    assert "244 words, 241 of letters and apostrophes: 227 train, 2 dev, 12 test" in done.stdout
    whole = read_lexicon(tmp_path / "cmudict.dict")
    words: list[str] = []
    for part in ("train", "dev", "test"):
        path = tmp_path / "one" / f"{part}.dict"
        assert path.read_bytes() == (tmp_path / "again" / f"{part}.dict").read_bytes()
        lexicon = read_lexicon(path)
        words += lexicon.words
        for word in lexicon.words:
            assert lexicon.pronunciations(word) == whole.pronunciations(word)
    assert sorted(words) == sorted([*letters, "'BOUT"])
    done = script("prepare.py", tmp_path, tmp_path / "few", "--words", "9")
    assert done.returncode == 2
    assert "9 words" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_g2p_model(tmp_path_factory.mktemp("model"))


def test_pronounce_writes_a_lexicon(script: Script, model: Path, tmp_path: Path) -> None:
    (tmp_path / "words.txt").write_text(";;; a list\ncab\nCAB(2) K AE B\n\nabba\nä\na'b 12\n")
    output = tmp_path / "new" / "words.dict"
    done = script("pronounce.py", model, tmp_path / "words.txt", output, "--n-best", "2")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"{output}: 3 words\n"
    assert done.stderr == "pronounce: 1 words got no phones and are left out, as 'Ä'\n"
    lexicon = read_lexicon(output)
    assert lexicon.words == ("CAB", "ABBA", "A'B")
    translator = Translator.load(model)
    for word in lexicon.words:
        (found,) = translator.translate([word], width=5)
        best = [one.symbols for one in found if one.symbols][:2]
        assert list(lexicon.pronunciations(word)) == best


def test_known_words_keep_their_pronunciations(script: Script, model: Path, tmp_path: Path) -> None:
    (tmp_path / "cmudict.dict").write_text("abba AE1 B AH0\nabba(2) AA1 B\nbab B AE1 B\n")
    manifest = tmp_path / "m.jsonl"
    line = {"audio_filepath": "a.wav", "duration": 1.0, "text": "cab Abba"}
    manifest.write_text(json.dumps(line) + "\n")
    NgramTable.from_model(small_model([["BAB", "CAB"], ["BAB"]], 2)).save(tmp_path / "w.ngram")
    output = tmp_path / "words.dict"
    done = script(
        *("pronounce.py", model, tmp_path / "w.ngram", manifest, output),
        *("--dictionary", tmp_path / "cmudict.dict"),
    )
    assert done.returncode == 0, done.stderr
    lexicon = read_lexicon(output)
    assert lexicon.words == ("BAB", "CAB", "ABBA")
    assert lexicon.pronunciations("ABBA") == (("AE", "B", "AH"), ("AA", "B"))
    assert lexicon.pronunciations("BAB") == (("B", "AE", "B"),)
    assert lexicon.pronunciations("CAB")


def test_relatives_speak_before_the_network(script: Script, model: Path, tmp_path: Path) -> None:
    (tmp_path / "known.dict").write_text("CAB K AE1 B\n")
    (tmp_path / "words.txt").write_text("CAB\nCAB'S\nABBA\nABBA'S\nC'AB\n")
    output = tmp_path / "words.dict"
    options = ["--dictionary", tmp_path / "known.dict", "--relatives"]
    done = script("pronounce.py", model, tmp_path / "words.txt", output, *options)
    assert done.returncode == 0, done.stderr
    lexicon = read_lexicon(output)
    assert lexicon.words == ("CAB", "CAB'S", "ABBA", "ABBA'S", "C'AB")
    for word in ("CAB", "C'AB"):
        assert lexicon.pronunciations(word) == (("K", "AE", "B"),)
    assert lexicon.pronunciations("CAB'S") == (("K", "AE", "B", "Z"),)
    # By the network, and as a possessive of what it says.
    (abba,) = lexicon.pronunciations("ABBA")
    assert lexicon.pronunciations("ABBA'S") == ((*abba, "S" if abba[-1] == "K" else "Z"),)


@pytest.mark.parametrize(
    ("text", "options", "part"),
    [
        ("cab\n", ["--relatives"], "--relatives: a dictionary"),
        ("\n", [], "words.txt: holds no words"),
        ("cab\n", ["--n-best", "6"], "--n-best 6"),
    ],
)
def test_words_that_cannot_be_pronounced(
    script: Script, model: Path, tmp_path: Path, text: str, options: list[str], part: str
) -> None:
    (tmp_path / "words.txt").write_text(text, encoding="utf-8")
    done = script("pronounce.py", model, tmp_path / "words.txt", tmp_path / "out", *options)
    assert done.returncode == 2
    assert part in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_errors_count_against_the_closest_pronunciation(script: Script, tmp_path: Path) -> None:
    for folder in ("dictionaries", "decode", "model"):
        (tmp_path / folder).mkdir()
    (tmp_path / "dictionaries" / "test.dict").write_text(
        "READ R EH D\nREAD(2) R IY D\nBAT B AE T\nCAT K AE T\nDOT D AA T\n"
    )
    # Right by the second, one wrong, one too many, and one that is missing.
    (tmp_path / "decode" / "greedy.dict").write_text("READ R IY D\nBAT B EH T\nCAT K AE T S\n")
    (tmp_path / "decode" / "beam-5.dict").write_text(
        "READ R EH\nBAT B AE T\nCAT K AE T\nDOT D AA T\n"
    )
    (tmp_path / "model" / "metrics.jsonl").write_text('{"kind": "dev", "epoch": 2.0}\n')
    (tmp_path / "model" / "seconds").write_text("1234 60\n")
    done = script("score.py", tmp_path, "greedy", "beam-5")
    assert done.returncode == 0, done.stderr
    score = json.loads((tmp_path / "score.json").read_text())
    greedy = score["decoded"]["greedy"]
    assert (greedy["per"], greedy["wer"]) == (5 / 12, 3 / 4)
    assert [greedy[name] for name in ("substitutions", "insertions", "deletions")] == [1, 1, 3]
    assert (score["per"], score["wer"]) == (1 / 12, 1 / 4)
    assert "4 held-out words, 12 phones; 2.0 epochs in 1,234 s, 60 s of one CPU" in done.stdout
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results -->\n<!-- end of results -->\n")
    again = script("score.py", "--table", tmp_path, "--readme", readme)
    assert again.stdout == done.stdout
    assert "| beam-5 | 8.33% |" in readme.read_text()


@pytest.mark.parametrize(
    ("options", "part"),
    [(["--words", "many"], "--words 'many'"), (["--widths", "0 5"], "--widths '0 5'")],
)
def test_wrong_options(tmp_path: Path, options: list[str], part: str) -> None:
    done = run(
        "bash", RECIPE / "run.sh", "--data", tmp_path, "--exp", tmp_path, *options, timeout=290
    )
    assert done.returncode == 2
    assert part in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.recipe
def test_tiny_learns(asr_data: Path, tmp_path: Path) -> None:
    command = ["bash", RECIPE / "run.sh", "--data", asr_data / "text" / "cmudict"]
    done = run(*command, "--exp", tmp_path, "--conf", "tiny", timeout=290)
    assert done.returncode == 0, done.stdout + done.stderr
    score = json.loads((tmp_path / "score.json").read_text())
    assert score["decoded"]["beam-5"]["n_words"] == 100
    assert score["per"] < 0.75  # to say nothing costs 1
    assert read_lexicon(tmp_path / "decode" / "beam-5.dict").words
