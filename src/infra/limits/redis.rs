//! Counters in Redis behind the [`Limits`] port: the same for all nodes.
//!
//! Promises what the port promises, and:
//! * One script call per request, whatever it is held against. All counters are in one slot of a cluster, because a script
//!   may touch the keys of one slot only.
//! * A counter ends with its window, by Redis' own clock: no clock of a node decides anything.
//! * No address, key or name stands in Redis: a counter's name is a keyed hash that only our nodes can make.
//! * Opening needs no server; a call ends at its deadline, `Unavailable` if nothing came.

use std::time::Duration;

use async_trait::async_trait;
use hmac::{Hmac, KeyInit, Mac};
use redis::{Script, Value};
use sha2::Sha256;

use super::{CHARGES, Limits};
use crate::domain::error::{Error, Result};
use crate::domain::limit::{Charge, Subject, Used, Verdict, judge};
use crate::infra::stream::redis::{Ask, Connection, client};

/// What an operator or a test can choose.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Before the name of every key.
    pub prefix: String,
    /// How long one call may take: a request waits for it.
    pub deadline: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self { prefix: String::new(), deadline: Duration::from_millis(500) }
    }
}

/// The counters of all nodes that share a Redis and an encryption key.
pub struct RedisLimits {
    connection: Connection,
    script: Script,
    name: Hmac<Sha256>,
    prefix: String,
}

impl RedisLimits {
    /// Takes an address as [`RedisStream`](crate::infra::stream::redis::RedisStream) does, and the key that names are hashed
    /// under; connects to nothing yet, and shares no connection with the streams, whose batches would hold it up.
    ///
    /// # Errors
    /// `Invalid` when the address cannot be used.
    pub fn open(url: &str, key: &[u8; 32], settings: Settings) -> Result<Self> {
        let client = client(url).map_err(|_may_quote_the_password| {
            Error::invalid("REDIS_URL", "invalid_redis_url", "is not the address of a Redis")
        })?;
        Ok(Self {
            connection: Connection::new(client, settings.deadline),
            script: Script::new(include_str!("check.lua")),
            name: Hmac::new_from_slice(key).map_err(Error::bug)?,
            prefix: settings.prefix,
        })
    }

    /// A counter's name. With the window in it, a window that an operator shortens does not wait for the longer one's end.
    fn key(&self, charge: &Charge) -> String {
        let scope = charge.subject.scope().as_str();
        let (hash, millis) = (self.hash(&charge.subject), charge.rate.window().as_millis());
        format!("{}{{recado-limits}}:{scope}:{millis}:{hash:032x}", self.prefix)
    }

    fn hash(&self, subject: &Subject) -> u128 {
        let mut name = self.name.clone();
        name.update(subject.scope().as_str().as_bytes());
        for part in subject.id() {
            name.update(&part.to_be_bytes());
        }
        let whole: [u8; 32] = name.finalize().into_bytes().into();
        whole.iter().take(16).fold(0, |hash, byte| hash << 8 | u128::from(*byte))
    }
}

#[async_trait]
impl Limits for RedisLimits {
    async fn check(&self, charges: &[Charge]) -> Result<Verdict> {
        if charges.len() > CHARGES {
            return Err(Error::bug("a request is held against too many limits"));
        }
        let mut call = self.script.prepare_invoke();
        for charge in charges {
            call.key(self.key(charge));
            let window = u64::try_from(charge.rate.window().as_millis()).map_err(Error::bug)?;
            call.arg(charge.rate.count()).arg(window).arg(u8::from(charge.counts));
        }
        let answer = self.connection.ask(Ask::Script(&call)).await?;
        let (admitted, used) = read(answer, charges.len())?;
        let verdict = judge(charges, &used);
        if matches!(verdict, Verdict::Admitted(_)) != admitted {
            return Err(Error::bug("redis judges a request in another way"));
        }
        Ok(verdict)
    }
}

/// Whether it was admitted, and what each counter said before.
fn read(answer: Value, charges: usize) -> Result<(bool, Vec<Used>)> {
    let odd = || Error::bug("redis answers a check in an unknown shape");
    let Value::Array(parts) = answer else { return Err(odd()) };
    let numbers: Vec<u64> = parts
        .into_iter()
        .map(|part| if let Value::Int(number) = part { u64::try_from(number).ok() } else { None })
        .collect::<Option<_>>()
        .ok_or_else(odd)?;
    let Some((admitted, rest)) = numbers.split_first().filter(|(_, rest)| rest.len() == 2 * charges) else {
        return Err(odd());
    };
    let used = rest.chunks_exact(2).map(|pair| match pair {
        [count, left] => {
            Used { count: u32::try_from(*count).unwrap_or(u32::MAX), left: Duration::from_millis(*left) }
        }
        _never => Used::default(),
    });
    Ok((*admitted == 1, used.collect()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_address_stands_in_a_key_and_another_key_gives_other_names() {
        let open = |key: u8| {
            RedisLimits::open("redis://127.0.0.1:1", &[key; 32], Settings::default()).expect("an address")
        };
        let charge = |subject| Charge { subject, rate: "5/min".parse().unwrap(), counts: true };
        let (one, other) = (open(1), open(2));
        let ip = charge(Subject::Ip(0x7f00_0001));
        let key = one.key(&ip);
        assert!(key.starts_with("{recado-limits}:ip:60000:") && key.len() == 25 + 32, "{key}");
        assert!(!key.contains("7f000001"));
        assert_eq!(key, open(1).key(&ip));
        assert_ne!(key, other.key(&ip));
        assert_ne!(key, one.key(&charge(Subject::AuthFailures(0x7f00_0001))));
        assert_ne!(key, one.key(&charge(Subject::Ip(0x7f00_0002))));
    }

    #[test]
    fn an_answer_of_another_shape_is_an_error_and_not_a_panic() {
        let ints = |numbers: &[i64]| Value::Array(numbers.iter().map(|n| Value::Int(*n)).collect());
        let (admitted, used) = read(ints(&[1, 3, 500]), 1).unwrap();
        assert!(admitted);
        assert_eq!(used, [Used { count: 3, left: Duration::from_millis(500) }]);
        for odd in
            [Value::Nil, ints(&[]), ints(&[1]), ints(&[1, 3]), ints(&[1, 3, -1]), ints(&[1, 2, 3, 4, 5])]
        {
            assert!(read(odd, 1).is_err());
        }
    }
}
