//! Power loss without a power switch: a library is preloaded into the processes that write, which keeps a copy of each
//! file as it was last synced. What is not in the copies is then taken away.
//!
//! The kernel keeps what a process that is killed has written, so that `kill -9` alone finds no missing sync.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use crate::engine::scratch;

const SOURCE: &str = include_str!("synced.c");
/// Names the file that the library makes when it is loaded.
const MARK: &str = "ANNALS_TESTKIT_SYNCED";
const PRELOAD: &str = "LD_PRELOAD";

/// The processes that write the store of one namespace, and what they synced.
pub(crate) struct Synced {
    library: &'static Path,
    mark: PathBuf,
    files: Vec<PathBuf>,
}

impl Synced {
    /// Of a store in these files.
    ///
    /// # Errors
    /// Why this machine cannot do it.
    pub(crate) fn of(namespace: &str, files: Vec<PathBuf>) -> Result<Self, String> {
        static LIBRARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
        let library = LIBRARY.get_or_init(build).as_deref().map_err(Clone::clone)?;
        let folder = scratch().map_err(|error| error.to_string())?;
        Ok(Self { library, mark: folder.join(format!("{namespace}.loaded")), files })
    }

    /// The variables of the environment that a writing process needs.
    pub(crate) fn variables(&self) -> Vec<(&'static str, PathBuf)> {
        vec![(PRELOAD, self.library.to_owned()), (MARK, self.mark.clone())]
    }

    /// Whether a process has loaded the library: one that is linked statically does not.
    pub(crate) fn was_loaded(&self) -> bool {
        self.mark.exists()
    }

    /// Takes away what was not synced. The processes have ended.
    ///
    /// # Errors
    /// Those of the file system.
    pub(crate) fn lose_power(&self) -> io::Result<()> {
        for file in &self.files {
            let mut kept = file.as_os_str().to_owned();
            kept.push(".synced");
            match std::fs::rename(kept, file) {
                Err(error) if error.kind() == io::ErrorKind::NotFound => {
                    // It was never synced.
                    match std::fs::remove_file(file) {
                        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                        other => other?,
                    }
                }
                other => other?,
            }
        }
        Ok(())
    }
}

/// Compiles the library, once for each process.
fn build() -> Result<PathBuf, String> {
    if !cfg!(target_os = "linux") {
        return Err("power loss is tried on Linux only".to_owned());
    }
    let failed = |error: io::Error| format!("no library that keeps what is synced: {error}");
    let folder = scratch().map_err(failed)?;
    let [source, library] =
        ["c", "so"].map(|ending| folder.join(format!("synced-{}.{ending}", std::process::id())));
    std::fs::write(&source, SOURCE).map_err(failed)?;
    let mut compiler = Command::new("cc");
    compiler.args(["-shared", "-fPIC", "-O1", "-o"]).args([&library, &source]);
    let output = compiler.stdin(Stdio::null()).output().map_err(failed)?;
    if output.status.success() {
        return Ok(library);
    }
    Err(format!("the C compiler failed: {}", String::from_utf8_lossy(&output.stderr)))
}
