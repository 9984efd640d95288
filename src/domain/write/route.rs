//! Which shard a write belongs to, and which shard's relay it concerns.

use super::{TakePaced, Write};
use crate::domain::ids::Shard;

impl Write {
    /// The shard it belongs to: writes of one shard keep their order.
    #[must_use]
    pub fn shard(&self) -> Option<Shard> {
        match self {
            Self::CreateSession(create) => Some(create.shard),
            Self::Accept(accept) => Some(accept.shard),
            Self::TakeLease(take) => Some(take.shard),
            Self::Take(take) | Self::TakePaced(TakePaced { take, .. }) => Some(take.fence.shard),
            Self::Refused(refused) => Some(refused.fence.shard),
            Self::Finish(finish) => Some(finish.fence.shard),
            Self::Progress(progress) => Some(progress.fence.shard),
            Self::Inbound(inbound) => Some(inbound.fence.shard),
            Self::Link(change) => Some(change.fence.shard),
            Self::Auth(auth) => Some(auth.fence.shard),
            Self::Handled(handled) => Some(handled.fence.shard),
            Self::DeliveryFailed(failed) | Self::Bury(failed) => Some(failed.fence.shard),
            Self::Sweep(sweep) => Some(sweep.fence.shard),
            Self::ReleaseLease(fence)
            | Self::Requeue(fence, _)
            | Self::DeleteSession(fence, _)
            | Self::Stamp(fence, _)
            | Self::Redriven(fence, _) => Some(fence.shard),
            Self::People(people) => people.shard(),
            Self::AddKey(_) | Self::Beat(_) | Self::Leave(_) | Self::Settle(..) | Self::Redrive(_) => None,
        }
    }

    /// The shard whose logs this may add to: its relay is woken after the commit.
    #[must_use]
    pub fn wakes(&self) -> Option<Shard> {
        match self {
            Self::CreateSession(create) => Some(create.shard),
            Self::Accept(accept) => Some(accept.shard),
            Self::Progress(progress) => Some(progress.fence.shard),
            Self::Inbound(inbound) => Some(inbound.fence.shard),
            Self::Link(change) => Some(change.fence.shard),
            Self::DeleteSession(fence, _) => Some(fence.shard),
            Self::Sweep(sweep) => Some(sweep.fence.shard),
            Self::People(people) => people.shard(),
            Self::AddKey(_)
            | Self::Beat(_)
            | Self::Leave(_)
            | Self::Settle(..)
            | Self::TakeLease(_)
            | Self::ReleaseLease(_)
            | Self::Take(_)
            | Self::TakePaced(_)
            | Self::Refused(_)
            | Self::Requeue(..)
            | Self::Finish(_)
            | Self::Auth(_)
            | Self::Stamp(..)
            | Self::Handled(_)
            | Self::DeliveryFailed(_)
            | Self::Bury(_)
            | Self::Redrive(_)
            | Self::Redriven(..) => None,
        }
    }
}
