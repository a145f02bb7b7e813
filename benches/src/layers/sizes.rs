//! How large a log is with layers and without, dictionaries included.

use std::fmt::Write as _;
use std::path::Path;

use annals::{
    Append, BoxError, EventStore, NewEvent, Payload, Query, ReadOptions, StorageAdapter as _,
    WriteCondition,
};
use annals_examples::git::Repository;
use annals_examples::import::import;
use annals_layers::{Codec, Compression, Dictionary, Encoded, Key, KeyId, KeyRing};
use annals_memory::MemoryAdapter;
use futures_util::TryStreamExt;

use super::{Effort, NAME, stream};
use crate::orders::{Orders, SIZES};

/// How many bytes a dictionary has at most.
const DICTIONARY: usize = 16 << 10;
/// How many bytes are measured of one kind of events.
const BYTES: usize = 10_000_000;
/// The columns of the table.
pub const HEADING: &str = "| events | appended, KiB | sealed | zlib | zstd | zstd + dictionary | zstd + dictionary, sealed | dictionary, KiB |";

/// Events of one kind: those that a dictionary is trained on, and those that are measured.
struct Events {
    what: String,
    samples: Vec<Payload>,
    measured: Vec<Payload>,
}

/// Events of the seeded generator: the samples have another seed.
fn generated(bytes: usize, count: usize) -> Result<Events, BoxError> {
    let make = |seed: u64, count: usize| -> Result<Vec<Payload>, BoxError> {
        let mut orders = Orders::new(seed);
        (0..count).map(|_| Ok(Payload::json_bytes(orders.order(bytes))?)).collect()
    };
    let what = format!("{count} orders of {bytes} B");
    Ok(Events { what, samples: make(11, 3_000.min(count))?, measured: make(7, count)? })
}

/// The events of a Git history: the samples are its first fifth.
async fn history(repository: &Path) -> Result<Events, BoxError> {
    let memory = MemoryAdapter::new();
    let repository = Repository::open(repository)?;
    import(&EventStore::new(memory.clone()), &repository, || ()).await?;
    let mut samples = payloads(&memory).await?;
    let measured = samples.split_off(samples.len() / 5);
    Ok(Events { what: format!("{} of a Git history", measured.len()), samples, measured })
}

async fn payloads(log: &MemoryAdapter) -> Result<Vec<Payload>, BoxError> {
    let pages: Vec<_> = log.read(Query::all(), ReadOptions::default()).try_collect().await?;
    let events = pages.into_iter().flat_map(|page| page.events);
    Ok(events.map(|event| event.payload().clone()).collect())
}

/// The bytes of payloads as a store has them behind `codec`.
async fn stored(events: &[Payload], codec: Codec) -> Result<usize, BoxError> {
    let memory = MemoryAdapter::new();
    let layer = Encoded::new(memory.clone(), codec)?;
    for some in events.chunks(500) {
        let events: Vec<_> = some.iter().map(|it| NewEvent::new(NAME, it.clone())).collect();
        layer.append(vec![Append::new(stream("sizes")?, events, WriteCondition::Always)]).await?;
    }
    Ok(bytes(&payloads(&memory).await?))
}

fn bytes(payloads: &[Payload]) -> usize {
    payloads.iter().map(|payload| payload.as_bytes().len()).sum()
}

/// A line of the table: the bytes of stored payloads, with the dictionary where there is one, to those that were appended.
async fn line(events: &Events) -> Result<String, BoxError> {
    let samples: Vec<&[u8]> =
        events.samples.iter().map(|payload| payload.as_bytes().as_ref()).collect();
    let trained = Dictionary::train(&samples, DICTIONARY)?;
    let dictionary = Compression::Dictionary(Dictionary::new(1, &trained, 3));
    let keys = KeyRing::new(KeyId(1), &Key::generate()?);
    let with = |compression| Codec::new().with_compression(compression);
    let given = bytes(&events.measured);
    let mut line = format!("| {} | {} |", events.what, given >> 10);
    for (codec, beside) in [
        (Codec::new().with_keys(keys.clone()), 0),
        (with(Compression::Zlib(6)), 0),
        (with(Compression::Zstd(3)), 0),
        (with(dictionary.clone()), trained.len()),
        (with(dictionary).with_keys(keys), trained.len()),
    ] {
        let stored = stored(&events.measured, codec).await? + beside;
        write!(line, " {:.2} |", ratio(stored, given))?;
    }
    Ok(format!("{line} {} |", trained.len() >> 10))
}

#[expect(clippy::cast_precision_loss, reason = "a ratio needs no 16 digits")]
fn ratio(stored: usize, given: usize) -> f64 {
    stored as f64 / given.max(1) as f64
}

/// The lines of the table: of each size that the generator makes, and of a Git history if there is one.
///
/// # Errors
/// Those of memory stores, and of git.
pub async fn sizes(effort: Effort, repository: Option<&Path>) -> Result<Vec<String>, BoxError> {
    let mut lines = Vec::new();
    for size in SIZES {
        let count = usize::try_from(effort.log)?.min(BYTES / size);
        lines.push(line(&generated(size, count)?).await?);
    }
    if let Some(repository) = repository {
        lines.push(line(&history(repository).await?).await?);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use super::{Effort, HEADING, sizes};

    #[tokio::test]
    async fn compressed_logs_are_smaller_and_sealed_ones_larger() {
        let effort = Effort { rounds: 1, time: Duration::ZERO, log: 600 };
        let lines = sizes(effort, None).await.expect("figures");
        assert_eq!(lines.len(), 3);
        for line in lines {
            assert_eq!(line.matches('|').count(), HEADING.matches('|').count(), "{line}");
            let ratios: Vec<f64> =
                line.split('|').filter_map(|cell| cell.trim().parse().ok()).collect();
            let [_, sealed, zlib, zstd, ..] = ratios.as_slice() else { panic!("{line}") };
            assert!(*sealed >= 1.0 && *zlib < 1.0 && *zstd < 1.0, "{line}");
        }
        assert!(sizes(effort, Some(Path::new("/nowhere"))).await.is_err());
    }
}
