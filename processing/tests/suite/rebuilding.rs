//! Partitions, and rebuilds beside the old view.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::Arc;

use crate::support::{Count, Counts, SECOND, World};
use annals::StreamId;
use annals_processing::{
    Claim, Partitions, ProcessingError, Processor, Progress, Versions, stream_hash,
};
use annals_state::Collection;
use futures_executor::block_on;

#[test]
fn b5_partitions_by_hash_keep_their_test_vectors() {
    let vectors = [
        (("orders", "o-1"), 0xc2a4_55b8_8f74_80f3, [1, 3, 3]),
        (("orders", "o-2"), 0x97a6_d0cd_b143_a49b, [1, 3, 3]),
        (("a", "b"), 0xeb38_c838_c62d_597e, [0, 2, 6]),
        (("ab", "c"), 0x9291_f5e7_171d_c35a, [0, 2, 2]),
        (("a", "bc"), 0x82a1_4482_6e72_d59e, [0, 2, 6]),
        (("k\u{e4}se", "\u{65e5}\u{672c}"), 0x215a_6344_7508_cbbd, [1, 1, 5]),
    ];
    for ((category, name), hash, parts) in vectors {
        let stream = StreamId::new(category, name).unwrap();
        assert_eq!(stream_hash(&stream), hash, "{stream}");
        for (of, part) in [2, 4, 8].into_iter().zip(parts) {
            assert_eq!(Partitions::hash(of).unwrap().part_of(&stream), part);
        }
    }
}

#[test]
fn b5_every_stream_is_of_exactly_one_part_and_the_parts_are_even() {
    let prefixes = Partitions::prefixes(["orders/a", "orders/ab", "carts"]).unwrap();
    for partitions in [Partitions::Whole, Partitions::hash(7).unwrap(), prefixes] {
        let mut sizes = vec![0; usize::from(partitions.len())];
        for nth in 0..7_000 {
            let stream = StreamId::new("orders", format!("{nth}")).unwrap();
            let parts = partitions.parts().filter(|part| part.contains(&stream));
            let numbers: Vec<u16> = parts.map(|part| part.number()).collect();
            assert_eq!(numbers, [partitions.part_of(&stream)]);
            sizes[usize::from(numbers[0])] += 1;
        }
        if matches!(partitions, Partitions::Hash(_)) {
            assert!(sizes.iter().all(|size| (850..1_150).contains(size)), "{sizes:?}");
        }
    }
    let prefixes = Partitions::prefixes(["orders/a", "orders/ab", "carts"]).unwrap();
    let part = |text: (&str, &str)| prefixes.part_of(&StreamId::new(text.0, text.1).unwrap());
    assert_eq!([part(("carts", "x")), part(("orders", "ac")), part(("orders", "abc"))], [0, 1, 2]);
    assert_eq!(part(("orders", "b")), 3, "what begins with none of them is of the last part");
}

#[test]
fn p4_the_result_does_not_depend_on_the_number_of_parts() {
    block_on(async {
        for parts in [1, 2, 5, 16] {
            let world = World::new();
            world.append_many(60, 9).await;
            for part in Partitions::hash(parts).unwrap().parts() {
                world.processor().with_partition(part).settle().await.unwrap();
            }
            let mut counts = world.counts().await;
            let mut expected = world.expected().await;
            let order = |counts: &mut std::collections::BTreeMap<String, Count>| {
                counts.remove("total").unwrap().events
            };
            assert_eq!(order(&mut counts), order(&mut expected));
            assert_eq!(counts, expected);
        }
    });
}

fn second(world: &World) -> Processor {
    let documents = Collection::new("counts@2").unwrap().on(Arc::clone(&world.state));
    let timer = world.timer.clone();
    Processor::view("counts@2", &world.store, documents, Counts::default(), timer).unwrap()
}

fn progress(world: &World, name: &str) -> Progress {
    let claim = Claim::new(name).unwrap();
    Progress::new(Arc::clone(&world.state), world.timer.clone(), claim)
}

#[test]
fn p2_a_view_is_built_again_beside_the_old_one_and_switched_once_it_has_caught_up() {
    let world = World::new();
    block_on(world.append_many(30, 3));
    block_on(world.processor().settle()).unwrap();
    let versions = Versions::new(Arc::clone(&world.state), "counts").unwrap();
    let (old, next) = (progress(&world, "counts"), progress(&world, "counts@2"));
    let mut tasks = world.tasks(1);
    let same = world.clone();
    let late = versions.clone();
    let (next_of, old_of) = (next.clone(), old.clone());
    tasks.block_on(async move {
        // It has not even begun.
        let error = late.switch(&next_of, &old_of, SECOND).await.unwrap_err();
        assert!(matches!(error, ProcessingError::Timeout { .. }), "{error}");
        assert_eq!(late.current().await.unwrap(), "counts");
        drop(same);
    });
    let building = second(&world).with_batch(4, 1 << 20);
    tasks.spawn(async move { building.run().await.unwrap() });
    let reader = versions.clone();
    tasks.block_on(async move { versions.switch(&next, &old, SECOND * 10).await.unwrap() });
    assert_eq!(block_on(reader.current()).unwrap(), "counts@2");
    let documents = Collection::<Count>::new("counts@2").unwrap().on(Arc::clone(&world.state));
    let total = block_on(documents.get("total")).unwrap().unwrap().value;
    assert_eq!(total.events, 30, "no reader sees less than before");
    assert!(Versions::new(Arc::clone(&world.state), "a/b").is_err());
}
