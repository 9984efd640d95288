//! What waits for a commit.
//!
//! Promises: first in, first out, of each lane; no lane waits for more than one batch of the other. There are two where
//! the store accepts messages by a way of their own: whoever sends one would otherwise wait for all that came with it, a
//! long history say. Both are one where a batch is one transaction whatever it holds.

use super::Reply;
use crate::domain::write::Write;

/// One change, and its answer's way back.
type Waiter = (Write, Reply);

/// The lanes; the callers' permits bound them.
pub(super) struct Waiting {
    apart: bool,
    accepted: Vec<Waiter>,
    others: Vec<Waiter>,
    /// Whose turn it is not.
    others_went: bool,
}

impl Waiting {
    pub(super) fn new(apart: bool) -> Self {
        Self { apart, accepted: Vec::new(), others: Vec::new(), others_went: false }
    }

    pub(super) fn push(&mut self, write: Write, reply: Reply) {
        // What was handled costs an accepted message nothing, and is never worth a long transaction.
        let short = self.apart && matches!(write, Write::Accept(_) | Write::Handled(_));
        let lane = if short { &mut self.accepted } else { &mut self.others };
        lane.push((write, reply));
    }

    pub(super) fn is_empty(&self) -> bool {
        self.accepted.is_empty() && self.others.is_empty()
    }

    /// Whether somebody waits for one of the writes.
    pub(super) fn hurried(&self) -> bool {
        let mut all = self.accepted.iter().chain(&self.others);
        all.any(|(write, _)| !matches!(write, Write::Handled(_)))
    }

    /// The next batch: at most so many of the lane whose turn it is.
    pub(super) fn take(&mut self, most: usize) -> Vec<Waiter> {
        for lane in [&mut self.accepted, &mut self.others] {
            // A caller that gave up must not find its write done later.
            lane.retain(|(_, (reply, _))| !reply.is_closed());
        }
        self.others_went = !self.others.is_empty() && (self.accepted.is_empty() || !self.others_went);
        let lane = if self.others_went { &mut self.others } else { &mut self.accepted };
        lane.drain(..lane.len().min(most)).collect()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use tokio::sync::Semaphore;

    use super::*;
    use crate::domain::event::Log;
    use crate::domain::ids::{Epoch, Fence, Position, Shard};
    use crate::domain::write::Handled;

    const FENCE: Fence = Fence { shard: Shard(0), epoch: Epoch(1) };

    fn short() -> Write {
        let handled = Handled {
            fence: FENCE,
            group: "a".into(),
            log: Log::DomainEvents,
            cursor: Position(1),
            above: Vec::new(),
        };
        Write::Handled(handled)
    }

    fn long() -> Write {
        Write::ReleaseLease(FENCE)
    }

    /// Who stands in line must be listening; the receivers are kept for that.
    fn line(apart: bool, writes: Vec<Write>) -> (Waiting, Vec<impl Sized>) {
        let room = Arc::new(Semaphore::new(writes.len()));
        let (mut waiting, mut listening) = (Waiting::new(apart), Vec::new());
        for write in writes {
            let (sender, receiver) = ractor::concurrency::oneshot();
            waiting.push(write, (sender.into(), Arc::clone(&room).try_acquire_owned().unwrap()));
            listening.push(receiver);
        }
        (waiting, listening)
    }

    /// `s` and `l` as they are taken, a word per batch.
    fn batches(mut waiting: Waiting, most: usize) -> Vec<String> {
        let letter = |(write, _): &Waiter| if matches!(write, Write::Handled(_)) { 's' } else { 'l' };
        let take = || Some(waiting.take(most)).filter(|batch| !batch.is_empty());
        std::iter::from_fn(take).map(|batch| batch.iter().map(letter).collect()).collect()
    }

    #[test]
    fn a_message_waits_for_one_batch_of_others_at_most_and_they_for_one_of_messages() {
        let all = || vec![long(), short(), long(), long(), short(), short(), short(), long()];
        let (waiting, _listening) = line(true, all());
        assert_eq!(batches(waiting, 2), ["ll", "ss", "ll", "ss"]);
        let (waiting, _listening) = line(false, all());
        assert_eq!(batches(waiting, 5), ["lslls", "ssl"]);
    }

    #[test]
    fn who_gave_up_is_not_written_for() {
        let (mut waiting, mut listening) = line(true, vec![short(), long(), short()]);
        assert!(waiting.hurried());
        listening.drain(..2);
        assert_eq!((waiting.take(9).len(), waiting.is_empty(), waiting.hurried()), (1, true, false));
    }
}
