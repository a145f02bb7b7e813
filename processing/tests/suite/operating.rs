//! Waits across processes, services, and what is seen and asked from outside.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::sync::{Arc, Mutex};

use crate::support::{Counts, SECOND, World, number};
use annals::{CategoryName, StoredEvent};
use annals_processing::{
    Answer, Ask, Claim, Decision, Limits, Partitions, Phase, ProcessingError, Processor, Progress,
    Services, ServicesHandle, Timer, Token, ask, reported,
};
use annals_testkit::processing::Interleaving;
use futures_executor::block_on;

fn progress(world: &World) -> Progress {
    let claim = Claim::new("counts").unwrap();
    Progress::new(Arc::clone(&world.state), world.timer.clone(), claim)
}

fn spawn_services(world: &World, tasks: &mut Interleaving, processor: Processor) -> ServicesHandle {
    let services = Services::new(world.timer.clone()).processor(processor).unwrap();
    let handle = services.handle();
    tasks.spawn(async move { services.run().await.unwrap() });
    handle
}

#[test]
fn p8_a_token_waits_in_another_process_for_what_was_written() {
    for seed in 0..20 {
        let world = World::new();
        let mut tasks = world.tasks(seed);
        let parts = Partitions::hash(3).unwrap();
        let running: Vec<_> = parts
            .parts()
            .map(|part| {
                let processor = world.processor().with_partition(part).with_batch(3, 1 << 20);
                tasks.spawn(async move { processor.run().await.unwrap() })
            })
            .collect();
        let same = world.clone();
        // What another process has: the state store and the text of a token.
        let other = progress(&world);
        tasks.block_on(async move {
            assert_eq!(other.position().await.unwrap(), number(0));
            other.wait(None, SECOND).await.unwrap();
            for nth in 0..30_u64 {
                let stored: Vec<StoredEvent> =
                    same.append(&format!("s-{}", nth % 4), &["counted"]).await;
                let text = Token::of("log", &stored[0]).to_string();
                other.wait_for(&text.parse().unwrap(), SECOND * 20).await.unwrap();
                assert_eq!(same.counts().await["total"].events, nth + 1);
            }
            let late = other.wait(number(31), SECOND * 2).await.unwrap_err();
            let ProcessingError::Timeout { wanted, reached, .. } = late else { panic!("{late}") };
            assert_eq!((wanted, reached), (number(31), number(30)));
        });
        for task in running {
            tasks.kill(task);
        }
    }
}

/// Nobody can ask a processor without services to look: it looks each second beat.
#[test]
fn p8_without_services_such_a_token_is_reached_within_two_beats() {
    for seed in 0..20 {
        let world = World::new();
        let mut tasks = world.tasks(seed);
        let others = CategoryName::from_static("others");
        for part in Partitions::hash(2).unwrap().parts() {
            let processor = world.processor().with_query(others.clone()).unwrap();
            let processor = processor.with_partition(part);
            tasks.spawn(async move { processor.run().await.unwrap() });
        }
        let (same, other) = (world.clone(), progress(&world));
        tasks.block_on(async move {
            for nth in 0..4 {
                same.timer.sleep(SECOND * 60 + SECOND / 3 * nth).await;
                let stored = same.append("s-0", &["counted"]).await;
                let begun = same.timer.elapsed();
                other.wait_for(&Token::of("log", &stored[0]), SECOND * 60).await.unwrap();
                let took = same.timer.elapsed().saturating_sub(begun);
                // It looks, says at the next beat how far it is, and is asked ten times a second.
                assert!(took <= SECOND * 13 / 4, "{took:?}");
            }
        });
    }
}

/// It has looked eight beats apart for long when somebody waits for what it does not want.
#[test]
fn p8_a_token_of_an_event_that_the_processor_does_not_want_is_reached_at_the_next_beat() {
    for seed in 0..20 {
        let world = World::new();
        let mut tasks = world.tasks(seed);
        let others = CategoryName::from_static("others");
        let parts = Partitions::hash(2).unwrap();
        let mut services = Services::new(world.timer.clone());
        for part in parts.parts() {
            let processor = world.processor().with_query(others.clone()).unwrap();
            services = services.processor(processor.with_partition(part)).unwrap();
        }
        tasks.spawn(async move { services.run().await.unwrap() });
        let (same, other) = (world.clone(), progress(&world));
        tasks.block_on(async move {
            for _ in 0..3 {
                same.timer.sleep(SECOND * 60).await;
                let stored = same.append("s-0", &["counted"]).await;
                let token = Token::of("log", &stored[0]);
                let begun = same.timer.elapsed();
                // Many wait at once, and one gives up.
                drop(other.wait_for(&token, SECOND / 4).await);
                let waits = (0..5).map(|_| other.wait_for(&token, SECOND * 3));
                futures_util::future::try_join_all(waits).await.unwrap();
                let took = same.timer.elapsed().saturating_sub(begun);
                assert!(took <= SECOND * 3, "{took:?}");
            }
            assert_eq!(same.ids("annals.requests").await, Vec::<String>::new());
        });
    }
}

#[test]
fn tokens_are_short_and_come_back_as_they_were() {
    let mut token = Token::default();
    for nth in 0..4_u64 {
        token = token.and(&format!("source-{nth}"), number(1_000_000_000 * (nth + 1)));
    }
    assert!(token.to_string().len() <= 54, "{token}");
    assert_eq!(token.to_string().parse::<Token>().unwrap(), token);
    assert_eq!(token.until("source-2"), Some(number(3_000_000_000)));
    assert_eq!(token.until("another"), None);
    let largest = Token::default().and("log", number(u64::MAX));
    assert_eq!(largest.to_string().parse::<Token>().unwrap(), largest);
    assert_eq!(largest.clone().and("log", number(1)), largest, "it never goes back");
    assert_eq!(Token::default().merge(&token), token);
    assert_eq!("".parse::<Token>().unwrap(), Token::default());
    let mut many = Token::default();
    for nth in 0..200_u64 {
        many = many.and(&format!("source-{nth}"), number(nth + 1));
    }
    assert_eq!(many.to_string().parse::<Token>().unwrap(), many);
    assert_eq!(many.until("source-199"), Some(number(200)));
    for wrong in ["a", "ab", "%%%%", "AAAAAA", "AAAAAP______________8", &"A".repeat(2_000)] {
        assert!(wrong.parse::<Token>().is_err(), "{wrong}");
    }
    let twice = format!("{}{}", "AAAAAQE", "");
    assert!(twice.parse::<Token>().is_ok());
}

#[test]
fn r_services_stop_in_reverse_order_and_nothing_is_cut_in_the_middle() {
    for seed in 0..20 {
        let world = World::new();
        let mut tasks = world.tasks(seed);
        let log: Arc<Mutex<Vec<String>>> = Arc::default();
        let mut services = Services::new(world.timer.clone());
        for name in ["first", "second", "third"] {
            let (log, timer) = (Arc::clone(&log), world.timer.clone());
            services = services
                .add(name, |stopping| async move {
                    stopping.wait().await;
                    log.lock().unwrap().push(format!("{name} asked"));
                    timer.sleep(SECOND).await;
                    log.lock().unwrap().push(format!("{name} ended"));
                    Ok(())
                })
                .unwrap();
        }
        let (acts, timer) = (Arc::clone(&log), world.timer.clone());
        services = services
            .polling("polling", SECOND * 5, move || {
                let (acts, timer) = (Arc::clone(&acts), timer.clone());
                async move {
                    acts.lock().unwrap().push("act begun".into());
                    timer.sleep(SECOND * 2).await;
                    acts.lock().unwrap().push("act ended".into());
                    Ok(())
                }
            })
            .unwrap();
        let stop = world.timer.sleep(SECOND * 8);
        let services = services.stop_on(stop);
        tasks.block_on(async move { services.run().await.unwrap() });
        let log = log.lock().unwrap();
        let expected = [
            "act begun",
            "act ended",
            "act begun",
            "act ended",
            "third asked",
            "third ended",
            "second asked",
            "second ended",
            "first asked",
            "first ended",
        ];
        assert_eq!(*log, expected);
    }
}

#[test]
fn r_one_that_fails_or_panics_stops_the_others_and_its_error_surfaces() {
    for panics in [false, true] {
        let world = World::new();
        block_on(world.append_many(5, 2));
        let mut tasks = world.tasks(1);
        let timer = world.timer.clone();
        let services = Services::new(world.timer.clone())
            .processor(world.processor())
            .unwrap()
            .add("failing", |_| async move {
                timer.sleep(SECOND).await;
                assert!(!panics, "a bug");
                Err("broken".into())
            })
            .unwrap();
        let handle = services.handle();
        let error = tasks.block_on(async move { services.run().await.unwrap_err() });
        assert_eq!(&*error.name, "failing");
        let text = error.source.to_string();
        assert!(if panics { text.contains("a bug") } else { text == "broken" }, "{text}");
        let status = handle.status();
        assert_eq!(status[0].1.phase, Phase::Stopped);
        assert_eq!(status[1].1.phase, Phase::Failed);
        assert_eq!(handle.complaints(&Limits::default()).len(), 1);
        assert_eq!(block_on(world.tracking()).unwrap().owner, None, "it ended as it should");
        assert_eq!(block_on(world.counts()), block_on(world.expected()));
    }
}

#[test]
fn d22_two_processors_of_one_name_in_one_services_are_misuse() {
    let world = World::new();
    let services = Services::new(world.timer.clone()).processor(world.processor()).unwrap();
    let error = services.processor(world.processor()).unwrap_err();
    assert!(matches!(error, ProcessingError::Misuse(_)), "{error}");
}

#[test]
fn a_tool_sees_and_steers_a_processor_through_the_store_alone() {
    for seed in 0..10 {
        let world = World::new();
        block_on(world.append_many(10, 2));
        let mut tasks = world.tasks(seed);
        let processor = world.processor().with_errors(|_| Decision::Park);
        let handle = spawn_services(&world, &mut tasks, processor);
        let same = world.clone();
        tasks.block_on(async move {
            let (state, timer) = (Arc::clone(&same.state), same.timer.clone());
            let claim = Claim::new("counts").unwrap();
            let ask = async |what| ask(&*state, &timer, &claim, what, SECOND * 5).await;
            timer.sleep(SECOND * 2).await;
            let seen = reported(&*state, Some("counts"), 10).await.unwrap();
            assert_eq!(seen.len(), 1);
            assert_eq!((seen[0].status.phase, seen[0].status.tracked), (Phase::Live, number(10)));
            assert!(reported(&*state, Some("count"), 10).await.unwrap().is_empty());

            assert_eq!(ask(Ask::Pause).await.unwrap(), Answer::Done);
            same.append("s-0", &["counted", "poison"]).await;
            timer.sleep(SECOND * 10).await;
            assert_eq!(same.counts().await["total"].events, 10);
            let seen = reported(&*state, None, 10).await.unwrap();
            assert_eq!(seen[0].status.phase, Phase::Paused);
            assert!(same.tracking().await.unwrap().paused);

            assert_eq!(ask(Ask::Resume).await.unwrap(), Answer::Done);
            timer.sleep(SECOND * 2).await;
            assert_eq!(same.counts().await["total"].events, 11);
            let listed = ask(Ask::List { after: None, limit: 5 }).await.unwrap();
            let Answer::List(parked) = listed else { panic!("{listed:?}") };
            assert_eq!(parked[0].from, number(12));
            let still = ask(Ask::Retry("orders/s-0".into())).await.unwrap();
            assert!(matches!(still, Answer::StillParked(_)));
            let discard = Ask::Discard { sequence: "orders/s-0".into(), event: number(12) };
            assert_eq!(ask(discard).await.unwrap(), Answer::Done);
            assert_eq!(ask(Ask::Retry("orders/s-0".into())).await.unwrap(), Answer::Nothing);

            assert_eq!(ask(Ask::Reset).await.unwrap(), Answer::Done);
            timer.sleep(SECOND * 2).await;
            assert_eq!(same.counts().await, same.expected_but(&[12]).await);
            assert_eq!(same.tracking().await.unwrap().events, 11);
            assert!(same.ids("annals.requests").await.is_empty());
            handle.stop();
            timer.sleep(SECOND * 2).await;
            let seen = reported(&*state, None, 10).await.unwrap();
            assert_eq!(seen[0].status.phase, Phase::Stopped);
        });
    }
}

#[test]
fn a_pause_holds_after_a_restart_and_a_request_to_nobody_times_out_and_is_withdrawn() {
    let world = World::new();
    block_on(world.append_many(4, 2));
    let mut tasks = world.tasks(3);
    let processor = world.processor();
    let handle = processor.handle();
    let first = tasks.spawn(async move { processor.run().await.unwrap() });
    tasks.block_on(async move {
        handle.wait(number(4), SECOND).await.unwrap();
        handle.ask(Ask::Pause).await.unwrap();
    });
    tasks.kill(first);
    block_on(world.append_many(4, 2));
    let processor = world.processor();
    let handle = processor.handle();
    tasks.spawn(async move { processor.run().await.unwrap() });
    let same = world.clone();
    tasks.block_on(async move {
        assert!(handle.wait(number(5), SECOND * 20).await.is_err());
        assert_eq!(handle.status().phase, Phase::Paused);
        let claim = Claim::new("nobody").unwrap();
        let late = ask(&*same.state, &same.timer, &claim, Ask::Pause, SECOND).await.unwrap_err();
        assert!(matches!(late, ProcessingError::Unanswered { .. }), "{late}");
        assert!(same.ids("annals.requests").await.is_empty());
        handle.ask(Ask::Resume).await.unwrap();
        handle.wait(number(8), SECOND).await.unwrap();
        handle.stop();
        handle.stopped().await.unwrap();
        let ended = handle.ask(Ask::Pause).await.unwrap_err();
        assert!(matches!(ended, ProcessingError::Ended), "{ended}");
    });
    assert_eq!(block_on(world.counts()), block_on(world.expected()));
}

#[test]
fn the_control_task_costs_at_most_one_commit_a_beat_and_none_if_nothing_changed() {
    let world = World::new();
    let mut tasks = world.tasks(5);
    let mut services = Services::new(world.timer.clone());
    let parts = Partitions::hash(20).unwrap();
    let counting = crate::support::Counting::new(Arc::clone(&world.state));
    let state: Arc<dyn annals_state::StateStore> = Arc::new(counting.clone());
    for part in parts.parts() {
        let documents = annals_state::Collection::new("counts").unwrap().on(Arc::clone(&state));
        let timer = world.timer.clone();
        let view = Counts::default();
        let processor = Processor::view("counts", &world.store, documents, view, timer).unwrap();
        services = services.processor(processor.with_partition(part)).unwrap();
    }
    tasks.spawn(async move { services.run().await.unwrap() });
    let same = world.clone();
    tasks.block_on(async move {
        for _ in 0..30 {
            same.append_many(40, 40).await;
            same.timer.sleep(SECOND).await;
        }
        let made = counting.reports();
        assert!((20..=31).contains(&made), "{made} commits in 30 beats");
        same.timer.sleep(SECOND * 20).await;
        let before = counting.commits();
        same.timer.sleep(SECOND * 100).await;
        assert_eq!(counting.commits(), before, "idle processors write nothing");
    });
}
