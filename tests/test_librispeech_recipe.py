"""recipes/librispeech: the download from a server of our own, and the whole recipe on real data."""

import hashlib
import io
import json
import lzma
import math
import os
import random
import re
import shutil
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch

from asr.audio import load, save_wav
from asr.errors import ConfigError
from asr.manifest import Utterance, read_manifest, write_manifest
from asr.prepare import from_librispeech
from asr.text import CharTokenizer, load_tokenizer
from lm.table import NgramTable
from lm.units import WordUnits
from lm.word_shares import WordShares
from tests.g2p_models import save_g2p_model
from tests.lm_models import small_model
from tests.neural_models import neural_model
from tests.recipe_scripts import Script, imported, script_runner

ROOT = Path(__file__).parents[1]
RECIPE = ROOT / "recipes" / "librispeech"
SUBSETS = ("train-clean-100", "dev-clean", "test-clean")


class Archives(ThreadingHTTPServer):
    """Serves archives, and misbehaves as often as it is told to."""

    daemon_threads = True

    def __init__(self, files: dict[str, bytes]) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.files = files
        self.requests: list[tuple[str, str | None]] = []
        self.has_ranges = True
        self.n_cut = 0
        self.n_corrupt = 0
        self.n_busy = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Archives

    def do_GET(self) -> None:
        server, name, wanted = self.server, self.path.lstrip("/"), self.headers["Range"]
        server.requests.append((name, wanted))
        if server.n_busy:
            server.n_busy -= 1
            return self.send_error(503)
        if name not in server.files:
            return self.send_error(404)
        whole = server.files[name]
        start = int(wanted.removeprefix("bytes=").removesuffix("-")) if wanted else 0
        if not server.has_ranges:
            start = 0
        if start >= len(whole):
            self.send_response(416)
            self.send_header("Content-Range", f"bytes */{len(whole)}")
            self.send_header("Content-Length", "0")
            return self.end_headers()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
        self.send_header("Content-Length", str(len(whole) - start))
        self.end_headers()
        body = bytearray(whole[start:])
        if server.n_corrupt:
            server.n_corrupt -= 1
            body[len(body) // 4] ^= 1
        if server.n_cut:
            server.n_cut -= 1
            body = body[: len(body) // 2]
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def audio_files(subset: str) -> dict[str, bytes]:
    """Two utterances of one speaker, in the layout of LibriSpeech."""
    speaker = 100 + SUBSETS.index(subset)
    random = np.random.default_rng(speaker)
    files, lines = {}, []
    for number in range(2):
        name = f"{speaker}-7-{number:04}"
        tone = 0.3 * np.sin(np.arange(16_000 + 800 * number) * random.uniform(0.05, 0.3))
        file = io.BytesIO()
        samples = tone + 0.01 * random.standard_normal(len(tone))
        soundfile.write(file, samples, 16_000, format="FLAC", subtype="PCM_16")
        files[f"LibriSpeech/{subset}/{speaker}/7/{name}.flac"] = file.getvalue()
        lines.append(f"{name} A TONE\n")
    files[f"LibriSpeech/{subset}/{speaker}/7/{speaker}-7.trans.txt"] = "".join(lines).encode()
    files["LibriSpeech/LICENSE.TXT"] = b"CC BY 4.0\n"
    return files


def pack(files: dict[str, bytes]) -> bytes:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return packed.getvalue()


@pytest.fixture(scope="module")
def contents() -> dict[str, dict[str, bytes]]:
    return {subset: audio_files(subset) for subset in SUBSETS}


@pytest.fixture
def server(contents: dict[str, dict[str, bytes]]) -> Iterator[Archives]:
    files = {f"{subset}.tar.gz": pack(found) for subset, found in contents.items()}
    with Archives(files) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def sums(server: Archives, folder: Path) -> Path:
    path = folder / "SHA256SUMS"
    lines = [f"{hashlib.sha256(d).hexdigest()}  {name}\n" for name, d in server.files.items()]
    path.write_text("".join(lines))
    return path


def run(*command: object) -> "subprocess.CompletedProcess[str]":
    environment = os.environ | {
        "PYTHON": sys.executable,
        "PYTHONPATH": str(ROOT),
        "OMP_NUM_THREADS": "1",
    }
    arguments = [str(part) for part in command]
    return subprocess.run(
        arguments, env=environment, capture_output=True, text=True, timeout=590, check=False
    )


def download(server: Archives, folder: Path, *subsets: str) -> "subprocess.CompletedProcess[str]":
    checksums = sums(server, folder.parent)
    program = [sys.executable, RECIPE / "download.py", folder, *subsets]
    return run(*program, "--base-url", server.url, "--checksums", checksums)


def files_below(folder: Path) -> dict[str, bytes]:
    paths = [path for path in folder.rglob("*") if path.is_file()]
    return {f"LibriSpeech/{path.relative_to(folder)}": path.read_bytes() for path in paths}


def assert_refused(done: "subprocess.CompletedProcess[str]", *parts: str) -> None:
    last = done.stderr.splitlines()[-1]
    assert done.returncode == 2, done.stderr
    assert "Traceback" not in done.stderr
    assert "error: " in last
    assert all(part in last for part in parts), last


def test_several_subsets(
    server: Archives, tmp_path: Path, contents: dict[str, dict[str, bytes]]
) -> None:
    folder = tmp_path / "corpus"
    done = download(server, folder, "dev-clean", "test-clean")
    assert done.returncode == 0, done.stderr
    assert files_below(folder) == contents["dev-clean"] | contents["test-clean"]
    assert server.requests == [("dev-clean.tar.gz", None), ("test-clean.tar.gz", None)]

    again = download(server, folder, "dev-clean", "test-clean")
    assert again.returncode == 0
    assert len(server.requests) == 2  # what is there is not asked for


def test_a_cut_transfer_goes_on_where_it_was(
    server: Archives, tmp_path: Path, contents: dict[str, dict[str, bytes]]
) -> None:
    server.n_cut = 1
    done = download(server, tmp_path / "corpus", "dev-clean")
    assert done.returncode == 0, done.stderr
    assert files_below(tmp_path / "corpus") == contents["dev-clean"]
    half = len(server.files["dev-clean.tar.gz"]) // 2
    assert server.requests == [
        ("dev-clean.tar.gz", None),
        ("dev-clean.tar.gz", f"bytes={half}-"),
    ]


def test_a_cut_transfer_starts_again_on_a_server_without_ranges(
    server: Archives, tmp_path: Path, contents: dict[str, dict[str, bytes]]
) -> None:
    server.n_cut, server.has_ranges = 1, False
    done = download(server, tmp_path / "corpus", "dev-clean")
    assert done.returncode == 0, done.stderr
    assert files_below(tmp_path / "corpus") == contents["dev-clean"]


def test_a_corrupted_transfer_is_repeated_from_nothing(
    server: Archives, tmp_path: Path, contents: dict[str, dict[str, bytes]]
) -> None:
    server.n_corrupt = 1
    done = download(server, tmp_path / "corpus", "dev-clean")
    assert done.returncode == 0, done.stderr
    assert "wrong checksum" in done.stderr
    assert files_below(tmp_path / "corpus") == contents["dev-clean"]
    assert server.requests == [("dev-clean.tar.gz", None)] * 2


def test_cut_and_corrupted_in_one_run(
    server: Archives, tmp_path: Path, contents: dict[str, dict[str, bytes]]
) -> None:
    server.n_cut = server.n_corrupt = 1
    done = download(server, tmp_path / "corpus", "dev-clean")
    assert done.returncode == 0, done.stderr
    assert files_below(tmp_path / "corpus") == contents["dev-clean"]
    assert len(server.requests) == 3


def test_a_server_that_is_always_wrong_is_one_clear_error(server: Archives, tmp_path: Path) -> None:
    server.n_corrupt = 1_000
    done = download(server, tmp_path / "corpus", "dev-clean")
    assert_refused(done, "dev-clean.tar.gz", "checksum", "--base-url")
    assert len(server.requests) == 2
    assert files_below(tmp_path / "corpus") == {}


@pytest.mark.parametrize("fraction", [0.3, 1.0], ids=["in the middle", "before the check"])
def test_a_run_that_was_killed_goes_on(
    server: Archives, tmp_path: Path, contents: dict[str, dict[str, bytes]], fraction: float
) -> None:
    folder = tmp_path / "corpus"
    whole = server.files["dev-clean.tar.gz"]
    there = int(fraction * len(whole))
    folder.mkdir()
    (folder / "dev-clean.tar.gz.part").write_bytes(whole[:there])
    (folder / ".dev-clean.extracting" / "LibriSpeech").mkdir(parents=True)
    done = download(server, folder, "dev-clean")
    assert done.returncode == 0, done.stderr
    assert server.requests == [("dev-clean.tar.gz", f"bytes={there}-")]
    assert files_below(folder) == contents["dev-clean"]


def test_a_part_longer_than_the_archive_is_thrown_away(
    server: Archives, tmp_path: Path, contents: dict[str, dict[str, bytes]]
) -> None:
    folder = tmp_path / "corpus"
    folder.mkdir()
    (folder / "dev-clean.tar.gz.part").write_bytes(server.files["dev-clean.tar.gz"] + b"more")
    done = download(server, folder, "dev-clean")
    assert done.returncode == 0, done.stderr
    assert files_below(folder) == contents["dev-clean"]


def test_a_busy_server_is_asked_again(server: Archives, tmp_path: Path) -> None:
    server.n_busy = 1
    done = download(server, tmp_path / "corpus", "dev-clean")
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 2


def test_what_the_server_does_not_have(server: Archives, tmp_path: Path) -> None:
    checksums = sums(server, tmp_path)
    server.files.clear()
    done = run(
        *(sys.executable, RECIPE / "download.py", tmp_path / "corpus", "dev-clean"),
        *("--base-url", server.url, "--checksums", checksums),
    )
    assert_refused(done, "dev-clean.tar.gz", "404")
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["../evil.txt", "/evil.txt", "LibriSpeech/../../evil.txt"])
def test_an_archive_that_writes_elsewhere_is_refused(
    server: Archives, tmp_path: Path, name: str
) -> None:
    server.files["dev-clean.tar.gz"] = pack({name: b"evil"})
    folder = tmp_path / "deep" / "corpus"
    folder.parent.mkdir()
    done = download(server, folder, "dev-clean")
    assert_refused(done, "dev-clean.tar.gz")
    assert not (folder / "dev-clean").exists()
    assert not list(tmp_path.rglob("evil.txt"))


def test_an_archive_with_a_link_is_refused(server: Archives, tmp_path: Path) -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as archive:
        link = tarfile.TarInfo("LibriSpeech/dev-clean")
        link.type, link.linkname = tarfile.SYMTYPE, str(tmp_path)
        archive.addfile(link)
    server.files["dev-clean.tar.gz"] = packed.getvalue()
    folder = tmp_path / "corpus"
    assert_refused(download(server, folder, "dev-clean"), "dev-clean.tar.gz", "inside")
    assert not (folder / "dev-clean").exists()


def test_another_archive_is_refused(
    server: Archives, tmp_path: Path, contents: dict[str, dict[str, bytes]]
) -> None:
    server.files["dev-clean.tar.gz"] = pack(contents["test-clean"])
    done = download(server, tmp_path / "corpus", "dev-clean")
    assert_refused(done, "dev-clean.tar.gz", "LibriSpeech/dev-clean")


def test_the_official_archives_have_checksums(tmp_path: Path) -> None:
    done = run(sys.executable, RECIPE / "download.py", tmp_path, "dev-cleen")
    official = ["dev-clean", "dev-other", "test-clean", "test-other"]
    official += ["train-clean-100", "train-clean-360", "train-other-500"]
    assert_refused(done, "dev-cleen", *official)


def test_stages_download_and_prepare(server: Archives, tmp_path: Path) -> None:
    command = [RECIPE / "run.sh", "--data", tmp_path / "data", "--exp", tmp_path / "exp"]
    command += ["--dev", "dev-clean", "--test", "test-clean", "--stop-stage", "prepare"]
    command += ["--base-url", server.url, "--checksums", sums(server, tmp_path)]
    server.n_cut = 1
    done = run("bash", *command)
    assert done.returncode == 0, done.stderr
    assert "== stage 1 of 8: download" in done.stdout
    assert re.search(r"== stage 2 of 8: prepare done in \d+ s", done.stdout)
    for subset in SUBSETS:
        utterances = read_manifest(tmp_path / "exp" / "manifests" / f"{subset}.jsonl")
        assert [u.duration for u in utterances] == [1.0, 1.05]
        assert {u.text for u in utterances} == {"A TONE"}
    (tmp_path / "words.dict").write_text("A AH0\nTONE T OW1 N\n")
    phones = ["--units", "phones", "--dictionary", tmp_path / "words.dict"]
    done = run("bash", *command, "--stage", "tokenizer", "--stop-stage", "tokenizer", *phones)
    assert done.returncode == 0, done.stderr
    tokenizer = load_tokenizer(tmp_path / "exp" / "tokenizer")
    assert tokenizer.symbols[1:] == ("AH", "N", "OW", "T", "|")
    assert tokenizer.unknown("AA CAB") == ["CAB"]
    phones += ["--pronouncer", save_g2p_model(tmp_path / "g2p")]
    done = run("bash", *command, "--stage", "tokenizer", "--stop-stage", "tokenizer", *phones)
    assert done.returncode == 0, done.stderr
    assert not load_tokenizer(tmp_path / "exp" / "tokenizer").unknown("AA CAB")
    n_requests = len(server.requests)
    again = run("bash", *command)
    assert again.returncode == 0, again.stderr
    assert len(server.requests) == n_requests


def test_training_and_test_speakers_must_be_apart(server: Archives, tmp_path: Path) -> None:
    corpus = tmp_path / "LibriSpeech"
    assert download(server, corpus, "train-clean-100", "dev-clean").returncode == 0
    program = [sys.executable, RECIPE / "prepare.py", corpus, tmp_path, "--train", "dev-clean"]
    done = run(*program, "--dev", "train-clean-100", "--test", "dev-clean")
    assert_refused(done, "dev-clean", "101")
    assert not list(tmp_path.glob("*.jsonl"))


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (["--processes", "none"], "--processes none"),
        (["--units", "syllables"], "--units syllables"),
        (["--units", "phones"], "--units phones needs --dictionary"),
        (["--conf", "huge"], "--conf huge"),
    ],
)
def test_wrong_options(tmp_path: Path, options: list[str], part: str) -> None:
    done = run("bash", RECIPE / "run.sh", "--data", tmp_path, "--exp", tmp_path, *options)
    assert_refused(done, part)
    assert len(done.stderr.splitlines()) == 1


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Script:
    return script_runner(RECIPE, capsys)


def test_degrade_keeps_the_words_and_the_ratio_of_speech_to_noise(
    tmp_path: Path, script: Script
) -> None:
    t = np.arange(32_000) / 16_000
    speech = (0.5 * np.sin(2 * np.pi * 440 * t)).astype(np.float32)
    (tmp_path / "noise").mkdir()
    noise = np.random.default_rng(0).normal(0, 0.01, 8_000).astype(np.float32)
    save_wav(tmp_path / "noise" / "hiss.wav", noise)
    save_wav(tmp_path / "a.wav", speech)
    # The second utterance is a stretch of the same file.
    said = Utterance(tmp_path / "a.wav", 2.0, "A TONE", "tuner")
    part = replace(said, duration=0.5, offset=1.0, text="TONE")
    write_manifest(tmp_path / "m.jsonl", [said, part])
    options = ["--noise", tmp_path / "noise", "--snr", "10", "--telephone"]
    done = script("degrade.py", tmp_path / "m.jsonl", tmp_path / "out", *options)
    assert done.returncode == 0, done.stderr
    changed = read_manifest(tmp_path / "out" / "m-noise-10dB.jsonl")
    assert [(u.text, u.duration, u.offset, u.speaker) for u in changed] == [
        ("A TONE", 2.0, 0.0, "tuner"),
        ("TONE", 0.5, 0.0, "tuner"),
    ]
    heard = load(changed[0].audio_filepath)
    added = heard - speech[: len(heard)] * float(heard @ speech) / float(speech @ speech)
    ratio = 10 * np.log10(np.mean(speech**2) / np.mean(added**2))
    assert ratio == pytest.approx(10, abs=0.5)
    line = load(read_manifest(tmp_path / "out" / "m-telephone.jsonl")[1].audio_filepath)
    assert len(line) == 8_000
    assert np.abs(line).max() > 0.3

    nothing = script("degrade.py", tmp_path / "m.jsonl", tmp_path / "out")
    assert nothing.returncode == 2
    assert "give --noise FOLDER, --telephone or both" in nothing.stderr


def test_synthesis_draws_from_the_whole_text_what_the_tokenizer_knows(tmp_path: Path) -> None:
    sentences = [
        f"{'a' * (n // 26 + 1)}{chr(97 + n % 26)} say so and end it here".upper() + " IT" * 4
        for n in range(100)
    ]
    lines = ["TOO SHORT", *sentences, "UNKNOWN \u00c4 " * 6, "LONG " * 31]
    path = tmp_path / "text.xz"
    path.write_bytes(lzma.compress("\n".join(lines).encode()))
    tokenizer = CharTokenizer()
    with imported(RECIPE, ["synthesize"]) as modules:
        draw_sentences = modules.synthesize.draw_sentences
        drawn = [draw_sentences(path, 10, random.Random(seed), tokenizer) for seed in range(100)]
        assert draw_sentences(path, 10, random.Random(0), tokenizer) == drawn[0] != drawn[1]
        everything = draw_sentences(path, 100, random.Random(0), tokenizer)
        with pytest.raises(ConfigError, match="100 sentences of 10 to 30 known words; 101 are"):
            draw_sentences(path, 101, random.Random(0), tokenizer)
    assert sorted(everything) == sorted(sentences) != everything
    # 1,000 draws, 10 of each sentence on average: the halves of the text alike.
    first = sum(sentence in sentences[:50] for each in drawn for sentence in each)
    assert abs(first - 500) < 60
    assert all(len(set(each)) == 10 for each in drawn)


@pytest.mark.skipif(not shutil.which("flite"), reason="needs flite")
def test_synthesis_speaks_and_goes_on_where_it_was(tmp_path: Path, script: Script) -> None:
    sentence = "THE {} OF THE HOUSE WENT OUT INTO THE GARDEN AND SAT DOWN\n"
    words = ["MASTER", "LADY", "DOG", "CAT", "COOK", "OWNER", "GHOST", "CHILD"]
    (tmp_path / "text").write_text("".join(map(sentence.format, words)))
    command = ["synthesize.py", tmp_path / "text", tmp_path / "out", "--hours", "0.0025"]

    done = script(*command)
    assert done.returncode == 0, done.stderr
    said = read_manifest(tmp_path / "out.jsonl")
    assert 9 <= sum(utterance.duration for utterance in said) < 15
    for utterance in said:
        heard = load(utterance.audio_filepath)
        assert len(heard) == round(utterance.duration * 16_000)
        assert np.sqrt(np.mean(heard**2)) > 0.01
        assert utterance.speaker in {"flite-rms", "flite-slt", "flite-awb", "flite-kal16"}
    before = {each.name: each.stat().st_mtime_ns for each in (tmp_path / "out").iterdir()}

    said[0].audio_filepath.unlink()
    assert script(*command).returncode == 0
    assert read_manifest(tmp_path / "out.jsonl") == said
    after = {each.name: each.stat().st_mtime_ns for each in (tmp_path / "out").iterdir()}
    assert {name for name in after if after[name] != before[name]} == {said[0].audio_filepath.name}

    # Other options take no file for theirs.
    assert script(*command, "--seed", "1", "--voices", "slt").returncode == 0
    other = read_manifest(tmp_path / "out.jsonl")
    assert {utterance.speaker for utterance in other} == {"flite-slt"}
    assert not {utterance.id for utterance in other} & {utterance.id for utterance in said}


def test_synthesis_says_what_it_needs(
    tmp_path: Path, script: Script, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    done = script("synthesize.py", tmp_path / "text", tmp_path / "out")
    assert done.returncode == 2
    assert "flite is not there" in done.stderr


def test_further_test_sets_must_have_other_names_and_speakers(
    tmp_path: Path, script: Script
) -> None:
    for subset, speaker in (("train", "1"), ("dev", "2"), ("test", "3")):
        chapter = tmp_path / "data" / subset / speaker / "5"
        chapter.mkdir(parents=True)
        save_wav(chapter / f"{speaker}-5-0.wav", np.zeros(1_600, np.float32))
        (chapter / f"{speaker}-5.trans.txt").write_text(f"{speaker}-5-0 HELLO\n")
    mine = Utterance(tmp_path / "mine.wav", 1.0, "HELLO", None)
    command = ["prepare.py", tmp_path / "data", tmp_path / "out"]
    command += ["--train", "train", "--dev", "dev", "--test", "test", "--also"]

    write_manifest(tmp_path / "mine.jsonl", [mine])
    done = script(*command, tmp_path / "mine.jsonl")
    assert done.returncode == 0, done.stderr
    assert read_manifest(tmp_path / "out" / "mine.jsonl") == [mine]

    write_manifest(tmp_path / "mine.jsonl", [replace(mine, speaker="1")])
    assert "mine: 1 of its speakers" in script(*command, tmp_path / "mine.jsonl").stderr
    write_manifest(tmp_path / "test.jsonl", [mine])
    assert "a subset has this name" in script(*command, tmp_path / "test.jsonl").stderr


def test_perplexities_are_on_one_vocabulary(script: Script, tmp_path: Path) -> None:
    sentences = [["A", "CAB"], ["BA", "A"], ["CAB"]] * 3
    table = NgramTable.from_model(small_model(sentences, 2))
    neural = neural_model(WordUnits(["A", "CAB"]))
    with imported(RECIPE, ["perplexity"]) as modules:
        log_probs_of = modules.perplexity.log_probs_of
    texts = [["A", "BA"], ["CAB", "NO", "A"], []]
    ngram, own, n_left_out = log_probs_of(table, neural, texts)
    assert (len(ngram), len(own), n_left_out) == (7, 7, 1)
    expected = sum(table.score(text) for text in texts) - float(table.log_probs(texts[1])[1])
    assert ngram.sum() == pytest.approx(expected, abs=1e-4)
    # Over all words of the table, <unk> and the end, the neural model's probabilities sum to one.
    firsts = [log_probs_of(table, neural, [[word]])[1][0] for word in ("A", "BA", "CAB")]
    unknown = float(table.arc_log_probs()[0])
    shares = WordShares(
        neural, table.vocabulary[3:], table.arc_log_probs()[3 : table.n_words], unknown
    )
    after, _ = neural.step(neural.start(1), torch.tensor([0]))
    token, share = shares.find("NO")
    rest = math.exp(float(after[0, token]) + share) + math.exp(float(after[0, 0]))
    assert sum(map(math.exp, firsts)) + rest == pytest.approx(1, abs=1e-5)

    table.save(tmp_path / "words.ngram")
    (tmp_path / "lstm").mkdir()
    neural.save(tmp_path / "lstm", {})
    write_manifest(tmp_path / "dev.jsonl", [Utterance(tmp_path / "a.wav", 1.0, "a cab")])
    files = [tmp_path / name for name in ("words.ngram", "lstm", "dev.jsonl")]
    done = script("perplexity.py", *files)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1].startswith("| dev | 3 | 0 | ")


@pytest.mark.recipe
@pytest.mark.timeout(600)
def test_tiny_on_real_recordings(asr_data: Path, tmp_path: Path) -> None:
    command = [RECIPE / "run.sh", "--data", asr_data / "LibriSpeech", "--exp", tmp_path]
    text = tmp_path / "text.txt"
    utterances = from_librispeech(asr_data / "LibriSpeech" / "train-clean-5")
    text.write_text("".join(f"{each.text}\n" for each in utterances), encoding="utf-8")
    command += ["--conf", "tiny", "--lm-text", text]
    command += ["--noise", asr_data / "noise"]
    done = run("bash", *command)
    assert done.returncode == 0, done.stdout + done.stderr
    score = json.loads((tmp_path / "score.json").read_text())
    assert score["subset"] == "test-clean-10spk"
    ngram, greedy = score["decoders"]["ngram"], score["decoders"]["greedy"]
    assert score["wer"] == ngram["test-clean-10spk"]["wer"] > 0
    assert greedy["dev-clean-20spk"]["n_utterances"] == 16
    assert greedy["test-clean-10spk"]["cer"] < 1  # some letters are right
    assert greedy["test-clean-10spk-noise-10dB"]["n_words"] == ngram["test-clean-10spk"]["n_words"]
    assert greedy["test-clean-10spk-telephone"]["n_utterances"] == 16
    assert set(score["comparisons_on_dev"]) == {"ngram - greedy"}
    lines = (tmp_path / "model" / "metrics.jsonl").read_text().splitlines()
    losses = [line["loss"] for line in map(json.loads, lines) if line["kind"] == "train"]
    assert losses[-1] < 0.8 * losses[0]  # means of 20 updates; blanks alone stay above 0.85

    (tmp_path / "score.json").unlink()
    again = run("bash", *command, "--stage", "score")
    assert again.returncode == 0, again.stderr
    assert json.loads((tmp_path / "score.json").read_text()) == score
