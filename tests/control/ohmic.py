"""A second, independent backend for controller tests: ohmic devices, equal steps, plain NumPy."""

from __future__ import annotations

import numpy as np

from hil.backend import Backend
from hil.capabilities import Capabilities
from hil.geometry import ArrayGeometry
from hil.limits import SafetyLimits
from hil.measurement import MeasurementBlock, Status, reading_index
from hil.program import LineState, Phase, PulseBlock


class OhmicBackend(Backend):
    """Ohmic devices that step by ``dg`` where the write voltage is at least 0.9 V."""

    name = "ohmic"

    def __init__(
        self,
        g_siemens: np.ndarray,
        capabilities: Capabilities | None = None,
        limits: SafetyLimits | None = None,
        geometry: ArrayGeometry | None = None,
        dg: float = 1e-6,
    ) -> None:
        super().__init__(
            geometry or ArrayGeometry(*g_siemens.shape), capabilities or Capabilities(), limits
        )
        self.g = np.array(g_siemens, dtype=float)
        self.dg = dg
        self.now_ns = 0
        self.driven: list[PulseBlock] = []
        self.safe_calls = 0

    def _open(self) -> None:
        self.now_ns = 0

    def _close(self) -> None:
        pass

    def _safe_state(self) -> None:
        self.safe_calls += 1

    def identify(self) -> str:
        return "ohmic test array"

    def clock_ns(self) -> int:
        return self.now_ns

    def _execute(self, block: PulseBlock) -> MeasurementBlock:
        self.driven.append(block)
        step, line, pulse = reading_index(block)
        m = MeasurementBlock.empty(len(step))
        m.step[:], m.line[:], m.pulse[:] = step, line, pulse
        read, write = self.geometry.read_lines, self.geometry.write_lines
        at = 0
        for s in range(block.n_steps):
            v = np.where(block.state[s] == LineState.DRIVE, block.level_v[s], 0.0)
            width = (
                block.width_s[s] if block.width_s.ndim == 2 else np.full(v.size, block.width_s[s])
            )
            step_s = width.max()
            vt = v * width
            current = np.zeros(v.size)
            drop = vt[read.plus][:, None] - vt[read.minus][None, :]
            current[read.plus] = (self.g * drop).sum(axis=1) / step_s if step_s else 0.0
            current[read.minus] = -(self.g * drop).sum(axis=0) / step_s if step_s else 0.0
            for _ in range(block.repeat[s]):
                for k in np.flatnonzero(block.sense[s]):
                    m.t_ns[at] = self.now_ns
                    m.level_v[at], m.width_s[at], m.current_a[at] = v[k], step_s, current[k]
                    at += 1
                self.now_ns += max(int(block.period_s[s] * 1e9), 1)
                device = v[write.plus][:, None] - v[write.minus][None, :]
                self.g = np.clip(
                    self.g + np.where(np.abs(device) >= 0.9, np.sign(device) * self.dg, 0.0),
                    0,
                    1e-3,
                )
        m.range_a[:] = np.nan
        m.executed[:] = block.repeat[step] if len(step) else 0
        m.status[:] = int(Status.SIMULATED)
        assert block.phase is not Phase.IDLE or at == 0
        return m
