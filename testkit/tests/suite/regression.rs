//! What a failing check prints compiles in a third party's test.

use annals::StorageAdapter;
use annals_memory::MemoryAdapter;
use annals_testkit::Store;
use annals_testkit::history::Clients;
use annals_testkit::model::{Condition::*, Mark::*, Op::*, Scope::*, *};
use std::sync::Arc;

/// As printed; the test below proves that the printer still writes so.
macro_rules! printed {
    ($($program:tt)*) => { (stringify!($($program)*), $($program)*) };
}

fn squeezed(source: &str) -> String {
    source.chars().filter(|c| !c.is_whitespace()).collect::<String>().replace(",]", "]")
}

#[tokio::test]
async fn a_printed_program_compiles_and_runs() {
    let (source, program) = printed!(Program(vec![
        (
            0,
            Append(vec![
                Write {
                    stream: 0,
                    events: vec![
                        Event { id: 1, name: 2, tags: vec![0, 1] },
                        Event { id: 2, name: 0, tags: vec![] }
                    ],
                    condition: All(vec![StreamIsEmpty, Any(vec![StreamExists, Always])])
                },
                Write { stream: 3, events: vec![], condition: AsSeen }
            ])
        ),
        (
            1,
            Append(vec![Write {
                stream: 0,
                events: vec![Event { id: 3, name: 1, tags: vec![] }],
                condition: NoMatch {
                    query: vec![Item { source: Category(0), names: vec![], tags: vec![1] }],
                    after: At(1)
                }
            }])
        ),
        (
            1,
            Append(vec![Write {
                stream: 1,
                events: vec![Event { id: 1, name: 2, tags: vec![0, 1] }],
                condition: PositionIs(4)
            }])
        ),
        (0, Read(vec![], Part { after: Start, until: Some(Seen), limit: Some(2), backward: true })),
        (
            1,
            Read(
                vec![
                    Item { source: Stream(0), names: vec![0], tags: vec![] },
                    Item { source: Log, names: vec![2], tags: vec![] }
                ],
                Part { after: At(1), until: None, limit: None, backward: false }
            )
        ),
    ]));
    let store = MemoryAdapter::new();
    program.run(&[store.clone(), store]).await.unwrap();
    assert_eq!(squeezed(source), squeezed(&program.to_string()));
}

#[tokio::test]
async fn random_programs_follow_from_the_seed() {
    let capabilities = MemoryAdapter::new().capabilities();
    let make = |seed| Program::random(seed, capabilities, 2, 30);
    assert_eq!(make(7), make(7));
    assert_ne!(make(7), make(8));
    for seed in 0..100 {
        let store = MemoryAdapter::new();
        make(seed).check(&[store.clone(), store]).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn random_clients_of_the_memory_adapter_are_explained() {
    let store: Store = Arc::new(MemoryAdapter::new());
    for seed in 0..100 {
        let clients = Clients::random(seed, store.capabilities(), 4, 8);
        assert_eq!(clients, Clients::random(seed, store.capabilities(), 4, 8));
        let history = clients.record(std::slice::from_ref(&store)).await.unwrap();
        if let Err(violation) = history.check() {
            panic!("{violation}\n{}", history.to_json());
        }
    }
}
