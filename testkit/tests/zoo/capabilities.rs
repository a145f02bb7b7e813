//! Capabilities that are not what they are declared to be, and errors that say the wrong thing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annals::{
    Append, Capabilities, Error, Order, Query, ReadOptions, Result, SequenceNumber, StoredEvent,
    Tags, WriteCondition,
};

use super::bent::{Bend, Log, NAME, Shared, amend, but};
use super::numbers::Plain;

fn without(feature: impl Fn(Capabilities) -> Capabilities) -> Capabilities {
    feature(Plain.capabilities())
}

bent_specimens! {
    /// Several streams in a call are accepted, though not declared.
    MultiUndeclared caught by ["cap.multi_refused"] {
        fn capabilities(&self) -> Capabilities {
            without(|all| all.with_multi_stream_append(false))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            Plain.check_append(writes)
        }
    }

    /// Query conditions that are not declared pass.
    QueryConditionUndeclared caught by ["cap.query_conditions_refused"] {
        fn capabilities(&self) -> Capabilities {
            without(|all| all.with_query_conditions(false))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            Plain.check_append(writes)
        }

        fn first_match(&self, _: &Log, _: &Append, _: &Query, _: SequenceNumber) -> Option<SequenceNumber> {
            None
        }
    }

    /// Undeclared query conditions are refused alone, and pass inside a composition.
    QueryConditionUndeclaredNested caught by ["cap.nested_conditions_refused"] {
        fn capabilities(&self) -> Capabilities {
            without(|all| all.with_query_conditions(false))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            let alone = |write: &Append| matches!(write.condition, WriteCondition::NoMatch { .. });
            if writes.iter().any(alone) { self.capabilities().check_append(NAME, writes) } else { Plain.check_append(writes) }
        }
    }

    /// Undeclared predicates pass.
    CustomUndeclared caught by ["cap.custom_refused"] {
        fn capabilities(&self) -> Capabilities {
            without(|all| all.with_custom_conditions(false))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            Plain.check_append(writes)
        }
    }

    /// Undeclared tags are dropped silently.
    TagsUndeclared caught by ["cap.tags_refused"] {
        fn capabilities(&self) -> Capabilities {
            without(|all| all.with_tags(false))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            Plain.check_append(writes)
        }

        fn insert(&self, log: &mut Log, mut event: StoredEvent) {
            amend(&mut event, |it| it.event.tags = Tags::NONE);
            log.push(event);
        }
    }

    /// Undeclared tags are refused in appends, and ignored in queries.
    TagsUndeclaredInQuery caught by ["cap.tags_refused"] {
        fn capabilities(&self) -> Capabilities {
            without(|all| all.with_tags(false))
        }

        fn check_read(&self, _: &Query, _: &ReadOptions) -> Result<()> {
            Ok(())
        }
    }

    /// A log is read in full though order holds within a category only.
    WideReadAllowed caught by ["cap.order_refused"] {
        fn capabilities(&self) -> Capabilities {
            without(|all| all.with_order(Order::Category))
        }

        fn check_read(&self, _: &Query, _: &ReadOptions) -> Result<()> {
            Ok(())
        }
    }

    /// A wider read is refused even where the caller permits it.
    WideReadNeverAllowed caught by ["cap.order_refused"] {
        fn capabilities(&self) -> Capabilities {
            without(|all| all.with_order(Order::Category))
        }

        fn check_read(&self, query: &Query, _: &ReadOptions) -> Result<()> {
            self.capabilities().check_read(NAME, query, &ReadOptions::default())
        }
    }

    /// What it declares changes once it was asked.
    CapabilitiesChange { asked: AtomicBool } caught by ["cap.constant"] {
        fn capabilities(&self) -> Capabilities {
            without(|all| all.with_custom_conditions(!self.asked.swap(true, Ordering::SeqCst)))
        }
    }

    /// Undeclared predicates are refused alone, and pass inside a composition.
    CustomUndeclaredNested caught by ["cap.nested_custom_refused"] {
        fn capabilities(&self) -> Capabilities {
            without(|all| all.with_custom_conditions(false))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            let alone = |write: &Append| matches!(write.condition, WriteCondition::Custom(_));
            if writes.iter().any(alone) { self.capabilities().check_append(NAME, writes) } else { Plain.check_append(writes) }
        }
    }

    /// Undeclared conditions are refused in the first write of a call only.
    UndeclaredInSecondWrite caught by ["cap.query_conditions_refused"] {
        fn capabilities(&self) -> Capabilities {
            without(|all| all.with_query_conditions(false))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            Plain.check_append(writes)?;
            self.capabilities().check_append(NAME, writes.get(..1).unwrap_or_default())
        }
    }

    /// An undeclared query condition is told as one that does not hold.
    UndeclaredIsUnmet caught by ["cap.query_conditions_refused"] {
        fn capabilities(&self) -> Capabilities {
            without(|all| all.with_query_conditions(false))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            Plain.check_append(writes)
        }

        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            let condition = match &write.condition {
                condition if condition.queries().is_empty() => condition.clone(),
                _ => WriteCondition::Any(Vec::new()),
            };
            Plain.judge(log, &but(write, |it| it.condition = condition))
        }
    }

    /// Of several undeclared streams the first is written before the call is refused.
    MultiUndeclaredWritesFirst caught by ["cap.multi_refused"] {
        fn capabilities(&self) -> Capabilities {
            without(|all| all.with_multi_stream_append(false))
        }

        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let first = writes.get(..1).unwrap_or_default().to_vec();
            let stored = Plain.append(shared, first).await?;
            self.check_append(&writes).map(|()| stored)
        }
    }

    /// Streams of one category are read together though order holds within each only.
    WideReadOfStreams caught by ["cap.order_refused"] {
        fn capabilities(&self) -> Capabilities {
            without(|all| all.with_order(Order::Stream))
        }

        fn check_read(&self, query: &Query, options: &ReadOptions) -> Result<()> {
            if query.items().len() > 1 { Ok(()) } else { self.capabilities().check_read(NAME, query, options) }
        }
    }

    /// Another adapter's name is told for what is not supported.
    UnsupportedNamesOther caught by ["err.named"] {
        fn capabilities(&self) -> Capabilities {
            without(|all| all.with_custom_conditions(false))
        }

        fn check_append(&self, writes: &[Append]) -> Result<()> {
            self.capabilities().check_append("database", writes)
        }
    }

    /// Times that no store keeps are accepted.
    TimesUnchecked caught by ["err.time_range"] {
        fn check_append(&self, writes: &[Append]) -> Result<()> {
            let mut writes = writes.to_vec();
            let events = writes.iter_mut().flat_map(|write| &mut write.events);
            events.for_each(|event| event.occurred_at = time::OffsetDateTime::UNIX_EPOCH);
            Plain.check_append(&writes)
        }
    }

    /// Of a call only the first event's time is looked at.
    TimeOfFirstChecked caught by ["err.time_range"] {
        fn check_append(&self, writes: &[Append]) -> Result<()> {
            let mut writes = writes.to_vec();
            let events = writes.iter_mut().flat_map(|write| &mut write.events).skip(1);
            events.for_each(|event| event.occurred_at = time::OffsetDateTime::UNIX_EPOCH);
            Plain.check_append(&writes)
        }
    }

    /// The error of a time that cannot be stored prints the event.
    ErrorPrintsEvent caught by ["err.messages"] {
        fn check_append(&self, writes: &[Append]) -> Result<()> {
            Plain.check_append(writes).map_err(|error| match (error, writes.iter().find_map(|write| write.events.last())) {
                (Error::Invalid(cause), Some(event)) => {
                    let payload = String::from_utf8_lossy(event.payload.as_bytes()).into_owned();
                    Error::invalid(format!("{cause}: {} {payload}", event.name))
                }
                (error, _) => error,
            })
        }
    }

    /// The error of a known event holds its payload as a cause.
    DuplicatePrintsBytes caught by ["err.messages"] {
        fn duplicates(&self, log: &Log, writes: &[Append]) -> Result<()> {
            Plain.duplicates(log, writes).map_err(|_| {
                let events = writes.iter().flat_map(|write| &write.events);
                let row: Vec<_> = events.map(|event| event.payload.as_bytes().to_vec()).collect();
                Error::backend(format!("duplicate key in row {row:?}"))
            })
        }
    }

    /// An append of too many or too old events stores those before it.
    InvalidStoresPrefix caught by ["err.nothing_written"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            if let Err(error) = self.check_append(&writes) {
                if let (Error::Invalid(_), Some(write)) = (&error, writes.first()) {
                    let good: Vec<_> = write.events.iter().take_while(|event| event.occurred_at.year() > 0).cloned().collect();
                    let prefix = Append::new(write.stream.clone(), good, WriteCondition::Always);
                    Plain.append(shared, vec![prefix]).await?;
                }
                return Err(error);
            }
            Plain.append(shared, writes).await
        }
    }
}
