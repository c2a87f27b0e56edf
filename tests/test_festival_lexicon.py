"""tools/festival_lexicon.py on a small lexicon in Festival's format."""

from pathlib import Path

import pytest

from asr.lexicon import read_lexicon
from tests.recipe_scripts import Script, script_runner

TOOLS = Path(__file__).parents[1] / "tools"
LEXICON = """MNCL
("cat" nil (((k ae t) 1)))
("live" j (((l ay v) 1)))
("live" v (((l ih v) 1)))
("tis" nil (((t iy z) 1)))
("can" nil (((k ae n) 1)))
("separate" n (((s eh) 1) ((p r ax t) 0)))
("wound" n (((w uw n d) 1)))
("wound" v (((w aw n d) 1)))
"""
PROGRAM = """(define (cmulex_addenda)
  (lex.add.entry '("can't" v (((k ae n t) 1))))
  (lex.add.entry
   '("Jan" n (((jh ae n y) 1) ((uw) 0) ((eh r) 1) ((iy) 0))))
  (lex.add.entry '("AT&T" n (((ey) 1) ((t iy) 1)))))
"""


@pytest.fixture
def script(capsys: pytest.CaptureFixture[str]) -> Script:
    return script_runner(TOOLS, capsys)


def test_all_parts_of_speech_corrections_and_what_the_program_adds(
    script: Script, tmp_path: Path
) -> None:
    (tmp_path / "cmudict-0.4.out").write_text(LEXICON)
    (tmp_path / "cmulex.scm").write_text(PROGRAM)
    output = tmp_path / "festival.dict"
    done = script("festival_lexicon.py", output, "--festival", tmp_path)
    assert done.returncode == 0, done.stderr
    lexicon = read_lexicon(output)
    assert lexicon.pronunciations("CAT") == (("K", "AE", "T"),)
    assert lexicon.pronunciations("SEPARATE") == (("S", "EH", "P", "R", "AX", "T"),)
    assert lexicon.pronunciations("WOUND") == (("W", "UW", "N", "D"), ("W", "AW", "N", "D"))
    assert lexicon.pronunciations("CAN'T") == (("K", "AE", "N", "T"),)
    # Corrected, in the order of how often they are said so; with a second one, unstressed.
    assert lexicon.pronunciations("TIS") == (("T", "IH", "Z"),)
    assert lexicon.pronunciations("LIVE") == (("L", "IH", "V"), ("L", "AY", "V"))
    assert lexicon.pronunciations("CAN") == (("K", "AE", "N"), ("K", "AX", "N"))
    # An abbreviation that a synthesiser reads in full, and no word.
    assert "JAN" not in lexicon.words
    assert "AT&T" not in lexicon.words
    assert f"{len(lexicon.words)} words" in done.stdout


def test_festival_is_missing_or_another(script: Script, tmp_path: Path) -> None:
    done = script("festival_lexicon.py", tmp_path / "out", "--festival", tmp_path)
    assert done.returncode == 2
    assert "apt install festlex-cmu" in done.stderr
    for name in ("cmudict-0.4.out", "cmulex.scm"):
        (tmp_path / name).write_text("MNCL\n")
    done = script("festival_lexicon.py", tmp_path / "out", "--festival", tmp_path)
    assert done.returncode == 2
    assert "no entry of a lexicon" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()
