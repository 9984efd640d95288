//! Taking commands where sends are paced: what goes, what is held, what is counted.
//!
//! Promises: messages of one chat go in their order, whether some of them were held or not; a message is counted in the
//! transaction that hands it out, once, however often it is taken.

use std::collections::HashSet;

use crate::domain::address::Server;
use crate::domain::error::Result;
use crate::domain::ids::CommandId;
use crate::domain::message::MessageState;
use crate::domain::pacing::{History, Refusals, Wait};
use crate::domain::time::Timestamp;
use crate::domain::write::{NewMessage, Paced, TakePaced, Taken};
use crate::infra::store::batch::progress;
use crate::infra::store::columns::Columns;
use crate::infra::store::views;

/// Before the oldest unfinished command no held message was accepted, but for clocks that differ.
pub(crate) const CLOCKS_DIFFER: i64 = 10 * 60 * 1000;

/// A queued command, and what there is to know about its message.
pub(crate) struct Candidate {
    taken: Taken,
    message: Option<About>,
}

struct About {
    chat: i64,
    /// Handed out before: it may have reached WhatsApp, and is counted.
    again: bool,
    /// Nothing was ever said in its chat.
    unsaid: bool,
    /// An earlier message of its chat is held.
    behind: bool,
}

/// What is to be written.
#[derive(Default)]
pub(crate) struct Judged {
    pub(crate) answer: Paced,
    /// Commands whose messages are held.
    pub(crate) held: Vec<CommandId>,
    /// Whether the history has changed.
    pub(crate) counted: bool,
}

/// A row of what a taken command is, its message's chat and state, whether nothing was said and something is held.
pub(crate) fn candidate(row: &impl Columns) -> Result<Candidate> {
    let taken = views::taken(row)?;
    let message = match row.opt_int(8)? {
        Some(chat) => Some(About {
            chat,
            again: progress::state(row.int(9)?)? != MessageState::Queued,
            unsaid: row.int(10)? != 0,
            behind: row.int(11)? != 0,
        }),
        None => None,
    };
    Ok(Candidate { taken, message })
}

/// What was counted: linked at, day, sent, new chats, rate, last new chat, and the two kinds of refusals.
pub(crate) fn history(row: &impl Columns, first: usize) -> Result<History> {
    let linked_at = row.opt_int(first)?.map(Timestamp);
    let Some(day) = row.opt_int(first + 1)? else {
        return Ok(History { linked_at, ..History::default() });
    };
    let refusals = |column| Ok(Refusals { count: row.int(column)?, until: Timestamp(row.int(column + 1)?) });
    Ok(History {
        linked_at,
        day,
        sent: row.int(first + 2)?,
        new_chats: row.int(first + 3)?,
        rate_at: Timestamp(row.int(first + 4)?),
        new_chat_at: Timestamp(row.int(first + 5)?),
        chats: refusals(first + 6)?,
        sends: refusals(first + 8)?,
    })
}

/// The same as columns, without when it was linked.
pub(crate) fn columns(history: &History) -> [i64; 9] {
    let History { day, sent, new_chats, rate_at, new_chat_at, chats, sends, .. } = history;
    [
        *day,
        *sent,
        *new_chats,
        rate_at.0,
        new_chat_at.0,
        chats.count,
        chats.until.0,
        sends.count,
        sends.until.0,
    ]
}

/// Whether chats with this address are begun: groups and channels are not.
pub(crate) fn is_person(message: &NewMessage) -> bool {
    matches!(message.to.server(), Server::Phone | Server::Lid)
}

/// Judges candidates in order.
pub(crate) fn judge(take: &TakePaced, history: &mut History, candidates: Vec<Candidate>) -> Judged {
    let (rules, now) = (&take.rules, take.take.at);
    let looked_at_all = candidates.len() < TakePaced::LOOK;
    let mut judged = Judged::default();
    let (mut begun, mut blocked, mut full) = (HashSet::new(), HashSet::new(), false);
    for Candidate { taken, message: about } in candidates {
        if judged.answer.taken.len() >= take.take.limit {
            full = true;
            break;
        }
        let (Some(about), Some(message)) = (about, &taken.message) else {
            judged.answer.taken.push(taken);
            continue;
        };
        if about.again {
            judged.answer.taken.push(taken);
            continue;
        }
        if about.behind || blocked.contains(&about.chat) {
            judged.held.push(taken.command);
            blocked.insert(about.chat);
            continue;
        }
        if let Some(wait) = rules.before_any(history, now) {
            judged.answer.waits = Some(wait);
            break;
        }
        let begins = about.unsaid && is_person(message) && !begun.contains(&about.chat);
        if let Some(wait) = begins.then(|| rules.before_new_chat(history, now)).flatten() {
            judged.answer.held = Some(sooner(judged.answer.held, wait));
            judged.held.push(taken.command);
            blocked.insert(about.chat);
            continue;
        }
        history.note_sent(rules, begins, now);
        judged.counted = true;
        begun.insert(about.chat);
        judged.answer.taken.push(taken);
    }
    judged.answer.more = full || (!looked_at_all && judged.answer.waits.is_none());
    judged.answer.holds = judged.held.len();
    judged
}

fn sooner(one: Option<Wait>, other: Wait) -> Wait {
    one.filter(|one| one.not_before <= other.not_before).unwrap_or(other)
}

#[cfg(test)]
mod tests;
