//! Random commits and scans beside a model, shrunk where they differ.

use std::collections::BTreeMap;

use annals::Payload;
use annals_state::{
    Along, Change, Commit, Document, DocumentId, Expected, IndexEntry, Place, Revision, Scan,
    Scanned, Write,
};
use futures_util::TryStreamExt;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use crate::state::context::{BY, Context};

/// How many cases there are in the quick profile.
const CASES: u64 = 40;

/// What a store must hold after some commits, kept in the simplest way.
#[derive(Default)]
struct Model(BTreeMap<String, (Revision, Payload, Vec<IndexEntry>)>);

impl Model {
    fn commit(&mut self, commit: &Commit) -> bool {
        let found = |write: &Write| self.0.get(write.key.id.as_str()).map(|held| held.0);
        if !commit.writes.iter().all(|write| write.expected.holds(found(write))) {
            return false;
        }
        for write in &commit.writes {
            let id = write.key.id.as_str().to_owned();
            match &write.change {
                Change::Guard => {}
                Change::Delete => drop(self.0.remove(&id)),
                Change::Put { body, entries } => {
                    self.0.insert(id, (commit.revision, body.clone(), entries.clone()));
                }
            }
        }
        true
    }

    fn scan(&self, cx: &Context, scan: &Scan) -> Vec<Scanned> {
        let mut found = Vec::new();
        for (id, (revision, body, entries)) in &self.0 {
            let document = Document { key: cx.key(id), revision: *revision, body: body.clone() };
            match &scan.along {
                Along::Ids => {
                    found.push((id.as_bytes().to_vec(), Scanned { key: "".into(), document }));
                }
                Along::Index(index) => {
                    for entry in entries.iter().filter(|entry| entry.index == *index) {
                        let one = Scanned { key: entry.key.clone(), document: document.clone() };
                        found.push((entry.key.to_vec(), one));
                    }
                }
            }
        }
        found.sort_by(|(a, x), (b, y)| (a, &x.document.key.id).cmp(&(b, &y.document.key.id)));
        let backward = scan.direction == annals::Direction::Backward;
        if backward {
            found.reverse();
        }
        found.retain(|(at, one)| {
            let inside = scan.from.as_ref().is_none_or(|from| at[..] >= from[..])
                && scan.to.as_ref().is_none_or(|to| at[..] < to[..]);
            let beyond = scan.after.as_ref().is_none_or(|after| {
                if backward { one.place() < *after } else { one.place() > *after }
            });
            inside && beyond
        });
        found.truncate(scan.limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap()));
        found.into_iter().map(|(_, one)| one).collect()
    }
}

fn ids_of_a_small_world() -> impl Strategy<Value = String> {
    prop::sample::select(vec!["a", "B", "b", "bb", "é", "z"]).prop_map(str::to_owned)
}

fn keys_of_a_small_world() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop::sample::select(vec![0_u8, 1, 0x7F, 0xFF]), 0..3)
}

/// What one step expects: 0 anything, 1 absent, 2 what is there, 3 another revision.
type Step = Vec<(String, u8, u8, Vec<Vec<u8>>)>;

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let write = (
        ids_of_a_small_world(),
        0..4_u8,
        0..4_u8,
        prop::collection::vec(keys_of_a_small_world(), 0..3),
    );
    prop::collection::vec(prop::collection::vec(write, 1..4), 1..12)
}

/// A scan of a collection that is yet to come.
type Plan =
    (bool, [Option<Vec<u8>>; 2], [Option<String>; 2], Option<(Vec<u8>, String)>, bool, Option<u64>);

fn plans() -> impl Strategy<Value = Plan> {
    (
        any::<bool>(),
        prop::array::uniform2(prop::option::of(keys_of_a_small_world())),
        prop::array::uniform2(prop::option::of(ids_of_a_small_world())),
        prop::option::of((keys_of_a_small_world(), ids_of_a_small_world())),
        any::<bool>(),
        prop::option::of(0..8_u64),
    )
}

fn scan(cx: &Context, plan: Plan) -> Scan {
    let (index, [from, to], [first, last], after, backward, limit) = plan;
    let mut scan = if index { cx.by() } else { cx.ids() };
    scan.from = if index { from } else { first.map(String::into_bytes) }.map(Into::into);
    scan.to = if index { to } else { last.map(String::into_bytes) }.map(Into::into);
    scan.after = after.map(|(key, id)| {
        let key = if index { key.into() } else { "".into() };
        Place { key, id: DocumentId::new(id).unwrap() }
    });
    scan.limit = limit;
    if backward { scan.backward() } else { scan }
}

async fn case(cx: Context, steps: Vec<Step>, plans: Vec<Plan>) -> Result<(), TestCaseError> {
    let store = cx.open().await;
    let mut model = Model::default();
    let scans: Vec<Scan> = plans.into_iter().map(|plan| scan(&cx, plan)).collect();
    for step in steps {
        let mut writes: Vec<Write> = Vec::new();
        for (id, expected, change, mut entries) in step {
            if writes.iter().any(|write| write.key == cx.key(&id)) {
                continue;
            }
            let held = model.0.get(&id).map(|held| held.0);
            let expected = match expected {
                0 => Expected::Any,
                1 => Expected::Absent,
                2 => Expected::from(held),
                _ => Expected::Is(Revision::generate()),
            };
            let mut write = match change {
                0 => cx.delete(&id, expected),
                1 => cx.guard(&id, expected),
                _ => cx.put(&id, expected),
            };
            entries.sort();
            entries.dedup();
            for entry in entries {
                write = write.with_entry(BY, entry);
            }
            writes.push(write);
        }
        let commit = Commit::new(writes);
        let wanted = model.commit(&commit);
        let made = store.commit(commit.clone()).await;
        if let Err(error) = &made {
            prop_assert!(error.is_conflict(), "{error}");
        }
        prop_assert_eq!(made.is_ok(), wanted, "{:?}", commit);
        for scan in &scans {
            let pages: Result<Vec<Vec<Scanned>>, _> = store.scan(scan.clone()).try_collect().await;
            let pages = pages.map_err(|error| TestCaseError::fail(error.to_string()))?;
            prop_assert!(pages.iter().all(|page| !page.is_empty()), "an empty page");
            let found: Vec<Scanned> = pages.into_iter().flatten().collect();
            prop_assert_eq!(&found, &model.scan(&cx, scan), "{:?}", scan);
        }
    }
    Ok(())
}

/// Whatever is committed and scanned, the store returns what the model does.
pub(super) async fn follows(cx: Context) {
    let runtime = tokio::runtime::Handle::current();
    let checking = tokio::task::spawn_blocking(move || {
        let strategy = (steps(), prop::collection::vec(plans(), 1..6));
        for seed in cx.engine.cases(CASES) {
            let config = Config { cases: 1, failure_persistence: None, ..Config::default() };
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&seed.to_le_bytes());
            let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
            let run = |(steps, plans)| runtime.block_on(case(cx.fresh(), steps, plans));
            TestRunner::new_with_rng(config, rng)
                .run(&strategy, run)
                .map_err(|error| error.to_string())?;
        }
        Ok::<_, String>(())
    });
    if let Err(reason) = checking.await.unwrap() {
        panic!("{reason}");
    }
}
