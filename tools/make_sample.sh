#!/bin/sh
# Makes examples/hello.wav, the sample recording of the README: a sentence in the style of
# LibriSpeech, spoken by the free synthesiser flite (Debian, Ubuntu: apt install flite;
# macOS: brew install flite) with its voice slt, 16 kHz mono 16 bit.  Version 2.2 gives the
# committed file bit for bit (SHA-256 8dd01a73...c65144).
set -eu
cd "$(dirname "$0")/.."
text="She opened the old door, and the morning light fell on the books and papers of the little room."
flite -voice slt -t "$text" -o examples/hello.wav
