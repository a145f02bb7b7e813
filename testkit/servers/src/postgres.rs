//! A throw-away PostgreSQL server, started from the programs that are installed.
//!
//! No crate is used for it: those there are download a server, or can neither kill it nor start it again on its data.

use std::io::{self, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use annals::BoxError;
use annals_testkit::NotRun;

/// Names a server that tests are to use instead of one of their own.
const URL: &str = "ANNALS_POSTGRES_URL";
/// Names the folder of the programs to start a server from.
const PROGRAMS: &str = "ANNALS_POSTGRES_BIN";
/// Between two looks at a server that starts or ends.
const PAUSE: Duration = Duration::from_millis(20);
/// How many looks a server has to start.
const LOOKS: usize = 3_000;

/// A PostgreSQL server for tests, on a free port of this machine and with its data in a temporary directory. Its
/// settings are those of a fresh installation, but for more connections. It ends with this value, or with the process.
#[derive(Debug)]
pub struct PostgresServer {
    programs: PathBuf,
    directory: PathBuf,
    port: u16,
    /// The user that it runs as, when this process is root's.
    user: Option<(u32, u32)>,
    server: Mutex<Option<Child>>,
    /// Ends the server and removes its data when its input ends, however this process does.
    _watch: Child,
}

impl PostgresServer {
    /// The server that the environment variable `ANNALS_POSTGRES_URL` names, or one that all tests of this process
    /// share, started at the first call.
    ///
    /// # Errors
    /// [`NotRun`] when there is none: an ordinary error under `CI=true`, where tests must not be left out.
    pub fn shared_url() -> Result<String, BoxError> {
        static SHARED: OnceLock<Result<PostgresServer, String>> = OnceLock::new();
        if let Ok(url) = std::env::var(URL) {
            return Ok(url);
        }
        match SHARED.get_or_init(|| Self::start().map_err(|error| error.to_string())) {
            Ok(server) => Ok(server.url()),
            Err(reason) if std::env::var("CI").is_ok_and(|ci| ci == "true") => {
                Err(reason.clone().into())
            }
            Err(reason) => Err(NotRun::new(reason.clone()).into()),
        }
    }

    /// The same for a test that runs only where there is one. `None`: there is none, and standard error says why.
    ///
    /// # Panics
    /// If [`shared_url`](Self::shared_url) returns another error than [`NotRun`].
    #[must_use]
    pub fn shared_or_not_run() -> Option<String> {
        match Self::shared_url() {
            Ok(url) => Some(url),
            Err(error) if error.is::<NotRun>() => {
                // Not by `eprintln`, which the harness of tests hides.
                let _ = writeln!(io::stderr(), "NOT RUN: {error}");
                None
            }
            Err(error) => panic!("{error}"),
        }
    }

    /// Starts a server: from `initdb` and `postgres` in the folder that the environment variable `ANNALS_POSTGRES_BIN`
    /// names, or from the newest that are installed.
    ///
    /// # Errors
    /// When PostgreSQL is not installed, not in the folder that the variable names, or does not start.
    pub fn start() -> Result<Self, BoxError> {
        let server = Self::prepare()?;
        server.initialize()?;
        server.start_on_free_port()
    }

    /// A server with a directory, but without data.
    fn prepare() -> Result<Self, BoxError> {
        let programs = programs()?;
        let user = is_root()?.then(|| user("postgres")).transpose()?;
        let directory = tempfile::Builder::new().prefix("annals-postgres-").tempdir()?.keep();
        if let Some((uid, gid)) = user {
            std::os::unix::fs::chown(&directory, Some(uid), Some(gid))?;
        }
        let watch = watch(&directory)?;
        Ok(Self { programs, directory, port: 0, user, server: Mutex::new(None), _watch: watch })
    }

    /// Where clients connect to.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    /// The same as the URL of its superuser.
    #[must_use]
    pub fn url(&self) -> String {
        format!("postgres://postgres@{}/postgres", self.addr())
    }

    /// Its directory of data.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.directory.join("data")
    }

    /// Kills all its processes, as `kill -9` does.
    ///
    /// # Errors
    /// When they cannot be killed.
    pub fn kill(&self) -> io::Result<()> {
        let mut server = self.lock();
        let Some(mut child) = server.take() else { return Ok(()) };
        let id = child.id();
        let children =
            std::fs::read_to_string(format!("/proc/{id}/task/{id}/children")).unwrap_or_default();
        child.kill()?;
        // Some of them may have ended by themselves by now.
        signal("KILL", children.split_whitespace());
        child.wait()?;
        Ok(())
    }

    /// Stops it in order; sessions are ended.
    ///
    /// # Errors
    /// When it cannot be waited for.
    pub fn stop(&self) -> io::Result<()> {
        let mut server = self.lock();
        let Some(mut child) = server.take() else { return Ok(()) };
        signal("INT", [child.id().to_string().as_str()]);
        child.wait()?;
        Ok(())
    }

    /// Starts it again, on the same data and the same port, and waits until it answers.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start_again(&self) -> Result<(), BoxError> {
        let mut server = self.lock();
        if server.is_none() {
            *server = Some(self.spawn(self.port)?);
        }
        Ok(())
    }

    /// Starts a standby of this server, which follows it as asynchronous replication does.
    ///
    /// # Errors
    /// When the copy cannot be made, or the standby does not start.
    pub fn standby(&self) -> Result<Self, BoxError> {
        let standby = Self::prepare()?;
        let mut copy = standby.program("pg_basebackup");
        copy.args([
            "--no-sync",
            "--checkpoint=fast",
            "--wal-method=stream",
            "--write-recovery-conf",
        ]);
        copy.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &self.port.to_string()]);
        run(copy.arg("--pgdata").arg(standby.data()))?;
        standby.start_on_free_port()
    }

    /// Waits until this standby has applied all that `primary` has committed by now.
    ///
    /// # Errors
    /// When one of them does not answer, or the standby does not catch up.
    pub fn catch_up(&self, primary: &Self) -> Result<(), BoxError> {
        let end = primary.ask("SELECT pg_current_wal_lsn()")?;
        let applied = format!("SELECT pg_last_wal_replay_lsn() >= '{end}'::pg_lsn");
        for _ in 0..LOOKS {
            if self.ask(&applied)? == "t" {
                return Ok(());
            }
            std::thread::park_timeout(PAUSE);
        }
        Err("the standby does not catch up".into())
    }

    /// Makes this standby a server of its own, which takes writes.
    ///
    /// # Errors
    /// When it does not become one.
    pub fn promote(&self) -> Result<(), BoxError> {
        run(self.program("pg_ctl").args(["promote", "--wait", "--pgdata"]).arg(self.data()))?;
        Ok(())
    }

    /// Writes `schema` with its data into a file of this server's, as `pg_dump` does, in place of the last one.
    ///
    /// # Errors
    /// When it cannot be dumped.
    pub fn dump(&self, schema: &str) -> Result<(), BoxError> {
        let mut dump = self.client("pg_dump");
        dump.args(["--clean", "--if-exists", "--schema", schema, "postgres", "--file"]);
        run(dump.arg(self.directory.join("dump.sql")))?;
        Ok(())
    }

    /// Puts back what [`dump`](Self::dump) wrote: its tables are dropped and made again.
    ///
    /// # Errors
    /// When it cannot be put back.
    pub fn restore(&self) -> Result<(), BoxError> {
        let mut restore = self.client("psql");
        restore.args(["-Xq", "-v", "ON_ERROR_STOP=1", "postgres", "-f"]);
        run(restore.arg(self.directory.join("dump.sql")))?;
        Ok(())
    }

    /// Copies the data of a server that was stopped, in place of the last copy.
    ///
    /// # Errors
    /// When it cannot be copied.
    pub fn copy_data(&self) -> Result<(), BoxError> {
        Self::copy(&self.data(), &self.directory.join("copy"))
    }

    /// Puts back what [`copy_data`](Self::copy_data) copied. The server is to be stopped.
    ///
    /// # Errors
    /// When it cannot be put back.
    pub fn put_back_data(&self) -> Result<(), BoxError> {
        Self::copy(&self.directory.join("copy"), &self.data())
    }

    fn copy(from: &Path, to: &Path) -> Result<(), BoxError> {
        if to.exists() {
            std::fs::remove_dir_all(to)?;
        }
        run(Command::new("cp").arg("-a").args([from, to]))?;
        Ok(())
    }

    /// A program that asks this server.
    fn client(&self, name: &str) -> Command {
        let mut client = self.program(name);
        client.args(["-h", "127.0.0.1", "-U", "postgres", "-p", &self.port.to_string()]);
        client
    }

    /// The only value that a query returns, as text.
    fn ask(&self, sql: &str) -> Result<String, BoxError> {
        let mut ask = self.client("psql");
        run(ask.args(["-XqAt", "-c", sql, "postgres"]))
    }

    fn initialize(&self) -> Result<(), BoxError> {
        let mut make = self.program("initdb");
        make.args(["--username=postgres", "--auth=trust", "--encoding=UTF8", "--no-locale"]);
        run(make.arg("--no-sync").arg("--pgdata").arg(self.data()))?;
        Ok(())
    }

    fn start_on_free_port(mut self) -> Result<Self, BoxError> {
        let mut reason = None;
        // Somebody else may take a port between the look and the start.
        for _ in 0..5 {
            self.port = TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?.port();
            match self.spawn(self.port) {
                Ok(child) => {
                    *self.lock() = Some(child);
                    return Ok(self);
                }
                Err(error) => reason = Some(error),
            }
        }
        Err(reason.unwrap_or_else(|| "no free port".into()))
    }

    /// Starts the server, again as long as processes of one that was killed hold its memory.
    fn spawn(&self, port: u16) -> Result<Child, BoxError> {
        let mut log = String::new();
        let mut looks = LOOKS;
        while looks > 0 {
            let path = self.directory.join("log");
            let mut child = self
                .program("postgres")
                .arg("-D")
                .arg(self.data())
                .args(["-c", "listen_addresses=127.0.0.1", "-c", "unix_socket_directories="])
                .args(["-c", "max_connections=500", "-p", &port.to_string()])
                // Sessions live in a zone that turns its clocks: what depends on that shows.
                .args(["-c", "timezone=EST5EDT,M3.2.0,M11.1.0"])
                .stderr(std::fs::File::create(&path)?)
                .spawn()?;
            while child.try_wait()?.is_none() {
                if self.is_ready(child.id()) {
                    return Ok(child);
                }
                looks = looks.checked_sub(1).ok_or("the server does not answer")?;
                std::thread::park_timeout(PAUSE);
            }
            log = std::fs::read_to_string(&path).unwrap_or_default();
            if !log.contains("still in use") && !log.contains("is running") {
                break;
            }
            looks = looks.saturating_sub(1);
            std::thread::park_timeout(PAUSE);
        }
        Err(format!("the server did not start: {log}").into())
    }

    /// Whether the server says so in its file, whose first line has its process and whose eighth how far it is. A
    /// server that was killed leaves its own file behind.
    fn is_ready(&self, process: u32) -> bool {
        let text = std::fs::read_to_string(self.data().join("postmaster.pid")).unwrap_or_default();
        let mut lines = text.lines().map(str::trim);
        lines.next() == Some(process.to_string().as_str()) && lines.nth(6) == Some("ready")
    }

    fn program(&self, name: &str) -> Command {
        use std::os::unix::process::CommandExt as _;
        let mut command = Command::new(self.programs.join(name));
        command.current_dir(&self.directory).stdin(Stdio::null()).stdout(Stdio::null());
        // A signal that ends the tests from a terminal is not for it: its data would be left behind.
        command.process_group(0);
        if let Some((uid, gid)) = self.user {
            command.uid(uid).gid(gid);
        }
        command
    }

    fn lock(&self) -> MutexGuard<'_, Option<Child>> {
        self.server.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for PostgresServer {
    fn drop(&mut self) {
        let _ = self.kill();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Runs a program to its end; what it printed.
fn run(command: &mut Command) -> Result<String, BoxError> {
    let output = command.stdout(Stdio::piped()).output()?;
    if !output.status.success() {
        let text = String::from_utf8_lossy(&output.stderr);
        return Err(format!("{} failed: {text}", command.get_program().display()).into());
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Where PostgreSQL's programs are: in the folder that is named, on the path, or in a folder of Debian's for each
/// version, the newest first. A folder that is named and has none is an error: tests would run on another version.
fn programs() -> Result<PathBuf, BoxError> {
    if let Some(named) = std::env::var_os(PROGRAMS) {
        let named = PathBuf::from(named);
        return whole(&named).ok_or_else(|| {
            format!("{PROGRAMS}: no initdb and postgres in {}", named.display()).into()
        });
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders: Vec<PathBuf> = std::env::split_paths(&path).collect();
    let mut versions: Vec<PathBuf> = std::fs::read_dir("/usr/lib/postgresql")
        .map(|versions| versions.flatten().map(|version| version.path()).collect())
        .unwrap_or_default();
    let number = |path: &PathBuf| path.file_name()?.to_str()?.parse::<u32>().ok();
    versions.sort_by_key(|path| std::cmp::Reverse(number(path)));
    folders.extend(versions.into_iter().map(|version| version.join("bin")));
    folders.iter().find_map(|folder| whole(folder)).ok_or_else(|| {
        format!("PostgreSQL is not installed, and {URL} names no server (on Debian: apt-get install postgresql)").into()
    })
}

/// The folder as the programs must be started, if both are in it: they find their files beside where they really are.
fn whole(folder: &Path) -> Option<PathBuf> {
    let initdb = folder.join("initdb").canonicalize().ok()?;
    folder.join("postgres").exists().then(|| initdb.parent().map(Path::to_path_buf)).flatten()
}

fn is_root() -> io::Result<bool> {
    Ok(number(Command::new("id").arg("-u"))? == 0)
}

/// The numbers of a user and its group.
fn user(name: &str) -> io::Result<(u32, u32)> {
    Ok((
        number(Command::new("id").args(["-u", name]))?,
        number(Command::new("id").args(["-g", name]))?,
    ))
}

fn number(command: &mut Command) -> io::Result<u32> {
    let output = command.output()?;
    let text = String::from_utf8_lossy(&output.stdout);
    text.trim().parse().map_err(|_| {
        io::Error::other("PostgreSQL does not run as root, and there is no user postgres")
    })
}

fn signal<'a>(name: &str, ids: impl IntoIterator<Item = &'a str>) {
    let mut command = Command::new("kill");
    let _ = command.arg(format!("-{name}")).args(ids).stderr(Stdio::null()).status();
}

/// A process that waits for the end of this one.
fn watch(directory: &Path) -> io::Result<Child> {
    use std::os::unix::process::CommandExt as _;
    let script = "cat >/dev/null; read -r pid <\"$0/data/postmaster.pid\" && kill -QUIT \"$pid\" && \
                  while kill -0 \"$pid\"; do sleep 0.1; done; rm -rf \"$0\"";
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(directory).stdin(Stdio::piped()).stdout(Stdio::null());
    command.stderr(Stdio::null()).process_group(0).spawn()
}
