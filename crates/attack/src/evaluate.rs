//! How much damage is done.

use bitquake_stats::{Interval, StatsError, clopper_pearson};
use serde::{Deserialize, Serialize};

use crate::config::Goal;
use crate::objective::Objective;

/// What a network makes of some images that the attacker did not see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Images.
    pub images: u64,
    /// Those that get their label.
    pub correct: u64,
    /// Those that are to get the class that the attacker wants; 0 in untargeted attacks.
    pub exposed: u64,
    /// Those of them that get it.
    pub taken: u64,
}

impl Evaluation {
    /// Compares predicted classes with labels.
    ///
    /// ```
    /// use bitquake_attack::{Evaluation, Objective};
    /// let found = Evaluation::of([1, 1, 2].into_iter().zip([1, 0, 0]), Objective::OneToOne { source: 0, target: 2 });
    /// assert_eq!(found, Evaluation { images: 3, correct: 1, exposed: 2, taken: 1 });
    /// ```
    #[must_use]
    pub fn of(images: impl IntoIterator<Item = (u32, u32)>, objective: Objective) -> Self {
        let mut all = Self::default();
        for (predicted, label) in images {
            let is_exposed = objective.is_exposed(label);
            all.images += 1;
            all.correct += u64::from(predicted == label);
            all.exposed += u64::from(is_exposed);
            all.taken += u64::from(is_exposed && Some(predicted) == objective.target());
        }
        all
    }

    /// The share of images that get their label; 0 without images.
    #[must_use]
    pub fn accuracy(&self) -> f64 {
        self.correct as f64 / self.images.max(1) as f64
    }

    /// The share of exposed images that get the class that the attacker wants; `None` where none is exposed.
    #[must_use]
    pub fn success(&self) -> Option<f64> {
        (self.exposed > 0).then(|| self.taken as f64 / self.exposed as f64)
    }

    /// Clopper and Pearson's interval for the accuracy on images like these.
    ///
    /// # Errors
    /// [`StatsError`] without images, and for a confidence that is none.
    pub fn interval(&self, confidence: f64) -> Result<Interval, StatsError> {
        clopper_pearson(self.correct, self.images, confidence)
    }

    /// Whether a goal may be reached on images like these: whether it lies within the interval or beyond it.
    ///
    /// A network that gives every image one class is right on as many as are of it, and that share differs from one sample to the next.
    ///
    /// ```
    /// use bitquake_attack::{Evaluation, Goal};
    /// let sample = Evaluation { images: 1000, correct: 119, ..Evaluation::default() };
    /// assert!(!sample.reaches(Goal::Accuracy(0.11)) && sample.may_reach(Goal::Accuracy(0.11), 0.95)?);
    /// assert!(!sample.may_reach(Goal::Accuracy(0.09), 0.95)?);
    /// # Ok::<(), bitquake_stats::StatsError>(())
    /// ```
    ///
    /// # Errors
    /// [`StatsError`] for a confidence that is none.
    pub fn may_reach(&self, goal: Goal, confidence: f64) -> Result<bool, StatsError> {
        Ok(match goal {
            Goal::Accuracy(most) => self.interval(confidence)?.lo <= most,
            Goal::Success(least) if self.exposed > 0 => {
                clopper_pearson(self.taken, self.exposed, confidence)?.hi >= least
            }
            Goal::Success(_) => true,
        })
    }

    /// Whether a goal is reached.
    #[must_use]
    pub fn reaches(&self, goal: Goal) -> bool {
        match goal {
            Goal::Accuracy(most) => self.accuracy() <= most,
            Goal::Success(least) => self.success().is_some_and(|share| share >= least),
        }
    }
}
