"""What `benchmarks/storyland.py` measured: against its aims, and as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

AIMS = (("identity", 0.85), ("prompt", 0.85), ("identity, two heroes", 0.70))
"""Figure, at least; of each of `AIMED`."""
AIMED = ("memory", "guided", "portraits")
SECONDS, GIGABYTES, CORES = 90.0, 3.0, 2
"""Of a film from a cold start: at most so long and so much memory, on so many cores."""


def aims(report: Mapping[str, Any]) -> list[dict[str, Any]]:
    """What was aimed at and what came out, as far as it was measured."""
    out: list[dict[str, Any]] = []
    for system in AIMED:
        for title, aim in AIMS:
            found = report["systems"].get(system, {}).get("figures", {}).get(title)
            if found is not None:
                met = found["share"] >= aim
                what = f"{title}, system {system}"
                out.append({"what": what, "aim": f">= {aim:.0%}", "measured": found["share"], "met": met})
    if (cold := report.get("cold_start")) is not None:
        for what, key, most in (("seconds of the film", "seconds", SECONDS), ("peak GB of it", "peak_gb", GIGABYTES)):
            out.append({"what": what, "aim": f"<= {most:g}", "measured": cold[key], "met": cold[key] <= most})
    return out


def print_report(report: Mapping[str, Any]) -> None:
    """Tables for people."""
    sampling, systems = report["sampling"], report["systems"]
    print(
        f"\n{report['model']} {' '.join(report['loras'])}, {sampling['width']}x{sampling['height']}, "
        f"{sampling['num_frames']} frames, {sampling['num_inference_steps']} steps; {report['stories']} stories of "
        f"{report['shots']} shots from seed {report['seed']}"
    )
    print("\nshare [95 %] (chance), number of marks")
    for title, meaning in report["figures"].items():
        if not any(title in system["figures"] for system in systems.values()):
            continue
        print(f"\n{title}: {meaning}")
        for name, system in systems.items():
            if (found := system["figures"].get(title)) is not None:
                low, high, chance = found["low"], found["high"], found["chance"]
                share = f"{found['share']:6.1%} [{low:5.1%}, {high:6.1%}] ({chance:5.1%})"
                print(f"  {name:>14}  {share}  n = {found['n']} in {found['stories']} stories")
    print("\nidentity by attribute, and how often the reader is right on clean drawings")
    reader = report["reader"]["accuracy"]
    shown = {name: s["figures"]["identity"]["by"] for name, s in systems.items() if "identity" in s["figures"]}
    print(f"  {'':>17} {'reader':>8}" + "".join(f" {name:>13}" for name in shown))
    for attribute, share in reader.items():
        if any(attribute in by for by in shown.values()):
            row = "".join(
                f" {by[attribute]['share']:13.1%}" if attribute in by else f" {'':13}" for by in shown.values()
            )
            print(f"  {attribute:>17} {share:8.1%}{row}")
    print("\nseconds per shot: " + ", ".join(f"{name} {s['seconds_per_shot']:.2f}" for name, s in systems.items()))
    if (cold := report.get("cold_start")) is not None:
        print(
            f"a film of {cold['shots']} shots from a cold start on {cold['cores']} cores: {cold['seconds']} s, "
            f"peak {cold['peak_gb']} GB"
        )
    for aim in report["aims"]:
        print(f"{'met' if aim['met'] else 'NOT MET':>8}  {aim['what']}: {aim['measured']} (aim {aim['aim']})")
