//! The election as a model: contenders over one compare-and-set register, with calls that take their time, answers that
//! get lost, and contenders that stand still. Time is virtual, so a run is a list of choices.

use super::{LeaseSettings, Me, Observed, Step, decide, next};
use jiff::Timestamp;
use k8s_openapi::api::coordination::v1::Lease;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::time::Instant;

const DURATION: Duration = Duration::from_secs(15);
const PERIOD: Duration = Duration::from_secs(5);

/// The API server's side: replaces the object if the version is the one it holds.
#[derive(Default)]
struct Register {
    version: u64,
    lease: Option<Lease>,
}

impl Register {
    fn read(&self) -> Option<Lease> {
        self.lease.clone()
    }

    /// Creates, or replaces. Without a version a replacement is unconditional.
    fn write(&mut self, mut lease: Lease, create: bool) -> bool {
        let held = self.lease.as_ref().and_then(|held| held.metadata.resource_version.clone());
        let expected = lease.metadata.resource_version.clone();
        let refused = if create { held.is_some() } else { expected.is_some() && expected != held };
        if refused {
            return false;
        }
        self.version += 1;
        lease.metadata.resource_version = Some(self.version.to_string());
        self.lease = Some(lease);
        true
    }
}

/// Where a contender is in its round.
enum Stage {
    Idle,
    /// It has decided to write; the request is on its way.
    Writing {
        lease: Box<Lease>,
        create: bool,
        epoch: u64,
        sent: Instant,
    },
}

struct Contender {
    settings: LeaseSettings,
    observed: Option<Observed>,
    epoch: Option<u64>,
    until: Option<Instant>,
    stage: Stage,
    wake: Instant,
}

/// One choice: which contender moves, how long the move takes, and what goes wrong with it.
#[derive(Clone, Debug)]
struct Choice {
    who: usize,
    delay: u64,
    fault: u8,
}

impl Contender {
    fn new(index: usize, now: Instant) -> Self {
        let settings =
            LeaseSettings { name: "aivonx".to_owned(), identity: format!("c{index}"), duration: DURATION };
        Self { settings, observed: None, epoch: None, until: None, stage: Stage::Idle, wake: now }
    }

    /// Reads and decides; the answer may be lost.
    fn look(&mut self, register: &Register, now: Instant, lost: bool) {
        if lost {
            self.wake = now + PERIOD;
            return;
        }
        let lease = register.read();
        let spec = lease.as_ref().map(|lease| lease.spec.clone().unwrap_or_default());
        self.observed = spec.as_ref().map(|spec| Observed::update(self.observed.take(), spec, now));
        let create = lease.is_none();
        let me = Me { identity: &self.settings.identity, epoch: self.epoch, floor: 0 };
        let stamp = Timestamp::from_microsecond(i64::try_from(register.version).unwrap()).unwrap();
        match decide(spec.as_ref(), me, self.observed.as_ref(), now) {
            Step::Renew => {
                let lease = Box::new(next(lease, &self.settings, None, stamp));
                self.stage = Stage::Writing { lease, create, epoch: self.epoch.unwrap(), sent: now };
            }
            Step::Take { epoch } => {
                let lease = Box::new(next(lease, &self.settings, Some(epoch), stamp));
                self.stage = Stage::Writing { lease, create, epoch, sent: now };
            }
            Step::Wait { until } => {
                (self.epoch, self.until) = (None, None);
                self.wake = until.min(now + PERIOD);
            }
            Step::Exhausted => panic!("epochs are small here"),
        }
    }
}

/// Runs the choices; gives who held which epoch, and how often the leader changed.
fn run(contenders: usize, choices: &[Choice]) -> Result<usize, TestCaseError> {
    let start = Instant::now();
    let mut now = start;
    let mut register = Register::default();
    let mut all: Vec<Contender> = (0..contenders).map(|index| Contender::new(index, start)).collect();
    let mut owners: BTreeMap<u64, usize> = BTreeMap::new();
    for Choice { who, delay, fault } in choices {
        let who = who % contenders;
        // Small steps are the way of calls, large ones that of a stopped process.
        now += Duration::from_millis(if delay % 7 == 0 { delay * 40 } else { *delay });
        match std::mem::replace(&mut all[who].stage, Stage::Idle) {
            Stage::Idle => {
                if now >= all[who].wake {
                    all[who].look(&register, now, fault % 8 == 0);
                }
            }
            Stage::Writing { lease, create, epoch, sent } => {
                let arrives = fault % 8 != 1;
                let written = arrives && register.write(*lease, create);
                let answered = fault % 8 != 2;
                let contender = &mut all[who];
                if written && answered && now < sent + PERIOD {
                    contender.epoch = Some(epoch);
                    contender.until = Some(sent + DURATION);
                    let owner = *owners.entry(epoch).or_insert(who);
                    prop_assert_eq!(owner, who, "two leaders confirmed epoch {}", epoch);
                }
                contender.wake = now + PERIOD;
            }
        }
        let confirmed =
            all.iter().filter(|contender| contender.until.is_some_and(|until| now < until)).count();
        prop_assert!(confirmed <= 1, "{} confirmed leaders at once", confirmed);
    }
    Ok(owners.len())
}

fn choices() -> impl Strategy<Value = Vec<Choice>> {
    let choice = (0usize..3, 0u64..2_000, any::<u8>());
    let choice = choice.prop_map(|(who, delay, fault)| Choice { who, delay, fault });
    proptest::collection::vec(choice, 1..400)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn two_contenders_never_share_an_epoch_or_a_moment(choices in choices()) {
        run(2, &choices)?;
    }

    #[test]
    fn three_contenders_never_share_an_epoch_or_a_moment(choices in choices()) {
        run(3, &choices)?;
    }
}

#[test]
fn without_faults_somebody_leads_and_a_stopped_leader_is_replaced() {
    // The first contender works, then stands still; the second goes on alone.
    let step = |who| Choice { who, delay: 1_000, fault: 3 };
    let mut choices: Vec<Choice> = (0..40).map(|turn| step(turn % 2)).collect();
    choices.extend((0..60).map(|_| step(1)));
    assert_eq!(run(2, &choices).unwrap(), 2);
}
