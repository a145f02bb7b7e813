//! A contract that has nothing to do with events: a key-value store of five rules, its checks, and their zoo of three.

#![expect(clippy::unused_async, reason = "checks are asynchronous, and this store is not")]
#![expect(clippy::disallowed_methods, reason = "a call is timed, and one store is slow")]

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use annals_testkit::engine::{
    Check, Class, Context, Contract, Failure, Missing, Outcome, Report, Rule, Specimen, Suite,
    Verdict, Zoo,
};
use futures_util::FutureExt;
use futures_util::future::BoxFuture;

/// The contract.
#[derive(Debug, Clone, Copy)]
struct KeyValue;

/// A store under test.
trait Store: Send + Sync {
    /// Whether it has [`remove`](Self::remove).
    fn removes(&self) -> bool {
        true
    }
    /// Sets the value of a key; the one that it had.
    fn put(&self, key: &str, value: u32) -> Option<u32>;
    /// The value of a key.
    fn get(&self, key: &str) -> Option<u32>;
    /// Removes a key; the value that it had.
    fn remove(&self, key: &str) -> Option<u32>;
    /// The keys that begin so, in order.
    fn keys(&self, prefix: &str) -> Vec<String>;
}

/// Opens the store of a namespace.
type Harness = dyn Fn(&str) -> Arc<dyn Store> + Send + Sync;

/// A need of these checks: the store removes keys.
#[derive(Debug, Clone, Copy)]
struct Removes;

impl Contract for KeyValue {
    const NAME: &'static str = "toy-kit";
    const VERSION: u32 = 7;
    const RULES: &'static [Rule] = &[
        Rule::new("K1", "returns what was put"),
        Rule::new("K2", "the last put wins"),
        Rule::new("K3", "removed is gone"),
        Rule::new("K4", "keys in order"),
        Rule::new("K5", "one data, many handles"),
    ];
    const UNPROVEN: &'static [(&'static str, &'static str)] = &[
        ("get.put", "no toy forgets a value at once"),
        ("handles.share", "no toy has handles with data of their own"),
    ];

    type Harness = Harness;
    type Capabilities = BTreeMap<&'static str, bool>;
    type Need = Removes;
    type Shared = ();

    fn checks() -> Vec<Check<Self>> {
        const fn check(
            id: &'static str,
            rules: &'static [&'static str],
            needs: &'static [Removes],
            run: fn(Context<KeyValue>) -> BoxFuture<'static, Outcome>,
        ) -> Check<KeyValue> {
            Check { id, about: id, rules, class: Class::Required, needs, run }
        }
        vec![
            check("get.put", &["K1"], &[], |cx| returns_what_was_put(cx).boxed()),
            check("get.last", &["K1", "K2"], &[], |cx| the_last_put_wins(cx).boxed()),
            check("remove.gone", &["K3"], &[Removes], |cx| removed_is_gone(cx).boxed()),
            check("keys.ordered", &["K4"], &[], |cx| keys_are_in_order(cx).boxed()),
            check("handles.share", &["K5"], &[], |cx| handles_share(cx).boxed()),
        ]
    }

    fn declared(context: &Context<Self>) -> BoxFuture<'_, Outcome<Self::Capabilities>> {
        async { Ok(BTreeMap::from([("removes", open(context).removes())])) }.boxed()
    }

    fn pace(context: &Context<Self>) -> BoxFuture<'_, Option<Duration>> {
        async {
            let (store, began) = (open(context), Instant::now());
            store.get("pace");
            Some(began.elapsed())
        }
        .boxed()
    }

    fn missing(_: Removes, capabilities: &Self::Capabilities, _: &Harness) -> Option<Missing> {
        let removes = capabilities.get("removes") == Some(&true);
        (!removes).then(|| Missing::Capability("it does not remove".to_owned()))
    }
}

fn open(context: &Context<KeyValue>) -> Arc<dyn Store> {
    (context.harness())(context.namespace())
}

fn equal<T: PartialEq + std::fmt::Debug>(found: &T, expected: &T) -> Outcome {
    if found == expected {
        return Ok(());
    }
    Err(Failure::new(format!("expected {expected:?}, found {found:?}")))
}

async fn returns_what_was_put(context: Context<KeyValue>) -> Outcome {
    let store = open(&context);
    for (nth, value) in (0..).zip(context.cases(20)) {
        let (key, value) = (format!("key-{nth}"), u32::try_from(value % 1_000).unwrap_or(0));
        equal(&store.get(&key), &None)?;
        equal(&store.put(&key, value), &None)?;
        equal(&store.get(&key), &Some(value))?;
    }
    Ok(())
}

async fn the_last_put_wins(context: Context<KeyValue>) -> Outcome {
    let store = open(&context);
    store.put("a", 1);
    equal(&store.put("a", 2), &Some(1))?;
    equal(&store.get("a"), &Some(2))
}

async fn removed_is_gone(context: Context<KeyValue>) -> Outcome {
    let store = open(&context);
    store.put("a", 1);
    equal(&store.remove("a"), &Some(1))?;
    equal(&store.get("a"), &None)?;
    equal(&store.keys("a"), &Vec::new())
}

async fn keys_are_in_order(context: Context<KeyValue>) -> Outcome {
    let store = open(&context);
    for key in ["b-2", "a-1", "b-1", "c"] {
        store.put(key, 0);
    }
    equal(&store.keys("b-"), &vec!["b-1".to_owned(), "b-2".to_owned()])?;
    equal(&store.keys("").len(), &4)
}

async fn handles_share(context: Context<KeyValue>) -> Outcome {
    open(&context).put("a", 1);
    equal(&open(&context).get("a"), &Some(1))?;
    let other = context.nested("x");
    equal(&open(&other).get("a"), &None)
}

/// What a store does wrong.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fault {
    None,
    NeverRemoves,
    /// Keeps the first value, of keys that have one.
    FirstWins,
    /// Removes the key from gets, and lists it still.
    ListsRemoved,
    /// Lists keys in the order of their puts.
    Unordered,
    /// Takes its time for every get.
    Slow,
}

/// The right store, but for one fault.
#[derive(Debug)]
struct Memory {
    fault: Fault,
    pairs: Mutex<Vec<(String, Option<u32>)>>,
}

impl Memory {
    fn pairs(&self) -> MutexGuard<'_, Vec<(String, Option<u32>)>> {
        self.pairs.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Store for Memory {
    fn removes(&self) -> bool {
        self.fault != Fault::NeverRemoves
    }

    fn put(&self, key: &str, value: u32) -> Option<u32> {
        let mut pairs = self.pairs();
        let Some((_, held)) = pairs.iter_mut().find(|(name, _)| name == key) else {
            pairs.push((key.to_owned(), Some(value)));
            return None;
        };
        let before = *held;
        if self.fault != Fault::FirstWins || before.is_none() {
            *held = Some(value);
        }
        before
    }

    fn get(&self, key: &str) -> Option<u32> {
        if self.fault == Fault::Slow {
            std::thread::sleep(Duration::from_millis(400));
        }
        self.pairs().iter().find(|(name, _)| name == key).and_then(|(_, value)| *value)
    }

    fn remove(&self, key: &str) -> Option<u32> {
        assert!(self.removes(), "a check calls what is not declared");
        self.pairs().iter_mut().find(|(name, _)| name == key).and_then(|(_, value)| value.take())
    }

    fn keys(&self, prefix: &str) -> Vec<String> {
        let pairs = self.pairs();
        let there = |value: &Option<u32>| value.is_some() || self.fault == Fault::ListsRemoved;
        let keys = pairs.iter().filter(|(key, value)| key.starts_with(prefix) && there(value));
        let mut keys: Vec<_> = keys.map(|(key, _)| key.clone()).collect();
        if self.fault != Fault::Unordered {
            keys.sort();
        }
        keys
    }
}

fn suite(name: &str, fault: Fault) -> Suite<KeyValue> {
    let stores = Mutex::new(BTreeMap::<String, Arc<Memory>>::new());
    let harness = move |namespace: &str| -> Arc<dyn Store> {
        let mut stores = stores.lock().unwrap_or_else(PoisonError::into_inner);
        let made = || Arc::new(Memory { fault, pairs: Mutex::default() });
        let store: Arc<Memory> =
            Arc::clone(stores.entry(namespace.to_owned()).or_insert_with(made));
        store
    };
    Suite::<KeyValue>::over(name, Arc::new(harness))
}

const SPECIMENS: &[Specimen<KeyValue>] = &[
    Specimen::new("FirstWins", "The first value stays.", &["get.last"], |name| {
        suite(name, Fault::FirstWins)
    }),
    Specimen::new("ListsRemoved", "Keys that were removed are listed.", &["remove.gone"], |name| {
        suite(name, Fault::ListsRemoved)
    }),
    Specimen::new("Unordered", "Keys come in the order of puts.", &["keys.ordered"], |name| {
        suite(name, Fault::Unordered)
    }),
    Specimen::new("NeverRemoves", "It is right, and declares less.", &[], |name| {
        suite(name, Fault::NeverRemoves)
    }),
];

fn the_report_is_of_this_contract() {
    let report = suite("right", Fault::None).run();
    assert_eq!(report.badge(), "toy-kit suite 7: 5 of 5 passed, 0 not applicable, 0 not run");
    let part = suite("less", Fault::NeverRemoves).with_filter("get.").with_filter("remove.").run();
    let badge = "toy-kit suite 7: 2 of 2 passed, 1 not applicable, 0 not run, 2 left out";
    assert_eq!(part.badge(), badge);
    let broken = suite("broken", Fault::FirstWins).run();
    assert_eq!((broken.tally_of("K1").failed, broken.tally_of("K2").failed), (1, 1));
    assert_eq!((broken.tally_of("K3").failed, broken.tally().failed), (0, 1));
    let text = report.to_markdown();
    for rule in KeyValue::RULES {
        assert!(text.contains(&format!("| {} | {} | ", rule.id, rule.title)), "{text}");
        assert!(report.to_html().contains(rule.title.as_ref()));
    }
    let again: Report = serde_json::from_str(&report.to_json()).expect("a report");
    assert_eq!((again.to_json(), &again.rules), (report.to_json(), &report.rules));
}

/// Checks of an author's own run beside those of the contract, and are counted apart.
fn own_checks_run_too() {
    let own = Check {
        id: "own.fails",
        about: "it fails",
        rules: &["K1"],
        class: Class::Optional,
        needs: &[],
        run: |_: Context<KeyValue>| async { Err(Failure::new("as it should")) }.boxed(),
    };
    let report = suite("right", Fault::None).with_checks([own]).run();
    let failed: Vec<_> = report.failures().map(|entry| entry.id.as_str()).collect();
    assert_eq!(failed, ["own.fails"]);
    let counted = "5 of 6 passed, 0 not applicable, 0 not run, 1 of its own";
    assert_eq!(report.badge(), format!("toy-kit suite 7: {counted}"));
    let verdict = &report.check("own.fails").expect("its entry").verdict;
    assert_eq!(*verdict, Verdict::Fail("as it should".to_owned(), None));
}

/// What is late on a store that is slow says nothing of it, but where limits are strict; what is wrong is wrong.
fn late_is_inconclusive_on_a_slow_store() {
    let check = |id, run| Check {
        id,
        about: "it fails",
        rules: &["K1"],
        class: Class::Required,
        needs: &[] as &[Removes],
        run,
    };
    let late = check("own.late", |_: Context<KeyValue>| {
        async { Err(Failure::late("it did not end")) }.boxed()
    });
    let wrong = check("own.wrong", |_: Context<KeyValue>| {
        async { Err(Failure::new("it is wrong")) }.boxed()
    });
    let slow = suite("slow", Fault::Slow).with_filter("own.").with_checks([late, wrong]);
    let report = slow.run();
    let Verdict::Inconclusive(why) = &report.check("own.late").expect("its entry").verdict else {
        panic!("{:?}", report.checks);
    };
    assert!(why.starts_with("it did not end: the machine takes "), "{why}");
    assert!(why.contains("an ordinary call takes 4"), "{why}");
    assert_eq!((report.tally().inconclusive, report.tally().failed), (1, 1));
    assert!(report.badge().contains(", 0 not run, 1 inconclusive"), "{}", report.badge());
    assert!(report.to_markdown().contains("| inconclusive |"));
    assert!(report.to_html().contains("1 inconclusive"));
    let strict = slow.with_strict_limits().run();
    assert_eq!((strict.tally().inconclusive, strict.tally().failed), (0, 2));
    let failure = strict.check("own.late").and_then(annals_testkit::engine::Entry::failure);
    assert!(failure.is_some_and(|text| text.contains("it did not end")));
}

fn main() -> ExitCode {
    Zoo::new(SPECIMENS.iter().copied())
        .with_test("the_report_is_of_this_contract", the_report_is_of_this_contract)
        .with_test("own_checks_run_too", own_checks_run_too)
        .with_test("late_is_inconclusive_on_a_slow_store", late_is_inconclusive_on_a_slow_store)
        .main()
}
