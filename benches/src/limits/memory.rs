//! How fast memory takes the same bytes, and hands them back.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use annals::BoxError;
use async_trait::async_trait;

use crate::contestant::{About, Contestant, Load, Missing, Store};
use crate::measure::Measure;
use crate::sample::PAYLOAD;

/// Copies the payload of each event into a vector, and loops over it.
#[derive(Debug)]
pub struct Memcpy;

#[async_trait]
impl Contestant for Memcpy {
    fn about(&self) -> About {
        About {
            peer: "limit-memcpy",
            version: String::new(),
            backend: "memory",
            promises: "copies the payload of each event into a vector",
        }
    }

    async fn open(&self, _clients: usize) -> Result<Arc<dyn Store>, BoxError> {
        let mut room = vec![1; ROOM];
        room.clear();
        Ok(Arc::new(Copies(Mutex::new(room))))
    }
}

/// Room for so many bytes is made before; beyond it the copies begin anew, so that no new memory is asked for.
const ROOM: usize = 1 << 28;

struct Copies(Mutex<Vec<u8>>);

#[async_trait]
impl Store for Copies {
    async fn bare_load(&self, load: Load) -> Option<Result<Measure, Missing>> {
        if load.contended {
            return None;
        }
        let mut copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut done, begin) = (0, Instant::now());
        while begin.elapsed() < load.time {
            // A look at the clock costs as much as some copies.
            for _ in 0..100 {
                copies.extend_from_slice(PAYLOAD.as_bytes());
            }
            done += 100;
            if copies.len() + 100 * PAYLOAD.len() > ROOM {
                copies.clear();
            }
        }
        std::hint::black_box(copies.as_slice());
        Some(Ok(Measure::new(done, begin.elapsed())))
    }

    async fn fill(&self, streams: usize, events: usize) -> Result<(), Missing> {
        let mut copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        copies.clear();
        for _ in 0..streams * events {
            copies.extend_from_slice(PAYLOAD.as_bytes());
        }
        Ok(())
    }

    async fn scan(&self) -> Result<u64, Missing> {
        let copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut count = 0;
        let mut event = Vec::with_capacity(PAYLOAD.len());
        for payload in copies.chunks(PAYLOAD.len()) {
            event.clear();
            event.extend_from_slice(payload);
            std::hint::black_box(&event);
            count += 1;
        }
        Ok(count)
    }

    async fn fold(&self) -> Result<u64, Missing> {
        let copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut count, mut bytes) = (0, 0);
        for payload in copies.chunks(PAYLOAD.len()) {
            bytes += std::hint::black_box(payload).len();
            count += 1;
        }
        std::hint::black_box(bytes);
        Ok(count)
    }
}
