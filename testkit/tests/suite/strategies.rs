//! The strategies make what they say, all of it valid, and an adapter that is right takes it.

use std::collections::BTreeSet;

use annals::{
    Append, Direction, EventStore, MAX_CONDITION_DEPTH, Query, ReadOptions, SequenceNumber, Source,
    StorageAdapter, WriteCondition,
};
use annals_memory::MemoryAdapter;
use annals_testkit::model::Op;
use annals_testkit::strategy;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, TestError, TestRunner};
use tokio::runtime::Runtime;

fn config() -> Config {
    Config { failure_persistence: None, ..Config::with_cases(64) }
}

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_current_thread().build().expect("a runtime")
}

/// So many values of a strategy, the same in every run.
fn samples<S: Strategy>(count: usize, strategy: S) -> Vec<S::Value> {
    let mut runner = TestRunner::deterministic();
    let value = |_| strategy.new_tree(&mut runner).expect("a value").current();
    (0..count).map(value).collect()
}

fn depth(json: &str) -> usize {
    let mut depth = 0_usize;
    let mut deepest = 0;
    for byte in json.bytes() {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}

#[test]
fn json_has_everything_that_json_can_have() {
    let texts = samples(3_000, strategy::json());
    for wanted in ["\\u0000", "1.7976931348623157e308", "18446744073709551616", "\n", "\\ud8", "-0"]
    {
        assert!(texts.iter().any(|text| text.contains(wanted)), "no {wanted:?}");
    }
    assert!(texts.iter().any(|text| depth(text) > 500));
    assert!(texts.iter().any(|text| text.chars().any(|letter| letter > '\u{FFFF}')));
    let repeated = |text: &&String| text.matches("\"a\":").count() > 1 && depth(text) == 1;
    assert!(texts.iter().any(|text| repeated(&text)), "no repeated key");
}

#[test]
fn names_are_often_the_same_and_sometimes_of_any_kind() {
    let names = samples(1_000, strategy::names());
    let few = names.iter().filter(|name| ["a", "b", "c"].contains(&name.as_str())).count();
    assert!(few * 2 > names.len(), "{few} of {}", names.len());
    let hostile: BTreeSet<_> = annals_testkit::generate::names().into_iter().collect();
    assert!(names.iter().any(|name| hostile.contains(name)));
    assert!(names.iter().collect::<BTreeSet<_>>().len() > 200);
}

#[test]
fn conditions_are_of_every_kind_and_not_too_deep() {
    fn count(condition: &WriteCondition, depth: usize, kinds: &mut BTreeSet<&'static str>) {
        assert!(depth <= MAX_CONDITION_DEPTH);
        kinds.insert(match condition {
            WriteCondition::Always => "always",
            WriteCondition::StreamIsEmpty => "empty",
            WriteCondition::StreamExists => "exists",
            WriteCondition::PositionIs(_) => "position",
            WriteCondition::NoMatch { .. } => "no match",
            WriteCondition::All(parts) if parts.is_empty() => "all of none",
            WriteCondition::Any(parts) if parts.is_empty() => "any of none",
            WriteCondition::All(_) => "all",
            WriteCondition::Any(_) => "any",
            _ => "other",
        });
        if let WriteCondition::All(parts) | WriteCondition::Any(parts) = condition {
            for part in parts {
                count(part, depth + 1, kinds);
            }
        }
    }
    let mut kinds = BTreeSet::new();
    for condition in samples(1_000, strategy::conditions()) {
        count(&condition, 1, &mut kinds);
    }
    assert_eq!(kinds.len(), 9, "{kinds:?}");
}

#[test]
fn reads_have_every_bound() {
    let all = samples(1_000, strategy::read_options());
    let has = |what: &dyn Fn(&ReadOptions) -> bool| all.iter().any(what);
    assert!(has(&|options| options.limit == Some(0)));
    assert!(has(&|options| options.direction == Direction::Backward && options.limit.is_some()));
    assert!(has(&|options| options.until.is_some_and(|until| until < options.after)));
    assert!(has(&|options| options.after == SequenceNumber::new(u64::MAX)));
    let scopes: BTreeSet<_> = samples(1_000, strategy::queries())
        .iter()
        .map(|query| match query.scope() {
            Some(Source::Log) => 0,
            Some(Source::Category(_)) => 1,
            Some(Source::Stream(_)) => 2,
            None => 3,
        })
        .collect();
    assert_eq!(scopes.len(), 4);
}

#[test]
fn logs_number_events_as_a_store_does() {
    let logs = samples(150, strategy::logs(12));
    assert!(logs.iter().any(Vec::is_empty) && logs.iter().any(|log| log.len() == 12));
    let mut holes = 0;
    for log in logs {
        let numbers: Vec<u64> = log.iter().map(|event| event.sequence_number.value()).collect();
        assert!(numbers.first().is_none_or(|first| *first >= 1));
        assert!(numbers.windows(2).all(|pair| pair[0] < pair[1]));
        holes += numbers.windows(2).filter(|pair| pair[0] + 1 < pair[1]).count();
        for (nth, event) in log.iter().enumerate() {
            let before = log[..nth].iter().filter(|other| other.stream == event.stream).count();
            assert_eq!(event.position.value(), before as u64);
        }
    }
    assert!(holes > 0, "no log has a hole");
}

proptest! {
    #![proptest_config(config())]

    /// Whatever is appended comes back, found by a query exactly when the query says so.
    #[test]
    fn what_is_made_can_be_stored_and_read(
        calls in proptest::collection::vec(strategy::appends(), 1..4),
        queries in proptest::collection::vec((strategy::queries(), strategy::read_options()), 4),
    ) {
        let outcome: Result<(), annals::Error> = runtime().block_on(async {
            let store = EventStore::new(MemoryAdapter::new());
            let mut stored = Vec::new();
            for writes in calls {
                let free = |write: Append| Append::new(write.stream, write.events, WriteCondition::Always);
                let proposed: Vec<_> = writes.iter().flat_map(|write| write.events.clone()).collect();
                // Conditions of any kind are judged; then the same is appended without them.
                match store.append(writes.clone()).await {
                    Ok(events) => stored.extend(events),
                    Err(error) if error.is_condition_failed() => {
                        let writes: Vec<_> = writes.into_iter().map(free).collect();
                        stored.extend(store.append(writes).await?);
                    }
                    Err(error) => return Err(error),
                }
                let last = &stored[stored.len() - proposed.len()..];
                assert!(last.iter().map(|event| &event.event).eq(&proposed));
            }
            assert_eq!(store.read(Query::all(), ReadOptions::default()).into_vec().await?, stored);
            for (query, options) in queries {
                let found = store.read(query.clone(), options).into_vec().await?;
                let most = options.limit.map_or(usize::MAX, |limit| usize::try_from(limit).expect("small"));
                let wanted = stored.iter().filter(|event| {
                    query.matches(event)
                        && event.sequence_number > options.after
                        && options.until.is_none_or(|until| event.sequence_number <= until)
                });
                let mut wanted: Vec<_> = wanted.cloned().collect();
                if options.direction == Direction::Backward {
                    wanted.reverse();
                }
                wanted.truncate(most);
                assert_eq!(found, wanted);
            }
            Ok(())
        });
        prop_assert!(outcome.is_ok(), "{outcome:?}");
    }
}

#[test]
fn programs_shrink_to_the_operation_that_matters() {
    let capabilities = MemoryAdapter::new().capabilities();
    let mut runner = TestRunner::new_with_rng(
        config(),
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let outcome = runner.run(&strategy::programs(capabilities, 2, 40), |program| {
        let backward =
            program.0.iter().any(|(_, op)| matches!(op, Op::Read(_, part) if part.backward));
        prop_assert!(!backward);
        Ok(())
    });
    let Err(TestError::Fail(_, program)) = outcome else { panic!("it fails: {outcome:?}") };
    let [(_, Op::Read(query, part))] = program.0.as_slice() else { panic!("{program}") };
    assert!(part.backward && part.limit.is_none() && part.until.is_none(), "{program}");
    assert!(query.iter().all(|item| item.names.is_empty() && item.tags.is_empty()), "{program}");
}
