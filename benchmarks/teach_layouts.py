"""Layouts of `teach.json`, which `layouts.py` names: measurements, and arithmetic on them."""

import json
from collections.abc import Sequence
from pathlib import Path

from markdown_table import Record, table

SCALE = Path(__file__).parent / "results" / "scale.json"
HOURS, UTTERANCES = 2_442, 1_128_246
"""VoxCeleb2, by Table 1 of Chung, Nagrani & Zisserman, Interspeech 2018."""
CORES = 16
"""Of each machine that exists in the arithmetic only."""
MACHINES = (1, 10, 100)
MEMORY_GB, DISK_MB_S = 16, 1_000
"""What a machine and its disk or network are taken to have, where something breaks."""
CLIPS_A_PORTION = 32
"""Most clips that a worker gets at once, and an object of a store at a URL holds."""
INGEST = (
    "hash the file",
    "decode the sound",
    "search for speech",
    "measure the sound",
    "decode the picture",
    "find shots",
    "detect faces",
    "follow faces",
    "who talks",
)
"""Stages of ingest in their order."""
LR_ASD = "LR-ASD on every utterance"
SPEECH, FACE = "Whisper-base", "expression net"
ITSELF = ", which detects the face itself"


def stages(results: Record) -> str:
    """Lay out each stage and each teacher on one core."""
    rows = [*results["stages"], *results["whole"], *results["teachers"]]
    heads = ["one core, one thread", "clips a second", "times real time", "CPU ÷ wall"]
    heads += ["of the CPU time in networks"]
    lines = [
        [
            row["stage"],
            f"{row['clips_a_second']:,.1f}",
            f"{row['times_real_time']:,.1f}",
            f"{row['cpu_s'] / row['wall_s']:.2f}",
            f"{row['network_s'] / row['cpu_s']:.0%}" if row["cpu_s"] else "",
        ]
        for row in rows
    ]
    media = results["media"]
    note = (
        f"{media['clips']} clips of RAVDESS, {media['pixels']}, joined to one recording of "
        f"{results['stages'][0]['media_s']:.0f} s. A teacher's clips are the utterances in it; one "
        f"that detects the face itself gets the clips as files. {_machine(results)}"
    )
    return "\n".join([*_trial(results), *table(heads, lines), "", note]) + "\n"


def waits(results: Record) -> str:
    """Lay out what ingest spends its time on, by its own stopwatch."""
    names = {
        **{
            "hash": "hash",
            "sound": "sound: decode, search for speech",
            "quality": "measures of it",
        },
        **{"picture": "decode the picture", "shots": "shots", "faces": "faces: detect, follow"},
        **{"who talks": "who talks"},
    }
    lines = []
    for key, name in names.items():
        shares = [row["stage_s"].get(key, 0.0) / row["wall_s"] for row in results["whole"]]
        lines.append([name, *(f"{share:.0%}" for share in shares)])
    rest = [1 - sum(row["stage_s"].values()) / row["wall_s"] for row in results["whole"]]
    lines.append(["the rest: records, manifest", *(f"{max(0.0, share):.0%}" for share in rest)])
    heads = ["share of the wall time", *(row["stage"] for row in results["whole"])]
    return "\n".join(table(heads, lines)) + "\n"


def workers(results: Record) -> str:
    """Lay out ingest and teach by back end, two workers beside one."""
    rows = results["workers"]
    single = {
        (row["what"], "Ray" in row["backend"]): row["times_real_time"]
        for row in rows
        if row["workers"] == 1
    }
    lines = [
        [
            f"{row['what']}, {row['backend']}",
            f"{row['start_s']:.1f}",
            f"{row['work_s']:.1f}",
            "" if row["cpu_s"] is None else f"{row['cpu_s']:.1f}",
            f"{row['clips_a_second']:.2f}",
            f"{row['times_real_time']:.1f}",
            f"{row['times_real_time'] / single[row['what'], 'Ray' in row['backend']]:.2f}"
            if row["workers"] == 2
            else "",
            "" if row["peak_memory_mb"] is None else f"{row['peak_memory_mb']:,}",
        ]
        for row in rows
    ]
    heads = ["", "start, s", "work, s", "CPU, s, both", "clips a second", "times real time"]
    heads += ["times one worker", "largest process, MB"]
    media = {row["what"]: row["media_s"] for row in rows}
    note = "; ".join(f"{what}: {seconds:.0f} s of media" for what, seconds in media.items())
    note += f". “teach” asks {SPEECH} and the {FACE}. “start” ends when the first worker is ready."
    return "\n".join([*table(heads, lines), "", note]) + "\n"


def memory(results: Record) -> str:
    """Lay out the peak of memory by the length of the video."""
    lines = [
        [
            f"{row['minutes']:.0f} min",
            f"{row['minutes_of_speech']:.1f}",
            f"{row['pieces']:,}",
            f"{row['peak_memory_mb']:,}",
        ]
        for row in results["memory"]
    ]
    heads = ["ingest of one video", "minutes of speech", "pieces", "peak memory, MB"]
    return "\n".join(table(heads, lines)) + "\n"


def bars(results: Record) -> str:
    """Lay out what was aimed at beside what was reached."""
    lines = [
        [row["row"], row["aim"], f"{row['value']:.2f}", "yes" if row["passes"] else "no"]
        for row in results["bars"]
    ]
    return "\n".join(table(["", "aim", "measured", "reached"], lines)) + "\n"


def voxceleb(results: Record) -> str:
    """Work out what VoxCeleb2 would cost on machines of `CORES` cores."""
    at = _by_name(results)
    whole = "ingest, who talks"
    roads = {
        whole: [whole],
        f"{LR_ASD}, at most": [LR_ASD],
        SPEECH: [SPEECH],
        FACE: [FACE],
        f"ingest, {SPEECH} and {FACE}": [whole, SPEECH, FACE],
        f"clips as they are: {SPEECH} and {FACE}{ITSELF}": [SPEECH, FACE + ITSELF],
    }
    lines = []
    for name, steps in roads.items():
        cpu, network = (
            sum(_per_s(at[step], key) for step in steps) for key in ("cpu_s", "network_s")
        )
        lines.append([name, f"{HOURS * cpu:,.0f}", *_hours(cpu)])
        if len(steps) > 1:
            free = cpu - network
            lines.append([f"{name}, networks at no cost", f"{HOURS * free:,.0f}", *_hours(free)])
    heads = [f"{UTTERANCES:,} utterances, {HOURS:,} h", "CPU hours"]
    heads += [f"{count} × {CORES} cores" for count in MACHINES]
    note = (
        "Arithmetic, no measurement: CPU time of a second of media on one core, as measured above, "
        f"times {HOURS:,} h, shared evenly by cores like the measured one. The counts are those of "
        "Chung et al., 2018. “Networks at no cost” is the most that GPUs could save: what is left "
        "stays on the CPU."
    )
    return "\n".join([*_trial(results), *table(heads, lines), "", note]) + "\n"


def bottlenecks(results: Record) -> str:
    """Work out the share of each step, with the networks and without their cost."""
    at = _by_name(results)
    steps = [*INGEST, SPEECH, FACE]
    all_of = {name: _per_s(at[name], "cpu_s") for name in steps}
    free = {name: all_of[name] - _per_s(at[name], "network_s") for name in steps}
    at_most = all_of | {"who talks": all_of["who talks"] + _per_s(at[LR_ASD], "cpu_s")}
    columns = (all_of, at_most, free)
    lines = [[name, *(f"{one[name] / sum(one.values()):.0%}" for one in columns)] for name in steps]
    seconds = [f"{60 * sum(one.values()):.1f} s" for one in columns]
    lines.append(["CPU time of a minute of media", *seconds])
    heads = ["share of the CPU time", "as measured", LR_ASD, "networks at no cost"]
    return "\n".join(table(heads, lines)) + "\n"


def limits(results: Record) -> str:
    """Work out what a corpus of this size weighs, and what is full at which size."""
    clips, media = UTTERANCES, results["media"]["bytes_a_second"]
    hashed = next(row for row in results["stages"] if row["stage"] == "hash the file")
    manifest = results["manifest"]
    each_kb = manifest["peak_mb"] / manifest["pieces"] * 2**20 / 1e3
    lines = [
        ["media, at the measured clips' bit rate", f"{media * HOURS * 3600 / 1e12:.2f} TB"],
        [
            "their hashes, by one process",
            f"{_per_s(hashed, 'wall_s') * HOURS:.1f} h",
        ],
        ["memory of the process that writes the manifest", f"{each_kb * clips / 1e6:.0f} GB"],
        ["time for it", f"{manifest['rows_s'] / manifest['pieces'] * clips / 60:.0f} min"],
    ]
    for row in results["teachers"]:
        if not row["stage"].endswith(ITSELF):
            name = row["stage"]
            weight = f"{row['bytes_a_clip'] * clips / 1e9:.1f} GB"
            lines.append([f"store of {name}: {row['bytes_a_clip']:,} bytes a clip", weight])
            memory = f"{_target_bytes(results, row) * clips / 1e9:.1f} GB"
            lines.append([f"memory of `teach` at the end: {name}", memory])
    lines.append(["objects of a teacher's store at a URL", f"{clips / CLIPS_A_PORTION:,.0f}"])
    return "\n".join(table([f"{clips:,} utterances, {HOURS:,} h", ""], lines)) + "\n"


def breaks(results: Record) -> str:
    """Work out at which size each resource is full, beside machines of `CORES` cores."""
    at = _by_name(results)
    steps = ("ingest, who talks", SPEECH, FACE)
    cpu = sum(_per_s(at[step], "cpu_s") for step in steps)
    free = cpu - sum(_per_s(at[step], "network_s") for step in steps)
    media_mb = results["media"]["bytes_a_second"] / 1e6
    clip_s = HOURS * 3600 / UTTERANCES
    write_s = (at[SPEECH]["write_ms_a_clip"] + at[FACE]["write_ms_a_clip"]) / 1000
    manifest = results["manifest"]
    each_gb = manifest["peak_mb"] / manifest["pieces"] * 2**20 / 1e9
    lines = [
        [f"manifest: {MEMORY_GB} GB of memory", f"{MEMORY_GB / each_gb:,.0f} pieces", ""],
        [
            f"`teach`: {MEMORY_GB} GB of {SPEECH}'s embeddings",
            f"{MEMORY_GB * 1e9 / _target_bytes(results, at[SPEECH]):,.0f} clips",
            "",
        ],
    ]
    items_s = _ray_items_a_second()
    capacities = {
        "one disk's writes into a folder as the store": clip_s / write_s,
        f"{DISK_MB_S:,} MB/s of disk or network, media read once": DISK_MB_S / media_mb,
        "Ray's queue, 2 teachers": items_s * CLIPS_A_PORTION * clip_s / 2,
    }
    for name, media_s_a_second in sorted(capacities.items(), key=lambda item: item[1]):
        cores = [f"{media_s_a_second * each:,.0f} cores" for each in (cpu, free)]
        lines.append([name, *cores])
    return "\n".join(table(["full", "at", "networks at no cost"], lines)) + "\n"


def _ray_items_a_second() -> float:
    """Return how many items that do nothing Ray hands out, by `scale.json`."""
    rows = json.loads(SCALE.read_text("utf-8"))["overhead"]
    (row,) = (one for one in rows if (one["backend"], one["items"]) == ("Ray", "nothing"))
    return float(row["a_second_2"])


def _target_bytes(results: Record, teacher: Record) -> float:
    """Return the memory that `teach` needs for a clip, by that of a teacher of other dimensions."""
    known = results["targets"]
    each = known["peak_mb"] * 2**20 / known["clips"] / known["dimensions"]
    return float(each * teacher["dimensions"])


def _by_name(results: Record) -> dict[str, Record]:
    rows = (*results["stages"], *results["whole"], *results["teachers"])
    return {row["stage"]: row for row in rows}


def _per_s(row: Record, key: str) -> float:
    """Return the time that a second of media takes."""
    return float(row[key] / row["media_s"])


def _hours(cpu_s: float) -> Sequence[str]:
    return [f"{HOURS * cpu_s / count / CORES:,.1f} h" for count in MACHINES]


def _trial(results: Record) -> list[str]:
    """Return a warning for the record of a trial."""
    if not results.get("quick"):
        return []
    return ["**A trial of a few seconds on a busy machine: these figures mean nothing.**", ""]


def _machine(results: Record) -> str:
    machine = results["machine"]
    return (
        f"{machine['cpu']}, {machine['cores']} cores; ONNX Runtime {machine['onnxruntime']}, "
        f"PyTorch {machine['torch']}."
    )
