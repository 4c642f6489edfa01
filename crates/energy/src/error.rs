//! What can go wrong.

use crate::csv::CurveCsvError;

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum EnergyError {
    /// The curve is none.
    #[error("[curve] {reason}")]
    Curve {
        /// What is wrong with it.
        reason: String,
    },
    /// The curve's file is bad.
    #[error(transparent)]
    Csv(#[from] CurveCsvError),
    /// No measured point of a contender lies on the curve.
    #[error("{name}: none of its points ({points}) lies on the curve, which has {span}{hint}")]
    NoPoints {
        /// The contender.
        name: String,
        /// Its amounts of faults.
        points: String,
        /// What the curve knows.
        span: String,
        /// What may help.
        hint: &'static str,
    },
    /// Two contenders have the same name.
    #[error("two models are called `{name}`; give one of them another `name` in [[model]]")]
    SameName {
        /// The name.
        name: String,
    },
}
