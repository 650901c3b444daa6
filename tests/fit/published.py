"""Published pulse responses, computed from their authors' equations; and ours, from the presets.

``python tests/fit/published.py docs/images/published-responses.png`` draws both. Nothing here uses
the simulator's models: NeuroSim's curve is ``G = B(1 − e^{−P/A}) + G_min`` with A from its label
(the largest distance of the normalised curve from the diagonal is 0.07·√2·label), aihwkit's are
the recurrences of its device classes for one pulse after another (Rasch et al., AICAS 2021; numbers
from presets/devices.py).
"""

from __future__ import annotations

import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from hil_sim.models.device import Device, load_device
from hil_sim.models.text import device_toml
from scipy.optimize import brentq

from hil.control.twin_response import twin_response


@dataclass(frozen=True)
class NeuroSim:
    """Row of NeuroSim's table of devices: pulses, labels, R_on, on/off."""

    up: int
    down: int
    label_up: float
    label_down: float
    r_on_ohm: float
    on_off: float


NEUROSIM = {
    "ag-asi": NeuroSim(97, 100, 2.4, -4.88, 26e6, 12.5),
    "taox": NeuroSim(128, 128, 0.04, -0.63, 100e3, 10.0),
    "pcmo": NeuroSim(50, 50, 3.68, -6.76, 23e6, 6.84),
    "hfox": NeuroSim(40, 40, 1.94, -0.61, 16.9e3, 4.43),
    "gst-pcm": NeuroSim(100, 120, 0.105, 2.4, 4.71e3, 19.8),
    "epiram": NeuroSim(64, 64, 0.5, -0.5, 81e3, 50.2),
    "hzo-fefet": NeuroSim(32, 32, 1.75, 1.46, 559e3, 45.0),
}


def a_of_label(label: float) -> float:
    """Return NeuroSim's A, as a share of the pulses; its sign is that of the label."""
    x = np.linspace(0.0, 1.0, 20_001)

    def found(a: float) -> float:
        return float(np.abs(np.expm1(-x / a) / np.expm1(-1.0 / a) - x).max() / (0.07 * np.sqrt(2)))

    a = float(brentq(lambda log_a: found(np.exp(log_a)) - abs(label), np.log(0.02), np.log(200.0)))
    return float(np.copysign(np.exp(a), label))


def neurosim_curve(device: NeuroSim) -> tuple[np.ndarray, np.ndarray]:
    """Return (up, down) in siemens after 0 … P pulses, as NeuroSim's ``NonlinearWeight`` does."""
    g_max = 1.0 / device.r_on_ohm
    g_min = g_max / device.on_off

    def curve(pulses: np.ndarray, most: int, label: float) -> np.ndarray:
        a = a_of_label(label) * most
        b = (g_max - g_min) / (1.0 - np.exp(-most / a))
        return b * (1.0 - np.exp(-pulses / a)) + g_min

    up = curve(np.arange(device.up + 1), device.up, device.label_up)
    # Depression goes down its own curve, from P_max to 0.
    down = curve(np.arange(device.down, -1, -1), device.down, device.label_down)
    return up, down


@dataclass(frozen=True)
class Aihwkit:
    """Device class and parameters of an aihwkit preset that shape its mean response."""

    kind: str
    dw_min: float
    w_min: float
    w_max: float
    gamma_up: float = 0.0
    gamma_down: float = 0.0
    up_down: float = 0.0
    a: float = 0.0
    b: float = 0.0
    a_up: float = 0.0
    a_down: float = 0.0


AIHWKIT = {
    "reram-es": Aihwkit("exp", 0.00135, -1.0, 1.0, 5.0, 5.0, 0.259359, -0.5, -0.5,
                        -1.18445, -0.081404),
    "reram-sb": Aihwkit("linear", 0.002, -0.75, 1.25, 1.0, 1.0),
    "reram-om": Aihwkit("linear", 0.0949, -1.0, 1.0, 1.0, 1.0),
    "reram-hfo2": Aihwkit("linear", 0.4622, -1.0, 1.0, 1.0, 1.0),
    "capacitor": Aihwkit("linear", 0.005, -1.0, 1.0, 0.05, 0.05),
    "ecram-li": Aihwkit("linear", 0.002, -0.8276, 1.1724, 0.1153, 0.5085),
    "ecram-mo": Aihwkit("linear", 2.8214e-4, -0.8286, 1.1714, 0.4152, 0.7342),
    "gokmen-vlasov": Aihwkit("linear", 0.0016, -1.0, 1.0),
    "idealized": Aihwkit("linear", 0.0002, -1.0, 1.0),
    "pcm": Aihwkit("exp", 0.01, 0.0, 2.0, 2.5, 2.5, 0.0, -1.0, 0.0, -27.235, -2.235),
}  # fmt: skip


def aihwkit_step(device: Aihwkit, w: float, up: bool) -> float:
    """Return the weight after one pulse without noise."""
    d = device
    scale = d.dw_min * (1.0 + min(d.up_down, 0.0) if up else 1.0 - max(d.up_down, 0.0))
    if d.kind == "exp":
        z = 2.0 * d.a * w / (d.w_max - d.w_min) + d.b
        if up:
            step = max(1.0 - d.a_up * np.exp(d.gamma_up * z), 0.0)
        else:
            step = -max(1.0 - d.a_down * np.exp(-d.gamma_down * z), 0.0)
    elif up:
        step = 1.0 - d.gamma_up * w / d.w_max
    else:
        step = -(1.0 - d.gamma_down * w / d.w_min)
    return min(max(w + scale * step, d.w_min), d.w_max)


def aihwkit_curve(device: Aihwkit, pulses: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (up, down) as shares of the range: up from the lower bound, down from where it got."""
    w, branches = device.w_min, []
    for up in (True, False):
        taken = [w]
        for _ in range(pulses):
            w = aihwkit_step(device, w, up)
            taken.append(w)
        branches.append((np.array(taken) - device.w_min) / (device.w_max - device.w_min))
    return branches[0], branches[1]


def pulses_of(device: Aihwkit) -> int:
    """Return about as many pulses as steps of the first size cross the range."""
    first = aihwkit_step(device, device.w_min, up=True) - device.w_min
    return int(np.clip(round((device.w_max - device.w_min) / first), 5, 10_000))


def quiet(name: str) -> Device:
    """Return a preset without variation, noise and forming."""
    values = load_device(name).model_dump(by_alias=True)
    values["variation"] = {}
    for branch in ("potentiation", "depression"):
        values[branch].pop("spread", None)
    return Device.model_validate({k: v for k, v in values.items() if v is not None})


def our_curve(name: str, up: int, down: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (up, down) in siemens of the preset, driven with pulses through ``ltp-ltd``."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "device.toml"
        path.write_text(device_toml(quiet(name)), encoding="utf-8")
        outcome = twin_response(path, pulses=up, cycles=1, rows=1, cols=1)
        g, polarity = outcome["g_siemens"][:, 0], outcome["polarity"]
        rising = g[polarity >= 0]
        falling = np.append(rising[-1:], g[polarity < 0])
        if down > up:  # the protocol gives both branches as many pulses
            falling = np.append(falling, _more(path, up, down))
    return rising, falling[: down + 1]


def _more(path: Path, up: int, down: int) -> np.ndarray:
    """Return the pulses of depression beyond ``up``, of a run whose potentiation is complete."""
    outcome = twin_response(path, pulses=down, cycles=1, rows=1, cols=1)
    g = outcome["g_siemens"][:, 0][outcome["polarity"] < 0]
    return g[up:down]


def draw(path: Path) -> None:
    """Draw all published curves and ours."""
    from matplotlib.figure import Figure

    from hil.report.figures.style import BLUE, INK, ORANGE
    from hil.report.render import styled

    names = [*NEUROSIM, *AIHWKIT]
    with styled():
        figure = Figure(figsize=(7.09, 6.2), layout="constrained", facecolor="white")
        axes = figure.subplots(4, 5)
        for ax, name in zip(axes.ravel(), names, strict=False):
            if name in NEUROSIM:
                device = NEUROSIM[name]
                up, down = neurosim_curve(device)
                low, high = 1.0 / device.r_on_ohm / device.on_off, 1.0 / device.r_on_ohm
                up, down = (up - low) / (high - low), (down - low) / (high - low)
            else:
                up, down = aihwkit_curve(AIHWKIT[name], pulses_of(AIHWKIT[name]))
            preset = load_device(name).range
            ours = our_curve(name, up.size - 1, down.size - 1)
            span = preset.g_max - preset.g_min
            for x0, theirs, own, colour in (
                (0, up, ours[0], BLUE), (up.size - 1, down, ours[1], ORANGE),
            ):  # fmt: skip
                x = x0 + np.arange(theirs.size)
                every = max(theirs.size // 14, 1)
                ax.plot(x[::every], theirs[::every], ls="", marker="o", ms=2.8, mew=0, color=colour)
                ax.plot(x, (own - preset.g_min) / span, color=INK, lw=0.9)
            ax.set_title(name, fontsize=7.5)
            ax.set_ylim(-0.05, 1.1)
        for ax in axes.ravel()[len(names) :]:
            ax.axis("off")
        hidden = axes.ravel()[-2]
        hidden.plot([], [], ls="", marker="o", ms=3, mew=0, color=BLUE, label="published, up")
        hidden.plot([], [], ls="", marker="o", ms=3, mew=0, color=ORANGE, label="published, down")
        hidden.plot([], [], color=INK, lw=0.9, label="our preset, by pulses")
        hidden.legend(loc="center")
        figure.supxlabel("pulse number", fontsize=8)
        figure.supylabel("share of the conductance range", fontsize=8)
        figure.savefig(path, dpi=160)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
