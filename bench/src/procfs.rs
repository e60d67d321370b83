//! What the kernel says of processes and cores.

use std::collections::BTreeMap;
use std::fs;

use anyhow::{Context, Result};

/// CPU time of each thread of a process and of its children, in nanoseconds, by thread id.
///
/// Kernel work done for a thread counts, and so does what loopback does on behalf of a sender. A thread that ends takes
/// with it what it did since the last look, which for the threads that come and go here is next to nothing.
pub type Threads = BTreeMap<u32, u64>;

/// Looks at the process `id` and its children.
pub fn threads(id: u32) -> Result<Threads> {
    let mut threads = Threads::new();
    let folder = format!("/proc/{id}/task");
    for entry in fs::read_dir(&folder).with_context(|| format!("process {id} is gone"))? {
        let thread = entry?.path();
        // A thread may end between the two looks.
        let Ok(times) = fs::read_to_string(thread.join("schedstat")) else { continue };
        let on_cpu = times.split_whitespace().next().context("schedstat is empty")?.parse()?;
        let name = thread.file_name().and_then(|name| name.to_str()).context("a thread without an id")?;
        threads.insert(name.parse()?, on_cpu);
        for child in fs::read_to_string(thread.join("children"))?.split_whitespace() {
            threads.extend(self::threads(child.parse()?)?);
        }
    }
    Ok(threads)
}

/// The CPU time between two looks, in nanoseconds.
pub fn spent(before: &Threads, after: &Threads) -> u64 {
    after.iter().map(|(id, time)| time.saturating_sub(before.get(id).copied().unwrap_or(0))).sum()
}

/// Ticks that one core has passed.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Core {
    busy: u64,
    stolen: u64,
    all: u64,
}

impl Core {
    /// Looks at core `number`.
    pub fn read(number: usize) -> Result<Core> {
        let stat = fs::read_to_string("/proc/stat")?;
        Core::parse(&stat, number).with_context(|| format!("/proc/stat tells nothing of core {number}"))
    }

    fn parse(stat: &str, number: usize) -> Option<Core> {
        let name = format!("cpu{number} ");
        let line = stat.lines().find_map(|line| line.strip_prefix(&name))?;
        let ticks: Vec<u64> = line.split_whitespace().map_while(|word| word.parse().ok()).take(8).collect();
        let [user, nice, system, idle, iowait, irq, softirq, stolen] = ticks[..] else { return None };
        let busy = user + nice + system + irq + softirq;
        Some(Core { busy, stolen, all: busy + idle + iowait + stolen })
    }

    /// The share of time since `before` that the core was busy, 0 to 1.
    pub fn busy_since(&self, before: &Core) -> f64 {
        (self.busy - before.busy) as f64 / (self.all - before.all).max(1) as f64
    }

    /// The share of time since `before` that other virtual machines had the core, 0 to 1.
    pub fn stolen_since(&self, before: &Core) -> f64 {
        (self.stolen - before.stolen) as f64 / (self.all - before.all).max(1) as f64
    }
}

/// Share of the last 10 s in which some task waited for a core, in percent. `None` where the kernel does not tell.
pub fn cpu_pressure() -> Option<f64> {
    parse_pressure(&fs::read_to_string("/proc/pressure/cpu").ok()?)
}

fn parse_pressure(text: &str) -> Option<f64> {
    let some = text.lines().find(|line| line.starts_with("some "))?;
    some.split_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()
}

/// The first line of a file of `/proc`; empty where there is none.
pub fn first_line(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().lines().next().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_core_is_read_from_its_line() {
        let stat = "cpu  9 9 9 9 9 9 9 9 9 9\ncpu0 10 0 20 60 5 1 2 2 0 0\ncpu1 1 2 3 4 5 6 7 8 0 0\n";
        let core = Core::parse(stat, 0).unwrap();
        assert_eq!(core, Core { busy: 33, stolen: 2, all: 100 });
        assert_eq!(Core::parse(stat, 2), None);
        let later = Core { busy: 83, stolen: 7, all: 200 };
        assert_eq!((later.busy_since(&core), later.stolen_since(&core)), (0.5, 0.05));
    }

    #[test]
    fn pressure_is_read_from_its_line() {
        let text = "some avg10=1.25 avg60=0.00 avg300=0.00 total=5\nfull avg10=9.00 avg60=0.00 avg300=0.00 total=0\n";
        assert_eq!(parse_pressure(text), Some(1.25));
    }

    #[test]
    fn work_of_any_thread_of_a_process_is_seen() {
        const WORK: u64 = 20_000_000;
        let id = std::process::id();
        let before = threads(id).unwrap();
        let work = move || {
            // Enough for any machine; counted right, a few rounds are.
            (0..2000).any(|_| {
                (0..1_000_000_u64).for_each(|n| _ = std::hint::black_box(n));
                spent(&before, &threads(id).unwrap()) >= WORK
            })
        };
        assert!(std::thread::spawn(work).join().unwrap());
    }
}
