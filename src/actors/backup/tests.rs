use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::*;
use crate::domain::ids::{Epoch, Fence};
use crate::infra::store::backup::{Contents, Rows};

/// Tables whose first backup fails, and that tell of each.
struct Tables {
    asked: AtomicUsize,
    failing: usize,
    told: mpsc::UnboundedSender<usize>,
}

#[async_trait]
impl Backups for Tables {
    async fn backup(&self, folder: &Path) -> Result<Written> {
        let asked = self.asked.fetch_add(1, Ordering::SeqCst) + 1;
        self.told.send(asked).unwrap();
        if asked <= self.failing {
            return Err(Error::unavailable("backup_failed", "no disk"));
        }
        let file = folder.join(format!("recado-backup-{asked:04}.db"));
        std::fs::write(&file, "rows").unwrap();
        Ok(Written { file, bytes: 4, contents: Contents { migration: 1, rows: Rows::new() } })
    }
}

struct Rig {
    actor: ActorRef<Msg>,
    told: mpsc::UnboundedReceiver<usize>,
    folder: tempfile::TempDir,
}

/// Every second of the clock on the wall, which these tests wait for.
const ALWAYS: &str = "* * * * * *";

async fn rig(cron: &str, failing: usize, owner: bool) -> Rig {
    let (sender, told) = mpsc::unbounded_channel();
    let folder = tempfile::tempdir().unwrap();
    let directory = Directory::new(1);
    if owner {
        let policy = super::super::supervisor::Policy::park();
        let (sessions, _ended) = super::super::supervisor::spawn_root(policy, Vec::new()).await.unwrap();
        directory.enter_shard(Fence { shard: TAKER, epoch: Epoch(1) }, sessions);
    }
    let again = Duration::from_millis(200);
    let plan = Plan { cron: cron.parse().unwrap(), folder: folder.path().to_owned(), keep: 2, again };
    let tables = Arc::new(Tables { asked: AtomicUsize::new(0), failing, told: sender });
    let (actor, _ended) = Actor::spawn(None, Backup, Arguments { tables, directory, plan }).await.unwrap();
    Rig { actor, told, folder }
}

async fn next(rig: &mut Rig) -> usize {
    tokio::time::timeout(Duration::from_secs(30), rig.told.recv()).await.unwrap().unwrap()
}

#[tokio::test]
async fn the_owner_of_the_first_shard_backs_up_in_time_and_keeps_the_newest() {
    let mut rig = rig(ALWAYS, 0, true).await;
    for expected in 1..=4 {
        assert_eq!(next(&mut rig).await, expected);
    }
    rig.actor.stop_and_wait(None, None).await.unwrap();
    let kept = std::fs::read_dir(rig.folder.path()).unwrap().count();
    assert!((1..=3).contains(&kept), "{kept} are kept: two, and the one under way");
    assert!(!rig.folder.path().join("recado-backup-0001.db").exists(), "the oldest went");
}

#[tokio::test]
async fn a_failed_backup_is_followed_by_another_try() {
    // Once a day, in two seconds: a second try within the limit is not tomorrow's.
    let soon = now().after(Duration::from_secs(2)).0 / 1000;
    let once = format!("{} {} {} * * *", soon % 60, soon / 60 % 60, soon / 3600 % 24);
    let mut rig = rig(&once, 1, true).await;
    assert_eq!(next(&mut rig).await, 1);
    assert_eq!(next(&mut rig).await, 2);
    rig.actor.stop_and_wait(None, None).await.unwrap();
}

#[tokio::test]
async fn another_node_leaves_it_to_the_owner() {
    let mut rig = rig(ALWAYS, 0, false).await;
    let silence = tokio::time::timeout(Duration::from_millis(2_500), rig.told.recv()).await;
    assert!(silence.is_err(), "a node without the first shard took a backup");
    rig.actor.stop_and_wait(None, None).await.unwrap();
}
