"""torchaudio with and without its native library, each in a fresh process."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from asr.torchaudio_safe import has_native_library, torchaudio


def python(code: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run code in a process that has imported nothing, with warnings as errors."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
    )


def output(code: str, **environment: str) -> str:
    result = python(code, **environment)
    assert result.returncode == 0, result.stderr
    return result.stdout.strip()


def loads_by_itself(**environment: str) -> bool:
    return python("import torchaudio", **environment).returncode == 0


@pytest.fixture(scope="module")
def loads_here() -> bool:
    return loads_by_itself()


# What needs no native code, then what does; prints whether there is some and what came out.
USE = """
    import torch
    from asr.errors import DependencyError
    from asr.torchaudio_safe import has_native_library, torchaudio

    waveform = torch.sin(torch.arange(4000) / 9.0)[None]
    torchaudio.transforms.MelSpectrogram(16_000, n_fft=400, n_mels=20)(waveform)
    torchaudio.compliance.kaldi.fbank(waveform)
    torchaudio.datasets.LIBRISPEECH
    coefficients = torch.tensor([1.0, -0.5])
    torchaudio.functional.lfilter(waveform, coefficients, coefficients)
    print(has_native_library())
    log_probs = torch.log(torch.tensor([[[0.1, 0.9], [0.8, 0.2], [0.1, 0.9]]]))
    try:
        print(torchaudio.functional.forced_align(log_probs, torch.tensor([[1, 1]]))[0].tolist())
    except DependencyError as error:
        print(error)
"""


def installed() -> Path:
    """The folder of the installed torchaudio, which may be impossible to import."""
    spec = importlib.util.find_spec("torchaudio")
    assert spec is not None
    assert spec.submodule_search_locations
    return Path(spec.submodule_search_locations[0])


def without_native_library(folder: Path) -> dict[str, str]:
    """An environment with a copy of torchaudio whose native library is no library."""
    copy = folder / "torchaudio"
    shutil.copytree(installed(), copy, ignore=shutil.ignore_patterns("*.so", "*.pyd"))
    (copy / "lib").mkdir(exist_ok=True)
    suffix = "pyd" if os.name == "nt" else "so"
    (copy / "lib" / f"_torchaudio.{suffix}").write_bytes(b"no library")
    return {"PYTHONPATH": os.pathsep.join([str(folder), *filter(None, sys.path)])}


def with_native_library(folder: Path) -> dict[str, str]:
    """An environment in which the native library loads though there is no CUDA.

    Libraries that define the missing names take CUDA's place: torchaudio's own code for the
    CPU then runs as it is.
    """
    compiler, nm, readelf = (shutil.which(name) for name in ("cc", "nm", "readelf"))
    if not (sys.platform == "linux" and compiler and nm and readelf):
        pytest.skip("the native library does not load and cannot be completed without a compiler")
    # _torchaudio and libtorchaudio, as .so or .abi3.so; other extensions are not imported.
    libraries = sorted((installed() / "lib").glob("*torchaudio.*so"))
    headers = subprocess.check_output([readelf, "-d", *libraries], text=True)
    listing = subprocess.check_output([nm, "-D", "--undefined-only", *libraries], text=True)
    undefined = {line.split()[-1] for line in listing.splitlines() if " U " in line}
    for library in {name for name in re.findall(r"\[(lib.+)\]", headers) if "cuda" in name}:
        # nm appends the library's name where it has versions of its names, as NVIDIA's have.
        names = {name.split("@")[0] for name in undefined if name.endswith(f"@{library}")}
        versions = folder / f"{library}.versions"
        versions.write_text(f"{library} {{ global: *; }};" if names else "{ global: *; };")
        names = names or {name for name in undefined if "cuda" in name and "@" not in name}
        code = "".join(f"void *{name}(void) {{ return 0; }}\n" for name in sorted(names))
        options = ["-shared", "-fPIC", f"-Wl,-soname,{library}", f"-Wl,--version-script={versions}"]
        command = [compiler, *options, "-x", "c", "-", "-o", str(folder / library)]
        subprocess.run(command, input=code, text=True, check=True)
    return {"LD_LIBRARY_PATH": str(folder)}


def test_native_library_is_used_where_it_loads(tmp_path: Path, loads_here: bool) -> None:
    environment = {} if loads_here else with_native_library(tmp_path)
    printed = output(USE, **environment)
    if printed != "True\n[[1, 0, 1]]" and not loads_by_itself(**environment):
        pytest.skip("the native library lacks more than CUDA here")
    assert printed == "True\n[[1, 0, 1]]"


def test_stand_in_is_used_where_it_does_not_load(tmp_path: Path) -> None:
    environment = without_native_library(tmp_path)
    assert not loads_by_itself(**environment)
    native, message = output(USE, **environment).splitlines()
    assert native == "False"
    assert message.startswith("torchaudio's forced_align needs its native library")


def test_here_it_works_one_way_or_the_other(loads_here: bool) -> None:
    assert has_native_library() == loads_here
    assert sys.modules["torchaudio"] is torchaudio
    assert torchaudio.functional.create_dct(3, 4, "ortho").shape == (4, 3)


def test_import_loads_nothing() -> None:
    code = """
        import sys
        import asr.torchaudio_safe
        print([name for name in ("torch", "torchaudio") if name in sys.modules])
    """
    assert output(code) == "[]"


def test_other_names_are_unknown() -> None:
    with pytest.raises(ImportError, match="torchvision"):
        from asr.torchaudio_safe import torchvision  # type: ignore[attr-defined]  # noqa: F401


def test_missing_or_broken_torchaudio_is_one_clear_error(tmp_path: Path) -> None:
    code = """
        import sys
        from asr.errors import DependencyError
        {block}
        try:
            from asr.torchaudio_safe import torchaudio
        except DependencyError as error:
            print(error)
    """
    assert output(code.format(block="sys.modules['torchaudio'] = None")) == (
        "torchaudio is not installed; run: pip install torchaudio"
    )
    (tmp_path / "torchaudio").mkdir()
    (tmp_path / "torchaudio" / "__init__.py").write_text("raise ImportError('made for\\nanother')")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    assert output(code.format(block=""), PYTHONPATH=path) == (
        "torchaudio cannot be imported (made for another); install the version that belongs to "
        "your torch"
    )
