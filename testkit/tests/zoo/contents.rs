//! Events that do not come back as they were given.

use annals::adapter::Facts;
use annals::{
    Append, CategoryName, Clock, Encoding, EventId, EventName, Metadata, NewEvent, Payload, Query,
    ReadOptions, Result, Source, StoredEvent, StreamId, StreamName, SystemClock, Tags,
};
use serde_json::{Map, Value};
use time::{Duration, OffsetDateTime, UtcOffset};

use super::bent::{Bend, Log, amend, but};
use super::numbers::Plain;

/// Stores the event after a change to what it says.
fn changed(log: &mut Log, mut stored: StoredEvent, change: impl Fn(&mut NewEvent)) {
    amend(&mut stored, |it| change(&mut it.event));
    log.push(stored);
}

/// Stores the event after a change to its JSON payload.
fn reshaped(log: &mut Log, stored: StoredEvent, change: impl Fn(&str) -> String) {
    changed(log, stored, |event| {
        let text = std::str::from_utf8(event.payload.as_bytes()).map(&change);
        if let (true, Ok(text)) = (*event.payload.encoding() == Encoding::JSON, text) {
            event.payload = Payload::from_store(Encoding::JSON, text);
        }
    });
}

fn cut(time: OffsetDateTime, to_nanos: i64) -> OffsetDateTime {
    time - Duration::nanoseconds(i64::from(time.nanosecond()) % to_nanos)
}

/// Writes and reads as if a stream had this name instead.
fn alias(stream: &StreamId, name: impl Fn(&str) -> String) -> StreamId {
    StreamId {
        category: CategoryName::new(name(stream.category.as_str()))
            .unwrap_or_else(|_| stream.category.clone()),
        name: StreamName::new(name(stream.name.as_str())).unwrap_or_else(|_| stream.name.clone()),
    }
}

/// Whether two streams are the same one when their names are changed so.
fn same(a: &StreamId, b: &StreamId, name: impl Fn(&str) -> String + Copy) -> bool {
    alias(a, name) == alias(b, name)
}

/// The head of a stream, if streams whose names are the same after a change were one.
fn facts_of(log: &Log, write: &Append, is_same: impl Fn(&StreamId) -> bool) -> Facts {
    let head = log.events.iter().rfind(|event| is_same(&event.stream)).map(|event| event.position);
    but(&Plain.facts(log, write), |it| it.head = head)
}

/// What a read of a stream gives, if it held these too.
fn select_of(
    log: &Log,
    query: &Query,
    options: &ReadOptions,
    is_same: impl Fn(&StreamId, &StreamId) -> bool,
) -> Result<Vec<StoredEvent>> {
    let Some(Source::Stream(stream)) = query.scope() else {
        return Plain.select(log, query, options);
    };
    let mut found = Plain.select(log, &Query::all(), options)?;
    found.retain(|event| is_same(&event.stream, &stream));
    Ok(found)
}

fn lower(name: &str) -> String {
    name.to_lowercase()
}

fn trimmed(name: &str) -> String {
    name.trim().to_owned()
}

fn short(name: &str) -> String {
    name.chars().take(64).collect()
}

fn joined(stream: &StreamId) -> String {
    format!("{}-{}", stream.category, stream.name)
}

bent_specimens! {
    /// Category and stream are joined to one key.
    KeyJoined caught by ["name.pairs"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            facts_of(log, write, |stream| joined(stream) == joined(&write.stream))
        }

        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            select_of(log, query, options, |a, b| joined(a) == joined(b))
        }
    }

    /// Category and stream are joined in conditions only.
    KeyJoinedInConditions caught by ["name.pairs"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            facts_of(log, write, |stream| joined(stream) == joined(&write.stream))
        }
    }

    /// Names differ by case only as the same.
    NamesCaseFolded caught by ["name.collation"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            facts_of(log, write, |stream| same(stream, &write.stream, lower))
        }

        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            select_of(log, query, options, |a, b| same(a, b, lower))
        }
    }

    /// Spaces at the ends of names do not count.
    NamesTrimmed caught by ["name.collation"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            facts_of(log, write, |stream| same(stream, &write.stream, trimmed))
        }

        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            select_of(log, query, options, |a, b| same(a, b, trimmed))
        }
    }

    /// Only the first 64 characters of names count.
    NamesCutInKeys caught by ["name.length"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            facts_of(log, write, |stream| same(stream, &write.stream, short))
        }

        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            select_of(log, query, options, |a, b| same(a, b, short))
        }
    }

    /// Names that begin with a dollar sign are the store's own.
    NamesReserved caught by ["name.hostile"] {
        fn check_append(&self, writes: &[Append]) -> Result<()> {
            if writes.iter().any(|write| write.stream.name.as_str().starts_with('$')) {
                return Err(annals::Error::invalid("the name is reserved"));
            }
            Plain.check_append(writes)
        }
    }

    /// Names are escaped when they are stored, and not when they are looked for.
    NamesEscapedTwice caught by ["name.hostile"] {
        fn insert(&self, log: &mut Log, mut event: StoredEvent) {
            amend(&mut event, |it| it.stream = alias(&it.stream, |name| name.replace('\'', "''")));
            log.push(event);
        }
    }

    /// Characters of four bytes become question marks in names.
    NamesOfThreeBytes caught by ["name.fuzz"] {
        fn insert(&self, log: &mut Log, mut event: StoredEvent) {
            let short = |letter: char| if letter.len_utf8() > 3 { '?' } else { letter };
            amend(&mut event, |it| it.stream = alias(&it.stream, |name| name.chars().map(short).collect()));
            log.push(event);
        }
    }

    /// Event names are stored in lower case.
    EventNamesLowered caught by ["name.events"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            changed(log, event, |event| {
                if let Ok(name) = EventName::new(lower(event.name.as_str())) {
                    event.name = name;
                }
            });
        }
    }

    /// JSON is parsed and written again: white space, key order and repeats are lost.
    JsonRewritten caught by ["payload.exact_bytes"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            reshaped(log, event, |text| match serde_json::from_str::<serde_json::Value>(text) {
                Ok(value) => value.to_string(),
                Err(_) => text.to_owned(),
            });
        }
    }

    /// An empty text is stored as no value.
    EmptyTextIsNull caught by ["payload.domain"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            reshaped(log, event, |text| text.replace("\"\"", "null"));
        }
    }

    /// Dots in JSON are taken for paths, and replaced.
    DotsReplaced caught by ["payload.domain"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            reshaped(log, event, |text| text.replace("\"a.b\"", "\"a\u{FF0E}b\""));
        }
    }

    /// JSON is parsed by what goes 127 levels deep and no further.
    DeepJsonRefused caught by ["payload.depth"] {
        fn check_append(&self, writes: &[Append]) -> Result<()> {
            for event in writes.iter().flat_map(|write| &write.events) {
                if *event.payload.encoding() == Encoding::JSON {
                    let parsed = serde_json::from_slice::<serde_json::Value>(event.payload.as_bytes());
                    parsed.map_err(annals::Error::invalid)?;
                }
            }
            Plain.check_append(writes)
        }
    }

    /// In a batch all events get the payload of the first.
    PayloadOfFirst caught by ["payload.random"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut prepared = Plain.prepare(log, writes)?;
            let first = prepared.first().map(|event| event.event.payload.clone());
            for (event, first) in prepared.iter_mut().zip(first.iter().cycle()) {
                amend(event, |it| it.event.payload = first.clone());
            }
            Ok(prepared)
        }
    }

    /// Numbers pass through doubles.
    NumbersAsDoubles caught by ["payload.numbers"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            reshaped(log, event, |text| match text.parse::<f64>() {
                Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') => format!("{number}"),
                _ => text.to_owned(),
            });
        }
    }

    /// An escaped U+0000 is left out.
    NulLeftOut caught by ["payload.nul"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            reshaped(log, event, |text| text.replace("\\u0000", ""));
        }
    }

    /// A payload with U+0000 is refused.
    NulRefused caught by ["payload.nul"] {
        fn check_append(&self, writes: &[Append]) -> Result<()> {
            let nul = |event: &NewEvent| event.payload.as_bytes().windows(6).any(|six| six == b"\\u0000");
            if writes.iter().flat_map(|write| &write.events).any(nul) {
                return Err(annals::Error::invalid("unsupported Unicode escape sequence"));
            }
            Plain.check_append(writes)
        }
    }

    /// Characters beyond ASCII become question marks.
    NonAsciiMangled caught by ["payload.unicode"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            reshaped(log, event, |text| text.chars().map(|c| if c.is_ascii() { c } else { '?' }).collect());
        }
    }

    /// Payloads end after 65,535 bytes.
    PayloadCut caught by ["payload.size"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            changed(log, event, |event| {
                let bytes = event.payload.as_bytes();
                let bytes = bytes.slice(..bytes.len().min(65_535));
                event.payload = Payload::from_store(event.payload.encoding().clone(), bytes);
            });
        }
    }

    /// Empty payloads are refused.
    EmptyPayloadRefused caught by ["payload.size"] {
        fn check_append(&self, writes: &[Append]) -> Result<()> {
            if writes.iter().flat_map(|write| &write.events).any(|event| event.payload.as_bytes().is_empty()) {
                return Err(annals::Error::invalid("a payload has bytes"));
            }
            Plain.check_append(writes)
        }
    }

    /// Opaque bytes end at the first zero.
    BytesEndAtZero caught by ["payload.opaque"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            changed(log, event, |event| {
                let bytes = event.payload.as_bytes();
                let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
                event.payload = Payload::from_store(event.payload.encoding().clone(), bytes.slice(..end));
            });
        }
    }

    /// The encoding of a payload is forgotten.
    EncodingForgotten caught by ["payload.opaque"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            changed(log, event, |event| {
                event.payload = Payload::from_store(Encoding::JSON, event.payload.as_bytes().clone());
            });
        }
    }

    /// Empty metadata becomes none.
    EmptyMetadataLost caught by ["meta.null_vs_empty"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            changed(log, event, |event| event.metadata = event.metadata.take().filter(|meta| meta.as_bytes() != "{}"));
        }
    }

    /// No metadata becomes empty metadata.
    NoMetadataBecomesEmpty caught by ["meta.null_vs_empty"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            changed(log, event, |event| {
                event.metadata.get_or_insert_with(|| Metadata::from_store("{}"));
            });
        }
    }

    /// In a batch all events get the metadata of the first.
    MetadataOfFirst caught by ["meta.exact"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut prepared = Plain.prepare(log, writes)?;
            let first = prepared.first().map(|event| event.event.metadata.clone());
            for event in &mut prepared {
                amend(event, |it| it.event.metadata = first.clone().flatten());
            }
            Ok(prepared)
        }
    }

    /// Metadata is a map to texts: other values become their text.
    MetadataAsTexts caught by ["meta.random"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            changed(log, event, |event| {
                let parsed = event.metadata.as_ref().map(|meta| serde_json::from_slice::<Map<String, Value>>(meta.as_bytes()));
                let Some(Ok(map)) = parsed else { return };
                let texts = map.into_iter().map(|(key, value)| match value {
                    Value::String(text) => (key, Value::String(text)),
                    other => (key, Value::String(other.to_string())),
                });
                event.metadata = Some(Metadata::from_store(Value::Object(texts.collect()).to_string()));
            });
        }
    }

    /// Times are cut to milliseconds.
    TimesInMillis caught by ["time.precision"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            changed(log, event, |event| event.occurred_at = cut(event.occurred_at, 1_000_000));
        }
    }

    /// Times are kept in whole seconds.
    TimesInSeconds caught by ["time.precision"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            changed(log, event, |event| event.occurred_at = cut(event.occurred_at, 1_000_000_000));
        }
    }

    /// Nanoseconds are rounded up to the next microsecond.
    TimesRounded caught by ["time.precision"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut writes = writes.to_vec();
            for event in writes.iter_mut().flat_map(|write| &mut write.events) {
                event.occurred_at = event.occurred_at.checked_add(Duration::nanoseconds(500)).unwrap_or(event.occurred_at);
            }
            Plain.prepare(log, &writes)
        }
    }

    /// The offset of a time is dropped: its wall clock is taken as UTC.
    OffsetDropped caught by ["time.range"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut writes = writes.to_vec();
            for event in writes.iter_mut().flat_map(|write| &mut write.events) {
                event.occurred_at = event.occurred_at.replace_offset(UtcOffset::UTC);
            }
            Plain.prepare(log, &writes)
        }
    }

    /// Times before 1970 become 1970.
    TimesFromEpoch caught by ["time.range"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            changed(log, event, |event| event.occurred_at = event.occurred_at.max(OffsetDateTime::UNIX_EPOCH));
        }
    }

    /// What occurred when is replaced by when it was recorded.
    OccurredIsRecorded caught by ["time.both_kept"] {
        fn insert(&self, log: &mut Log, mut event: StoredEvent) {
            amend(&mut event, |it| it.event.occurred_at = it.recorded_at);
            log.push(event);
        }
    }

    /// When it was recorded is replaced by when it occurred.
    RecordedIsOccurred caught by ["time.both_kept"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut prepared = Plain.prepare(log, writes)?;
            for event in &mut prepared {
                amend(event, |it| it.recorded_at = it.event.occurred_at);
            }
            Ok(prepared)
        }
    }

    /// The time of recording is that of reading.
    RecordedWhenRead caught by ["time.recorded"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let mut found = Plain.select(log, query, options)?;
            found.iter_mut().for_each(|event| amend(event, |it| it.recorded_at = SystemClock.now()));
            Ok(found)
        }
    }

    /// The time of recording has nanoseconds.
    RecordedInNanos caught by ["time.recorded"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut prepared = Plain.prepare(log, writes)?;
            prepared.iter_mut().for_each(|event| amend(event, |it| it.recorded_at += Duration::nanoseconds(1)));
            Ok(prepared)
        }
    }

    /// Tags are not stored.
    TagsLost caught by ["scan.tags"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            changed(log, event, |event| event.tags = Tags::NONE);
        }
    }

    /// Only the first tag is stored.
    FirstTagOnly caught by ["scan.tags"] {
        fn insert(&self, log: &mut Log, event: StoredEvent) {
            changed(log, event, |event| event.tags = event.tags.iter().take(1).cloned().collect());
        }
    }

    /// Tags differ by case only as the same.
    TagsCaseFolded caught by ["name.tags"] {
        fn select(&self, log: &Log, query: &Query, options: &ReadOptions) -> Result<Vec<StoredEvent>> {
            let folded = |tags: &Tags| Tags::parse(tags.iter().map(|tag| lower(tag.as_str()))).unwrap_or_default();
            if !query.uses_tags() {
                return Plain.select(log, query, options);
            }
            let mut found = Plain.select(log, &query.scope().unwrap_or(Source::Log).into(), options)?;
            found.retain(|event| query.items().iter().any(|item| {
                item.clone().with_tags(Tags::NONE).matches(event)
                    && folded(&event.event.tags).contains_all(&folded(&item.tags))
            }));
            Ok(found)
        }
    }

    /// The store gives its own ids.
    IdsReplaced caught by ["append.roundtrip"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut prepared = Plain.prepare(log, writes)?;
            for event in &mut prepared {
                amend(event, |it| it.event.id = EventId::generate());
            }
            Ok(prepared)
        }
    }
}
