//! The making of a reply: one token after another, at the node's pace, until the end, a fault, or until nobody
//! wants it any more.

use std::time::Duration;

use tokio::time::Instant;

use super::encode::End;
use super::wire::Metrics;
use crate::faults::{FaultId, FaultKind, Faults};
use crate::runner::{Lease, Refusal, Slot};
use crate::text::{Reply, count_tokens, prompt_token_ids};

/// What is to be generated.
#[derive(Debug)]
pub struct Plan {
    /// The key of the model's name.
    pub model: String,
    /// The prompt as the model sees it.
    pub prompt: String,
    /// Tokens the reply has if nothing cuts it short.
    pub natural: u64,
    /// Tokens at most.
    pub num_predict: Option<i64>,
    /// The context length the model runs with: no reply is longer than ten of them.
    pub num_ctx: u64,
    /// Whether to give the numbers of all tokens at the end.
    pub context: bool,
    /// Time for a prompt token.
    pub prompt_time: Duration,
    /// Tokens a second; 0 is no limit.
    pub tokens_per_second: f64,
    /// When the request arrived.
    pub arrived: Instant,
    /// When the model was there.
    pub loaded: Instant,
    /// The request's path: faults may be limited to it.
    pub path: String,
}

/// What happens next.
#[derive(Debug, PartialEq, Eq)]
pub enum Event {
    /// A token; its text is in [`Generation::token`].
    Token,
    /// The end.
    End(End),
    /// The runner died.
    Died(String),
}

/// See the module. Dropping it frees the slot.
#[derive(Debug)]
pub struct Generation {
    plan: Plan,
    reply: Reply,
    limit: u64,
    reason: &'static str,
    produced: u64,
    text: String,
    prompt_took: Duration,
    began: Instant,
    stall: Option<(FaultId, u64)>,
    death: Option<(u64, String)>,
    faults: Faults,
    // The slot goes before the lease: a model leaves with no slot in use.
    slot: Option<Slot>,
    _lease: Lease,
}

/// What Ollama says when its runner dies within a stream.
pub const RUNNER_DIED: &str = "an error was encountered while running the model: unexpected EOF";

impl Generation {
    /// Waits for a slot and evaluates the prompt.
    pub async fn begin(plan: Plan, lease: Lease, faults: Faults) -> Result<Self, Refusal> {
        let slot = lease.slot().await?;
        let evaluating = Instant::now();
        let tokens = u32::try_from(slot.evaluate(&plan.prompt)).unwrap_or(u32::MAX);
        let prompt_time = plan.prompt_time.saturating_mul(tokens);
        if !prompt_time.is_zero() {
            tokio::time::sleep(prompt_time).await;
        }
        let began = Instant::now();
        let (limit, reason) = limit(&plan);
        let stall = faults.take(&plan.path, |kind| match kind {
            FaultKind::StallTokens { after } => Some(*after),
            _ => None,
        });
        let death = faults.take(&plan.path, |kind| match kind {
            FaultKind::ErrorLine { after, message } => Some((*after, message.clone())),
            _ => None,
        });
        Ok(Self {
            reply: Reply::new(&plan.model, &plan.prompt),
            limit,
            reason,
            produced: 0,
            text: String::new(),
            prompt_took: began - evaluating,
            began,
            stall,
            death: death.map(|(_, (after, text))| (after, text.unwrap_or_else(|| RUNNER_DIED.to_owned()))),
            faults,
            slot: Some(slot),
            _lease: lease,
            plan,
        })
    }

    /// The text of the last token.
    pub fn token(&self) -> &str {
        &self.text
    }

    /// Waits for the next event. Between two events it always lets others run, so that each is written by itself.
    pub async fn next(&mut self) -> Event {
        if let Some((stall, after)) = self.stall
            && self.produced >= after
        {
            self.faults.removed(stall).await;
            self.stall = None;
        }
        self.pace().await;
        if let Some((after, message)) = &self.death
            && self.produced >= *after
        {
            self.slot = None;
            return Event::Died(message.clone());
        }
        if self.produced >= self.limit {
            self.slot = None;
            return Event::End(self.end());
        }
        self.text.clear();
        self.reply.push_token(self.produced, &mut self.text);
        self.produced += 1;
        Event::Token
    }

    async fn pace(&self) {
        if self.plan.tokens_per_second > 0.0 {
            let due = (self.produced + 1).min(self.limit) as f64 / self.plan.tokens_per_second;
            let due = Duration::try_from_secs_f64(due).unwrap_or(Duration::MAX);
            if due > self.began.elapsed() {
                tokio::time::sleep(due.saturating_sub(self.began.elapsed())).await;
                return;
            }
        }
        if self.produced > 0 {
            tokio::task::yield_now().await;
        }
    }

    fn end(&self) -> End {
        let plan = &self.plan;
        let stopped = self.reason == "stop";
        let context = if plan.context {
            let reply = (0..self.produced).map(|at| self.reply.token_id(at));
            prompt_token_ids(&plan.prompt).chain(reply).collect()
        } else {
            Vec::new()
        };
        let metrics = Metrics {
            total_duration: nanos(plan.arrived.elapsed()),
            load_duration: nanos(plan.loaded - plan.arrived),
            prompt_eval_count: count_tokens(&plan.prompt),
            prompt_eval_duration: nanos(self.prompt_took),
            // The token that ends a reply counts.
            eval_count: self.produced + u64::from(stopped),
            eval_duration: nanos(self.began.elapsed()),
        };
        End { reason: self.reason, metrics, context }
    }
}

impl Drop for Generation {
    /// Dropped with its slot in hand, it was given up half way.
    fn drop(&mut self) {
        let leak = |kind: &FaultKind| (*kind == FaultKind::LeakSlot).then_some(());
        if let Some(slot) = self.slot.take()
            && self.faults.take(&self.plan.path, leak).is_some()
        {
            slot.leak();
        }
    }
}

/// How many tokens there will be, and why no more.
fn limit(plan: &Plan) -> (u64, &'static str) {
    let bound = plan.num_ctx.saturating_mul(10);
    let wanted = match plan.num_predict {
        Some(n) if n > 0 => u64::try_from(n).unwrap_or(bound).min(bound),
        _ => bound,
    };
    if wanted <= plan.natural { (wanted, "length") } else { (plan.natural, "stop") }
}

/// Never zero: a real server takes some time for everything.
pub fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits() {
        let now = Instant::now();
        let limit = |natural, num_predict, num_ctx| {
            limit(&Plan {
                model: String::new(),
                prompt: String::new(),
                natural,
                num_predict,
                num_ctx,
                context: false,
                prompt_time: Duration::ZERO,
                tokens_per_second: 0.0,
                arrived: now,
                loaded: now,
                path: String::new(),
            })
        };
        assert_eq!(limit(26, None, 4096), (26, "stop"));
        assert_eq!(limit(26, Some(-1), 4096), (26, "stop"));
        assert_eq!(limit(26, Some(5), 4096), (5, "length"));
        assert_eq!(limit(26, Some(26), 4096), (26, "length"));
        assert_eq!(limit(26, Some(27), 4096), (26, "stop"));
        assert_eq!(limit(26, Some(0), 4096), (26, "stop"));
        assert_eq!(limit(u64::MAX, None, 8), (80, "length"));
        assert_eq!(limit(u64::MAX, Some(1000), 8), (80, "length"));
    }
}
