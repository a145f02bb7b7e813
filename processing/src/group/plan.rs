//! Who should work on which part: a pure function of what a node sees. Every node computes it for itself. Where two see
//! different things, the expectations of their commits decide.

use std::collections::BTreeMap;

use uuid::Uuid;

/// Who has a part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Owner {
    /// Nobody, or one who is dead.
    Free,
    /// A node that lives.
    Held(Uuid),
}

/// What this node changes.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) take: Vec<u16>,
    pub(crate) leave: Vec<u16>,
}

/// Each of the `ready` nodes may have an equal share of the parts, those that have most already one more if the parts cannot
/// be divided equally. Nothing moves but what is free, and what a node has above its share.
pub(crate) fn plan(me: Uuid, ready: &[Uuid], owners: &[Owner]) -> Plan {
    let mut counts: BTreeMap<Uuid, usize> = ready.iter().map(|node| (*node, 0)).collect();
    for owner in owners {
        if let Owner::Held(node) = owner
            && let Some(count) = counts.get_mut(node)
        {
            *count += 1;
        }
    }
    let Some(share) = owners.len().checked_div(counts.len()) else { return Plan::default() };
    let more = owners.len() % counts.len();
    let mut nodes: Vec<(Uuid, usize)> = counts.into_iter().collect();
    nodes.sort_by_key(|(node, count)| (std::cmp::Reverse(*count), *node));
    let mut free = numbers(owners, Owner::Free);
    for (nth, (node, count)) in nodes.into_iter().enumerate() {
        let quota = share + usize::from(nth < more);
        let takes: Vec<u16> = free.by_ref().take(quota.saturating_sub(count)).collect();
        if node == me {
            let mine: Vec<u16> = numbers(owners, Owner::Held(me)).collect();
            let leave = mine.into_iter().skip(quota).collect();
            return Plan { take: takes, leave };
        }
    }
    Plan::default()
}

fn numbers(owners: &[Owner], wanted: Owner) -> impl Iterator<Item = u16> {
    (0..).zip(owners).filter(move |(_, owner)| **owner == wanted).map(|(nth, _)| nth)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(nth: u128) -> Uuid {
        Uuid::from_u128(nth)
    }

    /// Lets all nodes carry out their plans until nothing changes, and returns how many parts moved.
    fn settle(ready: &[Uuid], owners: &mut [Owner]) -> usize {
        let before = owners.to_vec();
        for _ in 0..100 {
            let plans: Vec<Plan> = ready.iter().map(|one| plan(*one, ready, owners)).collect();
            if plans.iter().all(|plan| *plan == Plan::default()) {
                let changed = before.iter().zip(owners.iter()).filter(|(a, b)| a != b);
                return changed.count();
            }
            for (one, plan) in ready.iter().zip(plans) {
                for part in plan.leave {
                    owners[usize::from(part)] = Owner::Free;
                }
                for part in plan.take {
                    assert_eq!(owners[usize::from(part)], Owner::Free, "two nodes take one part");
                    owners[usize::from(part)] = Owner::Held(*one);
                }
            }
        }
        panic!("the plans never settle: {owners:?}");
    }

    #[test]
    fn q7_every_number_of_nodes_and_parts_settles_in_equal_shares() {
        for parts in 1..=12 {
            let mut owners = vec![Owner::Free; parts];
            for nodes in 1..=6 {
                let ready: Vec<Uuid> = (1..=nodes).map(node).collect();
                settle(&ready, &mut owners);
                let counts: Vec<usize> = ready
                    .iter()
                    .map(|one| owners.iter().filter(|owner| **owner == Owner::Held(*one)).count())
                    .collect();
                assert_eq!(counts.iter().sum::<usize>(), parts);
                let (least, most) = (counts.iter().min().unwrap(), counts.iter().max().unwrap());
                assert!(most - least <= 1, "{counts:?}");
            }
        }
    }

    #[test]
    fn q7_moves_are_minimal_when_a_node_joins_and_when_one_is_gone() {
        let mut owners = vec![Owner::Free; 12];
        let three: Vec<Uuid> = (1..=3).map(node).collect();
        settle(&three, &mut owners);
        let four: Vec<Uuid> = (1..=4).map(node).collect();
        assert_eq!(settle(&four, &mut owners), 3, "a fourth of the parts goes to the new node");
        // The second node is dead: only its parts move.
        for owner in &mut owners {
            if *owner == Owner::Held(node(2)) {
                *owner = Owner::Free;
            }
        }
        let left = [node(1), node(3), node(4)];
        let held = owners.clone();
        settle(&left, &mut owners);
        let stayed = |(before, after): (&Owner, &Owner)| *before == Owner::Free || before == after;
        assert!(held.iter().zip(&owners).all(stayed));
    }

    #[test]
    fn q6_a_singleton_stays_where_it_is_whoever_joins() {
        let mut owners = vec![Owner::Held(node(5))];
        let ready: Vec<Uuid> = (1..=9).map(node).collect();
        assert_eq!(settle(&ready, &mut owners), 0);
    }

    #[test]
    fn g6_a_node_that_waits_keeps_others_from_its_parts_and_takes_none() {
        let mut owners = vec![Owner::Held(node(9)), Owner::Free, Owner::Free];
        settle(&[node(1)], &mut owners);
        assert_eq!(owners, [Owner::Held(node(9)), Owner::Held(node(1)), Owner::Held(node(1))]);
        assert_eq!(plan(node(9), &[node(1)], &owners), Plan::default());
    }
}
