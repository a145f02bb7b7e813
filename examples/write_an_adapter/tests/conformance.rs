//! The conformance suite over the file adapter.

use std::process::ExitCode;
use std::sync::Arc;

use annals_file::FileAdapter;
use annals_testkit::{Harness, Opened, async_trait, scratch};

struct Files;

#[async_trait]
impl Harness for Files {
    async fn open(&self, namespace: &str) -> Opened {
        let path = scratch()?.join(namespace).with_extension("log");
        Ok(Arc::new(FileAdapter::open(path)?))
    }
}

fn main() -> ExitCode {
    annals_testkit::main("annals-file", Files)
}
