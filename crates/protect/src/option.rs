//! What a tensor may get: protections of neighbouring bits, with their cost and what they save.

use crate::damage::TensorDamage;
use crate::offer::Offer;

/// One protection of one tensor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Choice {
    /// Which offer.
    pub(crate) offer: usize,
    /// The bits of each word.
    pub(crate) low: u32,
    pub(crate) high: u32,
    /// Its check bits.
    pub(crate) cost: u128,
    /// The expected damage that it saves.
    pub(crate) saves: f64,
}

/// The expected damage of a tensor's unprotected errors, by bit.
pub(crate) struct Exposed<'a> {
    pub(crate) elements: u64,
    pub(crate) width: u32,
    pub(crate) damage: &'a TensorDamage,
    pub(crate) rate: f64,
}

impl Exposed<'_> {
    /// The damage of one flip of a bit, summed over the elements.
    fn of_bit(&self, bit: u32) -> f64 {
        self.elements as f64 * self.damage.bits.get(&bit).copied().unwrap_or(0.0)
    }

    /// What is expected without protection.
    pub(crate) fn total(&self) -> f64 {
        (0..self.width).map(|bit| self.rate * self.of_bit(bit)).sum()
    }

    /// All choices that save something.
    fn choices(&self, offers: &[Offer]) -> Vec<Choice> {
        let mut choices = Vec::new();
        for (place, offer) in offers.iter().enumerate() {
            let zeroed = match (offer.zeroes(), self.damage.zeroed) {
                (false, _) => 0.0,
                (true, Some(zeroed)) => self.elements as f64 * zeroed,
                (true, None) => continue,
            };
            for low in 0..self.width {
                let mut flips = 0.0;
                for high in low..self.width {
                    flips += self.of_bit(high);
                    let left = offer.left(high - low + 1);
                    let saves = flips * (self.rate - left.wrong) - zeroed * left.zeroed;
                    if saves > 0.0 {
                        let cost = offer.check_bits(self.elements, high - low + 1);
                        choices.push(Choice { offer: place, low, high, cost, saves });
                    }
                }
            }
        }
        choices
    }

    /// The choices that no other beats, by cost upwards: each saves more than all cheaper ones.
    pub(crate) fn undominated(&self, offers: &[Offer]) -> Vec<Choice> {
        let mut choices = self.choices(offers);
        choices.sort_by(|a, b| a.cost.cmp(&b.cost).then(b.saves.total_cmp(&a.saves)));
        let mut best = 0.0;
        choices.retain(|choice| {
            let is_better = choice.saves > best;
            best = best.max(choice.saves);
            is_better
        });
        choices
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use bitquake_fault::protect::{Kind, Protection};
    use bitquake_sample::Rate;

    use super::*;

    #[test]
    fn a_choice_that_costs_more_saves_more() {
        let rate = Rate::new(1e-3).unwrap();
        let over = |data_bits| Protection { data_bits: Some(data_bits), ..Protection::new(Kind::Secded) };
        let offers: Vec<Offer> = [Protection::new(Kind::Tmr), over(64), over(8)]
            .iter()
            .map(|protection| Offer::new(1, protection, rate).unwrap())
            .collect();
        // The lower bits do less and less, the lowest good.
        let bits: BTreeMap<u32, f64> = (0..8).map(|bit| (bit, f64::from(bit) - 1.0)).collect();
        let damage = TensorDamage { bits, zeroed: None };
        let exposed = Exposed { elements: 100, width: 8, damage: &damage, rate: 1e-3 };
        let choices = exposed.undominated(&offers);
        assert!(choices.len() > 3, "{choices:?}");
        assert!(choices.windows(2).all(|pair| pair[0].cost < pair[1].cost && pair[0].saves < pair[1].saves));
        assert!(choices.iter().all(|choice| choice.low > 0), "{choices:?}");
        let most = exposed.choices(&offers).into_iter().map(|choice| choice.saves).fold(0.0, f64::max);
        assert_eq!(choices.last().unwrap().saves, most);
    }
}
