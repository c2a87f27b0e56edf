"""`asr doctor`: what is installed, what is missing and how to get it.

It runs with nothing but Python, and every check is the real thing: packages are imported, the
default model transcribes.
"""

import argparse
import os
import platform
import shutil
import time
import warnings
from dataclasses import asdict, dataclass
from importlib import import_module

from asr import __version__

__all__ = [
    "HELP",
    "PACKAGES",
    "PROGRAMS",
    "Devices",
    "Missing",
    "Package",
    "PackageState",
    "Program",
    "Remedy",
    "Report",
    "configure",
    "run",
]

HELP = "show versions and devices, what is missing and how to get it"

BROKEN = 2


@dataclass(frozen=True)
class Remedy:
    """The shell line that brings something, on each system."""

    debian: str
    fedora: str
    macos: str


@dataclass(frozen=True)
class Package:
    """A Python package: pip's requirement, what it is imported as, what it is for."""

    requirement: str
    module: str
    purpose: str
    required: bool = True
    system: Remedy | None = None  # what pip needs to install it

    @property
    def name(self) -> str:
        """The name without the bounds."""
        return self.requirement.partition(">")[0]

    @property
    def remedy(self) -> Remedy:
        """How to get it."""
        install = f'pip install "{self.requirement}"'
        if self.system is None:
            return Remedy(install, install, install)
        steps = [f"{step} && {install}" for step in asdict(self.system).values()]
        return Remedy(*steps)


@dataclass(frozen=True)
class Program:
    """A program that is called where it is installed."""

    name: str
    purpose: str
    remedy: Remedy


_COMPILER = Remedy(
    "sudo apt install build-essential python3-dev",
    "sudo dnf install gcc-c++ make python3-devel",
    "xcode-select --install",
)
_SNDFILE = Remedy(
    "sudo apt install libsndfile1", "sudo dnf install libsndfile", "brew install libsndfile"
)

PACKAGES = (
    Package("torch>=2.11,<2.14", "torch", "computes the networks"),
    Package("torchaudio>=2.11,<2.14", "torchaudio", "audio transforms, corpora"),
    Package("numpy>=1.26", "numpy", "arrays"),
    Package("scipy>=1.11", "scipy", "filters"),
    Package("numba>=0.60", "numba", "compiled loops"),
    Package("librosa>=0.11", "librosa", "audio analysis"),
    Package("soundfile>=0.12.1", "soundfile", "reads audio files", system=_SNDFILE),
    Package("soxr>=0.5", "soxr", "resamples"),
    Package("jiwer>=4", "jiwer", "counts word errors"),
    Package("rapidfuzz>=3", "rapidfuzz", "word errors while tuning"),
    Package("sentencepiece>=0.2", "sentencepiece", "word-piece tokens"),
    Package("num2words>=0.5.13", "num2words", "numbers in transcripts"),
    Package("pydantic>=2.7", "pydantic", "checks configurations"),
    Package("rich>=13.7", "rich", "progress bars"),
    Package("safetensors>=0.4.3", "safetensors", "reads and writes models"),
    Package(
        "kenlm>=0.2",
        "kenlm",
        "reads KenLM's language models; transcribing and training go without",
        required=False,
        system=_COMPILER,
    ),
    Package("tensorboard>=2.16", "tensorboard", "shows training curves", required=False),
    Package("matplotlib>=3.8", "matplotlib", "draws pictures", required=False),
)

PROGRAMS = (
    Program(
        "ffmpeg",
        "reads m4a, mp4, webm, wma and other audio than wav, flac, ogg, opus, mp3, aiff",
        Remedy("sudo apt install ffmpeg", "sudo dnf install ffmpeg-free", "brew install ffmpeg"),
    ),
)


@dataclass(frozen=True)
class PackageState:
    """A package as it is here; `problem` is empty where it works."""

    name: str
    version: str
    required: bool
    problem: str


@dataclass(frozen=True)
class Missing:
    """Something that is not here or does not work, and how to get it."""

    name: str
    purpose: str
    required: bool
    remedy: Remedy


@dataclass(frozen=True)
class Devices:
    """What torch can compute on."""

    cpu_threads: int
    cuda: tuple[str, ...]
    mps: bool
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Report:
    """All findings."""

    asr: str
    python: str
    system: str
    packages: tuple[PackageState, ...]
    torchaudio_native: bool
    programs: dict[str, str]
    devices: Devices
    default_model: str
    transcribes: bool
    missing: tuple[Missing, ...]


def configure(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.epilog = "The exit code is 0 when transcribing with the default model works, else 2."
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(arguments: argparse.Namespace) -> int:
    """Examine and report."""
    report = _examine()
    if arguments.json:
        import json

        print(json.dumps(asdict(report), indent=2))
    else:
        print("\n".join(_lines(report)))
    return 0 if report.transcribes else BROKEN


def _examine() -> Report:
    packages = tuple(_examine_package(package) for package in PACKAGES)
    programs = {program.name: shutil.which(program.name) or "" for program in PROGRAMS}
    missing = [
        Missing(package.name, package.purpose, package.required, package.remedy)
        for package, state in zip(PACKAGES, packages, strict=True)
        if state.problem
    ]
    missing += [
        Missing(program.name, program.purpose, False, program.remedy)
        for program in PROGRAMS
        if not programs[program.name]
    ]
    transcribes, default_model = _try_default_model()
    return Report(
        asr=__version__,
        python=platform.python_version(),
        system=platform.platform(),
        packages=packages,
        torchaudio_native=_torchaudio_native(),
        programs=programs,
        devices=_examine_devices(),
        default_model=default_model,
        transcribes=transcribes,
        missing=tuple(missing),
    )


# Here and below any exception is a finding: broken libraries fail at import in many ways.


def _examine_package(package: Package) -> PackageState:
    # Here, since it takes a third of the time of `asr --help`.
    from importlib.metadata import PackageNotFoundError, version

    try:
        installed = version(package.name)
    except PackageNotFoundError:
        return PackageState(package.name, "", package.required, "not installed")
    try:
        if package.module == "torchaudio":
            from asr.torchaudio_safe import has_native_library

            has_native_library()
        else:
            import_module(package.module)
    except Exception as error:
        return PackageState(package.name, installed, package.required, _one_line(error))
    return PackageState(package.name, installed, package.required, "")


def _torchaudio_native() -> bool:
    from asr.torchaudio_safe import has_native_library

    try:
        return has_native_library()
    except Exception:
        return False


def _examine_devices() -> Devices:
    try:
        import torch
    except Exception as error:
        return Devices(os.cpu_count() or 1, (), False, (f"torch: {_one_line(error)}",))
    # An old driver, for example, shows itself in a warning.
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        cuda = []
        if torch.cuda.is_available():
            for index in range(torch.cuda.device_count()):
                card = torch.cuda.get_device_properties(index)
                cuda.append(f"{card.name}, {card.total_memory / 2**30:.0f} GiB")
        mps = torch.backends.mps.is_available()
    notes = [" ".join(str(warning.message).split()) for warning in caught]
    if not cuda and shutil.which("nvidia-smi"):
        build = f"for CUDA {torch.version.cuda}" if torch.version.cuda else "for the CPU alone"
        notes.append(
            f"there is an NVIDIA driver, but this torch, built {build}, finds no card; "
            "install the torch that fits the driver"
        )
    return Devices(torch.get_num_threads(), tuple(cuda), mps, tuple(notes))


def _try_default_model() -> tuple[bool, str]:
    """Transcribe a second of silence; return whether it worked and what there is to say."""
    try:
        import numpy as np

        from asr.audio import SAMPLE_RATE
        from asr.model_folders import find_model
        from asr.transcribe import load

        folder = find_model("default")
        start = time.perf_counter()
        load("default", decoding="greedy").transcribe(np.zeros(SAMPLE_RATE, dtype=np.float32))
        seconds = time.perf_counter() - start
    except Exception as error:
        return False, _one_line(error)
    return True, f"{folder} (loaded and transcribed in {seconds:.1f} s)"


def _lines(report: Report) -> list[str]:
    lines = [f"asr {report.asr}, Python {report.python}, {report.system}", "", "packages"]
    for state in report.packages:
        remark = state.problem
        if state.name == "torchaudio" and not state.problem and not report.torchaudio_native:
            remark = "without its native library, which nothing here needs"
        lines.append(f"  {state.name:14} {state.version or '-':14} {remark}".rstrip())
    lines += ["", "programs"]
    lines += [f"  {name:14} {path or 'not installed'}" for name, path in report.programs.items()]
    devices = report.devices
    lines += ["", "devices", f"  {'cpu':14} {devices.cpu_threads} threads"]
    lines += [f"  {f'cuda:{index}':14} {card}" for index, card in enumerate(devices.cuda)]
    lines += [f"  {'mps':14} Apple GPU"] if devices.mps else []
    lines += [f"  note: {note}" for note in devices.notes]
    lines += ["", "transcribing with the default model"]
    lines += [f"  {'works' if report.transcribes else 'fails':14} {report.default_model}"]
    for missing in report.missing:
        need = "needed" if missing.required else "optional"
        lines += ["", f"{need}: {missing.name}, {missing.purpose}"]
        remedy = missing.remedy
        if remedy.debian == remedy.fedora == remedy.macos:
            lines += [f"  {remedy.debian}"]
        else:
            lines += [f"  Debian, Ubuntu: {remedy.debian}", f"  Fedora:         {remedy.fedora}"]
            lines += [f"  macOS:          {remedy.macos}"]
    return lines


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
