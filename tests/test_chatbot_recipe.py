"""recipes/chatbot: parts of the dialogues, replies, perplexity beside an n-gram's; a tiny model."""

import io
import json
import lzma
import math
from collections import Counter
from pathlib import Path

import pytest

from tests.recipe_scripts import Script, imported, run, script_runner

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "chatbot"


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Script:
    return script_runner(RECIPE, capsys)


@pytest.fixture
def dialogues(tmp_path: Path) -> Path:
    lines = [
        f"topic\tdo you like the {a} {b} ?\tyes ,  the {a} {b} .\tme too ." for a in "abcde"
        for b in "vwxyz"
    ]  # fmt: skip
    path = tmp_path / "dialogues.tsv.xz"
    path.write_bytes(lzma.compress("".join(f"{line}\n" for line in [*lines, lines[0]]).encode()))
    return path


def test_a_dialogue_is_in_one_part(script: Script, dialogues: Path, tmp_path: Path) -> None:
    text = tmp_path / "text"
    done = script("prepare.py", dialogues, text, "--held-out", "3", "--pieces", "60")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "pairs: 38 train, 6 dev, 6 test; 60 word pieces\n"
    pairs: list[tuple[str, str]] = []
    for part in ("train", "dev", "test"):
        turns, replies = (
            (text / f"{part}.{side}").read_text().splitlines() for side in ("turn", "reply")
        )
        pairs += zip(turns, replies, strict=True)
        # What was asked in this part was answered and thanked for in it.
        assert turns[1::2] == replies[::2]
        assert set(replies[1::2]) == {"me too ."}
    assert ("do you like the a v ?", "yes , the a v .") in pairs
    assert set(Counter(pairs).values()) == {1}


def test_bad_dialogues_are_refused(script: Script, dialogues: Path, tmp_path: Path) -> None:
    done = script("prepare.py", dialogues, tmp_path / "text")
    assert done.returncode == 2
    assert "25 dialogues: more than 500 for dev and 500 for the test" in done.stderr
    path = tmp_path / "short.tsv"
    path.write_text("topic\tone\ttwo\ntopic\tone\n")
    done = script("prepare.py", path, tmp_path / "text")
    assert done.returncode == 2
    assert "short.tsv, line 2: a topic and two turns" in done.stderr
    assert done.stderr.count("\n") == 1


def test_from_dialogues_to_replies_and_a_table(
    script: Script, dialogues: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = tmp_path / "text"
    script("prepare.py", dialogues, text, "--held-out", "3", "--pieces", "60")
    settings = ["epochs=60", "batch_size=40", "evaluate_every=20"]
    options = [part for setting in settings for part in ("--set", f"training.{setting}")]
    done = script("train.py", RECIPE / "conf" / "tiny.toml", text, tmp_path / "model", *options)
    assert done.returncode == 0, done.stderr

    def chat(*arguments: object) -> list[str]:
        monkeypatch.setattr("sys.stdin", io.StringIO("yes , the a v .\n\n€\n"))
        done = script("chat.py", tmp_path / "model", text / "tokenizer", *arguments)
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    for arguments in (("--beam", "3"), ("--beam", "1"), ("--top-k", "1"), ("--top-p", "0.01")):
        assert chat(*arguments) == ["me too .", "(no character of this is known)"]
    assert chat("--max-length", "1", "--beam", "1")[0] == "me"
    drawn = chat("--temperature", "9", "--top-p", "1", "--seed", "4")
    assert drawn == chat("--temperature", "9", "--top-p", "1", "--seed", "4")
    assert drawn != chat("--temperature", "9", "--top-p", "1", "--seed", "5")
    for wrong in (("--beam", "-1"), ("--max-length", "0"), ("--top-p", "0")):
        done = script("chat.py", tmp_path / "model", text / "tokenizer", *wrong)
        assert (done.returncode, done.stderr.count("\n")) == (2, 1)

    done = script("score.py", tmp_path, "model")
    assert done.returncode == 0, done.stderr
    score = json.loads((tmp_path / "score.json").read_text())
    assert score["n_replies"] == 6
    # Half of the replies say the same, and the others repeat words of the turn.
    assert 1 < score["perplexity"] < score["ngram"]["perplexity"] < 10
    readme = tmp_path / "README.md"
    readme.write_text("<!-- results -->\n<!-- end of results -->\n")
    again = script("score.py", "--table", tmp_path, "--readme", readme)
    assert again.stdout == done.stdout
    assert "| Kneser-Ney 5-gram | the reply so far |" in readme.read_text()
    assert script("score.py", tmp_path).returncode == 2


def test_ngram_perplexity_counts_pieces_and_ends() -> None:
    with imported(RECIPE, ["score"]) as modules:
        training = [("x", "ab")] * 8 + [("x", "a")] * 8
        found = modules.score.ngram_perplexity(training, [("x", "ab"), ("x", "a")])
        assert (found.n_words, found.n_sentences, found.n_unknown) == (3, 2, 0)
        # Behind an a as many replies go on as end; else there is no choice.
        assert found.perplexity() == pytest.approx(math.exp(2 * math.log(2) / 5), rel=0.1)


@pytest.mark.recipe
def test_tiny_runs(asr_data: Path, tmp_path: Path) -> None:
    data = asr_data / "text" / "dialogues" / "self_dialogues.tsv.xz"
    done = run("bash", RECIPE / "run.sh", "--data", data, "--exp", tmp_path, "--conf", "tiny")
    assert done.returncode == 0, done.stdout + done.stderr
    n_turns = len((RECIPE / "turns.txt").read_text().splitlines())
    assert len((tmp_path / "replies.txt").read_text().splitlines()) == n_turns
    score = json.loads((tmp_path / "score.json").read_text())
    assert score["n_replies"] == 90
    assert 1 < score["perplexity"] < 300
