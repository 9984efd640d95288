//! The file of a dump: rows as Postgres copies them, framed, counted, summed and compressed.
//!
//! Promises: a file that was cut off, changed or put together wrongly is refused, wherever that happened. Reading takes a
//! bounded amount of memory, whatever the file says.
//!
//! Gzip over: the line [`MAGIC`], then frames of a kind (one byte), a length (four bytes, big end first) and that many
//! bytes. `H` the header, then for each table `T`, its rows in any number of `R`, `E` with their count and SHA-256; at
//! last `Z` with the number of tables. All but `R` are JSON. Sums stand behind what they sum: a dump is written as it
//! comes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use flate2::Compression;
use flate2::read::MultiGzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use tempfile::NamedTempFile;
use tokio::sync::mpsc::Receiver;

use super::{Contents, folder};
use crate::domain::error::{Error, Result};

const MAGIC: &[u8] = b"recado dump 1\n";

/// The longest frame; what is longer is cut by [`pieces`].
const FRAME: usize = 256 * 1024;

/// What the dump is of.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Header {
    /// The program that wrote it.
    pub(super) recado: String,
    /// The last migration of the tables.
    pub(super) migration: i64,
    /// The partitions, but for the default ones.
    pub(super) parts: Vec<Part>,
    /// The sequences.
    pub(super) sequences: Vec<Sequence>,
}

/// A partition.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Part {
    pub(super) name: String,
    pub(super) parent: String,
    /// As `pg_get_expr` writes it.
    pub(super) bound: String,
}

/// Where a sequence stands.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Sequence {
    pub(super) name: String,
    pub(super) last: i64,
    pub(super) called: bool,
}

/// A table whose rows follow.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Table {
    pub(super) name: String,
    pub(super) columns: Vec<String>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    rows: u64,
    sha256: String,
}

#[derive(Serialize, Deserialize)]
struct End {
    tables: usize,
}

/// What a dump is made of, in this order.
#[derive(Debug)]
pub(super) enum Item {
    Header(Header),
    Table(Table),
    Rows(Vec<u8>),
    /// No more rows of this table.
    Done,
    /// No more tables.
    End,
}

/// Cuts rows into frames.
pub(super) fn pieces(rows: &[u8]) -> impl Iterator<Item = Item> {
    rows.chunks(FRAME).map(|piece| Item::Rows(piece.to_vec()))
}

/// Counts and sums the rows of one table. In Postgres' text format a line break ends a row and occurs nowhere else.
#[derive(Default)]
struct Tally {
    rows: u64,
    sum: Sha256,
}

impl Tally {
    fn add(&mut self, rows: &[u8]) {
        let breaks = rows.iter().filter(|byte| **byte == b'\n').count();
        self.rows += u64::try_from(breaks).unwrap_or(u64::MAX);
        self.sum.update(rows);
    }

    fn end(&mut self) -> Sum {
        let Self { rows, sum } = std::mem::take(self);
        let sha256 = sum.finalize().iter().map(|byte| format!("{byte:02x}")).collect();
        Sum { rows, sha256 }
    }
}

/// Writes what comes until [`Item::End`]. Whoever sends goes away before that: nothing is written.
pub(super) fn write(file: NamedTempFile, mut items: Receiver<Item>) -> Result<NamedTempFile> {
    let mut out = GzEncoder::new(BufWriter::new(file), Compression::fast());
    out.write_all(MAGIC).map_err(folder::unusable)?;
    let (mut tally, mut tables) = (Tally::default(), 0);
    while let Some(item) = items.blocking_recv() {
        match item {
            Item::Header(header) => frame(&mut out, b'H', &json(&header)?)?,
            Item::Table(table) => {
                tables += 1;
                frame(&mut out, b'T', &json(&table)?)?;
            }
            Item::Rows(rows) => {
                tally.add(&rows);
                frame(&mut out, b'R', &rows)?;
            }
            Item::Done => frame(&mut out, b'E', &json(&tally.end())?)?,
            Item::End => {
                frame(&mut out, b'Z', &json(&End { tables })?)?;
                let buffer = out.finish().map_err(folder::unusable)?;
                return buffer.into_inner().map_err(|failed| folder::unusable(failed.into_error()));
            }
        }
    }
    Err(Error::unavailable("backup_failed", "the backup was given up"))
}

fn frame(out: &mut impl Write, kind: u8, bytes: &[u8]) -> Result<()> {
    let length = u32::try_from(bytes.len()).map_err(|_long| Error::bug("a frame that is too long"))?;
    out.write_all(&[kind]).map_err(folder::unusable)?;
    out.write_all(&length.to_be_bytes()).map_err(folder::unusable)?;
    out.write_all(bytes).map_err(folder::unusable)
}

fn json(value: &impl Serialize) -> Result<Vec<u8>> {
    serde_json::to_vec(value).map_err(Error::bug)
}

/// Reads a dump to its end, gives `each` what is in it, and says what that was.
pub(super) fn read(path: &Path, mut each: impl FnMut(Item) -> Result<()>) -> Result<Contents> {
    let file = File::open(path).map_err(folder::unusable)?;
    let mut source = BufReader::new(MultiGzDecoder::new(BufReader::new(file)));
    let mut magic = [0; MAGIC.len()];
    source.read_exact(&mut magic).map_err(unreadable)?;
    if magic != MAGIC {
        return Err(damaged("it is no dump of Recado's tables"));
    }
    let (b'H', header) = next(&mut source)? else { return Err(damaged("it has no header")) };
    let header: Header = parsed(&header)?;
    let mut contents = Contents { migration: header.migration, rows: BTreeMap::new() };
    each(Item::Header(header))?;
    loop {
        match next(&mut source)? {
            (b'T', table) => {
                let table: Table = parsed(&table)?;
                let name = table.name.clone();
                each(Item::Table(table))?;
                let rows = rows(&mut source, &mut each)?;
                if contents.rows.insert(name, rows).is_some() {
                    return Err(damaged("a table is in it twice"));
                }
            }
            (b'Z', end) if parsed::<End>(&end)?.tables == contents.rows.len() => {
                // Reads on to the end of the file: its checksum comes last.
                if source.read(&mut [0]).map_err(unreadable)? > 0 {
                    return Err(damaged("it goes on after its end"));
                }
                each(Item::End)?;
                return Ok(contents);
            }
            _ => return Err(damaged("its parts are not in order")),
        }
    }
}

fn rows(source: &mut impl Read, each: &mut impl FnMut(Item) -> Result<()>) -> Result<u64> {
    let mut tally = Tally::default();
    loop {
        match next(source)? {
            (b'R', rows) => {
                tally.add(&rows);
                each(Item::Rows(rows))?;
            }
            (b'E', sum) => {
                let sum: Sum = parsed(&sum)?;
                if sum != tally.end() {
                    return Err(damaged("a checksum is wrong"));
                }
                each(Item::Done)?;
                return Ok(sum.rows);
            }
            _ => return Err(damaged("its parts are not in order")),
        }
    }
}

fn next(source: &mut impl Read) -> Result<(u8, Vec<u8>)> {
    let mut head = [0; 5];
    source.read_exact(&mut head).map_err(unreadable)?;
    let [kind, length @ ..] = head;
    let length = usize::try_from(u32::from_be_bytes(length)).unwrap_or(usize::MAX);
    if length > FRAME {
        return Err(damaged("a part is too long"));
    }
    let mut bytes = vec![0; length];
    source.read_exact(&mut bytes).map_err(unreadable)?;
    Ok((kind, bytes))
}

fn parsed<'t, T: Deserialize<'t>>(bytes: &'t [u8]) -> Result<T> {
    serde_json::from_slice(bytes).map_err(|error| damaged(&error.to_string()))
}

fn damaged(what: &str) -> Error {
    Error::conflict("backup_damaged", format!("the file is damaged: {what}"))
}

#[expect(clippy::needless_pass_by_value, reason = "made for map_err")]
fn unreadable(error: std::io::Error) -> Error {
    damaged(&error.to_string())
}

#[cfg(test)]
mod tests;
