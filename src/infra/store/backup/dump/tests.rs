use tokio::sync::mpsc::channel;

use super::*;

fn items(rows: &[u8]) -> Vec<Item> {
    let header = Header { recado: "0".into(), migration: 3, parts: Vec::new(), sequences: Vec::new() };
    let table = |name: &str| Item::Table(Table { name: name.into(), columns: vec!["a".into()] });
    let mut items = vec![Item::Header(header), table("full")];
    items.extend(pieces(rows));
    items.extend([Item::Done, table("empty"), Item::Done, Item::End]);
    items
}

fn written(items: Vec<Item>) -> Result<NamedTempFile> {
    let (sender, receiver) = channel(items.len() + 1);
    for item in items {
        sender.try_send(item).unwrap();
    }
    drop(sender);
    write(NamedTempFile::new().unwrap(), receiver)
}

/// 30,000 rows, in more than one frame.
fn rows() -> Vec<u8> {
    (0..30_000).flat_map(|n| format!("{n}\t{}\n", n * n).into_bytes()).collect()
}

#[test]
fn a_dump_reads_back_as_it_was_written() {
    let file = written(items(&rows())).unwrap();
    let mut read_back = Vec::new();
    let contents = read(file.path(), |item| {
        if let Item::Rows(rows) = item {
            read_back.extend(rows);
        }
        Ok(())
    });
    let contents = contents.unwrap();
    assert_eq!(contents.migration, 3);
    assert_eq!((contents.rows["full"], contents.rows["empty"]), (30_000, 0));
    assert!(read_back == rows());
}

#[test]
fn a_writer_that_is_left_alone_writes_nothing() {
    let mut items = items(b"1\n");
    items.pop();
    assert!(written(items).is_err());
}

#[test]
fn a_dump_that_was_cut_or_changed_anywhere_is_refused() {
    let file = written(items(b"1\n2\n3\n")).unwrap();
    let whole = std::fs::read(file.path()).unwrap();
    let reads = |bytes: &[u8]| {
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), bytes).unwrap();
        let mut items = String::new();
        read(file.path(), |item| {
            items += &format!("{item:?}");
            Ok(())
        })
        .map(|_contents| items)
    };
    let expected = reads(&whole).unwrap();
    for end in 0..whole.len() {
        assert!(reads(&whole[..end]).is_err(), "cut at {end}");
    }
    let mut refusals = 0;
    for place in 0..whole.len() {
        let mut changed = whole.clone();
        changed[place] ^= 0x10;
        // Some bits of gzip mean nothing: a time, padding. Then all that is read is what was written.
        match reads(&changed) {
            Ok(items) => assert_eq!(items, expected, "changed at {place}"),
            Err(refused) => {
                refusals += 1;
                assert_eq!(refused.code, "backup_damaged", "changed at {place}");
            }
        }
    }
    assert!(refusals > whole.len() * 9 / 10, "{refusals} of {}", whole.len());
}
