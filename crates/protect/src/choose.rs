//! Which protection each tensor gets: a knapsack with one choice a tensor.

use std::cmp::Ordering;

use bitquake_sample::Rate;

use crate::damage::Damage;
use crate::error::ProtectionError;
use crate::offer::Offer;
use crate::option::{Choice, Exposed};
use crate::plan::{MemoryTensor, Plan, PlannedRule};

const NO_BIT: &str = "rank all bits of the campaign's memory, with the same [storage]";

/// Chooses, for each tensor, at most one protection of neighbouring bits, so that the expected damage that is left is small and all check bits together are
/// at most `budget`.
///
/// The best plan of all is found by dynamic programming over what the check bits may cost (Dudziński and Walukiewicz, "Exact Methods for the Knapsack Problem
/// and Its Generalizations", European Journal of Operational Research 28, 1987), as long as 2^28 sums, 2^25 choices and 2^22 costs are enough;
/// of larger memories costs are rounded up to as many cells. Beside it tensors move along the upper hull of what their choices save, always the step that saves most for a check bit (Sinha and Zoltners,
/// "The Multiple-Choice Knapsack Problem", Operations Research 27, 1979), and what saves more is the plan: at least what the best of all saves less one step.
///
/// ```
/// use bitquake_bits::Format;
/// use bitquake_fault::protect::{Kind, Protection};
/// use bitquake_protect::{Damage, MemoryTensor, Offer, TensorDamage, choose};
/// use bitquake_sample::Rate;
///
/// let rate = Rate::new(1e-3)?;
/// let tmr = Offer::new(1, &Protection::new(Kind::Tmr), rate)?;
/// // The top bit of these codes does nearly all damage.
/// let bits = (0..8).map(|bit| (bit, if bit == 7 { 1.0 } else { 0.01 })).collect();
/// let damage = Damage { tensors: [("w".to_owned(), TensorDamage { bits, zeroed: None })].into(), ..Damage::default() };
/// let memory = [MemoryTensor { name: "w".into(), format: Format::I8, elements: 100 }];
/// let plan = choose(&memory, &damage, &[tmr], rate, 200)?;
/// assert_eq!((plan.rules[0].protection.bits.to_string().as_str(), plan.check_bits), ("7", 200));
/// assert!(plan.saved_share().is_some_and(|share| share > 0.9));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Errors
/// [`ProtectionError::Unknown`] for a tensor or a bit of which nothing is known.
pub fn choose(
    memory: &[MemoryTensor],
    damage: &Damage,
    offers: &[Offer],
    rate: Rate,
    budget: u64,
) -> Result<Plan, ProtectionError> {
    let exposed: Vec<Exposed<'_>> =
        memory.iter().map(|tensor| exposed(tensor, damage, rate)).collect::<Result<_, _>>()?;
    let choices: Vec<Vec<Choice>> = exposed.iter().map(|tensor| tensor.undominated(offers)).collect();
    let chosen = fill(&choices, budget.into());
    let total: f64 = exposed.iter().map(Exposed::total).sum();
    let planned = |(tensor, chosen): (&MemoryTensor, &Option<Choice>)| {
        chosen.map(|choice| PlannedRule {
            tensor: tensor.name.clone(),
            protection: offers[choice.offer].of_bits(choice.low, choice.high),
            // No more than the budget, which is a u64.
            check_bits: u64::try_from(choice.cost).unwrap_or(u64::MAX),
            saves: choice.saves,
        })
    };
    let rules: Vec<PlannedRule> = memory.iter().zip(&chosen).filter_map(planned).collect();
    let saved: f64 = rules.iter().map(|rule| rule.saves).sum();
    let check_bits = rules.iter().map(|rule| rule.check_bits).sum();
    Ok(Plan { rules, check_bits, damage: total, left: total - saved })
}

fn exposed<'a>(
    tensor: &MemoryTensor,
    damage: &'a Damage,
    rate: Rate,
) -> Result<Exposed<'a>, ProtectionError> {
    let width = tensor.format.width();
    let unknown = |bit| ProtectionError::Unknown {
        source_of_damage: damage.source.clone(),
        tensor: tensor.name.clone(),
        bit,
        hint: NO_BIT,
    };
    let of_tensor = damage.of(&tensor.name).ok_or_else(|| unknown(0))?;
    match (0..width).find(|bit| !of_tensor.bits.contains_key(bit)) {
        Some(bit) => Err(unknown(bit)),
        None => Ok(Exposed { elements: tensor.elements, width, damage: of_tensor, rate: rate.fraction() }),
    }
}

/// A step of a tensor from one choice of its hull to the next.
struct Step {
    tensor: usize,
    to: Choice,
    cost: u128,
    saves: f64,
}

/// Of each tensor the choice that it gets; its choices rise in cost and in what they save.
fn fill(choices: &[Vec<Choice>], budget: u128) -> Vec<Option<Choice>> {
    let all = [by_cells(choices, budget, MOST_SUMS), along_hulls(choices, budget)];
    let filled = all.map(|chosen| with_what_fits(choices, chosen, budget));
    let saved = |chosen: &[Option<Choice>]| chosen.iter().flatten().map(|choice| choice.saves).sum::<f64>();
    let [best, other] = filled;
    if saved(&other) > saved(&best) { other } else { best }
}

/// How many sums [`by_cells`] may try.
const MOST_SUMS: u128 = 1 << 28;
/// How many choices it may keep, two bytes each.
const MOST_KEPT: u128 = 1 << 25;
/// How many cells it may have, 16 bytes each.
const MOST_CELLS: u128 = 1 << 22;

/// The best choices when each costs a whole number of cells of the budget: of one bit each, if there are few enough sums of choices and costs.
fn by_cells(choices: &[Vec<Choice>], budget: u128, most_sums: u128) -> Vec<Option<Choice>> {
    let number: usize = choices.iter().map(Vec::len).sum();
    let [sums, kept] =
        [(most_sums, number), (MOST_KEPT, choices.len())].map(|(most, each)| most / each.max(1) as u128);
    let cell = budget.div_ceil(sums.min(kept).clamp(1, MOST_CELLS)).max(1);
    // Not more than the sums, which are far fewer than addresses.
    let cells = (budget / cell) as usize;
    let mut best = vec![0.0_f64; cells + 1];
    let mut picked: Vec<Vec<u16>> = Vec::with_capacity(choices.len());
    for all in choices {
        let (before, mut picks) = (best.clone(), vec![0_u16; cells + 1]);
        for (pick, choice) in (1..=u16::MAX).zip(all) {
            let cost = choice.cost.div_ceil(cell);
            if cost > cells as u128 {
                break;
            }
            let with = before.iter().map(|saved| saved + choice.saves);
            let places = best.iter_mut().zip(&mut picks).skip(cost as usize);
            for ((most, picks), saved) in places.zip(with) {
                if saved > *most {
                    (*most, *picks) = (saved, pick);
                }
            }
        }
        picked.push(picks);
    }
    let mut left = cells;
    let mut chosen: Vec<Option<Choice>> = vec![None; choices.len()];
    for ((slot, picks), all) in chosen.iter_mut().zip(&picked).zip(choices).rev() {
        *slot = usize::from(picks[left]).checked_sub(1).map(|place| all[place]);
        left -= slot.map_or(0, |choice| choice.cost.div_ceil(cell) as usize);
    }
    chosen
}

/// What is left of the budget goes to the largest savings that fit.
fn with_what_fits(
    choices: &[Vec<Choice>],
    mut chosen: Vec<Option<Choice>>,
    budget: u128,
) -> Vec<Option<Choice>> {
    let mut left = budget - chosen.iter().flatten().map(|choice| choice.cost).sum::<u128>();
    while let Some((tensor, choice, cost)) = largest_that_fits(choices, &chosen, left) {
        left -= cost;
        chosen[tensor] = Some(choice);
    }
    chosen
}

/// Always the step that saves most for a check bit, while steps of the tensor fit.
fn along_hulls(choices: &[Vec<Choice>], budget: u128) -> Vec<Option<Choice>> {
    let mut steps: Vec<Step> =
        choices.iter().enumerate().flat_map(|(tensor, all)| hull_steps(tensor, all)).collect();
    // Stable, so steps of one tensor stay in their order: along a hull they save ever less for a bit.
    steps.sort_by(|a, b| by_worth(b, a));
    let mut chosen: Vec<Option<Choice>> = vec![None; choices.len()];
    let mut is_full = vec![false; choices.len()];
    let mut left = budget;
    for step in steps {
        if is_full[step.tensor] || step.cost > left {
            is_full[step.tensor] = true;
            continue;
        }
        left -= step.cost;
        chosen[step.tensor] = Some(step.to);
    }
    chosen
}

fn by_worth(a: &Step, b: &Step) -> Ordering {
    (a.saves / a.cost as f64).total_cmp(&(b.saves / b.cost as f64))
}

/// The steps along the upper hull of cost and savings, from no protection on.
fn hull_steps(tensor: usize, choices: &[Choice]) -> Vec<Step> {
    let mut hull: Vec<Choice> = Vec::new();
    let worth = |from: Option<&Choice>, to: &Choice| {
        let (cost, saves) = from.map_or((0, 0.0), |from| (from.cost, from.saves));
        (to.saves - saves) / (to.cost - cost) as f64
    };
    for choice in choices {
        while let Some(last) = hull.last() {
            let before = hull.len().checked_sub(2).and_then(|place| hull.get(place));
            if worth(before, last) > worth(Some(last), choice) {
                break;
            }
            hull.pop();
        }
        hull.push(*choice);
    }
    let mut from = (0, 0.0);
    let step = |to: Choice| {
        let step = Step { tensor, to, cost: to.cost - from.0, saves: to.saves - from.1 };
        from = (to.cost, to.saves);
        step
    };
    hull.into_iter().map(step).collect()
}

/// The choice that saves most beyond what its tensor has, among those that still fit, with what it costs more; the first of equal ones.
fn largest_that_fits(
    choices: &[Vec<Choice>],
    chosen: &[Option<Choice>],
    left: u128,
) -> Option<(usize, Choice, u128)> {
    let mut best: Option<(usize, Choice, u128, f64)> = None;
    for (tensor, (all, present)) in choices.iter().zip(chosen).enumerate() {
        let (cost, saves) = present.map_or((0, 0.0), |present| (present.cost, present.saves));
        // Choices rise, so the last that fits saves most.
        let fits = all.partition_point(|choice| choice.cost <= cost + left);
        let Some(choice) = fits.checked_sub(1).map(|place| all[place]) else { continue };
        let more = choice.saves - saves;
        if more > 0.0 && best.is_none_or(|(.., most)| more > most) {
            best = Some((tensor, choice, choice.cost.saturating_sub(cost), more));
        }
    }
    best.map(|(tensor, choice, cost, _)| (tensor, choice, cost))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bitquake_bits::Format;
    use bitquake_fault::protect::{Kind, OnDetection, Protection};
    use proptest::prelude::*;

    use super::*;
    use crate::damage::TensorDamage;

    fn choice(cost: u128, saves: f64) -> Choice {
        Choice { offer: 0, low: 0, high: 0, cost, saves }
    }

    /// The most that can be saved, by trying everything.
    fn best(choices: &[Vec<Choice>], budget: u128) -> f64 {
        let Some((first, rest)) = choices.split_first() else { return 0.0 };
        let without = best(rest, budget);
        first
            .iter()
            .filter(|choice| choice.cost <= budget)
            .map(|choice| choice.saves + best(rest, budget - choice.cost))
            .fold(without, f64::max)
    }

    fn rising(raw: Vec<(u8, u8)>) -> Vec<Choice> {
        let (mut cost, mut saves) = (0, 0.0);
        let next = |(more, worth): (u8, u8)| {
            cost += u128::from(more) + 1;
            saves += f64::from(worth) + 1.0;
            choice(cost, saves)
        };
        raw.into_iter().map(next).collect()
    }

    proptest! {
        #[test]
        fn the_best_and_never_beyond_the_budget(
            raw in proptest::collection::vec(proptest::collection::vec((0_u8..20, 0_u8..20), 0..4), 0..5),
            budget in 0_u128..120,
        ) {
            let choices: Vec<Vec<Choice>> = raw.into_iter().map(rising).collect();
            let best = best(&choices, budget);
            let (cost, saves) = totals(&fill(&choices, budget));
            prop_assert!(cost <= budget && (saves - best).abs() < 1e-9, "{saves} of {best}");
            // Of coarse cells, and along hulls alone.
            let largest = largest_step(&choices);
            for chosen in [by_cells(&choices, budget, 20), along_hulls(&choices, budget)] {
                let (cost, saves) = totals(&with_what_fits(&choices, chosen, budget));
                prop_assert!(cost <= budget && saves <= best + 1e-9);
            }
            let (_, saves) = totals(&with_what_fits(&choices, along_hulls(&choices, budget), budget));
            prop_assert!(saves >= best - largest, "{saves} of {best}, step {largest}");
        }
    }

    fn totals(chosen: &[Option<Choice>]) -> (u128, f64) {
        let chosen = || chosen.iter().flatten();
        (chosen().map(|choice| choice.cost).sum(), chosen().map(|choice| choice.saves).sum())
    }

    fn largest_step(choices: &[Vec<Choice>]) -> f64 {
        let steps = choices.iter().enumerate().flat_map(|(tensor, all)| hull_steps(tensor, all));
        steps.map(|step| step.saves).fold(0.0, f64::max)
    }

    #[test]
    fn a_step_that_does_not_fit_stops_nobody() {
        // The second choice of the first tensor lies below its hull, which goes from the first to the third.
        let choices = [vec![choice(10, 10.0), choice(15, 11.0), choice(20, 18.0)], vec![choice(10, 9.0)]];
        let saved =
            |budget| -> f64 { fill(&choices, budget).iter().flatten().map(|choice| choice.saves).sum() };
        assert_eq!([saved(9), saved(10), saved(20), saved(25), saved(30)], [0.0, 10.0, 19.0, 20.0, 27.0]);
    }

    fn memory() -> [MemoryTensor; 2] {
        [("a", 100), ("b", 50)].map(|(name, elements)| MemoryTensor {
            name: name.into(),
            format: Format::I8,
            elements,
        })
    }

    fn damage(of_a: f64, of_b: f64) -> Damage {
        let tensor = |top: f64| TensorDamage {
            bits: (0..8).map(|bit| (bit, top * 0.5_f64.powi(7 - bit as i32))).collect::<BTreeMap<_, _>>(),
            zeroed: Some(top / 10.0),
        };
        Damage {
            tensors: [("a".to_owned(), tensor(of_a)), ("b".to_owned(), tensor(of_b))].into(),
            ..Damage::default()
        }
    }

    fn offers(rate: Rate) -> Vec<Offer> {
        let parity = Protection { on_detection: OnDetection::Zero, ..Protection::new(Kind::Parity) };
        let all = [Protection::new(Kind::Tmr), Protection::new(Kind::Secded), parity];
        (1..).zip(&all).map(|(place, protection)| Offer::new(place, protection, rate).unwrap()).collect()
    }

    #[test]
    fn more_budget_leaves_less_and_the_worst_tensor_comes_first() {
        let rate = Rate::new(1e-3).unwrap();
        let offers = offers(rate);
        let mut before = f64::INFINITY;
        for budget in [0, 20, 100, 300, 2400] {
            let plan = choose(&memory(), &damage(0.01, 1.0), &offers, rate, budget).unwrap();
            assert!(plan.check_bits <= budget && plan.left <= before, "{plan:?}");
            before = plan.left;
        }
        let few = choose(&memory(), &damage(0.01, 1.0), &offers, rate, 50).unwrap();
        assert!(few.rules.iter().any(|rule| rule.tensor == "b"), "{few:?}");
        assert_eq!(choose(&memory(), &damage(1.0, 1.0), &offers, rate, 0).unwrap().rules, []);
        // Nothing to save, nothing is protected.
        assert_eq!(choose(&memory(), &damage(0.0, 0.0), &offers, rate, 2400).unwrap().check_bits, 0);
    }

    /// What is left of the damage, added up by hand: three copies of bit 7 of `b`.
    #[test]
    fn what_is_left_adds_up() {
        let p = 1e-2;
        let rate = Rate::new(p).unwrap();
        let tmr = [Offer::new(1, &Protection::new(Kind::Tmr), rate).unwrap()];
        let plan = choose(&memory(), &damage(0.0, 1.0), &tmr, rate, 100).unwrap();
        let all: f64 = (0..8).map(|bit| p * 50.0 * 0.5_f64.powi(bit)).sum();
        let left = all - 50.0 * (p - (3.0 * p * p - 2.0 * p * p * p));
        assert!((plan.damage - all).abs() < 1e-12 && (plan.left - left).abs() < 1e-12, "{plan:?}");
        assert_eq!(plan.rules[0].protection.bits.to_string(), "7");
    }

    #[test]
    fn tensors_with_the_same_protection_share_a_rule() {
        let rate = Rate::new(1e-3).unwrap();
        let plan = choose(&memory(), &damage(1.0, 1.0), &offers(rate), rate, 2400).unwrap();
        assert_eq!(plan.rules.len(), 2);
        let rules = plan.protect();
        assert_eq!((rules.len(), rules[0].select.as_slice()), (1, &["a".to_owned(), "b".to_owned()][..]));
    }

    /// With the same kind on other bits, rules stay apart.
    #[test]
    fn other_bits_are_another_rule() {
        let rate = Rate::new(1e-3).unwrap();
        let tmr = [Offer::new(1, &Protection::new(Kind::Tmr), rate).unwrap()];
        let mut damage = damage(1.0, 1.0);
        let flat = (0..8).map(|bit| (bit, 1.0)).collect();
        damage.tensors.get_mut("b").unwrap().bits = flat;
        let plan = choose(&memory(), &damage, &tmr, rate, 800 + 200).unwrap();
        let bits: Vec<String> = plan.protect().iter().map(|rule| rule.protection.bits.to_string()).collect();
        assert_eq!(bits, ["7", "0..7"]);
    }

    /// Parity of the top bit, added up by hand: what zeroing does is taken from what it saves, and where it does more than the flips nothing is
    /// protected.
    #[test]
    fn zeroing_has_its_price() {
        let p: f64 = 1e-2;
        let rate = Rate::new(p).unwrap();
        let parity = Protection { on_detection: OnDetection::Zero, ..Protection::new(Kind::Parity) };
        let parity = [Offer::new(1, &parity, rate).unwrap()];
        let plan = choose(&memory()[1..], &damage(0.0, 1.0), &parity, rate, 50).unwrap();
        let left = parity[0].left(8);
        let flips: f64 = (0..8).map(|bit| 50.0 * 0.5_f64.powi(bit)).sum();
        let saves = flips * (p - left.wrong) - 50.0 * 0.1 * left.zeroed;
        // More bits behind one parity bit cost no more.
        let best = plan.rules[0].saves;
        assert!(best >= saves && best < flips * p - 50.0 * 0.1 * p, "{plan:?}");
        let mut damage = damage(0.0, 1.0);
        damage.tensors.get_mut("b").unwrap().zeroed = Some(5.0);
        assert_eq!(choose(&memory()[1..], &damage, &parity, rate, 50).unwrap().rules, []);
    }

    #[test]
    fn what_is_not_known_is_told() {
        let rate = Rate::new(1e-3).unwrap();
        let mut damage = damage(1.0, 1.0);
        damage.source = "ranking `expected` of ranked".into();
        damage.tensors.get_mut("b").unwrap().bits.remove(&3);
        let error = choose(&memory(), &damage, &offers(rate), rate, 10).unwrap_err().to_string();
        assert!(
            error.starts_with("ranking `expected` of ranked tells nothing of bit 3 of tensor `b`"),
            "{error}"
        );
    }
}
