//! How large a log is with layers and without, dictionaries included.

use std::fmt::Write as _;

use annals::{Append, BoxError, NewEvent, Payload, StorageAdapter as _, WriteCondition};
use annals_layers::{Codec, Compression, Dictionary, Encoded, Key, KeyId, KeyRing};
use annals_memory::MemoryAdapter;

use super::events::{Kind, bytes, payloads};
use super::{Effort, NAME, stream};

/// How many bytes a dictionary has at most.
const DICTIONARY: usize = 16 << 10;
/// How many bytes are measured of one kind of events.
const BYTES: usize = 10_000_000;
/// With how many events a dictionary is trained at most.
const SAMPLES: usize = 3_000;
/// The columns of the table.
pub const HEADING: &str = "| events | appended, KiB | sealed | zlib | zstd | zstd + dictionary | zstd + dictionary, sealed | dictionary, KiB |";

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

/// A line of the table: the bytes of stored payloads, with the dictionary where there is one, to those that were appended.
async fn line(kind: &Kind, count: usize) -> Result<String, BoxError> {
    let (samples, measured) = (kind.samples(count.min(SAMPLES))?, kind.measured(count)?);
    let samples: Vec<&[u8]> = samples.iter().map(|payload| payload.as_bytes().as_ref()).collect();
    let trained = Dictionary::train(&samples, DICTIONARY)?;
    let dictionary = Compression::Dictionary(Dictionary::new(1, &trained, 3));
    let keys = KeyRing::new(KeyId(1), &Key::generate()?);
    let with = |compression| Codec::new().with_compression(compression);
    let given = bytes(&measured);
    let what = match kind {
        Kind::Orders(bytes) => format!("{} orders of {bytes} B", measured.len()),
        Kind::History(_) => format!("{} of a Git history", measured.len()),
    };
    let mut line = format!("| {what} | {} |", given >> 10);
    for (codec, beside) in [
        (Codec::new().with_keys(keys.clone()), 0),
        (with(Compression::Zlib(6)), 0),
        (with(Compression::Zstd(3)), 0),
        (with(dictionary.clone()), trained.len()),
        (with(dictionary).with_keys(keys), trained.len()),
    ] {
        let stored = stored(&measured, codec).await? + beside;
        write!(line, " {:.2} |", ratio(stored, given))?;
    }
    Ok(format!("{line} {} |", trained.len() >> 10))
}

#[expect(clippy::cast_precision_loss, reason = "a ratio needs no 16 digits")]
fn ratio(stored: usize, given: usize) -> f64 {
    stored as f64 / given.max(1) as f64
}

/// The lines of the table: of each kind of events.
///
/// # Errors
/// Those of memory stores.
pub async fn sizes(kinds: &[Kind], effort: Effort) -> Result<Vec<String>, BoxError> {
    let mut lines = Vec::new();
    for kind in kinds {
        let count = usize::try_from(effort.log)?.min(BYTES / kind.bytes().max(1));
        lines.push(line(kind, count).await?);
    }
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{Effort, HEADING, Kind, sizes};
    use crate::layers::events::tests::repository;

    #[tokio::test]
    async fn compressed_logs_are_smaller_and_sealed_ones_larger() {
        let effort = Effort { rounds: 1, time: Duration::ZERO, log: 600 };
        let folder = repository(300);
        let mut kinds = Kind::orders();
        kinds.push(Kind::history(folder.path()).await.expect("a history"));
        let lines = sizes(&kinds, effort).await.expect("figures");
        assert_eq!(lines.len(), 4);
        for (nth, line) in lines.iter().enumerate() {
            assert_eq!(line.matches('|').count(), HEADING.matches('|').count(), "{line}");
            let ratios: Vec<f64> =
                line.split('|').filter_map(|cell| cell.trim().parse().ok()).collect();
            let [_, sealed, zlib, zstd, dictionary, ..] = ratios.as_slice() else {
                panic!("{line}")
            };
            assert!(*sealed >= 1.0 && *dictionary < 1.0, "{line}");
            // The events of the history are too short to be compressed one by one.
            assert!(nth == 3 || (*zlib < 1.0 && *zstd < 1.0), "{line}");
        }
    }
}
