//! A suite for groups over any state store: who has which part, and what a former owner can still do.

use std::time::Duration;

use annals_processing::Ask;
use annals_state::StateError;

use super::bent::{Way, What};
use super::chaos::Odds;
use super::check::{SeededCheck, checks};
use super::group_bench::{BEAT, Bench, DEAD_AFTER, GroupHarness, text};

/// A check of groups.
pub type GroupCheck = SeededCheck<dyn GroupHarness>;

/// All checks.
#[must_use]
pub fn group_checks() -> &'static [GroupCheck] {
    checks! { GroupCheck:
        "g1.shares" shares "each part is worked on by exactly one node, and each node has an equal share";
        "g1.late" late "a commit that comes late is rejected, also if its node still has the part";
        "g1.schedules" schedules "whatever is killed, stopped, continued or fails: each event is applied once, in the order of its stream";
        "g2.paused" paused "a former owner is rejected after a pause, goes on as a node, and takes parts again";
        "g3.takeover" takeover "the parts of a dead node are taken within dead_after and two beats, and not before";
        "g3.returns" returns "a node that comes back in time keeps its parts, also if its claim is on its way";
        "g4.clocks" clocks "clocks that are years apart, and a machine that slept, move nothing";
        "g5.beats" beats "a quiet group costs one write a node and beat";
        "g6.definition" definition "a node that is defined differently waits and says so, and the others go on";
        "g7.split" split "a split goes on where the parts were";
        "g8.order" order "the order of each stream is kept while its part moves";
        "g9.singleton" singleton "a group of one part has one owner, who changes only if it dies";
    }
}

fn shares(harness: &dyn GroupHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    let nodes = [bench.join(6)?, bench.join(6)?, bench.join(6)?];
    let is_shared = |bench: &Bench<'_>, nodes: &[usize], share: usize| {
        let mut owned: Vec<u16> = nodes.iter().flat_map(|node| bench.has(*node)).collect();
        owned.sort_unstable();
        owned == [0, 1, 2, 3, 4, 5] && bench.counts(nodes).iter().all(|count| *count == share)
    };
    bench.until("each has two parts", BEAT * 20, |all| is_shared(all, &nodes, 2))?;
    bench.append(20, 7)?;
    bench.check_applied()?;
    bench.nodes[0].handle.stop();
    bench.until("the others have three", BEAT * 3, |all| is_shared(all, &nodes[1..], 3))?;
    bench.append(20, 7)?;
    bench.check_applied()
}

fn late(harness: &dyn GroupHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    let node = bench.join(1)?;
    bench.until("it has the part", BEAT * 5, |all| all.has(node) == [0])?;
    bench.nodes[node].gate.next(What::Work, Way::Lose);
    bench.append(5, 2)?;
    bench.until_applied()?;
    let kept = bench.nodes[node].gate.kept();
    if kept.is_empty() {
        return Err("no commit was lost: nothing is proved".into());
    }
    for commit in kept {
        match bench.commit(node, commit) {
            Err(StateError::Conflict(_)) => {}
            outcome => return Err(format!("a commit that comes late: {outcome:?}")),
        }
    }
    bench.check_applied()
}

fn paused(harness: &dyn GroupHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    let first = bench.join(1)?;
    bench.until("it has the part", BEAT * 5, |all| all.has(first) == [0])?;
    bench.nodes[first].gate.next(What::Work, Way::Hold);
    bench.append(5, 2)?;
    bench.until("it commits", BEAT * 10, |all| all.nodes[first].gate.held() == 1)?;
    bench.freeze(first);
    let second = bench.join(1)?;
    bench.until("another takes the part", DEAD_AFTER + BEAT * 3, |all| all.has(second) == [0])?;
    bench.until_applied()?;
    bench.pass(BEAT * 100)?;
    bench.nodes[first].gate.open();
    bench.thaw(first);
    bench.until("it has lost the part", BEAT * 5, |all| all.has(first).is_empty())?;
    bench.append(3, 2)?;
    bench.check_applied()?;
    bench.kill(second);
    bench.until("it takes the part again", DEAD_AFTER + BEAT * 2, |all| all.has(first) == [0])?;
    bench.append(3, 2)?;
    bench.check_applied()
}

fn takeover(harness: &dyn GroupHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    let (first, second) = (bench.join(4)?, bench.join(4)?);
    bench.until("each has two", BEAT * 10, |all| all.counts(&[first, second]) == [2, 2])?;
    let thousandths = u32::try_from(bench.tasks.draw(1_000)).map_err(text)?;
    bench.pass(BEAT * thousandths / 1_000)?;
    bench.kill(first);
    let most = DEAD_AFTER + BEAT * 2;
    let took = bench.until("the other one has all", most, |all| all.has(second).len() == 4)?;
    if took < DEAD_AFTER.saturating_sub(BEAT) {
        return Err(format!("after {took:?} a node is not dead"));
    }
    Ok(())
}

/// Two nodes with a part each.
fn two(bench: &mut Bench<'_>) -> Result<(usize, usize), String> {
    let first = bench.join(2)?;
    bench.pass(BEAT / 2)?;
    let second = bench.join(2)?;
    bench.until("each has one", BEAT * 10, |all| all.counts(&[first, second]) == [1, 1])?;
    bench.pass(BEAT * 3)?;
    Ok((first, second))
}

fn check_moved(bench: &Bench<'_>, before: usize) -> Result<(), String> {
    match bench.watch.lock().moves - before {
        0 => Ok(()),
        moves => Err(format!("{moves} parts have moved")),
    }
}

fn returns(harness: &dyn GroupHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    let (first, second) = two(&mut bench)?;
    let before = bench.watch.lock().moves;
    bench.freeze(first);
    bench.pass(DEAD_AFTER.saturating_sub(BEAT * 2))?;
    bench.thaw(first);
    bench.pass(BEAT * 3)?;
    check_moved(&bench, before)?;
    // The other one has taken it for dead, and its claim is on its way.
    bench.nodes[second].gate.next(What::Claim, Way::Hold);
    bench.freeze(first);
    let most = DEAD_AFTER + BEAT * 3;
    bench.until("it is dead to the other", most, |all| all.nodes[second].gate.held() == 1)?;
    bench.thaw(first);
    bench.pass(BEAT * 2)?;
    bench.nodes[second].gate.open();
    bench.pass(BEAT * 5)?;
    check_moved(&bench, before)?;
    match bench.counts(&[first, second])[..] {
        [1, 1] => Ok(()),
        ref counts => Err(format!("the nodes have {counts:?} parts")),
    }
}

fn clocks(harness: &dyn GroupHarness, seed: u64) -> Result<(), String> {
    const YEAR: Duration = Duration::from_secs(31_557_600);
    let mut bench = Bench::new(harness, seed);
    let ahead = bench.timer.skewed(YEAR * 30, 1_050);
    let behind = bench.timer.skewed(Duration::ZERO, 950);
    let first = bench.join_as(4, 1, ahead)?;
    bench.pass(BEAT / 2)?;
    let second = bench.join_as(4, 1, behind)?;
    bench.until("each has two", BEAT * 20, |all| all.counts(&[first, second]) == [2, 2])?;
    bench.pass(BEAT * 3)?;
    let before = bench.watch.lock().moves;
    bench.pass(BEAT * 60)?;
    // An hour passes for both at once.
    bench.timer.advance(BEAT * 3_600);
    bench.pass(BEAT * 10)?;
    check_moved(&bench, before)
}

fn beats(harness: &dyn GroupHarness, seed: u64) -> Result<(), String> {
    const BEATS: usize = 50;
    let mut bench = Bench::new(harness, seed);
    let nodes = [bench.join(12)?, bench.join(12)?, bench.join(12)?];
    bench.until("each has four", BEAT * 30, |all| all.counts(&nodes) == [4, 4, 4])?;
    bench.pass(BEAT * 10)?;
    let before = bench.watch.lock().commits;
    bench.pass(BEAT * 50)?;
    let commits = bench.watch.lock().commits - before;
    let most = nodes.len() * (BEATS + 1);
    let least = nodes.len() * (BEATS - 1);
    if (least..=most).contains(&commits) {
        return Ok(());
    }
    Err(format!("{commits} commits in {BEATS} beats of {} nodes", nodes.len()))
}

fn definition(harness: &dyn GroupHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    let old = bench.join(3)?;
    bench.until("it has all", BEAT * 5, |all| all.has(old).len() == 3)?;
    let new = bench.join_as(3, 2, bench.exact())?;
    bench.pass(BEAT * 10)?;
    if !bench.has(new).is_empty() {
        return Err("a node of another version has taken parts".into());
    }
    let waits_for = bench.nodes[new].handle.status().waits_for.unwrap_or_default();
    if !waits_for.contains("version") {
        return Err(format!("it waits for {waits_for:?}"));
    }
    bench.append(10, 3)?;
    bench.check_applied()?;
    match bench.has(old).len() {
        3 => Ok(()),
        count => Err(format!("the old node has {count} parts")),
    }
}

fn split(harness: &dyn GroupHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    let old = bench.join(2)?;
    bench.until("it has both", BEAT * 5, |all| all.has(old).len() == 2)?;
    bench.append(12, 5)?;
    bench.check_applied()?;
    let part = bench.nodes[old].handle.part(0).ok_or("a part has gone")?;
    let asked = bench.tasks.block_on(async move { part.ask(Ask::Split { parts: 4 }).await });
    asked.map_err(text)?;
    bench.append(5, 5)?;
    bench.until("it waits", BEAT * 10, |all| all.has(old).is_empty())?;
    bench.nodes[old].handle.stop();
    let new = bench.join(4)?;
    bench.until("the new one has all", BEAT * 10, |all| all.has(new).len() == 4)?;
    bench.append(12, 5)?;
    bench.check_applied()
}

fn order(harness: &dyn GroupHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    let mut nodes = vec![bench.join(3)?];
    for round in 0..6 {
        bench.append(9, 4)?;
        let steps = bench.tasks.draw(200);
        bench.tasks.steps(steps);
        nodes.push(bench.join(3)?);
        bench.append(9, 4)?;
        let steps = bench.tasks.draw(400);
        bench.tasks.steps(steps);
        let gone = nodes.remove(0);
        if round % 2 == 0 {
            bench.cut(gone);
        } else {
            bench.nodes[gone].handle.stop();
        }
    }
    bench.check_applied()
}

fn singleton(harness: &dyn GroupHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    let first = bench.join(1)?;
    bench.until("it has the part", BEAT * 5, |all| all.has(first) == [0])?;
    let others = [bench.join(1)?, bench.join(1)?];
    let before = bench.watch.lock().moves;
    for _ in 0..20 {
        bench.append(1, 1)?;
        bench.pass(BEAT)?;
        if bench.counts(&[first, others[0], others[1]]) != [1, 0, 0] {
            return Err("the one part is not where it was, and only there".into());
        }
    }
    check_moved(&bench, before)?;
    bench.kill(first);
    let count = |all: &Bench<'_>| all.counts(&others).iter().sum::<usize>();
    bench.until("another takes it", DEAD_AFTER + BEAT * 2, |all| count(all) == 1)?;
    for _ in 0..10 {
        bench.pass(BEAT)?;
        if count(&bench) != 1 {
            return Err("the one part has not one owner".into());
        }
    }
    bench.check_applied()
}

/// Appends while nodes are killed, stopped, continued, leave and join.
fn schedules(harness: &dyn GroupHarness, seed: u64) -> Result<(), String> {
    let mut bench = Bench::new(harness, seed);
    let parts = 1 + u16::try_from(seed % 6).map_err(text)?;
    for _ in 0..3 {
        join_skewed(&mut bench, parts)?;
    }
    let mut frozen = Vec::new();
    for _ in 0..25 {
        bench.append(2, 7)?;
        let steps = bench.tasks.draw(250);
        bench.tasks.steps(steps);
        let nth = bench.tasks.draw(bench.nodes.len());
        match bench.tasks.draw(8) {
            0 => bench.cut(nth),
            1 => bench.nodes[nth].handle.stop(),
            2 | 3 => {
                bench.freeze(nth);
                frozen.push(nth);
            }
            4 if bench.nodes.len() < 12 => join_skewed(&mut bench, parts)?,
            5 => bench.set(Odds::WILD),
            6 => bench.set(Odds::CALM),
            _ => bench.thaw(nth),
        }
    }
    for nth in frozen {
        bench.thaw(nth);
    }
    bench.set(Odds::CALM);
    join_skewed(&mut bench, parts)?;
    bench.check_applied()
}

/// A node joins whose clock is years off, and up to a tenth too fast or too slow.
fn join_skewed(bench: &mut Bench<'_>, parts: u16) -> Result<(), String> {
    let years = u64::try_from(bench.tasks.draw(30)).map_err(text)?;
    let thousandths = 900 + u32::try_from(bench.tasks.draw(200)).map_err(text)?;
    let clock = bench.timer.skewed(Duration::from_secs(years * 31_557_600), thousandths);
    bench.join_as(parts, 1, clock)?;
    Ok(())
}
