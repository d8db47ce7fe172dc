"""The address of a bucket's folder, `checkpoint.uri`: what can be said of it without the bucket.

Pure. The chart refuses the same addresses with the same words (templates/rules.yaml). Whether the
trainer's Python can reach an address is asked in the pod, as nobody else has its packages.
"""

from __future__ import annotations

import re

from sweepctl_pod.errors import SweepctlError

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://")
_CREDENTIALS = re.compile(r"^[a-z0-9+.-]+://[^/@]*:[^@]*@|^(s3|s3a|gs|gcs)://[^/]*@")
"""A password may hold a slash. `abfs://CONTAINER@ACCOUNT…` and `sftp://USER@HOST` hold none."""
_KEEPS_NOTHING = re.compile(r"^(memory|https?|data|github|git|zip|tar)://")
"""What is each process's own, or can only be read."""
_PACKAGES = {
    **dict.fromkeys(("s3", "s3a"), "s3fs"),
    **dict.fromkeys(("gs", "gcs"), "gcsfs"),
    **dict.fromkeys(("abfs", "abfss", "az", "adl"), "adlfs"),
    **dict.fromkeys(("ssh", "sftp"), "paramiko"),
    **dict.fromkeys(("hdfs", "arrow_hdfs"), "pyarrow"),
    **{"oss": "ossfs", "oci": "ocifs", "hf": "huggingface_hub", "smb": "smbprotocol"},
}
"""What fsspec needs for an address of each scheme, beside itself."""
EXAMPLE = "s3://YOUR_BUCKET/folder"


def address_trouble(uri: str) -> SweepctlError | None:
    """Say what is wrong with an address in itself; None when nothing is. It is not repeated."""
    if not _SCHEME.match(uri):
        return SweepctlError(
            "the address has no scheme, as s3:// is one",
            f"name a bucket's folder, such as {EXAMPLE}, or a mounted one, such as file:///data",
        )
    if _CREDENTIALS.search(uri):
        return SweepctlError(
            "credentials are no part of an address:"
            " whoever may read the Job or the release could read them",
            "take them out, and set extraEnv: [{name: AWS_SECRET_ACCESS_KEY,"
            " valueFrom: {secretKeyRef: {name: YOUR_SECRET, key: YOUR_KEY}}}]",
        )
    if re.search(r"[?#]", uri):
        return SweepctlError(
            "the address of a folder ends before ? and #",
            "leave out what follows; a key belongs into a Secret, as a variable by extraEnv",
        )
    if keeps_nothing := _KEEPS_NOTHING.match(uri):
        return SweepctlError(
            f"no checkpoint can be kept at an address of {keeps_nothing[0]}",
            f"name a bucket's folder, such as {EXAMPLE}",
        )
    if re.search(r"^[a-z0-9+.-]+://[/.]*$", uri):
        return SweepctlError("the address names no folder", f"add it, as in {EXAMPLE}")
    return None


def packages_for(uri: str) -> str:
    """Name what the trainer's Python needs to reach an address, for `pip install`."""
    return f"fsspec {_PACKAGES.get(scheme_of(uri), '')}".rstrip()


def scheme_of(uri: str) -> str:
    """Give what stands before `://`."""
    return uri.partition("://")[0]


def image_note(uri: str) -> str:
    """Say what nobody can check before an agent starts."""
    what = packages_for(uri).replace(" ", " and ")
    if scheme_of(uri) not in (*_PACKAGES, "file", "local"):
        what += f", and what teaches it {scheme_of(uri)}://,"
    return (
        f"checkpoint.uri: {what} must be in the trainer's image; each agent checks that"
        " at its start, and ends with 78 where something is missing"
    )


def shown_uri(uri: str) -> str:
    """Give an address as it may be shown: without credentials."""
    if _CREDENTIALS.search(uri) or not _SCHEME.match(uri):
        uri = re.sub(r"^([a-z0-9+.-]+://)?[^@]*@", r"\1", uri)
    return re.split(r"[?#]", uri)[0]
