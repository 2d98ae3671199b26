//! Circles in a graph of arrows, and which of its arrows are cheapest to take away.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

/// How many uses stand behind each arrow, by its two ends.
pub(crate) type Arrows = BTreeMap<(usize, usize), usize>;

/// The circles of the graph: sets of nodes of which each leads to every other.
pub(crate) fn circles(arrows: &Arrows) -> Vec<BTreeSet<usize>> {
    let reached: BTreeMap<usize, BTreeSet<usize>> =
        arrows.keys().map(|(from, _)| *from).map(|from| (from, reached_from(arrows, from))).collect();
    let leads = |from: &usize, to: &usize| reached.get(from).is_some_and(|reached| reached.contains(to));
    let mut found: Vec<BTreeSet<usize>> = Vec::new();
    for node in reached.keys() {
        if found.iter().any(|circle| circle.contains(node)) {
            continue;
        }
        let circle: BTreeSet<usize> =
            reached.keys().copied().filter(|other| leads(node, other) && leads(other, node)).collect();
        if circle.len() > 1 {
            found.push(circle);
        }
    }
    found
}

fn reached_from(arrows: &Arrows, from: usize) -> BTreeSet<usize> {
    let mut reached = BTreeSet::new();
    let mut open = vec![from];
    while let Some(node) = open.pop() {
        for (_, to) in arrows.keys().filter(|(from, _)| *from == node) {
            if reached.insert(*to) {
                open.push(*to);
            }
        }
    }
    reached
}

/// Few arrows of a circle without which there is none: those against an order in which little
/// points backward.
///
/// The order starts from the nodes' difference of arrows out and in; each node then moves to where
/// it costs least, as long as that helps. The result is small, not always the smallest.
pub(crate) fn arrows_to_cut(arrows: &Arrows, circle: &BTreeSet<usize>) -> Vec<(usize, usize)> {
    let weight = |from: usize, to: usize| arrows.get(&(from, to)).copied().unwrap_or(0) as isize;
    let mut order: Vec<usize> = circle.iter().copied().collect();
    let balance = |node: usize| order.iter().map(|other| weight(*other, node) - weight(node, *other)).sum::<isize>();
    let balances: BTreeMap<usize, isize> = order.iter().map(|node| (*node, balance(*node))).collect();
    order.sort_by_key(|node| balances[node]);
    while order.clone().into_iter().any(|node| settle(&mut order, node, weight)) {}
    let place: BTreeMap<usize, usize> = order.iter().enumerate().map(|(at, node)| (*node, at)).collect();
    let inside = arrows.keys().filter(|(from, to)| circle.contains(from) && circle.contains(to));
    inside.filter(|(from, to)| place[from] > place[to]).copied().collect()
}

/// Moves `node` to the place of `order` where the fewest uses point backward; whether that is fewer
/// than before.
fn settle(order: &mut Vec<usize>, node: usize, weight: impl Fn(usize, usize) -> isize) -> bool {
    let Some(now) = order.iter().position(|other| *other == node) else { return false };
    order.remove(now);
    // What points backward, of the arrows of `node`, with `node` before everything; then one place
    // further each time.
    let mut cost: isize = order.iter().map(|other| weight(*other, node)).sum();
    let mut costs = vec![cost];
    for other in order.iter() {
        cost += weight(node, *other) - weight(*other, node);
        costs.push(cost);
    }
    let best = (0..costs.len()).min_by_key(|at| costs[*at]).unwrap_or(now);
    let better = costs[best] < costs[now];
    order.insert(if better { best } else { now }, node);
    better
}

/// A shortest path from one node to another, with both ends.
pub(crate) fn shortest_path(arrows: &Arrows, from: usize, to: usize) -> Vec<usize> {
    let mut before = BTreeMap::from([(from, from)]);
    let mut open = VecDeque::from([from]);
    while let Some(node) = open.pop_front() {
        for (_, next) in arrows.keys().filter(|(start, _)| *start == node) {
            before.entry(*next).or_insert_with(|| {
                open.push_back(*next);
                node
            });
        }
    }
    let mut path = vec![to];
    while let Some(last) = path.last().copied().filter(|last| *last != from) {
        match before.get(&last) {
            Some(node) => path.push(*node),
            None => break,
        }
    }
    path.reverse();
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arrows(ends: &[(usize, usize)]) -> Arrows {
        ends.iter().map(|ends| (*ends, 1)).collect()
    }

    #[test]
    fn circles_are_found_each_once() {
        assert_eq!(circles(&arrows(&[(0, 1), (0, 2), (1, 2), (3, 0)])), Vec::<BTreeSet<usize>>::new());
        let two = arrows(&[(0, 1), (1, 0), (1, 2), (2, 3), (3, 4), (4, 2), (9, 0)]);
        assert_eq!(circles(&two), [BTreeSet::from([0, 1]), BTreeSet::from([2, 3, 4])]);
    }

    #[test]
    fn without_the_arrows_to_cut_no_circle_is_left() {
        let mut all = arrows(&[(0, 1), (1, 2), (2, 3), (3, 0), (2, 0), (1, 3), (3, 1)]);
        all.insert((0, 1), 7);
        let circle = circles(&all).remove(0);
        let cut = arrows_to_cut(&all, &circle);
        assert!(!cut.contains(&(0, 1)), "the arrow with most uses stays: {cut:?}");
        assert!(cut.len() <= 3, "{cut:?}");
        all.retain(|ends, _| !cut.contains(ends));
        assert_eq!(circles(&all), Vec::<BTreeSet<usize>>::new());
    }

    #[test]
    fn a_shortest_path_is_found() {
        assert_eq!(shortest_path(&arrows(&[(0, 1), (1, 2), (2, 3), (0, 2)]), 0, 3), [0, 2, 3]);
    }
}
