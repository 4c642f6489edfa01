//! The best single flip, by trying every bit.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::AttackError;
use crate::limits::Room;
use crate::search::{Chosen, Effort, NonFinite, Step, changes};
use crate::victim::Victim;
use crate::words::{AttackedWords, BitSite};

/// Flips whose losses are asked for at once; between two such calls the step can be stopped.
const PROBES: usize = 64;

/// The one flip with the largest loss, of all that the limits allow; of equal ones the first. No gradient is needed, and one inference
/// of the attacked images for every bit. `None` if `stop` was raised on the way.
///
/// # Errors
/// What the network says.
pub fn exhaustive_step(
    words: &AttackedWords,
    victim: &mut dyn Victim,
    room: &Room,
    nonfinite: NonFinite,
    stop: &AtomicBool,
) -> Result<Option<Step>, AttackError> {
    let loss_before = victim.losses(&[Vec::new()])?.pop().unwrap_or(f64::NAN);
    if !loss_before.is_finite() {
        return Ok(Some(Step::NotFinite { loss: loss_before }));
    }
    let mut effort = Effort::default();
    let mut best: Option<(f64, BitSite)> = None;
    let mut sites = sites(words, room).peekable();
    while sites.peek().is_some() {
        if stop.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let chunk: Vec<BitSite> = sites.by_ref().take(PROBES).collect();
        let probes: Vec<_> = chunk.iter().map(|&site| changes(words, &[site])).collect();
        let losses = victim.losses(&probes)?;
        effort.probes += probes.len() as u64;
        for (&site, loss) in chunk.iter().zip(losses) {
            let loss = match (loss.is_finite(), nonfinite) {
                (true, _) => loss,
                (false, NonFinite::Allow) => f64::INFINITY,
                (false, NonFinite::Exclude) => f64::NEG_INFINITY,
            };
            effort.nonfinite += u64::from(loss.is_infinite());
            if best.is_none_or(|(most, _)| loss > most) {
                best = Some((loss, site));
            }
        }
    }
    let found = best.filter(|(loss, _)| *loss > loss_before);
    Ok(Some(match found {
        Some((loss, site)) => {
            Step::Flips(Chosen { sites: vec![site], loss_before, loss: Some(loss), effort })
        }
        None => Step::NoIncrease(effort),
    }))
}

/// Every bit that may be flipped.
fn sites<'a>(words: &'a AttackedWords, room: &'a Room) -> impl Iterator<Item = BitSite> + 'a {
    let tensors = (0..).zip(words.tensors()).filter(|(place, _)| room.in_tensor(*place) > 0);
    tensors.flat_map(move |(place, tensor)| {
        (0..tensor.elements()).flat_map(move |element| {
            let bits = (0..tensor.format().width()).filter(move |bit| tensor.mask() >> bit & 1 == 1);
            let sites = bits.map(move |bit| BitSite { tensor: place, element, bit });
            sites.filter(move |&site| room.allows(tensor, site))
        })
    })
}
