//! The checks of what survives, power loss among them, over the file adapter.

use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;

use annals::BoxError;
use annals_file::FileAdapter;
use annals_testkit::{Harness, Hook, Opened, Suite, async_trait, engine, scratch};

struct Files;

fn path(namespace: &str) -> std::io::Result<PathBuf> {
    Ok(scratch()?.canonicalize()?.join(namespace).with_extension("log"))
}

#[async_trait]
impl Harness for Files {
    async fn open(&self, namespace: &str) -> Opened {
        Ok(Arc::new(FileAdapter::open(path(namespace)?)?))
    }

    fn hooks(&self) -> &[Hook] {
        &[Hook::Files]
    }

    async fn files(&self, namespace: &str) -> Result<Vec<PathBuf>, BoxError> {
        Ok(vec![path(namespace)?])
    }
}

fn main() -> ExitCode {
    engine::main(Suite::new("annals-file", Files).with_filter("dur."))
}
