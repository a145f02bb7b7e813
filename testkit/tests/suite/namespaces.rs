//! Checks that run at the same time on one log keep out of each other's way.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use annals::{Append, Query, QueryItem, Source, WriteCondition};
use annals_memory::MemoryAdapter;
use annals_testkit::{Harness, Opened, Recording, Request, Suite, async_trait};

/// What the checks ask of one log, by their namespaces.
type Records = Arc<Mutex<BTreeMap<String, Recording<MemoryAdapter>>>>;

struct Shared {
    log: MemoryAdapter,
    records: Records,
}

#[async_trait]
impl Harness for Shared {
    async fn open(&self, namespace: &str) -> Opened {
        let mut records = self.records.lock().expect("no panic while it is locked");
        let record = records.entry(namespace.to_owned());
        let recording = record.or_insert_with(|| Recording::new(self.log.clone()));
        Ok(Arc::new(recording.clone()))
    }

    async fn open_to_close(&self, _namespace: &str) -> Opened {
        Ok(Arc::new(MemoryAdapter::new()))
    }
}

/// The queries that must have no match for a write.
fn queries(condition: &WriteCondition) -> Vec<&Query> {
    match condition {
        WriteCondition::NoMatch { query, .. } => vec![query],
        WriteCondition::All(parts) | WriteCondition::Any(parts) => {
            parts.iter().flat_map(queries).collect()
        }
        _ => Vec::new(),
    }
}

/// Whether events of other checks can match an item that asks the whole log for some names.
fn matches_others(item: &QueryItem, namespace: &str) -> bool {
    let own = |name: &annals::EventName| name.as_str().starts_with(namespace);
    let anothers = |names: &Vec<annals::EventName>| !names.iter().all(own);
    item.source == Source::Log
        && item.ids.is_none()
        && item.tags.is_empty()
        && item.names.as_ref().is_some_and(anothers)
}

fn findings(namespace: &str, writes: &[Append]) -> Vec<String> {
    let items = writes.iter().flat_map(|write| queries(&write.condition)).flat_map(Query::items);
    items
        .filter(|item| matches_others(item, namespace))
        .map(|item| format!("{namespace} asks the log for {:?}", item.names))
        .collect()
}

/// A condition on the log by names that others use as well meets their events in some runs and fails the check.
/// (Conditions on all events of the log expect to meet them.)
#[test]
fn conditions_on_the_log_ask_for_names_of_their_own_check() {
    let records = Records::default();
    let harness = Shared { log: MemoryAdapter::new(), records: Arc::clone(&records) };
    let report = Suite::new("shared log", harness).run();
    assert!(report.is_pass(), "{}", report.to_markdown());
    let records = records.lock().expect("no panic while it is locked");
    let mut conditions = 0;
    let mut crossing = Vec::new();
    for (namespace, record) in records.iter() {
        for call in record.calls() {
            let Request::Append(writes) = call.request else { continue };
            conditions += writes.iter().flat_map(|write| queries(&write.condition)).count();
            crossing.extend(findings(namespace, &writes));
        }
    }
    assert!(conditions > 1_000, "only {conditions} conditions on queries were seen");
    assert!(crossing.is_empty(), "{crossing:#?}");
}
