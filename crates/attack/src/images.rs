//! Which images a trial attacks, and which it is judged on.

use bitquake_sample::{PartKey, subset_of};

use crate::config::{AttackFile, Labels};
use crate::error::AttackError;
use crate::objective::Objective;

/// The rows of the data that a trial uses, each list rising.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct TrialImages {
    /// The attacker computes on these.
    pub(crate) attacked: Vec<u64>,
    /// All others.
    pub(crate) judged: Vec<u64>,
    /// Those of them that it is judged on after a step.
    pub(crate) sample: Vec<u64>,
}

impl TrialImages {
    /// Draws the images of a trial. `labels` are those of the data, `predicted` what the clean network says.
    ///
    /// # Errors
    /// [`AttackError::Setting`] if there are too few images.
    pub(crate) fn draw(
        config: &AttackFile,
        labels: &[u32],
        predicted: &[u32],
        key: &PartKey,
    ) -> Result<Self, AttackError> {
        let attack = &config.attack;
        let known = match attack.labels {
            Labels::True => labels,
            Labels::Predicted => predicted,
        };
        let attacked = attacked(attack.objective, attack.images, known, key)?;
        let rows = 0..labels.len() as u64;
        let judged: Vec<u64> = rows.filter(|row| attacked.binary_search(row).is_err()).collect();
        if judged.is_empty() {
            let reason = format!(
                "{} images are attacked, and there are {}: none is left to judge the network on",
                attack.images,
                labels.len()
            );
            return Err(AttackError::setting("[attack] images", reason));
        }
        if attack.objective.is_targeted()
            && !judged.iter().any(|&row| attack.objective.is_exposed(labels[row as usize]))
        {
            let reason = "no image that is not attacked is of a class that is to get the target";
            return Err(AttackError::setting("[attack.objective]", reason));
        }
        let sample = chosen(&judged, config.evaluate.images.min(judged.len() as u64), &key.part("sample"));
        Ok(Self { attacked, judged, sample })
    }
}

/// The images to attack: of all classes, of one, or half of one and half of the others.
fn attacked(
    objective: Objective,
    count: u64,
    labels: &[u32],
    key: &PartKey,
) -> Result<Vec<u64>, AttackError> {
    let rows = |wanted: &dyn Fn(u32) -> bool| -> Vec<u64> {
        (0..).zip(labels).filter(|(_, label)| wanted(**label)).map(|(row, _)| row).collect()
    };
    let take = |what: &str, rows: Vec<u64>, count: u64, key: PartKey| {
        if count <= rows.len() as u64 {
            return Ok(chosen(&rows, count, &key));
        }
        let reason = format!("{count} {what} are to be attacked, and there are {}", rows.len());
        Err(AttackError::setting("[attack] images", reason))
    };
    let key = key.part("images");
    match (objective, objective.source()) {
        (Objective::OneToOneStealthy { .. }, Some(source)) => {
            let half = count.div_ceil(2);
            let mut all = take(
                &format!("images of class {source}"),
                rows(&|label| label == source),
                half,
                key.part("source"),
            )?;
            all.extend(take(
                "images of other classes",
                rows(&|label| label != source),
                count - half,
                key.part("others"),
            )?);
            all.sort_unstable();
            Ok(all)
        }
        (_, Some(source)) => {
            take(&format!("images of class {source}"), rows(&|label| label == source), count, key)
        }
        (_, None) => take("images", rows(&|_| true), count, key),
    }
}

/// Some of the rows, each set of this size as likely as the others.
pub(crate) fn chosen(rows: &[u64], count: u64, key: &PartKey) -> Vec<u64> {
    // No more are asked for than there are.
    let places = subset_of(&key.whole(), rows.len() as u64, count).unwrap_or_default();
    places.into_iter().map(|place| rows[place as usize]).collect()
}
