"""Code from git over ssh: the pod's own script, the real ssh and git, a real sshd on loopback."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from sweepctl.manifest.pod_code import script
from tests import needs

UID = 34567
"""A user without a line in /etc/passwd, as a pod's is in most images."""


@dataclass
class Host:
    """A repository behind sshd, the key that opens it, and what names the host."""

    folder: Path
    repository: str
    known: str
    commit: str


def keygen(file: Path) -> str:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", file], check=True)
    return file.with_suffix(".pub").read_text()


def git(*arguments: str, cwd: Path) -> str:
    command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", *arguments]
    done = subprocess.run(command, cwd=cwd, check=True, capture_output=True, text=True)
    return done.stdout.strip()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    if os.geteuid() != 0 or shutil.which("unshare") is None:
        needs.lacks("only root may make a namespace, with unshare")
    sshd = needs.program("sshd", "openssh-server")
    Path("/run/sshd").mkdir(exist_ok=True)
    work = tmp_path / "work"
    work.mkdir()
    git("init", "-q", cwd=work)
    (work / "task.py").write_text("gain = 1.5\n")
    git("add", ".", cwd=work)
    git("commit", "-qm", "a task", cwd=work)
    git("tag", "v1", cwd=work)
    (work / "task.py").write_text("gain = 2.5\n")
    git("commit", "-qam", "another gain", cwd=work)
    git("clone", "-q", "--bare", str(work), str(tmp_path / "task.git"), cwd=tmp_path)
    keys = tmp_path / "keys"
    keys.mkdir()
    name = keygen(keys / "host")
    (keys / "authorized").write_text(keygen(keys / "ssh-privatekey"))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    options = {
        "HostKey": keys / "host",
        "AuthorizedKeysFile": keys / "authorized",
        "ListenAddress": f"127.0.0.1:{port}",
        "StrictModes": "no",
        "PidFile": "none",
        "UsePAM": "no",
        "PermitRootLogin": "yes",
        "PasswordAuthentication": "no",
    }
    (keys / "config").write_text("".join(f"{key} {value}\n" for key, value in options.items()))
    with (tmp_path / "sshd.log").open("w") as log:
        daemon = subprocess.Popen([sshd, "-D", "-e", "-f", str(keys / "config")], stderr=log)
    try:
        deadline = time.monotonic() + 60
        while "listening" not in (tmp_path / "sshd.log").read_text():
            assert daemon.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        repository = f"ssh://root@127.0.0.1:{port}{tmp_path}/task.git"
        known = f"[127.0.0.1]:{port} {name}"
        yield Host(tmp_path, repository, known, git("rev-parse", "v1", cwd=work))
    finally:
        daemon.terminate()
        daemon.wait()


def fetch(
    host: Host, *, known_hosts: str = "", in_secret: str | None = None, key: str | None = None
) -> subprocess.CompletedProcess[str]:
    """Run the script as its container does: another user, the Secret's files, a line of passwd."""
    secret, code, temporary = (host.folder / name for name in ("secret", "code", "tmp"))
    for folder in (secret, code, temporary):
        folder.mkdir()
    text = key or (host.folder / "keys" / "ssh-privatekey").read_text()
    (secret / "ssh-privatekey").write_text(text)
    if in_secret is not None:
        (secret / "known_hosts").write_text(in_secret)
    for file in secret.iterdir():
        os.chown(file, 0, UID)
        file.chmod(0o440)  # as the kubelet mounts a Secret for the pod's group
    os.chown(code, UID, UID)
    os.chown(temporary, UID, UID)
    for folder in host.folder.parents:
        if folder.stat().st_mode & 0o001 == 0 and str(folder).startswith("/tmp/"):
            folder.chmod(0o755)
    host.folder.chmod(0o755)
    passwd = host.folder / "passwd"
    passwd.write_text(f"git:x:{UID}:{UID}::/tmp:/bin/sh\n")
    inner = script("fetch_code.sh").replace("/code-volume", str(code))
    inner = inner.replace("/tmp/code.", f"{temporary}/code.").replace("/dev/shm/", "/nowhere/")
    mounted = f'mount --bind {passwd} /etc/passwd && exec setpriv "$@"'
    user = ["--reuid", str(UID), "--regid", str(UID), "--clear-groups", "--no-new-privs"]
    command = ["unshare", "--mount", "sh", "-c", mounted, "sh", *user, "sh", "-c", inner]
    environ = {
        "PATH": os.environ["PATH"],
        "HOME": str(temporary),
        "CODE_REPOSITORY": host.repository,
        "CODE_REF": "v1",
        "CODE_KEY": str(secret),
        **({"CODE_KNOWN_HOSTS": known_hosts} if known_hosts else {}),
    }
    done = subprocess.run(command, env=environ, capture_output=True, text=True, timeout=120)
    assert list(temporary.iterdir()) == [], "the key stayed behind"
    return done


@pytest.mark.parametrize("place", ["setting", "Secret"])
def test_code_comes_by_ssh_from_a_host_that_is_known(host: Host, place: str) -> None:
    known = {"known_hosts": host.known} if place == "setting" else {"in_secret": host.known}
    done = fetch(host, **known)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"code: {host.repository} at {host.commit}\n"
    assert (host.folder / "code/repository/task.py").read_text() == "gain = 1.5\n"


def test_key_whose_last_line_has_no_end_or_windows_ends_is_a_key(host: Host) -> None:
    text = (host.folder / "keys" / "ssh-privatekey").read_text().rstrip().replace("\n", "\r\n")
    assert fetch(host, known_hosts=host.known, key=text).returncode == 0


def test_host_that_nothing_names_is_not_connected_to(host: Host) -> None:
    done = fetch(host)
    assert done.returncode == 1
    assert "give code.git.knownHosts, or the key known_hosts in the Secret" in done.stderr


def test_host_with_another_key_gets_nothing(host: Host) -> None:
    other = keygen(host.folder / "keys" / "other")
    known = f"{host.known.split()[0]} {other}"
    done = fetch(host, known_hosts=known)
    assert done.returncode != 0
    assert "Host key verification failed" in done.stderr


def test_key_that_opens_nothing_ends_the_clone_at_once(host: Host) -> None:
    keygen(host.folder / "keys" / "other")
    key = (host.folder / "keys" / "other").read_text()
    done = fetch(host, known_hosts=host.known, key=key)
    assert done.returncode != 0
    assert "Permission denied (publickey" in done.stderr


def test_image_without_ssh_is_told(tmp_path: Path) -> None:
    for name in ("sh", "mktemp"):
        (tmp_path / name).symlink_to(shutil.which(name) or "")
    environ = {"PATH": str(tmp_path), "CODE_KEY": "/nowhere"}
    command = ["sh", "-c", script("fetch_code.sh")]
    done = subprocess.run(command, env=environ, capture_output=True, text=True)
    assert done.returncode == 1
    assert "this image has no ssh: name one in code.git.image" in done.stderr
