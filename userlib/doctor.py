"""Checks the installation, and prints what a bug report needs: lines with [ok], [skip] or [fail] and the remedy.

    python -m userlib doctor            the machine, the packages, the assets
    python -m userlib doctor --verify   also every checkpoint, cache and index on disk, by their checksums

[skip] marks what is needed only for a part of the course. The exit status is 1 if a line says [fail], else 0.
"""

import json as json_module
import os
import platform
import shutil
import sys
import tempfile
import tomllib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata
from pathlib import Path
from typing import Literal

from userlib import verify as stored
from userlib.data.network import unusable_proxies
from userlib.errors import UserError
from userlib.files import FULL, cache_dir
from userlib.shipped import REINSTALL, ROOT, assets, is_clone

CLONE = "clone the repository in full (git clone) and install it in place: pip install -e ."
GIB = 2**30
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "msedge")
BROWSER_PATHS = (
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
    r"C:\Program Files\Google\Chrome\Application\chrome.exe",
    r"C:\Program Files (x86)\Microsoft\Edge\Application\msedge.exe",
)


@dataclass(frozen=True)
class Check:
    """One line of the report; remedy: what to do where the state is not ok."""

    name: str
    state: Literal["ok", "skip", "fail"]
    detail: str
    remedy: str = ""

    def __str__(self) -> str:
        mark = f"[{self.state}]"
        remedy = f"\n       -> {self.remedy}" if self.remedy else ""
        return f"{mark:<6} {self.name}: {self.detail}{remedy}"


def chromium() -> str | None:
    """The Chromium-based browser of this machine, for the browser tests; None where there is none."""
    paths = (*map(shutil.which, BROWSERS), *(path for path in BROWSER_PATHS if Path(path).exists()))
    return next(filter(None, paths), None)


def check_python() -> Check:
    """Version and environment of the interpreter."""
    return Check("Python", "ok", f"{platform.python_version()} in {sys.prefix}")


def check_machine() -> Check:
    """Platform, cores, and the instructions of the processor that speed up training."""
    import torch

    flags: set[str] = set()
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists():
        lines = cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines()
        flags = {flag for line in lines if line.startswith("flags") for flag in line.split()}
    extras = [name for flag, name in (("avx512_bf16", "bf16"), ("amx_bf16", "AMX")) if flag in flags]
    able = torch.backends.cpu.get_cpu_capability()
    counts = f"{os.cpu_count()} cores, {torch.get_num_threads()} threads"
    return Check("machine", "ok", ", ".join([platform.platform(), counts, able, *extras]))


def check_memory() -> Check:
    """The memory that is free now; a run on drawn scenes needs about 2 GB."""
    import psutil

    memory = psutil.virtual_memory()
    detail = f"{memory.available / GIB:.1f} GB free of {memory.total / GIB:.1f}"
    if memory.available < 2 * GIB:
        return Check("memory", "fail", detail, "close other programs; 2 GB are needed")
    return Check("memory", "ok", detail)


def check_cache() -> Check:
    """Whether the cache folder can be written, and its disk has 2 GB of space."""
    full = "free 2 GB, or set USERLIB_CACHE to a folder on a larger disk"
    try:
        folder = cache_dir()
    except UserError as error:
        return Check("cache", "fail", str(error), "set USERLIB_CACHE to a folder that can be written")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=folder) as stream:
            stream.write(b"doctor")
            stream.flush()
        free = shutil.disk_usage(folder).free
    except OSError as error:
        remedy = full if error.errno in FULL else "make it writable, or set USERLIB_CACHE to a folder that is"
        return Check("cache", "fail", f"{folder} cannot be written ({error.strerror})", remedy)
    detail = f"{folder}, {free / GIB:.1f} GB free"
    return Check("cache", "fail", detail, full) if free < 2 * GIB else Check("cache", "ok", detail)


def check_torch() -> Check:
    """The build of PyTorch and the accelerator that it sees."""
    import torch

    if torch.cuda.is_available():
        device = ", ".join(map(torch.cuda.get_device_name, range(torch.cuda.device_count())))
    else:
        device = "Apple GPU (mps)" if torch.backends.mps.is_available() else "CPU only"
    return Check("torch", "ok", f"{torch.__version__}, CUDA {torch.version.cuda or 'not built in'}, {device}")


def check_surroundings() -> Iterator[Check]:
    """Parts of the environment that can cause failures; no line where there are none."""
    for name in ("PYTHONPATH", "PYTHONHOME"):
        if os.environ.get(name):
            remedy = f"unset {name} if an import fails: it takes precedence over the installed packages"
            yield Check(name, "skip", f"is set to {os.environ[name]}", remedy)
    for name in unusable_proxies():
        remedy = "pip install 'httpx[socks]', or name an HTTP proxy; without either nothing is downloaded"
        yield Check(name, "skip", "names a SOCKS proxy, and the package socksio is missing", remedy)
    try:
        with tempfile.TemporaryFile() as stream:
            stream.write(b"doctor")
    except OSError as error:
        remedy = "set TMPDIR to a folder that can be written, on a disk that is not full"
        yield Check("temporary files", "fail", error.strerror or str(error), remedy)
    if not str(ROOT).isascii() or any(letter in str(ROOT) for letter in "'\"" + os.pathsep):
        remedy = "move the clone into a folder of plain letters if a tool cannot find its files"
        yield Check("path", "skip", f"{str(ROOT)!r} has letters that some tools do not accept", remedy)


def declared() -> dict[str, list[str]] | None:
    """The requirements of userlib, under "", and of each extra, from the clone or else the installation, if any."""
    from packaging.requirements import Requirement

    if is_clone(ROOT):
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        return {"": project["dependencies"], **project["optional-dependencies"]}
    distributions: list[metadata.Distribution] = [*metadata.distributions(name="userlib", path=[str(ROOT)])]
    if not distributions:
        return None
    here = distributions[0]
    extras = here.metadata.get_all("Provides-Extra") or ()
    groups: dict[str, list[str]] = {extra: [] for extra in ("", *extras)}
    for requirement in map(Requirement, here.requires or ()):
        marker = requirement.marker
        belongs = [extra for extra in groups if marker is None or marker.evaluate({"extra": extra})]
        for extra in belongs[:1]:  # "" comes first: required in any case
            groups[extra].append(f"{requirement.name}{requirement.specifier}")
    return groups


def check_packages() -> Iterator[Check]:
    """Whether every declared package is installed within its bounds; a line for each that is not."""
    from packaging.requirements import Requirement

    groups = declared()
    if groups is None:
        yield Check("source", "fail", f"userlib runs from {ROOT}, which is no clone of the repository", CLONE)
        return
    if not is_clone(ROOT):
        detail = f"userlib is installed in {ROOT} without its repository, which has the course and the demo's models"
        yield Check("source", "skip", detail, CLONE)
    for extra, requirements in groups.items():
        good, missing = [], []
        for requirement in map(Requirement, requirements):
            try:
                version = metadata.version(requirement.name)
            except metadata.PackageNotFoundError:
                missing.append(requirement.name)
                continue
            if requirement.specifier.contains(version, prereleases=True):
                good.append(f"{requirement.name} {version}")
            else:
                remedy = f'pip install "{requirement}"'
                detail = f"{version}, but {requirement.specifier} is needed"
                yield Check(requirement.name, "fail", detail, remedy)
        name = f"packages of [{extra}]" if extra else "packages"
        if missing:
            install = f'pip install -e ".[{extra}]"' if extra else "pip install -e ."
            if not is_clone(ROOT):
                install = f"pip install {' '.join(missing)}"
            yield Check(name, "skip" if extra else "fail", f"missing {', '.join(missing)}", install)
        if good:
            yield Check(name, "ok", ", ".join(good))


def check_browser() -> Check:
    """A browser for the browser tests; the course opens in any browser."""
    path = chromium()
    if path is None:
        return Check("Chromium", "skip", "not found", "install Chromium or Chrome to run the browser tests")
    return Check("Chromium", "ok", path)


def check_photos() -> Check:
    """The folder of photos for tests that use them."""
    folder = os.environ.get("USERLIB_PHOTOS")
    if not folder:
        remedy = "set USERLIB_PHOTOS to a data set of photos to run the tests that use them"
        return Check("photos", "skip", "USERLIB_PHOTOS is not set", remedy)
    if not Path(folder).is_dir():
        remedy = "name a folder or unset it"
        return Check("photos", "fail", f"USERLIB_PHOTOS is {folder!r}, which is not a folder", remedy)
    return Check("photos", "ok", folder)


def check_assets() -> Check:
    """Whether the small models of the project have their checksums."""
    kept = assets(ROOT)
    folders = list(stored.folders(kept))
    again = "fetch them again: git checkout -- assets" if is_clone(ROOT) else REINSTALL
    if not folders:
        return Check("assets", "fail", f"none in {kept}", again)
    bad = [f"{folder.name}: {fault}" for folder in folders for fault in stored.damage(folder)]
    if any("CRLF" in fault for fault in bad):  # git considers them unchanged, and would not restore them
        again = "delete the folder assets, then write it again: git -c core.autocrlf=false checkout -- assets"
    if bad:
        return Check("assets", "fail", "; ".join(bad), again)
    return Check("assets", "ok", ", ".join(folder.name for folder in folders))


def check_stored(roots: tuple[Path, ...]) -> Iterator[Check]:
    """Whether every checkpoint, cache, index and result below the roots has its checksums; it reads all their bytes."""
    for root in roots:
        good = 0
        for folder in stored.folders(root):
            if left := stored.unfinished(folder):
                yield Check(str(folder), "skip", *left)
                continue
            if bad := stored.damage(folder):
                again = "a cache is filled again when needed; resume a run from an older checkpoint, or train again"
                yield Check(str(folder), "fail", "; ".join(bad), f"delete {folder}: {again}")
            good += not bad
        files = list(stored.lone_files(root))
        faulty = {path: bad for path in files if (bad := stored.lone_damage(path))}
        for path, bad in faulty.items():
            remedy = stored.RUN_REMEDY if path.name == "run.json" else f"delete {path} and make it again"
            yield Check(str(path), "fail", "; ".join(bad), remedy)
        detail = f"{good} folders and {len(files) - len(faulty)} files are as they were written"
        yield Check(f"stored in {root}", "ok", detail)


def alone(check: Callable[[], Check | Iterator[Check]]) -> Iterator[Check]:
    """The lines of a check; where it raises an error, a line that says so, and other checks go on."""
    name = check.__name__.removeprefix("check_")
    try:
        checks = check()
        yield from [checks] if isinstance(checks, Check) else checks
    except ModuleNotFoundError as error:
        remedy = "install the packages again: python course.py, or pip install -e ."
        yield Check(name, "fail", f"could not be checked: the package {error.name} is missing", remedy)
    except Exception as error:
        reason = (str(error).strip() or "no reason was given").splitlines()[0]
        remedy = "install the packages again (pip install -e .); if it stays, report it with this line"
        yield Check(name, "fail", f"could not be checked: {type(error).__name__}: {reason}", remedy)


def check_all_stored() -> Iterator[Check]:
    """`check_stored` of the cache, the folder runs and the assets."""
    return check_stored((cache_dir(), Path("runs"), assets(ROOT)))


def all_checks(verify: bool = False) -> Iterator[Check]:
    """The lines of all checks, each as soon as it is known."""
    checks: list[Callable[[], Check | Iterator[Check]]] = [
        check_python,
        check_surroundings,
        check_memory,
        check_cache,
        check_packages,
        check_torch,
        check_machine,
        check_assets,
        check_browser,
        check_photos,
    ]
    for check in checks + [check_all_stored] * verify:
        yield from alone(check)


def main(verify: bool, json: bool) -> int:
    """Prints the report, as lines or as JSON; returns 1 if a check failed, else 0."""
    checks = []
    for check in all_checks(verify):
        checks.append(check)
        if not json:
            print(check, flush=True)
    count = {state: sum(check.state == state for check in checks) for state in ("ok", "skip", "fail")}
    if json:
        print(json_module.dumps({"checks": [asdict(check) for check in checks], **count}, indent=1))
    else:
        print(f"\n{count['ok']} ok, {count['skip']} skipped, {count['fail']} failed")
    return 1 if count["fail"] else 0
