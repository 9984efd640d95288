//! Which request a log line belongs to.
//!
//! Promises: every line that is logged within [`of_request`] carries the request's id and its trace id; a request whose
//! lines nobody logs pays for neither, apart from two copies of 81 bytes.

use std::fmt;

use tokio::task::futures::TaskLocalFuture;

/// The longest request id in bytes.
pub const LONGEST_ID: usize = 64;

tokio::task_local! {
    static REQUEST: RequestIds;
}

/// How a request is found again: here by its id, across services by its trace.
#[derive(Clone, Copy)]
pub struct RequestIds {
    trace: Trace,
    id: [u8; LONGEST_ID],
    length: u8,
}

impl fmt::Debug for RequestIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "RequestIds({}, {})", self.trace, self.id())
    }
}

impl RequestIds {
    /// A request with this id, cut at [`LONGEST_ID`], in this trace or in a new one.
    #[must_use]
    pub fn new(id: &str, trace: Option<Trace>) -> Self {
        let mut kept = [0; LONGEST_ID];
        let length = id.floor_char_boundary(LONGEST_ID);
        kept.iter_mut().zip(id.as_bytes().iter().take(length)).for_each(|(to, from)| *to = *from);
        Self {
            trace: trace.unwrap_or_else(Trace::fresh),
            id: kept,
            length: u8::try_from(length).unwrap_or_default(),
        }
    }

    /// Of the request that this code runs for, if it runs for one.
    #[must_use]
    pub fn current() -> Option<Self> {
        REQUEST.try_with(|ids| *ids).ok()
    }

    /// The `traceparent` header of a call that is made for this request.
    #[must_use]
    pub fn traceparent(&self) -> String {
        // A span of its own, which may not be zero.
        format!("00-{}-{:016x}-00", self.trace, rand::random::<u64>() | 1)
    }

    pub(super) fn trace(&self) -> Trace {
        self.trace
    }

    pub(super) fn id(&self) -> &str {
        let id = self.id.get(..self.length.into()).unwrap_or_default();
        std::str::from_utf8(id).unwrap_or_default()
    }
}

/// Runs `work` for a request.
pub fn of_request<F: Future>(ids: RequestIds, work: F) -> TaskLocalFuture<RequestIds, F> {
    REQUEST.scope(ids, work)
}

/// The same at once.
pub fn at_request<T>(ids: RequestIds, work: impl FnOnce() -> T) -> T {
    REQUEST.sync_scope(ids, work)
}

/// The id of a trace, as W3C's Trace Context has it: 16 bytes that are not all zero.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Trace([u8; 16]);

impl Trace {
    fn fresh() -> Self {
        Self(rand::random())
    }

    /// The trace of a `traceparent` header; `None` when it is not one.
    #[must_use]
    pub fn of_header(header: &[u8]) -> Option<Self> {
        let dashes = [2, 35, 52].iter().all(|at| header.get(*at) == Some(&b'-'));
        let version: [u8; 1] = bytes(header.get(..2)?)?;
        let trace: [u8; 16] = bytes(header.get(3..35)?)?;
        let span: [u8; 8] = bytes(header.get(36..52)?)?;
        let _flags: [u8; 1] = bytes(header.get(53..55)?)?;
        let rest = header.get(55..)?;
        // Only later versions may say more.
        let ends = rest.is_empty() || (version != [0] && rest.starts_with(b"-"));
        (dashes && ends && version != [0xff] && trace != [0; 16] && span != [0; 8]).then_some(Self(trace))
    }
}

impl fmt::Display for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Bytes from lower-case hex digits.
fn bytes<const N: usize>(hex: &[u8]) -> Option<[u8; N]> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = hex.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut out = [0; N];
    for (to, [high, low]) in out.iter_mut().zip(pairs) {
        *to = digit(high)? << 4 | digit(low)?;
    }
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

    #[test]
    fn a_trace_is_taken_from_a_header_as_it_is_written() {
        for header in [
            format!("00-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-00"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01-what-the-future-will-be-like"),
        ] {
            let trace = Trace::of_header(header.as_bytes()).unwrap();
            assert_eq!(trace.to_string(), TRACE, "{header}");
        }
    }

    #[test]
    fn what_is_no_trace_is_not_taken() {
        for header in [
            "".to_owned(),
            "00".to_owned(),
            format!("00-{TRACE}-00f067aa0ba902b7"),
            format!("00-{TRACE}-00f067aa0ba902b7-01-more"),
            format!("cc-{TRACE}-00f067aa0ba902b7-01.more"),
            format!("ff-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{}-00f067aa0ba902b7-01", TRACE.to_uppercase()),
            format!("00-{}-00f067aa0ba902b7-01", "0".repeat(32)),
            format!("00-{TRACE}-0000000000000000-01"),
            format!("00_{TRACE}_00f067aa0ba902b7_01"),
            format!("0x-{TRACE}-00f067aa0ba902b7-01"),
            format!("00-{TRACE}-00f067aa0ba902b7-0\u{fffd}"),
        ] {
            assert_eq!(Trace::of_header(header.as_bytes()), None, "{header}");
        }
    }

    #[tokio::test]
    async fn a_request_is_known_within_and_nowhere_else() {
        assert!(RequestIds::current().is_none());
        let ids = RequestIds::new("abc-1", None);
        let seen = of_request(ids, async {
            tokio::task::yield_now().await;
            RequestIds::current().unwrap()
        })
        .await;
        assert_eq!((seen.id(), seen.trace()), ("abc-1", ids.trace()));
        assert_eq!(at_request(ids, || RequestIds::current().unwrap().trace()), ids.trace());
        assert!(RequestIds::current().is_none());
        assert_eq!(Trace::of_header(ids.traceparent().as_bytes()), Some(ids.trace()), "it can be handed on");
        assert_ne!(
            RequestIds::new("abc-1", None).trace(),
            ids.trace(),
            "each request has a trace of its own"
        );
        assert_eq!(RequestIds::new(&"x".repeat(200), None).id().len(), LONGEST_ID);
    }
}
