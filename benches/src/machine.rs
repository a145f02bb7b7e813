//! The machine, and how much memory this process takes.

use serde::Serialize;
use sysinfo::System;

/// Below this load average a machine counts as quiet.
const QUIET: f64 = 1.5;

/// Where figures were measured.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// The processor's name.
    pub processor: String,
    /// How many threads it runs at once.
    pub cores: usize,
    /// In bytes.
    pub memory: u64,
    /// The operating system and its version.
    pub system: String,
    /// When, in UTC.
    pub date: String,
    /// The command line.
    pub command: String,
}

impl Machine {
    /// Whether the machine was quiet before a measurement: the first line of each report.
    #[must_use]
    pub fn mark() -> String {
        mark_of(System::load_average().one)
    }

    /// This one.
    #[must_use]
    pub fn look() -> Self {
        let system = System::new_all();
        let processor =
            system.cpus().first().map(|cpu| cpu.brand().trim().to_owned()).unwrap_or_default();
        let now = time::OffsetDateTime::now_utc();
        let arguments: Vec<String> = std::env::args().skip(1).collect();
        Self {
            processor,
            cores: system.cpus().len(),
            memory: system.total_memory(),
            system: System::long_os_version().unwrap_or_default(),
            date: format!("{} {:02}:{:02} UTC", now.date(), now.hour(), now.minute()),
            command: format!("annals-benches {}", arguments.join(" ")),
        }
    }
}

/// By the load average of the last minute.
fn mark_of(load: f64) -> String {
    if load < QUIET {
        return format!("The machine was quiet before it began: load {load:.2}.");
    }
    format!(
        "NOT QUIET: load {load:.2} before it began, {QUIET} is allowed. Compare nothing with these figures."
    )
}

/// Watches the greatest memory use of this process. Only Linux reports it.
#[derive(Debug)]
pub struct Peak {
    before: Option<u64>,
}

impl Peak {
    /// From now on.
    #[must_use]
    pub fn start() -> Self {
        // 5 sets the kernel's own record of the peak back to the present use.
        let reset = std::fs::write("/proc/self/clear_refs", "5").ok();
        Self { before: reset.and_then(|()| field("VmRSS:")) }
    }

    /// By how many bytes it grew at most.
    #[must_use]
    pub fn growth(&self) -> Option<u64> {
        Some(field("VmHWM:")?.saturating_sub(self.before?))
    }
}

fn field(name: &str) -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    let kibibytes: u64 = line.trim().strip_suffix(" kB")?.trim().parse().ok()?;
    Some(kibibytes * 1_024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_machine_is_marked() {
        assert!(mark_of(1.49).starts_with("The machine was quiet"));
        assert!(mark_of(1.5).starts_with("NOT QUIET"));
    }
}
