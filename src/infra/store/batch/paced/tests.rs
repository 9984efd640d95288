//! Seeded runs over a queue in memory, with a clock of their own: chats are known by and by, days pass, what is held is
//! released a few at a time. Whatever the order of things, chats keep theirs and quotas hold.

use std::collections::{BTreeMap, HashSet};
use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::domain::command::CommandType;
use crate::domain::content::Content;
use crate::domain::ids::{Epoch, Fence, MessageId, SessionId, Shard, WaId};
use crate::domain::pacing::{Refusal, Rules};
use crate::domain::write::{Release, Take};

const DAY: i64 = 24 * 60 * 60 * 1000;
const START: Timestamp = Timestamp(20_000 * DAY);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    Queued,
    Held,
    Gone,
}

struct Queue {
    rules: Rules,
    history: History,
    rows: Vec<(Taken, i64, State)>,
    known: HashSet<i64>,
    now: Timestamp,
    /// When the held ones are looked at again.
    due: Option<Timestamp>,
    /// What went: chat, its `seq`, when, whether it began the chat.
    went: Vec<(i64, i64, Timestamp, bool)>,
}

impl Queue {
    fn accept(&mut self, chat: i64) {
        let id = MessageId::new();
        let message = NewMessage {
            id,
            wa_id: WaId::of(id),
            to: format!("1555010{chat:04}").parse().unwrap(),
            content: Content::Text { text: "hola".into(), reply_to: None },
            deadline: Timestamp(i64::MAX),
        };
        let seq = i64::try_from(self.rows.len()).unwrap();
        let (command, kind) = (CommandId::new(), CommandType::SendMessage);
        self.rows.push((Taken { command, kind, seq, message: Some(message) }, chat, State::Queued));
    }

    fn release(&mut self, mut which: impl FnMut(i64) -> bool, most: usize) -> usize {
        let held = self.rows.iter_mut().filter(|(_, chat, state)| *state == State::Held && which(*chat));
        held.take(most).map(|row| row.2 = State::Queued).count()
    }

    fn take(&mut self, limit: usize) -> Paced {
        let release = self.due.is_some_and(|due| due <= self.now);
        let most = TakePaced::LOOK;
        let released = if release { self.release(|_any| true, most) } else { 0 };
        let fence = Fence { shard: Shard(0), epoch: Epoch(1) };
        let take = TakePaced {
            take: Take { fence, session: SessionId::new(), lifecycle_only: false, limit, at: self.now },
            rules: self.rules,
            holds: true,
            release: Release::default(),
        };
        let held: BTreeMap<i64, i64> = self
            .rows
            .iter()
            .rev()
            .filter(|row| row.2 == State::Held)
            .map(|(taken, chat, _)| (*chat, taken.seq))
            .collect();
        let queued = self.rows.iter().filter(|row| row.2 == State::Queued).take(most);
        let candidates = queued.map(|(taken, chat, _)| Candidate {
            taken: taken.clone(),
            message: Some(About {
                chat: *chat,
                again: false,
                unsaid: !self.known.contains(chat),
                behind: held.get(chat).is_some_and(|seq| *seq < taken.seq),
            }),
        });
        let candidates = candidates.collect();
        let mut judged = judge(&take, &mut self.history, candidates);
        for (taken, chat, state) in &mut self.rows {
            if judged.held.contains(&taken.command) {
                *state = State::Held;
            }
            if judged.answer.taken.iter().any(|gone| gone.command == taken.command) {
                *state = State::Gone;
                self.went.push((*chat, taken.seq, self.now, self.known.insert(*chat)));
            }
        }
        if let Some(wait) = judged.answer.held {
            self.due = Some(wait.not_before);
        } else if release && released < most {
            self.due = None;
        }
        judged.answer.released = released;
        judged.answer
    }
}

proptest! {
    #[test]
    fn chats_keep_their_order_quotas_hold_and_everything_goes(
        steps in prop::collection::vec((0_u8..10, 0_i64..40, 0_i64..4 * 60 * 60 * 1000), 1..300),
        per_day in 5_u32..60,
        new_chats in 1_u32..8,
    ) {
        let rules = Rules {
            per_day: Some(per_day),
            new_chats_per_day: Some(new_chats),
            cool_down: Duration::from_secs(3600),
            ..Rules::default()
        };
        let mut queue = Queue {
            rules, history: History::default(), rows: Vec::new(), known: HashSet::new(), now: START, due: None,
            went: Vec::new(),
        };
        for (what, chat, time) in steps {
            match what {
                0..=4 => (0..what).for_each(|more| queue.accept((chat + i64::from(more)) % 40)),
                5 => {
                    queue.known.insert(chat);
                    queue.release(|held| held == chat, usize::MAX);
                }
                6 => queue.history.note_refused(&rules, Refusal::NewChats, queue.now),
                7 => {
                    queue.release(|_any| true, usize::MAX);
                }
                _ => queue.now = Timestamp(queue.now.0 + time),
            }
            queue.take(1 + usize::from(what));
        }
        for _ in 0..20_000 {
            if queue.rows.iter().all(|row| row.2 == State::Gone) {
                break;
            }
            let paced = queue.take(32);
            if paced.taken.is_empty() && !paced.more {
                queue.due.get_or_insert(queue.now);
                queue.now = Timestamp(queue.now.0 + 60 * 60 * 1000);
            }
        }
        let left = queue.rows.iter().filter(|row| row.2 != State::Gone).count();
        prop_assert_eq!(left, 0, "{} of {} wait for ever", left, queue.rows.len());
        let (mut last, mut days, mut begun) = (BTreeMap::new(), BTreeMap::new(), BTreeMap::new());
        for (chat, seq, at, began) in &queue.went {
            prop_assert!(last.insert(*chat, *seq).is_none_or(|before| before < *seq), "chat {chat} out of order");
            *days.entry(at.0 / DAY).or_insert(0_u32) += 1;
            *begun.entry(at.0 / DAY).or_insert(0_u32) += u32::from(*began);
        }
        prop_assert!(days.values().all(|sent| *sent <= per_day), "{days:?}");
        prop_assert!(begun.values().all(|chats| *chats <= new_chats), "{begun:?}");
    }
}
