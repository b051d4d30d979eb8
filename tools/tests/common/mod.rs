//! Processes as the system lists them, and the launcher as one of them.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// The longest that anything but a download may take.
const PATIENCE: Duration = Duration::from_secs(100);
const PAUSE: Duration = Duration::from_millis(20);

/// A line of the process list.
#[derive(Debug, Clone)]
pub(crate) struct Process {
    pub(crate) id: u32,
    parent: u32,
    state: char,
    pub(crate) command: String,
}

impl Process {
    /// The process with this id, whatever it is.
    pub(crate) fn of(id: u32) -> Self {
        Self { id, parent: 0, state: '?', command: String::new() }
    }

    /// How it is now; none if it is gone or only waits to be collected.
    pub(crate) fn state(&self) -> Option<char> {
        list().into_iter().find(|p| p.id == self.id && p.state != 'Z').map(|p| p.state)
    }

    fn is_jvm(&self) -> bool {
        self.command.contains("java") && self.command.contains("org.apache.fluss")
    }
}

fn list() -> Vec<Process> {
    let output =
        Command::new("ps").args(["-A", "-ww", "-o", "pid=,ppid=,stat=,args="]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    text.lines()
        .filter_map(|line| {
            let mut words = line.split_whitespace();
            Some(Process {
                id: words.next()?.parse().ok()?,
                parent: words.next()?.parse().ok()?,
                state: words.next()?.chars().next()?,
                command: words.collect::<Vec<_>>().join(" "),
            })
        })
        .collect()
}

/// All processes below the one with this id.
pub(crate) fn descendants(id: u32) -> Vec<Process> {
    let all = list();
    let mut ids = vec![id];
    let mut found: Vec<Process> = Vec::new();
    while let Some(id) = ids.pop() {
        for process in all.iter().filter(|p| p.parent == id && p.state != 'Z') {
            ids.push(process.id);
            found.push(process.clone());
        }
    }
    found
}

/// Fails unless all of them are gone in time.
pub(crate) fn await_gone(processes: &[Process], limit: Duration) {
    let until = Instant::now() + limit;
    loop {
        let left: Vec<_> = processes.iter().filter(|p| p.state().is_some()).collect();
        if left.is_empty() {
            return;
        }
        assert!(Instant::now() < until, "still there: {left:?}");
        std::thread::sleep(PAUSE);
    }
}

/// Waits for a value.
fn await_some<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(value) = look() {
            return value;
        }
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(PAUSE);
    }
}

/// The line that the command prints.
pub(crate) struct Line {
    pub(crate) text: String,
    pub(crate) bootstrap: Vec<String>,
    pub(crate) coordinator: String,
    pub(crate) tablet_servers: Vec<String>,
}

/// A running `fluss-cluster`, or a shell that runs one. Its temporary files are below a directory
/// of the test.
pub(crate) struct Launcher {
    child: Child,
    temp: PathBuf,
}

impl Launcher {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_fluss-cluster"));
        command.args(arguments);
        Self::spawn(command)
    }

    /// The shell is the child, the launcher its child.
    pub(crate) fn start_below_a_shell() -> Self {
        let mut command = Command::new("sh");
        command.args(["-c", "\"$0\" & wait", env!("CARGO_BIN_EXE_fluss-cluster")]);
        Self::spawn(command)
    }

    fn spawn(mut command: Command) -> Self {
        let temp = tempfile_dir();
        let child = command
            .env("TMPDIR", &temp)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self { child, temp }
    }

    /// Waits for the line.
    pub(crate) fn ready(&mut self) -> Line {
        let mut text = String::new();
        BufReader::new(self.child.stdout.as_mut().unwrap()).read_line(&mut text).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        let list = |name: &str| -> Vec<String> {
            let items = value[name].as_array().unwrap().iter();
            items.map(|item| item.as_str().unwrap().to_owned()).collect()
        };
        let coordinator = value["coordinator"].as_str().unwrap().to_owned();
        Line {
            bootstrap: list("bootstrap"),
            tablet_servers: list("tablet_servers"),
            coordinator,
            text,
        }
    }

    /// The Java processes of the launcher, once there are `count`.
    pub(crate) fn processes(&self, count: usize) -> Vec<Process> {
        await_some("too few servers", || {
            let mut all = descendants(self.child.id());
            all.retain(Process::is_jvm);
            (all.len() >= count).then_some(all)
        })
    }

    /// Everything below the child, once there are `count` processes.
    pub(crate) fn all_below(&self, count: usize) -> Vec<Process> {
        await_some("too few processes", || {
            let all = descendants(self.child.id());
            (all.len() >= count).then_some(all)
        })
    }

    pub(crate) fn signal(&mut self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        if signal == Signal::KILL {
            self.child.wait().unwrap();
        }
    }

    pub(crate) fn close_input(&mut self) {
        drop(self.child.stdin.take());
    }

    pub(crate) fn exit_code(&mut self) -> Option<i32> {
        await_some("the launcher does not end", || self.child.try_wait().unwrap()).code()
    }

    pub(crate) fn scratch_exists(&self) -> bool {
        fs::read_dir(&self.temp)
            .unwrap()
            .flatten()
            .any(|entry| entry.file_name().to_string_lossy().starts_with("fluss-cluster-"))
    }

    pub(crate) fn await_scratch_gone(&self, limit: Duration) {
        let until = Instant::now() + limit;
        while self.scratch_exists() {
            assert!(Instant::now() < until, "{} is not empty", self.temp.display());
            std::thread::sleep(PAUSE);
        }
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        // A test that failed has not ended it; its guards do the rest.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.temp);
    }
}

/// A fresh directory for the temporary files of one launcher.
fn tempfile_dir() -> PathBuf {
    use std::sync::atomic::{AtomicUsize, Ordering};
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let dir = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join(format!("launcher-{}-{number}", std::process::id()));
    fs::create_dir_all(&dir).unwrap();
    dir
}

/// Sends one request in version 0 and returns the answer behind its length field.
pub(crate) fn exchange(address: &str, key: u16, body: &[u8]) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    let mut frame = u32::try_from(8 + body.len()).unwrap().to_be_bytes().to_vec();
    frame.extend_from_slice(&key.to_be_bytes());
    frame.extend_from_slice(&[0; 6]);
    frame.extend_from_slice(body);
    stream.write_all(&frame).unwrap();
    let mut length = [0; 4];
    stream.read_exact(&mut length).unwrap();
    let mut answer = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut answer).unwrap();
    answer
}

/// Asks the coordinator for a log table in the database `fluss`.
pub(crate) fn create_table(coordinator: &str, name: &str) -> Vec<u8> {
    use fluss_proto::message::{CreateTableRequest, PbTablePath};
    use prost::Message;
    let mut json = String::from("{\"version\":1,\"schema\":{\"version\":1,\"columns\":[");
    let column = "{\"name\":\"a\",\"data_type\":{\"type\":\"INTEGER\"},\"id\":0}";
    write!(json, "{column}],\"highest_field_id\":0}},\"partition_key\":[],\"bucket_key\":[],")
        .unwrap();
    json.push_str("\"bucket_count\":2,\"properties\":{},\"custom_properties\":{}}");
    let request = CreateTableRequest {
        table_path: PbTablePath { database_name: "fluss".into(), table_name: name.into() },
        table_json: json.into_bytes().into(),
        ignore_if_exists: false,
    };
    exchange(coordinator, 1005, &request.encode_to_vec())
}
