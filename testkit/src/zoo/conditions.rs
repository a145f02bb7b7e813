//! Conditions that are judged wrongly, and capabilities that are not what they are declared to be.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use annals::{
    Append, Capabilities, Error, Facts, Order, Position, Query, QueryItem, ReadOptions, Result,
    SequenceNumber, Source, StoredEvent, Tags, WriteCondition,
};

use super::bent::{Bend, Log, NAME, Shared};
use super::numbers::Plain;

/// Judges `condition` in the place of the write's own.
fn judge_as(log: &Log, write: &Append, condition: WriteCondition) -> Result<()> {
    Plain.judge(log, &Append { condition, ..write.clone() })
}

/// Whether one leaf of the condition holds, by the right definition.
fn leaf_holds(log: &Log, write: &Append, leaf: &WriteCondition) -> bool {
    judge_as(log, write, leaf.clone()).is_ok()
}

/// Looks for a match as if the query's items were these.
fn match_items(
    log: &Log,
    query: &Query,
    after: SequenceNumber,
    item: impl Fn(QueryItem) -> QueryItem,
) -> Option<SequenceNumber> {
    log.first_match(&Query::any_of(query.items().iter().cloned().map(item)), after)
}

fn without(feature: impl Fn(Capabilities) -> Capabilities) -> Capabilities {
    feature(Plain.capabilities())
}

bent_specimens! {
    /// Conditions are not judged.
    ConditionIgnored caught by ["cond.position_is"] {
        fn judge(&self, _: &Log, _: &Append) -> Result<()> {
            Ok(())
        }
    }

    /// A position below the actual one is accepted.
    StalePositionAccepted caught by ["cond.position_is"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match (&write.condition, log.last_of(&write.stream)) {
                (WriteCondition::PositionIs(expected), Some(last)) if *expected < last.position => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// A position above the actual one is accepted.
    FuturePositionAccepted caught by ["cond.position_is"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match (&write.condition, log.last_of(&write.stream)) {
                (WriteCondition::PositionIs(expected), Some(last)) if *expected > last.position => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// Any position is accepted on an empty stream.
    PositionOnEmptyAccepted caught by ["cond.position_is"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::PositionIs(_) if log.len_of(&write.stream) == 0 => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// Position 0 is taken for an empty stream.
    PositionZeroIsEmpty caught by ["cond.position_is"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let facts = Plain.facts(log, write);
            let empty = write.condition == WriteCondition::PositionIs(Position::FIRST);
            Facts { head: facts.head.or(empty.then_some(Position::FIRST)), ..facts }
        }
    }

    /// The number of events is taken for the position.
    PositionIsCount caught by ["cond.position_is"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let count = log.len_of(&write.stream) as u64;
            Facts { head: (count > 0).then(|| Position::new(count)), ..Plain.facts(log, write) }
        }
    }

    /// Positions are compared in 32 bits.
    PositionIn32Bits caught by ["cond.position_is"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::PositionIs(position) => {
                    let cut = Position::new(position.value() & 0xFFFF_FFFF);
                    judge_as(log, write, WriteCondition::PositionIs(cut))
                }
                _ => Plain.judge(log, write),
            }
        }
    }

    /// A stream counts as empty only when its category is.
    EmptyLooksAtCategory caught by ["cond.scope"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let same = |event: &&StoredEvent| event.stream.category == write.stream.category;
            let head = log.events.iter().filter(same).map(|event| event.position).next_back();
            Facts { head, ..Plain.facts(log, write) }
        }
    }

    /// A stream counts as empty only when the log is.
    EmptyLooksAtLog caught by ["cond.scope"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let head = log.events.last().map(|event| event.position);
            Facts { head, ..Plain.facts(log, write) }
        }
    }

    /// Streams of the same name in other categories count.
    EmptyLooksAtName caught by ["cond.scope"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let same = |event: &&StoredEvent| event.stream.name == write.stream.name;
            let head = log.events.iter().filter(same).map(|event| event.position).next_back();
            Facts { head, ..Plain.facts(log, write) }
        }
    }

    /// A stream exists always.
    ExistsAlways caught by ["cond.stream_exists"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match write.condition {
                WriteCondition::StreamExists => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// Of `All`, one part is enough.
    AllIsAny caught by ["cond.composite"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::All(parts) if !parts.is_empty() => {
                    judge_as(log, write, WriteCondition::Any(parts.clone()))
                }
                _ => Plain.judge(log, write),
            }
        }
    }

    /// Of `Any`, all parts are needed.
    AnyIsAll caught by ["cond.composite"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::Any(parts) if !parts.is_empty() => {
                    judge_as(log, write, WriteCondition::All(parts.clone()))
                }
                _ => Plain.judge(log, write),
            }
        }
    }

    /// Composed conditions are not judged.
    CompositionIgnored caught by ["cond.composite"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::All(_) | WriteCondition::Any(_) => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// The empty `Any` holds.
    EmptyAnyHolds caught by ["cond.composite"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::Any(parts) if parts.is_empty() => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// Compositions inside compositions count as held.
    NestingIgnored caught by ["cond.composite"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            let held = |part: &WriteCondition| match part {
                WriteCondition::All(_) | WriteCondition::Any(_) => true,
                leaf => leaf_holds(log, write, leaf),
            };
            match &write.condition {
                WriteCondition::All(parts) if parts.iter().all(held) => Ok(()),
                WriteCondition::Any(parts) if parts.iter().any(held) => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// Of `All`, only the first two parts are judged.
    AllOfFirstTwo caught by ["cond.composite"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::All(parts) => {
                    let some = parts.iter().take(2).cloned().collect();
                    judge_as(log, write, WriteCondition::All(some))
                }
                _ => Plain.judge(log, write),
            }
        }
    }

    /// A refusal is told as success with no events.
    RefusalIsOk caught by ["cond.position_is"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            match Plain.append(shared, writes).await {
                Err(Error::ConditionFailed(_)) => Ok(Vec::new()),
                outcome => outcome,
            }
        }
    }

    /// A refusal is told as an error of the driver.
    RefusalIsBackendError caught by ["cond.position_is"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            Plain.judge(log, write).map_err(|error| Error::Backend { adapter: NAME, source: error.into() })
        }
    }

    /// A refused append is stored all the same.
    RefusalStores caught by ["cond.unmet_stores_nothing"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let outcome = Plain.prepare(log, writes);
            if let Err(Error::ConditionFailed(_)) = &outcome {
                let mut writes = writes.to_vec();
                writes.iter_mut().for_each(|write| write.condition = WriteCondition::Always);
                Plain.prepare(log, &writes)?.into_iter().for_each(|event| log.push(event));
            }
            outcome
        }
    }

    /// A refusal keeps the lock for ever.
    RefusalKeepsLock caught by ["cond.fail_releases"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            self.check_append(&writes)?;
            let alone = shared.writer.lock().await;
            let prepared = self.prepare(&mut shared.log(), &writes);
            let prepared = match prepared {
                Ok(prepared) => prepared,
                Err(error) => {
                    std::mem::forget(alone);
                    return Err(error);
                }
            };
            prepared.iter().for_each(|event| shared.log().push(event.clone()));
            Ok(prepared)
        }
    }

    /// Refusals take connections of a pool of eight and give none back.
    RefusalLeaksConnection caught by ["cond.fail_releases"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            while shared.counter.load(Ordering::SeqCst) >= 8 {
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
            Plain.append(shared, writes).await.inspect_err(|_| {
                shared.counter.fetch_add(1, Ordering::SeqCst);
            })
        }
    }

    /// The error tells the expected position as the actual one.
    ErrorSwapsPositions caught by ["cond.error_detail"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            Plain.judge(log, write).map_err(|error| match error {
                Error::ConditionFailed(mut unmet) => {
                    if let WriteCondition::PositionIs(expected) = unmet.failed {
                        unmet.actual = Some(expected);
                    }
                    Error::ConditionFailed(unmet)
                }
                other => other,
            })
        }
    }

    /// The error tells the number of events instead of the position of the last.
    ErrorCountsEvents caught by ["cond.error_detail"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            Plain.judge(log, write).map_err(|error| match error {
                Error::ConditionFailed(mut unmet) => {
                    unmet.actual = unmet.actual.map(|position| Position::new(position.value() + 1));
                    Error::ConditionFailed(unmet)
                }
                other => other,
            })
        }
    }

    /// The error names the whole condition instead of the leaf that failed.
    ErrorNamesWhole caught by ["cond.error_detail"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            Plain.judge(log, write).map_err(|error| match error {
                Error::ConditionFailed(mut unmet) => {
                    unmet.failed = write.condition.clone();
                    Error::ConditionFailed(unmet)
                }
                other => other,
            })
        }
    }

    /// In a call over several streams the error names the first, whichever was refused.
    ErrorNamesFirstStream caught by ["cond.error_detail"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            Plain.prepare(log, writes).map_err(|error| match error {
                Error::ConditionFailed(mut unmet) => {
                    unmet.stream = writes[0].stream.clone();
                    Error::ConditionFailed(unmet)
                }
                other => other,
            })
        }
    }

    /// A match at `after` itself counts.
    NoMatchInclusive caught by ["cond.no_match_bounds"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            log.first_match(query, SequenceNumber::new(after.value().saturating_sub(1)))
        }
    }

    /// The first event after `after` does not count.
    NoMatchOneTooFar caught by ["cond.no_match_bounds"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            let far = if after == SequenceNumber::START { after } else { SequenceNumber::new(after.value().saturating_add(1)) };
            log.first_match(query, far)
        }
    }

    /// Matches before `after` count too.
    NoMatchIgnoresAfter caught by ["cond.no_match_bounds"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, _: SequenceNumber) -> Option<SequenceNumber> {
            log.first_match(query, SequenceNumber::START)
        }
    }

    /// Conditions on queries always hold.
    NoMatchIgnored caught by ["cond.no_match_bounds"] {
        fn first_match(&self, _: &Log, _: &Append, _: &Query, _: SequenceNumber) -> Option<SequenceNumber> {
            None
        }
    }

    /// Event names of the query are ignored.
    NoMatchIgnoresNames caught by ["cond.no_match_names"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            match_items(log, query, after, |item| QueryItem { names: Vec::new(), ..item })
        }
    }

    /// Only the first event name of an item counts.
    NoMatchFirstName caught by ["cond.no_match_names"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            match_items(log, query, after, |mut item| {
                item.names.truncate(1);
                item
            })
        }
    }

    /// Any of an item's tags is enough.
    NoMatchAnyTag caught by ["cond.no_match_tags"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            let one_tag = |item: &QueryItem| -> Vec<QueryItem> {
                if item.tags.is_empty() {
                    return vec![item.clone()];
                }
                let with = |tag: &annals::Tag| item.clone().with_tags(Tags::from_iter([tag.clone()]));
                item.tags.iter().map(with).collect()
            };
            let items: Vec<QueryItem> = query.items().iter().flat_map(one_tag).collect();
            log.first_match(&Query::any_of(items), after)
        }
    }

    /// Tags of the query are ignored.
    NoMatchIgnoresTags caught by ["cond.no_match_tags"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            match_items(log, query, after, |item| item.with_tags(Tags::NONE))
        }
    }

    /// Only the first item of a query counts.
    NoMatchFirstItem caught by ["cond.no_match_items"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            log.first_match(&Query::any_of(query.items().iter().take(1).cloned()), after)
        }
    }

    /// Names of one item and tags of another make a match together.
    NoMatchMixesItems caught by ["cond.no_match_items"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            let names: Vec<_> = query.items().iter().flat_map(|item| item.names.clone()).collect();
            match_items(log, query, after, |item| {
                if item.names.is_empty() { item } else { QueryItem { names: names.clone(), ..item } }
            })
        }
    }

    /// Queries look at the written stream only.
    NoMatchOwnStreamOnly caught by ["cond.no_match_sources"] {
        fn first_match(&self, log: &Log, write: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            let own = Source::Stream(write.stream.clone());
            let mut events = log.candidates(&own.into());
            let found = events.find(|event| event.sequence_number > after && query.matches(event));
            found.map(|event| event.sequence_number)
        }
    }

    /// Queries look at the whole log, whatever their source.
    NoMatchIgnoresSource caught by ["cond.no_match_sources"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            match_items(log, query, after, |item| QueryItem { source: Source::Log, ..item })
        }
    }

    /// The query without items matches nothing.
    NoMatchAllIsNone caught by ["cond.no_match_all"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            if query.items().is_empty() { None } else { log.first_match(query, after) }
        }
    }

    /// Of several queries in one condition only the first is looked up.
    NoMatchFirstQuery caught by ["cond.no_match_random"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let mut facts = Plain.facts(log, write);
            facts.matches.iter_mut().skip(1).for_each(|answer| *answer = None);
            facts
        }
    }

    /// Predicates are not asked.
    CustomIgnored caught by ["cond.custom"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            match &write.condition {
                WriteCondition::Custom(_) => Ok(()),
                _ => Plain.judge(log, write),
            }
        }
    }

    /// Predicates are given the first event of the stream.
    CustomSeesFirst caught by ["cond.custom"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            let first = log.events.iter().find(|event| event.stream == write.stream).cloned();
            Facts { last: first, ..Plain.facts(log, write) }
        }
    }

    /// Predicates are given the last event of the log.
    CustomSeesLog caught by ["cond.custom"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            Facts { last: log.events.last().cloned(), ..Plain.facts(log, write) }
        }
    }

    /// A predicate that panics leaves the store unusable.
    PanicPoisons caught by ["cond.custom_panic"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            if shared.counter.load(Ordering::SeqCst) == 1 {
                return Err(Error::unavailable("poisoned"));
            }
            if writes.iter().any(|write| write.condition.needs_last_event()) {
                shared.counter.store(1, Ordering::SeqCst);
            }
            let outcome = Plain.append(shared, writes).await;
            shared.counter.store(0, Ordering::SeqCst);
            outcome
        }
    }

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
            event.event.tags = Tags::NONE;
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
}
