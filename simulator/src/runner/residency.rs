//! Decisions about what stays loaded. Pure: no clock, no locks.

use std::collections::BTreeMap;

use crate::keep_alive::KeepAlive;

/// The options of a request that belong to the runner, not to the reply: another value means another load.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RunnerOptions {
    /// `num_ctx`, when the request says one.
    pub num_ctx: Option<i64>,
    /// `num_batch`, `num_gpu`, `main_gpu`, `use_mmap`, `num_thread`, `draft_num_predict`, as far as given.
    pub others: BTreeMap<&'static str, i64>,
}

/// What a runner was started with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Launch {
    /// The context length it runs with.
    pub num_ctx: u64,
    /// Whether that was the default.
    pub num_ctx_auto: bool,
    /// The other runner options.
    pub others: BTreeMap<&'static str, i64>,
}

impl Launch {
    /// How a model would be started for these options.
    pub fn new(options: &RunnerOptions, default_ctx: u64, trained_ctx: u64) -> Self {
        let wanted = options.num_ctx.map_or(default_ctx, |n| u64::try_from(n).unwrap_or(0));
        Self {
            num_ctx: wanted.max(4).min(trained_ctx.max(4)),
            num_ctx_auto: options.num_ctx.is_none(),
            others: options.others.clone(),
        }
    }

    /// Whether a runner started so must be restarted to serve a request that wants `wanted`.
    pub fn needs_reload(&self, wanted: &Self) -> bool {
        let same_ctx = self.num_ctx == wanted.num_ctx || (self.num_ctx_auto && wanted.num_ctx_auto);
        // num_gpu -1 fits whatever the runner has.
        let keep_gpu = wanted.others.get("num_gpu").is_none_or(|n| *n < 0);
        let relevant = |launch: &Self| {
            let mut others = launch.others.clone();
            if keep_gpu {
                others.remove("num_gpu");
            }
            others
        };
        !same_ctx || relevant(self) != relevant(wanted)
    }
}

/// A loaded model, as far as room is concerned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resident {
    /// Which runner.
    pub id: u64,
    /// Bytes it holds.
    pub size: u64,
    /// Requests using it.
    pub refs: usize,
    /// How long it stays when idle.
    pub keep_alive: KeepAlive,
    /// Grows with every use.
    pub last_used: u64,
}

/// Whether a model fits beside those loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Room {
    /// Load it.
    Fits,
    /// First this one must go; if it is busy, once it is idle.
    Evict(u64),
}

/// Makes room for `size` bytes: an idle model with the shortest keep-alive goes first, of equals the one used
/// least lately; with none idle the same order over all. A model alone always fits (the rest runs on the CPU).
pub fn make_room(residents: &[Resident], size: u64, max_loaded: usize, vram: Option<u64>) -> Room {
    let held: u64 = residents.iter().map(|resident| resident.size).fold(0, u64::saturating_add);
    let fits = vram.is_none_or(|vram| held.saturating_add(size) <= vram);
    if residents.len() < max_loaded.max(1) && fits {
        return Room::Fits;
    }
    let victim = residents.iter().min_by_key(|it| (it.refs > 0, it.keep_alive, it.last_used, it.id));
    victim.map_or(Room::Fits, |resident| Room::Evict(resident.id))
}

/// How much of a model lies in VRAM.
pub fn size_in_vram(size: u64, vram: Option<u64>) -> u64 {
    vram.map_or(size, |vram| size.min(vram))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn secs(secs: u64) -> KeepAlive {
        KeepAlive::For(Duration::from_secs(secs))
    }

    fn resident(id: u64, refs: usize, keep_alive: KeepAlive) -> Resident {
        Resident { id, size: 10, refs, keep_alive, last_used: id }
    }

    #[test]
    fn room_by_number_and_by_bytes() {
        let two = [resident(1, 0, secs(5)), resident(2, 0, secs(5))];
        assert_eq!(make_room(&two, 10, 3, None), Room::Fits);
        assert_eq!(make_room(&two, 10, 2, None), Room::Evict(1));
        assert_eq!(make_room(&two, 10, 3, Some(30)), Room::Fits);
        assert_eq!(make_room(&two, 10, 3, Some(29)), Room::Evict(1));
        assert_eq!(make_room(&[], 99, 3, Some(1)), Room::Fits, "alone it always fits");
        assert_eq!(make_room(&[], 1, 0, None), Room::Fits, "zero is one");
        assert_eq!(size_in_vram(10, Some(4)), 4);
        assert_eq!(size_in_vram(10, None), 10);
    }

    #[test]
    fn the_idle_go_before_the_busy_the_short_before_the_long_the_old_before_the_new() {
        let evicted = |residents: &[Resident]| match make_room(residents, 1, residents.len(), None) {
            Room::Evict(id) => id,
            Room::Fits => panic!("fits"),
        };
        assert_eq!(evicted(&[resident(1, 1, secs(1)), resident(2, 0, KeepAlive::Forever)]), 2);
        assert_eq!(evicted(&[resident(1, 0, secs(9)), resident(2, 0, secs(1))]), 2);
        assert_eq!(evicted(&[resident(1, 0, KeepAlive::Forever), resident(2, 0, secs(1))]), 2);
        assert_eq!(evicted(&[resident(3, 0, secs(5)), resident(2, 0, secs(5))]), 2);
        assert_eq!(evicted(&[resident(1, 2, secs(9)), resident(2, 1, secs(1))]), 2);
    }

    fn launch(num_ctx: Option<i64>, others: &[(&'static str, i64)]) -> Launch {
        let others = others.iter().copied().collect();
        Launch::new(&RunnerOptions { num_ctx, others }, 4096, 8192)
    }

    #[test]
    fn another_context_means_another_load() {
        let auto = launch(None, &[]);
        assert_eq!((auto.num_ctx, auto.num_ctx_auto), (4096, true));
        assert!(!auto.needs_reload(&auto));
        assert!(auto.needs_reload(&launch(Some(8192), &[])));
        assert!(launch(Some(8192), &[]).needs_reload(&auto));
        assert!(!launch(Some(4096), &[]).needs_reload(&auto));
        assert!(!launch(Some(8192), &[]).needs_reload(&launch(Some(99_999), &[])), "clamped to the trained");
        assert_eq!(launch(Some(-5), &[]).num_ctx, 4);
    }

    #[test]
    fn so_do_other_runner_options() {
        let plain = launch(None, &[]);
        assert!(plain.needs_reload(&launch(None, &[("num_batch", 64)])));
        assert!(plain.needs_reload(&launch(None, &[("num_gpu", 3)])));
        assert!(!plain.needs_reload(&launch(None, &[("num_gpu", -1)])));
        assert!(!launch(None, &[("num_gpu", 3)]).needs_reload(&plain));
    }
}
