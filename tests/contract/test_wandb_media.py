"""What the real wandb SDK logs besides numbers is on the page of its run."""

from tests.contract.conftest import Sdk
from tests.serving import ServerProcess, wait_for

TRAIN = """
import pathlib, struct, sys, wandb, zlib
def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
rows = b"".join(b"\\0" + bytes([255, n, 0] * 8) for n in range(8))
png = (b"\\x89PNG\\r\\n\\x1a\\n" + chunk(b"IHDR", struct.pack(">IIBBBBB", 8, 8, 8, 2, 0, 0, 0))
       + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b""))
pathlib.Path("walk.mp4").write_bytes(b"\\0\\0\\0\\x18ftypisom" + bytes(64))
run = wandb.init(project="p", settings=wandb.Settings(x_stats_sampling_interval=0.1))
pathlib.Path("seen.png").write_bytes(png)
table = wandb.Table(columns=["joint", "<b>gain</b>"], data=[["knee", 2.5], ["hip", None]])
video = wandb.Video("walk.mp4", caption="a walk", format="mp4")
entry = {"loss": 0.5, "joints": table, "walk": video}
try:
    entry["eyes/left"] = wandb.Image("seen.png", caption="what <i>it</i> saw")
except Exception as error:  # reading an image needs Pillow
    print("no image:", error)
    pathlib.Path(run.dir, "media/images").mkdir(parents=True, exist_ok=True)
    pathlib.Path(run.dir, "media/images/left_0.png").write_bytes(png)
    run.save(str(pathlib.Path(run.dir, "media/images/left_0.png")), base_path=run.dir)
    entry["eyes/left"] = {"_type": "image-file", "path": "media/images/left_0.png",
                          "caption": "what <i>it</i> saw"}
run.log(entry)
import time; time.sleep(1)
run.finish()
"""


def page(server: ServerProcess, path: str) -> str:
    status, _, body = server.request("GET", path, headers={"Accept": "text/html"})
    assert status == 200
    return body.decode()


def test_images_tables_and_video_of_the_sdk_are_on_the_page(
    server: ServerProcess, sdk: Sdk
) -> None:
    sdk.run(TRAIN, WANDB_RUN_ID="r1")
    shown = page(server, "/local/p/runs/r1/media")
    assert "<img src=" in shown
    assert "what &lt;i&gt;it&lt;/i&gt; saw" in shown
    assert "<video src=" in shown
    assert "a walk" in shown
    assert "&lt;b&gt;gain&lt;/b&gt;" in shown
    assert "knee" in shown
    picture = shown.partition('<img src="')[2].partition('"')[0]
    status, headers, body = server.request("GET", picture, key=None)
    assert (status, headers["content-type"]) == (200, "image/png")
    assert body.startswith(b"\x89PNG")


def test_what_the_sdk_measures_of_the_machine_and_tells_of_its_code_is_on_the_page(
    server: ServerProcess, sdk: Sdk
) -> None:
    sdk.run(TRAIN, WANDB_RUN_ID="r1")
    wait_for("system metrics", lambda: "system." in page(server, "/local/p/runs/r1/system"))
    assert "<svg" in page(server, "/local/p/runs/r1/system")
    whole = page(server, "/local/p/runs/r1")
    provenance = whole.partition("<h2>Provenance</h2>")[2]
    assert "CPython" in provenance
    assert "W&amp;B client" in provenance
    assert "not recorded" in provenance
