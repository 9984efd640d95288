//! A process that cannot outlive its starter: a shell waits for the end of our side of a pipe, which comes even when we
//! are killed, and then kills the server and removes its folder.

use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Runs `"$@"`, tells its process id, and ends it with our standard input.
const KEEP: &str = r#"folder=$1; shift
"$@" >"$folder/log" 2>&1 </dev/null &
pid=$!
echo "$pid"
exec 3<&0
cat <&3 >/dev/null
kill -KILL "$pid" 2>/dev/null
wait "$pid" 2>/dev/null
"#;

/// A running server.
pub struct Kept {
    keeper: Child,
    pid: u32,
}

/// Whom a server runs as: some refuse to run as root.
#[derive(Clone, Copy)]
pub struct User {
    uid: u32,
    gid: u32,
}

impl User {
    /// The first of these that the machine has.
    pub fn named(names: &[&str]) -> Option<Self> {
        let users = std::fs::read_to_string("/etc/passwd").ok()?;
        names.iter().find_map(|name| {
            let line = users.lines().find(|line| line.split(':').next() == Some(name))?;
            let mut parts = line.split(':').skip(2);
            Some(Self { uid: parts.next()?.parse().ok()?, gid: parts.next()?.parse().ok()? })
        })
    }

    /// Gives a file or folder to it.
    pub fn own(self, path: &Path) {
        chown(path, Some(self.uid), Some(self.gid)).expect("chown");
    }

    /// Lets a command run as it.
    pub fn run(self, command: &mut Command) -> &mut Command {
        command.uid(self.uid).gid(self.gid)
    }
}

impl Kept {
    /// Starts `command`; what it prints goes to `folder/log`.
    pub fn start(folder: &Path, user: Option<User>, command: &[&str]) -> Self {
        let mut keeper = Command::new("sh");
        keeper.args(["-c", KEEP, "keeper"]).arg(folder).args(command);
        keeper.stdin(Stdio::piped()).stdout(Stdio::piped()).current_dir(folder);
        // Out of reach of a Ctrl-C that is meant for the tests: the pipe ends it anyway.
        keeper.process_group(0);
        if let Some(user) = user {
            user.run(&mut keeper);
        }
        let mut keeper = keeper.spawn().expect("sh");
        let mut told = String::new();
        BufReader::new(keeper.stdout.take().expect("its output")).read_line(&mut told).expect("its pid");
        Self { keeper, pid: told.trim().parse().expect("a process id") }
    }

    /// The server's process id.
    pub fn pid(&self) -> u32 {
        self.pid
    }

    /// Sends the server a signal by name: KILL, STOP, CONT, TERM…
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").arg(format!("-{name}")).arg(self.pid.to_string()).status();
        assert!(sent.expect("kill").success(), "no process {} to signal", self.pid);
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        drop(self.keeper.stdin.take());
        if let Err(error) = self.keeper.wait() {
            panic!("the keeper of {}: {error}", self.pid);
        }
    }
}

/// A port nobody listens on now.
pub fn free_port() -> u16 {
    let socket = TcpListener::bind("127.0.0.1:0").expect("a free port");
    socket.local_addr().expect("its address").port()
}
