//! What a process uses, as the kernel counts it.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Context, Result};

/// Kernel ticks per second: 100 on every Linux that matters.
const TICKS: f64 = 100.0;

/// Anonymous memory in bytes: what the process itself holds, without file pages.
pub(crate) fn anonymous(pid: u32) -> Result<u64> {
    Ok(status(pid, "RssAnon:")? * 1024)
}

/// How many threads it has.
pub(crate) fn threads(pid: u32) -> Result<u64> {
    status(pid, "Threads:")
}

fn status(pid: u32, field: &str) -> Result<u64> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status"))?;
    let line =
        text.lines().find_map(|line| line.strip_prefix(field)).context("no such field in /proc status")?;
    let number = line.split_whitespace().next().context("no number in /proc status")?;
    Ok(number.parse()?)
}

/// Processor time used so far, user and system.
pub(crate) fn cpu(pid: u32) -> Result<Duration> {
    spent(&std::fs::read_to_string(format!("/proc/{pid}/stat"))?)
}

fn spent(stat: &str) -> Result<Duration> {
    // The second field is a name in brackets that may hold anything.
    let (_, rest) = stat.rsplit_once(')').context("an odd /proc stat")?;
    let field = |n: usize| rest.split_whitespace().nth(n).and_then(|text| text.parse::<f64>().ok());
    let (user, system) = (field(11).context("no utime")?, field(12).context("no stime")?);
    Ok(Duration::from_secs_f64((user + system) / TICKS))
}

/// Processor time by thread name.
pub(crate) fn by_thread(pid: u32) -> Result<BTreeMap<String, Duration>> {
    let mut all = BTreeMap::new();
    for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
        let folder = task?.path();
        // A thread may end while it is looked at.
        let (Ok(name), Ok(stat)) =
            (std::fs::read_to_string(folder.join("comm")), std::fs::read_to_string(folder.join("stat")))
        else {
            continue;
        };
        *all.entry(name.trim().to_owned()).or_default() += spent(&stat)?;
    }
    Ok(all)
}

/// What each kind of thread spent between two looks, as a line for people.
pub(crate) fn threads_line(
    before: &BTreeMap<String, Duration>,
    after: &BTreeMap<String, Duration>,
) -> String {
    let mut spent: Vec<_> = after
        .iter()
        .map(|(name, now)| (now.saturating_sub(before.get(name).copied().unwrap_or_default()), name))
        .filter(|(time, _)| !time.is_zero())
        .collect();
    spent.sort();
    spent
        .iter()
        .rev()
        .map(|(time, name)| format!("{name} {:.2} s", time.as_secs_f64()))
        .collect::<Vec<_>>()
        .join(", ")
}
