"""What it costs to turn media into training material: each stage, each teacher, workers, memory.

    python benchmarks/teach.py --shared ../shared

takes a quarter of an hour on two cores that nothing else uses, and writes `results/teach.json`:

- `stages`, `teachers`, `whole`: on one core and one thread, on a recording joined from RAVDESS's
  clips. `network_s` is the CPU time within networks. The rest would stay on the CPU with a GPU.
- `workers`: ingest, and a speech and a face teacher, in this process, in others, and on Ray.
- `memory`: the peak while a video of 5, 20 and 60 minutes is ingested. A quarter of it is talk.
- `manifest`, `targets`: what a large corpus costs the process that writes its manifest, and the one
  that gives a teacher's targets.
- `bars`: what was aimed at beside what was reached.

Each piece runs in a process of its own (`teach_alone.py`). One that fails leaves a line in
`errors`, and the exit status is 1. The record is written once, at the end.
"""

import json
import os
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated, Any

import typer

from liser import storage
from teach_alone import PieceFailedError, alone

RESULTS = Path(__file__).parent / "results" / "teach.json"
BACKENDS = ("this process", "1 process", "2 processes", "Ray, 1 worker", "Ray, 2 workers")
PACKAGES = (
    "liser",
    "numpy",
    "onnxruntime",
    "torch",
    "transformers",
    "av",
    "opencv-python-headless",
)
COPIES = {5: 1, 20: 4, 60: 12}
"""Minutes of the videos whose memory is measured, and copies of the block that they are made of."""

Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much is measured."""

    clips: int | None = None
    sources: int = 12
    clips_each: int = 4
    shifts: int = 12
    rounds: int = 2
    block_s: tuple[float, float] = (75.0, 225.0)
    pieces: int = 20_000


QUICK = Sizes(3, 2, 1, 1, 1, (4.0, 12.0), 500)


@dataclass(slots=True)
class Bench:
    """Where the media and weights are, and what has failed so far."""

    shared: Path
    folder: Path
    sizes: Sizes
    began: float = field(default_factory=time.monotonic)
    errors: list[str] = field(default_factory=list)

    @property
    def one_core(self) -> list[int]:
        """The core of what is measured on one."""
        return [min(os.sched_getaffinity(0))]

    @property
    def clips(self) -> list[Path]:
        """RAVDESS's clips with sound."""
        found = sorted((self.shared / "data" / "ravdess" / "video").glob("Actor_*/01-*.mp4"))
        return found[: self.sizes.clips]

    @property
    def ingest(self) -> dict[str, str]:
        """Arguments of every piece that ingests."""
        return {
            "detector": f"yunet:{self.weights('yunet/yunet_n_640_640.onnx')}",
            "network": str(self.weights("lr-asd/lr-asd-talkset.safetensors")),
        }

    @property
    def teachers(self) -> dict[str, tuple[str, bool]]:
        """Spec of each teacher by its name, and whether it looks at faces."""
        moonshine = self.weights("moonshine-base-encoder/model.onnx")
        expression = self.weights("face-api-expression/model.onnx")
        detector = f"detector={self.ingest['detector']}"
        return {
            "Whisper-base": (str(self.weights("whisper-base-encoder")), False),
            "Moonshine-base, 8 bits": (f"{moonshine}:outputs=h3,h4", False),
            "openSMILE": ("opensmile", False),
            "expression net": (f"{expression}:spec=face-api,{detector}", True),
            "HOG": (f"hog:{detector}", True),
        }

    def weights(self, name: str) -> Path:
        """Return the path of some weights."""
        return self.shared / "models" / name

    def check(self) -> None:
        """Refuse to begin what can't end."""
        names = ("yunet/yunet_n_640_640.onnx", "lr-asd/lr-asd-talkset.safetensors")
        names += ("whisper-base-encoder", "moonshine-base-encoder/model.onnx")
        missing = [str(p) for p in map(self.weights, names) if not p.exists()]
        if missing or not self.clips:
            sys.exit(f"missing: {', '.join(missing) or 'clips of RAVDESS'}")
        for package in (*PACKAGES, "opensmile", "ray"):
            version(package)

    def piece(self, title: str, work: str, cores: Sequence[int] | None, **arguments: Any) -> Any:
        """Run a piece alone; return what it returns, None if it fails."""
        began = time.monotonic()
        try:
            found = alone(work, arguments, cores)
        except PieceFailedError as error:
            self.errors.append(f"{title}: {error}")
            found = None
        end = time.monotonic()
        state = "FAILED" if found is None else "done"
        print(f"{end - self.began:6.0f} s  {title}: {state} in {end - began:.0f} s", flush=True)
        return found


def parts(bench: Bench) -> Iterator[tuple[str, Any]]:
    """Measure part after part; yield the name and rows of each."""
    sizes, folder = bench.sizes, bench.folder
    media = bench.piece(
        *("join clips", "teach_stages:make_media", None),
        clips=[str(clip) for clip in bench.clips],
        folder=str(folder),
        sources=sizes.sources,
        clips_each=sizes.clips_each,
        block_s=sizes.block_s,
    )
    yield "media", media
    video = {"video": str(folder / "all.mp4"), "clips": len(bench.clips)}
    yield (
        "stages",
        bench.piece("stages", "teach_stages:stages", bench.one_core, **video, **bench.ingest) or [],
    )
    yield "whole", _rows(_whole(bench, video))
    yield "teachers", _rows(_teachers(bench))
    yield "workers", _rows(_workers(bench))
    yield "memory", _memory(bench)
    corpus = str(folder / "who talks")
    yield (
        "manifest",
        bench.piece(
            *("manifest", "teach_workers:manifest", bench.one_core),
            corpus=corpus,
            out=str(folder / "large"),
            pieces=sizes.pieces,
        ),
    )
    yield (
        "targets",
        bench.piece(
            *("targets", "teach_workers:targets", bench.one_core),
            dimensions=2048,
            clips=sizes.pieces,
            store=str(folder / "no store"),
        ),
    )


def _rows(found: Iterator[Row | None]) -> list[Row]:
    return [row for row in found if row is not None]


def _whole(bench: Bench, video: dict[str, Any]) -> Iterator[Row | None]:
    for name, faces in (("who talks", True), ("sound only", False)):
        yield bench.piece(
            *(f"ingest, {name}", "teach_stages:whole", bench.one_core),
            first=str(bench.clips[0]),
            corpus=str(bench.folder / name),
            faces=faces,
            **video,
            **bench.ingest,
        )


def _teachers(bench: Bench) -> Iterator[Row | None]:
    """Ask each teacher about an ingested recording, and face teachers about clips as files too."""
    clips = bench.folder / "clips"
    clips.mkdir()
    for path in bench.clips:
        (clips / path.name).symlink_to(path.resolve())
    for name, (spec, face) in bench.teachers.items():
        corpora = [("", "ingested", bench.folder / "who talks")]
        if face:
            corpora.append((", which detects the face itself", "folder", clips))
        for which, kind, corpus in corpora:
            yield bench.piece(
                *(f"teacher {name}{which}", "teach_stages:teacher", bench.one_core),
                name=name + which,
                spec=spec,
                face=face,
                corpus=str(corpus),
                store=str(bench.folder / f"store {name}{which}"),
                kind=kind,
                rounds=bench.sizes.rounds,
            )


def _workers(bench: Bench) -> Iterator[Row | None]:
    sizes, specs = bench.sizes, bench.teachers
    for name in BACKENDS:
        yield bench.piece(
            *(f"ingest, {name}", "teach_workers:ingest_row", None),
            name=name,
            sources=str(bench.folder / "sources"),
            corpus=str(bench.folder / f"corpus {name}"),
            clips=sizes.sources * sizes.clips_each,
            **bench.ingest,
        )
    for name in BACKENDS:
        yield bench.piece(
            *(f"teach, {name}", "teach_workers:teach_row", None),
            name=name,
            corpus=str(bench.folder / f"corpus {BACKENDS[0]}"),
            store=str(bench.folder / f"targets {name}"),
            speech=specs["Whisper-base"][0],
            face=specs["expression net"][0],
            shifts=sizes.shifts,
        )


def _memory(bench: Bench) -> list[Row]:
    """Ingest the longest video on one core, and the others on the other one."""
    longest = max(COPIES)

    def measured(minutes: Sequence[int], core: int) -> list[Row | None]:
        return [
            bench.piece(
                *(f"memory, {count} min", "teach_stages:peak", [core]),
                video=str(bench.folder / "block.mp4"),
                copies=COPIES[count],
                corpus=str(bench.folder / f"memory {count}"),
                **bench.ingest,
            )
            for count in minutes
        ]

    first, last = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))
    with ThreadPoolExecutor(2) as pool:
        one = pool.submit(measured, [count for count in COPIES if count != longest], first)
        other = pool.submit(measured, [longest], last)
        return _rows(iter([*one.result(), *other.result()]))


def bars(record: dict[str, Any]) -> list[Row]:
    """Return what was aimed at beside what was reached, as far as it was measured."""
    speeds = {row["stage"]: row["times_real_time"] for row in record["whole"]}
    speeds |= {f"{r['what']}, {r['backend']}": r["times_real_time"] for r in record["workers"]}
    peaks = {round(row["minutes"]): row["peak_memory_mb"] for row in record["memory"]}
    one_after_another = [speeds.get(f"{what}, 2 processes") for what in ("ingest", "teach")]
    found = [
        ("ingest, one core, times real time", speeds.get("ingest, who talks"), 4.0),
        (
            "ingest that doesn't ask who talks, one core, times real time",
            *(speeds.get("ingest, sound only"), 10.0),
        ),
        (
            "ingest, then Whisper-base and expression net, 2 processes, times real time",
            *(None if None in one_after_another else _road(one_after_another), 3.0),
        ),
        *(
            (
                f"{what}, {two} ÷ {one}",
                *(_quotient(speeds.get(f"{what}, {two}"), speeds.get(f"{what}, {one}")), 1.8),
            )
            for what in ("ingest", "teach")
            for one, two in (BACKENDS[1:3], BACKENDS[3:5])
        ),
    ]
    rows = [
        {"row": title, "value": round(value, 2), "aim": f"≥ {bar:g}", "passes": value >= bar}
        for title, value, bar in found
        if value is not None
    ]
    if len(peaks) > 1:
        value = peaks[max(peaks)] / peaks[min(peaks)]
        title = f"peak memory, {max(peaks)} min ÷ {min(peaks)} min"
        rows.append(
            {"row": title, "value": round(value, 2), "aim": "≤ 1.1", "passes": value <= 1.1}
        )
    return rows


def _road(speeds: Sequence[float]) -> float:
    """Return the speed of one step after another."""
    return 1 / sum(1 / speed for speed in speeds)


def _quotient(one: float | None, other: float | None) -> float | None:
    return None if one is None or other is None else one / other


def machine() -> Row:
    """Return what the figures depend on."""
    lines = Path("/proc/cpuinfo").read_text("utf-8").splitlines()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return {
        "cpu": names[0] if names else platform.processor(),
        "cores": os.cpu_count(),
        "threads_a_process": 1,
        "load_before": round(os.getloadavg()[0], 1),
        "python": platform.python_version(),
        **{package: version(package) for package in (*PACKAGES, "opensmile", "ray")},
    }


def main(
    shared: Annotated[Path, typer.Option(help="Folder of data and weights.")],
    quick: Annotated[
        bool, typer.Option("--quick", help="Tiny sizes, to see that it works.")
    ] = False,
    out: Annotated[Path, typer.Option(help="The record.")] = RESULTS,
) -> None:
    """Measure everything, and write one record."""
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        bench = Bench(shared.resolve(), Path(folder), QUICK if quick else Sizes())
        bench.check()
        record: dict[str, Any] = {
            "command": f"python benchmarks/teach.py --shared ../shared{' --quick' * quick}",
            "date": time.strftime("%Y-%m-%d"),
            "quick": quick,
            "machine": machine(),
        }
        record |= dict(parts(bench))
        record["bars"] = bars(record)
        record["errors"] = bench.errors
        record["seconds"] = round(time.monotonic() - bench.began)
        storage.write_json(out, record)
    for row in record["bars"]:
        print(json.dumps(row, ensure_ascii=False))
    print(*bench.errors, f"written to {out}", sep="\n")
    sys.exit(1 if bench.errors else 0)


if __name__ == "__main__":
    typer.run(main)
