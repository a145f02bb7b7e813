//! Conditions on queries and of the caller's own that are judged wrongly.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use annals::adapter::Facts;
use annals::{
    Append, Error, Query, QueryItem, Result, SequenceNumber, Source, StoredEvent, Tags,
    WriteCondition,
};

use super::bent::{Log, Shared, but};
use super::numbers::Plain;

/// Looks for a match as if the query's items were these.
fn match_items(
    log: &Log,
    query: &Query,
    after: SequenceNumber,
    item: impl Fn(QueryItem) -> QueryItem,
) -> Option<SequenceNumber> {
    log.first_match(&Query::any_of(query.items().iter().cloned().map(item)), after)
}

bent_specimens! {
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
            match_items(log, query, after, |item| but(&item, |it| it.names = None))
        }
    }

    /// Only the first event name of an item counts.
    NoMatchFirstName caught by ["cond.no_match_names"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            match_items(log, query, after, |mut item| {
                item.names.iter_mut().for_each(|names| names.truncate(1));
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
            let names: Vec<_> = query.items().iter().filter_map(|item| item.names.clone()).flatten().collect();
            match_items(log, query, after, |item| {
                if item.names.is_none() { item } else { but(&item, |it| it.names = Some(names.clone())) }
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
            match_items(log, query, after, |item| but(&item, |it| it.source = Source::Log))
        }
    }

    /// The query without items matches nothing.
    NoMatchAllIsNone caught by ["cond.no_match_all"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            if *query == Query::All { None } else { log.first_match(query, after) }
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
            but(&Plain.facts(log, write), |it| it.last = first)
        }
    }

    /// Predicates are given the last event of the log.
    CustomSeesLog caught by ["cond.custom"] {
        fn facts(&self, log: &Log, write: &Append) -> Facts {
            but(&Plain.facts(log, write), |it| it.last = log.events.last().cloned())
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

    /// The bound is compared with positions.
    NoMatchByPosition caught by ["cond.no_match_bounds"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            let matches = |event: &&StoredEvent| event.position.value() > after.value() && query.matches(event);
            log.candidates(query).find(matches).map(|event| event.sequence_number)
        }
    }

    /// Only the newest event of the source is looked at.
    NoMatchLastOnly caught by ["cond.no_match_names"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            let inside = |event: &&StoredEvent| query.items().iter().any(|item| item.source.contains(&event.stream));
            let last = log.candidates(query).rev().find(inside)?;
            (last.sequence_number > after && query.matches(last)).then_some(last.sequence_number)
        }
    }

    /// Event names match where they begin alike.
    NoMatchNamePrefix caught by ["cond.no_match_names"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            let like = |event: &StoredEvent, item: &QueryItem| {
                let named = item.names.iter().flatten().any(|name| event.event.name.as_str().starts_with(name.as_str()));
                let rest = but(item, |it| it.names = None);
                rest.matches(event) && (item.names.is_none() || named)
            };
            let matches = |event: &&StoredEvent| {
                event.sequence_number > after && query.items().iter().any(|item| like(event, item))
            };
            log.candidates(query).find(matches).map(|event| event.sequence_number)
        }
    }

    /// The first two tags of an item are looked for, and no more.
    NoMatchFirstTwoTags caught by ["cond.no_match_tags"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            match_items(log, query, after, |item| {
                let tags = item.tags.iter().take(2).cloned().collect();
                item.with_tags(tags)
            })
        }
    }

    /// Queries see only what was stored before the previous append.
    NoMatchLate caught by ["cond.no_match_bounds"] {
        fn first_match(&self, log: &Log, _: &Append, query: &Query, after: SequenceNumber) -> Option<SequenceNumber> {
            let newest = log.events.last().map(|event| event.sequence_number);
            log.first_match(query, after).filter(|found| Some(*found) != newest)
        }
    }

    /// In a call over several streams the answers to the first query serve for all.
    NoMatchAnswersOfFirst caught by ["cond.no_match_multi"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let asked = |write: &Append| write.condition.queries().first().map(|(query, after)| ((*query).clone(), *after));
            let first = writes.first().and_then(asked);
            let mut writes = writes.to_vec();
            for write in &mut writes {
                if let (WriteCondition::NoMatch { .. }, Some((query, after))) = (&write.condition, &first) {
                    write.condition = WriteCondition::no_match(query.clone(), *after);
                }
            }
            Plain.prepare(log, &writes)
        }
    }

    /// What a call itself appends counts for its later queries.
    NoMatchSeesOwnCall caught by ["cond.no_match_multi"] {
        fn prepare(&self, log: &mut Log, writes: &[Append]) -> Result<Vec<StoredEvent>> {
            let mut tried = log.clone();
            for write in writes {
                if !write.condition.queries().is_empty() {
                    Plain.judge(&tried, write)?;
                }
                let always = but(write, |it| it.condition = WriteCondition::Always);
                Plain.prepare(&mut tried, &[always])?.into_iter().for_each(|event| tried.push(event));
            }
            Plain.prepare(log, writes)
        }
    }

    /// Predicates inside a composition count as held.
    CustomIgnoredInside caught by ["cond.custom"] {
        fn judge(&self, log: &Log, write: &Append) -> Result<()> {
            let parts = |parts: &[WriteCondition]| -> Vec<WriteCondition> {
                parts.iter().map(|part| if matches!(part, WriteCondition::Custom(_)) { WriteCondition::Always } else { part.clone() }).collect()
            };
            let condition = match &write.condition {
                WriteCondition::All(all) => WriteCondition::All(parts(all)),
                WriteCondition::Any(any) => WriteCondition::Any(parts(any)),
                leaf => leaf.clone(),
            };
            Plain.judge(log, &but(write, |it| it.condition = condition))
        }
    }

    /// A call whose predicate panics is stored all the same.
    PanicStores caught by ["cond.custom_panic"] {
        async fn append(&self, shared: &Arc<Shared>, writes: Vec<Append>) -> Result<Vec<StoredEvent>> {
            let mut unjudged = writes.clone();
            unjudged.iter_mut().for_each(|write| write.condition = WriteCondition::Always);
            let own = Arc::clone(shared);
            match tokio::spawn(async move { Plain.append(&own, writes).await }).await {
                Ok(outcome) => outcome,
                Err(_) => Plain.append(shared, unjudged).await,
            }
        }
    }
}
