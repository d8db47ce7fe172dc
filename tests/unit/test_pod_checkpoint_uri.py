"""What is said of a bucket's address before anybody reaches it, and what of it is never shown."""

import pytest

from sweepctl_pod.checkpoint_uri import address_trouble, image_note, packages_for, shown_uri


@pytest.mark.parametrize(
    "uri",
    [
        *("s3://bucket", "s3://bucket/a/b", "gs://b/x", "gcs://b", "az://c/x", "file:///data/x"),
        *("abfs://container@account.dfs.core.windows.net/x", "sftp://me@host/x", "oss://b/x"),
        *("hdfs://namenode:8020/x", "ossfs+mine://b/x", "s3://bucket/a@b"),
    ],
)
def test_an_address_of_a_folder_is_taken_and_shown_whole(uri: str) -> None:
    assert address_trouble(uri) is None
    assert shown_uri(uri) == uri


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("s3://KEY:SEC/RET@bucket/x", "s3://bucket/x"),
        ("s3://KEY@bucket/x", "s3://bucket/x"),
        ("sftp://me:word@host/x", "sftp://host/x"),
        ("az://c/x?sig=SECRET", "az://c/x"),
        ("az://c/x#SECRET", "az://c/x"),
        ("https://h/x", "https://h/x"),
        ("bucket/x", "bucket/x"),
        ("KEY:SEC/RET@bucket/x", "bucket/x"),
        ("S3://bucket/x", "S3://bucket/x"),
        ("file://", "file://"),
    ],
)
def test_what_is_no_such_address_is_refused_and_no_secret_of_it_is_shown(
    uri: str, shown: str
) -> None:
    trouble = address_trouble(uri)
    assert trouble is not None
    assert shown_uri(uri) == shown
    assert not any(word in trouble.line for word in ("SEC/RET", "sig=", "#S", "KEY@", "me:word"))


@pytest.mark.parametrize(
    ("uri", "packages"),
    [("s3://b", "fsspec s3fs"), ("abfss://b", "fsspec adlfs"), ("file:///x", "fsspec")],
)
def test_what_the_image_must_have_is_named(uri: str, packages: str) -> None:
    assert packages_for(uri) == packages
    assert packages.replace(" ", " and ") in image_note(uri)
    assert "what teaches it nope://" in image_note("nope://b")
