"""gensim's word2vec, in an environment of its own; tools/bench_word2vec.py starts it.

    PYTHON tools/word2vec_peer.py SETTINGS.json

Only gensim is imported.  It reads the text from a file, which is its fastest way, and writes
vectors in word2vec's text format and a line of JSON: how long training took.
"""

import json
import sys
import time
from pathlib import Path

from gensim.models import Word2Vec


def main() -> None:
    settings = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model = Word2Vec(**settings["options"])
    model.build_vocab(corpus_file=settings["text"])
    wall, cpu = time.monotonic(), time.process_time()
    model.train(
        corpus_file=settings["text"],
        total_words=model.corpus_total_words,
        total_examples=model.corpus_count,
        epochs=model.epochs,
    )
    seconds = {"seconds": time.monotonic() - wall, "cpu_seconds": time.process_time() - cpu}
    model.wv.save_word2vec_format(settings["output"])
    print(json.dumps(seconds))


if __name__ == "__main__":
    main()
