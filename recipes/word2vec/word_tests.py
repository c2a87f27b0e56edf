"""What vectors are good for: analogies, and similarity as people see it."""

from collections import defaultdict
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import spearmanr
from word_vectors import WordVectors

from asr.errors import TextError

__all__ = [
    "PAIR_SETS",
    "AnalogyScore",
    "Question",
    "SimilarityScore",
    "answer_analogies",
    "judge_similarity",
    "judge_vectors",
    "read_pairs",
    "read_questions",
]

QUESTIONS = "questions-words.txt"
PAIR_SETS = {
    "WordSim-353": "EN-WS-353-ALL.txt",
    "SimLex-999": "EN-SIMLEX-999.txt",
    "MEN": "EN-MEN-TR-3k.txt",
}
_BATCH = 512

Question = tuple[str, str, str, str]
Pair = tuple[str, str, float]


@dataclass(frozen=True)
class AnalogyScore:
    """The analogies of one section.

    Args:
        right: questions with the right word in the first place
        covered: questions all of whose words have vectors; others are not asked
        total: questions
    """

    right: int
    covered: int
    total: int


@dataclass(frozen=True)
class SimilarityScore:
    """How like the similarity of vectors is to people's.

    Args:
        spearman: rank correlation over the covered pairs; nan of fewer than 2
        covered: pairs of which both words have vectors
        total: pairs
    """

    spearman: float
    covered: int
    total: int


def read_questions(path: Path) -> dict[str, list[Question]]:
    """Read Google's analogy questions by section.

    Raises:
        TextError: the file cannot be read, or a line has not 4 words
    """
    sections: dict[str, list[Question]] = defaultdict(list)
    name = ""
    for number, line in enumerate(_lines(path), start=1):
        words = line.split()
        if words[:1] == [":"] and len(words) == 2:
            name = words[1]
        elif len(words) == 4 and name:
            sections[name].append((words[0], words[1], words[2], words[3]))
        elif words:
            raise TextError(f"{path}, line {number}: 4 words or ': SECTION' needed, got {line!r}")
    return dict(sections)


def read_pairs(path: Path) -> list[Pair]:
    """Read pairs of words with people's judgement, three columns parted by white space.

    Raises:
        TextError: the file cannot be read or a line is wrong
    """
    pairs: list[Pair] = []
    for number, line in enumerate(_lines(path), start=1):
        try:
            first, second, value = line.split()
            pairs.append((first, second, float(value)))
        except ValueError:
            raise TextError(
                f"{path}, line {number}: two words and a number needed, got {line!r}"
            ) from None
    return pairs


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise TextError(f"{path}: cannot be read ({error})") from None


def answer_analogies(
    vectors: WordVectors, sections: dict[str, list[Question]], *, n_candidates: int = 0
) -> dict[str, AnalogyScore]:
    """Answer a : b = c : ? by the word nearest to b - a + c, the three themselves left out.

        argmax over w of cos(v_w, v_b/|v_b| - v_a/|v_a| + v_c/|v_c|)

    Args:
        vectors: any
        sections: questions
        n_candidates: only this many first words are asked about and answered with; 0: all

    Reference: Mikolov et al., "Linguistic regularities in continuous space word
    representations", NAACL 2013.
    """
    limit = n_candidates or len(vectors.words)
    candidates = vectors.normalized[:limit]
    scores = {}
    for name, questions in sections.items():
        found = [[vectors.find(word) for word in question] for question in questions]
        asked = [row for row in found if all(word is not None and word < limit for word in row)]
        right = 0
        for first in range(0, len(asked), _BATCH):
            numbers = np.array(asked[first : first + _BATCH], np.int64)
            right += int((_answers(candidates, numbers[:, :3]) == numbers[:, 3]).sum())
        scores[name] = AnalogyScore(right, len(asked), len(questions))
    return scores


def _answers(candidates: NDArray[np.float32], given: NDArray[np.int64]) -> NDArray[np.int64]:
    a, b, c = given.T
    cosines = (candidates[b] - candidates[a] + candidates[c]) @ candidates.T
    np.put_along_axis(cosines, given, -np.inf, axis=1)
    answers: NDArray[np.int64] = cosines.argmax(1)
    return answers


def judge_similarity(vectors: WordVectors, pairs: list[Pair]) -> SimilarityScore:
    """Compare cosines with people's judgements by Spearman's rank correlation."""
    ours, theirs = [], []
    for first, second, value in pairs:
        numbers = vectors.find(first), vectors.find(second)
        if numbers[0] is not None and numbers[1] is not None:
            ours.append(float(vectors.normalized[numbers[0]] @ vectors.normalized[numbers[1]]))
            theirs.append(value)
    correlation = float(spearmanr(ours, theirs).statistic) if len(ours) > 1 else float("nan")
    return SimilarityScore(correlation, len(ours), len(pairs))


def judge_vectors(vectors: WordVectors, folder: Path, n_candidates: int) -> dict[str, Any]:
    """Run all tests in a folder, for score.json; sets that are not there are left out."""
    sections = answer_analogies(
        vectors, read_questions(folder / QUESTIONS), n_candidates=n_candidates
    )
    groups: dict[str, list[AnalogyScore]] = {"all": list(sections.values())}
    groups["syntactic"] = [score for name, score in sections.items() if name.startswith("gram")]
    groups["semantic"] = [score for name, score in sections.items() if not name.startswith("gram")]
    sums = {name: _sum(scores) for name, scores in groups.items()}
    pairs = {
        name: asdict(judge_similarity(vectors, read_pairs(folder / file)))
        for name, file in PAIR_SETS.items()
        if (folder / file).exists()
    }
    analogies = {name: asdict(score) for name, score in {**sections, **sums}.items()}
    return {"analogies": analogies, "similarity": pairs}


def _sum(scores: list[AnalogyScore]) -> AnalogyScore:
    return AnalogyScore(
        sum(score.right for score in scores),
        sum(score.covered for score in scores),
        sum(score.total for score in scores),
    )
