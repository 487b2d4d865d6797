//! What the daemon takes of the machine, as metrics.

use prometheus::{Counter, Gauge};

use super::series::{Typed, WELL_FORMED, boxed, floating, help};
use crate::sys::usage::Usage;

/// What the daemon takes of the machine, under the names that all exporters have for it.
#[derive(Debug)]
pub(super) struct Process {
    cpu_seconds_total: Counter,
    resident_memory_bytes: Gauge,
    virtual_memory_bytes: Gauge,
    open_fds: Gauge,
    max_fds: Gauge,
    start_time_seconds: Gauge,
}

impl Process {
    /// Makes them, at 0.
    pub(super) fn new() -> Self {
        Self {
            cpu_seconds_total: Counter::new("process_cpu_seconds_total", help("process_cpu_seconds_total"))
                .expect(WELL_FORMED),
            resident_memory_bytes: floating("process_resident_memory_bytes"),
            virtual_memory_bytes: floating("process_virtual_memory_bytes"),
            open_fds: floating("process_open_fds"),
            max_fds: floating("process_max_fds"),
            start_time_seconds: floating("process_start_time_seconds"),
        }
    }

    /// Follows what the kernel counts.
    #[expect(clippy::cast_precision_loss, reason = "a gauge is a float, and nobody asks for single bytes")]
    pub(super) fn follow(&self, usage: &Usage) {
        let computed = usage.cpu.as_secs_f64() - self.cpu_seconds_total.get();
        self.cpu_seconds_total.inc_by(computed.max(0.0));
        self.resident_memory_bytes.set(usage.resident_bytes as f64);
        self.virtual_memory_bytes.set(usage.virtual_bytes as f64);
        self.open_fds.set(usage.open_fds as f64);
        self.max_fds.set(usage.max_fds.map_or(f64::INFINITY, |most| most as f64));
        self.start_time_seconds.set(usage.started.map_or(0.0, |started| started.as_duration().as_secs_f64()));
    }

    /// Lists the collectors, with their types.
    pub(super) fn collectors(&self) -> Vec<Typed> {
        let gauges = [
            &self.resident_memory_bytes,
            &self.virtual_memory_bytes,
            &self.open_fds,
            &self.max_fds,
            &self.start_time_seconds,
        ];
        let mut all = boxed("counter", &[&self.cpu_seconds_total]);
        all.extend(boxed("gauge", &gauges));
        all
    }
}
