//! The fuzzers' functions on any toolchain: the kept corpus, then seeded mutations of it. A failure prints the input.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    unreachable_pub,
    reason = "a test fails by panicking, and its helpers are no tests to the linter"
)]

#[path = "../fuzz/targets.rs"]
mod targets;

use std::fs;
use std::panic::catch_unwind;
use std::path::Path;

/// Mutated inputs per target.
const MUTATIONS: usize = 20_000;

/// The longest input.
const LONGEST: usize = 8192;

/// Numbers from a seed (xorshift64*): the same inputs on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }

    /// Below `end`; 0 when that is 0.
    fn below(&mut self, end: usize) -> usize {
        let end = u64::try_from(end.max(1)).unwrap();
        usize::try_from(self.next() % end).unwrap()
    }

    fn byte(&mut self) -> u8 {
        const TELLING: [u8; 16] = [0, 1, 2, 3, 127, 128, 247, 248, 249, 250, 252, 253, 254, 255, b'"', b'{'];
        if self.below(2) == 0 { TELLING[self.below(16)] } else { self.next().to_le_bytes()[0] }
    }

    fn span(&mut self, of: &[u8]) -> std::ops::Range<usize> {
        let start = self.below(of.len() + 1);
        start..start + self.below((of.len() - start).min(64) + 1)
    }
}

fn mutate(random: &mut Random, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus[random.below(corpus.len())].clone();
    // Mostly one change, seldom many: what is nearly right goes deepest.
    for _ in 0..=random.next().trailing_zeros().min(6) {
        let at = random.below(input.len());
        match random.below(7) {
            0 if !input.is_empty() => input[at] ^= 1 << random.below(8),
            1 if !input.is_empty() => input[at] = random.byte(),
            2 => input.insert(at, random.byte()),
            3 => drop(input.drain(random.span(&input.clone()))),
            4 => input.truncate(at),
            5 => {
                let again = input[random.span(&input.clone())].to_vec();
                input.splice(at..at, again);
            }
            _ => {
                let other = &corpus[random.below(corpus.len())];
                let part = other[random.span(other)].to_vec();
                input.splice(at..at, part);
            }
        }
    }
    input.truncate(LONGEST);
    input
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<_> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| fs::read(file).unwrap()).collect()
}

fn exercise(name: &str, target: fn(&[u8]) -> bool) {
    let corpus = corpus(name);
    assert!(corpus.len() >= 5, "the corpus of {name} has {} files", corpus.len());
    let (mut accepted, mut refused) = (0, 0);
    let mut try_one = |input: &[u8]| match catch_unwind(|| target(input)) {
        Ok(true) => accepted += 1,
        Ok(false) => refused += 1,
        Err(_panic) => panic!("{name} failed on this input: {}", input.escape_ascii()),
    };
    corpus.iter().for_each(|input| try_one(input));
    let seed = std::env::var("FUZZ_SEED").map_or(0x5EED, |seed| seed.parse().unwrap());
    let mut random = Random(seed);
    for _ in 0..MUTATIONS {
        try_one(&mutate(&mut random, &corpus));
    }
    println!("{name}: seed {seed}, {} kept, {accepted} accepted, {refused} refused", corpus.len());
    // Inputs that are all refused at the door, or all accepted, would exercise little.
    assert!(accepted > 100 && refused > 100, "{name}: {accepted} accepted, {refused} refused");
}

#[test]
fn any_byte_stream_is_cut_into_the_same_frames_in_any_pieces() {
    exercise("frame", targets::frame);
}

#[test]
fn any_stanza_is_read_or_refused() {
    exercise("stanza", targets::stanza);
}

#[test]
fn any_content_is_refused_or_kept_as_it_is() {
    exercise("content", targets::content);
}

#[test]
fn any_event_is_refused_or_survives_its_way() {
    exercise("event", targets::event);
}
