//! How often a second a file can be synced.

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use annals::BoxError;
use async_trait::async_trait;

use crate::contestant::{About, Contestant, Load, Missing, Store};
use crate::measure::{Measure, histogram};
use crate::sample::PAYLOAD;

/// Writes the bytes of one append to a file in this folder, and syncs it, again and again.
#[derive(Debug)]
pub struct Fsync(pub PathBuf);

#[async_trait]
impl Contestant for Fsync {
    fn about(&self) -> About {
        About {
            peer: "limit-fsync",
            version: String::new(),
            backend: "file",
            promises: "the bytes of each append and fdatasync, one after the other",
        }
    }

    async fn open(&self, _clients: usize) -> Result<Arc<dyn Store>, BoxError> {
        Ok(Arc::new(Synced(Mutex::new(tempfile::tempfile_in(&self.0)?))))
    }
}

struct Synced(Mutex<File>);

#[async_trait]
impl Store for Synced {
    async fn bare_load(&self, load: Load) -> Option<Result<Measure, Missing>> {
        if load.contended || load.events > 1 {
            return None;
        }
        let mut file = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        Some(sync(&mut file, load))
    }
}

fn sync(file: &mut File, load: Load) -> Result<Measure, Missing> {
    let (mut done, mut calls) = (0, histogram());
    let begin = Instant::now();
    while begin.elapsed() < load.time {
        let called = Instant::now();
        file.write_all(PAYLOAD.as_bytes())?;
        file.sync_data()?;
        calls.saturating_record(u64::try_from(called.elapsed().as_nanos()).unwrap_or(u64::MAX));
        done += 1;
    }
    Ok(Measure { calls: Some(calls), ..Measure::new(done, begin.elapsed()) })
}
