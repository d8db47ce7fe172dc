"""The images that pods of the bed run: a base by mmdebstrap, a pause program, built by buildah.

No registry of images is asked for anything. An archive's name carries the hash of what it was made
from, so it is made once and kept in the cache.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.testbed.build_folders import build_folder
from tests.testbed.layout import GIT_IMAGE, PAUSE_IMAGE, TEST_IMAGE, cache_dir

RECIPES = Path(__file__).parent / "images"
_SUITE = "bookworm"
# python3 with its whole library; libgomp1 for torch's CPU kernels; procps for a look inside.
_BASE_PACKAGES = ("ca-certificates", "libgomp1", "procps", "python3")
_POLICY = '{"default": [{"type": "insecureAcceptAnything"}]}'

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Image:
    """An image in an archive that containerd can import."""

    name: str
    archive: Path


def node_images(environ: Mapping[str, str], say: Say) -> tuple[Image, ...]:
    """Return the images every node has, building what the cache lacks."""
    return (_pause(environ, say), _trainer(environ, say))


def base_tar(
    environ: Mapping[str, str], say: Say, packages: Sequence[str] = _BASE_PACKAGES
) -> Path:
    """Return a small Debian with Python, as a tar file to build images from."""
    key = hashlib.sha256(f"{_SUITE} {tuple(packages)}".encode()).hexdigest()[:16]
    target = _folder(environ) / f"base-{key}.tar"

    def make(part: Path) -> None:
        _run(
            [
                *("mmdebstrap", "--variant=minbase", f"--include={','.join(packages)}"),
                "--aptopt=Acquire::Retries 3",
                "--dpkgopt=path-exclude=/usr/share/man/*",
                "--dpkgopt=path-exclude=/usr/share/doc/*",
                *(_SUITE, str(part)),
            ]
        )

    return _once(target, f"base image: Debian {_SUITE} with {', '.join(packages)}", make, say)


def base_image(environ: Mapping[str, str], say: Say) -> Image:
    """Return that Debian as an image; a build starts from `oci-archive:` and its archive."""
    return _of_tar("base:1", base_tar(environ, say), environ, say)


def git_image(environ: Mapping[str, str], say: Say) -> Image:
    """Return an image with git, client and server over HTTP and ssh; only some tests need it."""
    packages = ("git", "openssh-client", "openssh-server", "python3")
    return _of_tar(GIT_IMAGE, base_tar(environ, say, packages), environ, say)


def _of_tar(name: str, base: Path, environ: Mapping[str, str], say: Say) -> Image:
    target = base.with_suffix(".oci.tar")

    def make(part: Path) -> None:
        with tempfile.TemporaryDirectory(dir=_folder(environ)) as context:
            os.link(base, f"{context}/base.tar")
            Path(context, "Dockerfile").write_text("FROM scratch\nADD base.tar /\n")
            build_image(name, Path(context), part)

    return Image(name, _once(target, f"image {name}", make, say))


def build_image(
    name: str,
    context: Path,
    target: Path,
    *,
    dockerfile: Path | None = None,
    stage: str | None = None,
    build_args: Mapping[str, str] | None = None,
) -> Image:
    """Build a Dockerfile with buildah, without a daemon, into an archive.

    Raises:
        RuntimeError: with buildah's last lines, when the build fails.
    """
    with build_folder() as folder:
        work, held = folder.path, (folder.lock,)
        policy = work / "policy.json"
        policy.write_text(_POLICY)
        environ = {**os.environ, "STORAGE_DRIVER": "vfs", "BUILDAH_ISOLATION": "chroot"}
        store = ["buildah", "--root", f"{work}/root", "--runroot", f"{work}/run"]
        store += ["--registries-conf", "/dev/null"]
        build = [*store, "bud", "--signature-policy", str(policy), "--tag", name]
        build += ["--file", str(dockerfile or context / "Dockerfile")]
        build += ["--target", stage] if stage else []
        for key, value in (build_args or {}).items():
            build += ["--build-arg", f"{key}={value}"]
        _run([*build, str(context)], environ, held)
        # On one machine it costs more time to compress than to read again.
        push = [*store, "push", "--disable-compression", "--signature-policy", str(policy), name]
        _run([*push, f"oci-archive:{target}:{name}"], environ, held)
    return Image(name, target)


def _pause(environ: Mapping[str, str], say: Say) -> Image:
    recipe = RECIPES / "pause"
    target = _folder(environ) / f"pause-{_recipe_key(recipe)}.tar"

    def make(part: Path) -> None:
        with tempfile.TemporaryDirectory() as context:
            shutil.copy(recipe / "Dockerfile", context)
            _run(["cc", "-static", "-Os", "-s", "-o", f"{context}/pause", str(recipe / "pause.c")])
            build_image(PAUSE_IMAGE, Path(context), part)

    return Image(PAUSE_IMAGE, _once(target, "pause image", make, say))


def _trainer(environ: Mapping[str, str], say: Say) -> Image:
    base = base_tar(environ, say)
    recipe = RECIPES / "trainer"
    target = _folder(environ) / f"trainer-{_recipe_key(recipe, base.name)}.tar"

    def make(part: Path) -> None:
        with tempfile.TemporaryDirectory(dir=_folder(environ)) as context:
            shutil.copy(recipe / "Dockerfile", context)
            os.link(base, f"{context}/base.tar")
            build_image(TEST_IMAGE, Path(context), part)

    return Image(TEST_IMAGE, _once(target, "trainer image", make, say))


def _once(target: Path, what: str, make: Callable[[Path], None], say: Say) -> Path:
    """Make a file under a lock and rename it when whole."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with open(f"{target}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            start_s = time.monotonic()
            part = target.with_name(f"part-{target.name}")
            part.unlink(missing_ok=True)
            make(part)
            part.rename(target)
            say(f"built {what}: {time.monotonic() - start_s:.0f} s")
    return target


def _folder(environ: Mapping[str, str]) -> Path:
    return cache_dir(environ) / "images"


def _recipe_key(recipe: Path, *also: str) -> str:
    digest = hashlib.sha256("\0".join(also).encode())
    for path in sorted(recipe.iterdir()):
        digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def _run(
    command: list[str], environ: Mapping[str, str] | None = None, held: Sequence[int] = ()
) -> None:
    done = subprocess.run(command, env=environ, capture_output=True, text=True, pass_fds=held)
    if done.returncode != 0:
        tail = "\n".join((done.stdout + done.stderr).strip().splitlines()[-15:])
        raise RuntimeError(f"{command[0]} failed with {done.returncode}:\n{tail}")
