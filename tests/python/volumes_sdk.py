"""Checks the files of a `heartbeat jobs-api` stand-in with the official Databricks SDK for Python.

    python volumes_sdk.py http://127.0.0.1:8900

The stand-in must take the token "local-token", have the empty volume main.default.landing and an empty DBFS, and tell
3 entries of a directory at once. Prints what it checked, fails with an AssertionError. Needs the PyPI package
databricks-sdk.
"""

import base64
import io
import os
import sys
import tempfile
import time

# Nothing of the machine's own configuration may leak in.
for name in [name for name in os.environ if name.startswith("DATABRICKS_")]:
    del os.environ[name]
os.environ["DATABRICKS_CONFIG_FILE"] = os.path.join(tempfile.gettempdir(), "no-such-databrickscfg")

from databricks.sdk import WorkspaceClient, errors  # noqa: E402
from databricks.sdk.core import Config  # noqa: E402


def client(base: str, token: str) -> WorkspaceClient:
    return WorkspaceClient(config=Config(host=base, token=token, http_timeout_seconds=5, retry_timeout_seconds=30))


def raises(kind: type, call, *words: str) -> None:
    try:
        call()
    except kind as error:
        assert type(error) is kind, f"{type(error)} instead of {kind}"
        assert all(word in str(error) for word in words), str(error)
        return
    raise AssertionError(f"{kind} expected")


def volumes(workspace: WorkspaceClient) -> None:
    files = workspace.files
    volume = "/Volumes/main/default/landing"
    assert list(files.list_directory_contents(volume)) == []
    files.get_directory_metadata(volume)

    # Directories come with all above them, files need theirs.
    raises(errors.NotFound, lambda: files.upload(f"{volume}/a/b/f", io.BytesIO(b"x")))
    for _ in range(2):
        files.create_directory(f"{volume}/a/b")
    raises(errors.NotFound, lambda: files.get_directory_metadata(f"{volume}/none"))
    raises(errors.NotFound, lambda: list(files.list_directory_contents(f"{volume}/none")))
    raises(errors.NotFound, lambda: files.create_directory("/Volumes/main/default/none"), "main.default.none")

    # A file of an odd name, whole and once.
    odd = f"{volume}/a/b/a b%41#?é+&=.txt"
    files.upload(odd, io.BytesIO(b"Success"), overwrite=False)
    raises(errors.AlreadyExists, lambda: files.upload(odd, io.BytesIO(b"x"), overwrite=False), "already exists")
    assert files.download(odd).contents.read() == b"Success"
    files.upload(odd, io.BytesIO(b"other"))
    found = files.download(odd)
    assert (found.contents.read(), found.content_length) == (b"other", 5)
    metadata = files.get_metadata(odd)
    assert (metadata.content_length, metadata.content_type) == (5, "application/octet-stream")
    assert metadata.last_modified.endswith(" GMT")
    [entry] = files.list_directory_contents(f"{volume}/a/b")
    assert (entry.path, entry.name, entry.file_size, entry.is_directory) == (odd, odd.rsplit("/", 1)[1], 5, False)
    assert abs(entry.last_modified / 1000 - time.time()) < 60
    raises(errors.NotFound, lambda: files.get_metadata(f"{volume}/a/b"))
    raises(errors.NotFound, lambda: files.download(f"{volume}/none"))

    # Bytes survive, empty files too; parts are told.
    data = bytes(range(256)) * 400
    files.upload(f"{volume}/bytes", io.BytesIO(data))
    files.upload(f"{volume}/empty", io.BytesIO(b""))
    assert files.download(f"{volume}/bytes").contents.read() == data
    assert files.download(f"{volume}/empty").contents.read() == b""
    part = workspace.api_client.do(
        "GET", f"/api/2.0/fs/files{volume}/bytes", headers={"Range": "bytes=1-2"}, raw=True
    )["contents"]
    assert part.read() == data[1:3]
    with tempfile.TemporaryDirectory() as folder:
        files.download_to(f"{volume}/bytes", os.path.join(folder, "f"))
        with open(os.path.join(folder, "f"), "rb") as local:
            assert local.read() == data

    # Pages.
    names = [f"f{number}" for number in range(10)]
    files.create_directory(f"{volume}/many")
    for name in names:
        files.upload(f"{volume}/many/{name}", io.BytesIO(b"x"))
    assert [entry.name for entry in files.list_directory_contents(f"{volume}/many")] == names
    assert [entry.name for entry in files.list_directory_contents(f"{volume}/many", page_size=2)] == names
    assert {entry.name: entry.is_directory for entry in files.list_directory_contents(volume)} == {
        "a": True, "bytes": False, "empty": False, "many": True,
    }

    # Only what is empty goes, and only once.
    raises(errors.InvalidParameterValue, lambda: files.delete_directory(f"{volume}/many"), "not empty")
    for name in names:
        files.delete(f"{volume}/many/{name}")
    raises(errors.NotFound, lambda: files.delete(f"{volume}/many/f0"))
    files.delete_directory(f"{volume}/many")


def dbfs(workspace: WorkspaceClient) -> None:
    api = workspace.dbfs
    coded = base64.b64encode(b"Success").decode()
    assert list(api.list("/")) == []
    raises(errors.ResourceDoesNotExist, lambda: list(api.list("/none")))
    api.put("/a b/é#?%41.txt", contents=coded, overwrite=False)
    raises(errors.ResourceAlreadyExists, lambda: api.put("/a b/é#?%41.txt", contents=coded, overwrite=False))
    block = api.read("/a b/é#?%41.txt")
    assert (block.bytes_read, base64.b64decode(block.data)) == (7, b"Success")
    assert base64.b64decode(api.read("/a b/é#?%41.txt", offset=2, length=3).data) == b"cce"
    [folder] = workspace.api_client.do("GET", "/api/2.0/dbfs/list", query={"path": "/"})["files"]
    assert (folder["path"], folder["is_dir"]) == ("/a b", True)
    [file] = api.list("/a b")
    assert (file.path, file.is_dir, file.file_size) == ("/a b/é#?%41.txt", False, 7)
    assert abs(file.modification_time / 1000 - time.time()) < 60
    assert api.get_status("/a b").is_dir and api.exists("/a b") and not api.exists("/b")
    assert api.download("/a b/é#?%41.txt").read() == b"Success"
    api.mkdirs("/x/y")
    assert [entry.path for entry in api.list("/x")] == ["/x/y"]
    raises(errors.ResourceAlreadyExists, lambda: api.mkdirs("/a b/é#?%41.txt/y"))
    raises(errors.PermissionDenied, lambda: api.get_status("/Volumes/main/default/landing"), "No operations allowed")
    large = base64.b64encode(bytes((1 << 20) + 1)).decode()
    raises(errors.BadRequest, lambda: api.put("/large", contents=large), "1 MB")
    workspace.api_client.do("POST", "/api/2.0/dbfs/delete", body={"path": "/a b", "recursive": True})
    api.delete("/x/y", recursive=True)
    assert [entry.path for entry in api.list("/")] == ["/x"]


def main(base: str) -> None:
    workspace = client(base, "local-token")
    stranger = client(base, "no")
    raises(errors.PermissionDenied, lambda: stranger.files.get_directory_metadata("/Volumes/main/default/landing"))
    raises(errors.PermissionDenied, lambda: list(stranger.dbfs.list("/")), "Invalid access token")
    volumes(workspace)
    dbfs(workspace)
    print("databricks-sdk and the files of the stand-in agree")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1].rstrip("/"))
