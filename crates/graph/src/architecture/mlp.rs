//! Multilayer perceptrons: linear layers, each followed by activation and then normalization. SPEC section 2.6.

use super::ArchitectureError;
use super::plan::{Features, Maps, Plan};

pub(super) fn body(plan: &mut Plan, images: Maps) -> Result<Features, ArchitectureError> {
    let mut value = plan.flatten(&images);
    for (number, width) in (1..).zip(plan.options.hidden.clone()) {
        value = plan.linear(&format!("linear{number}"), &value, width);
        value = plan.act_features(&format!("act{number}"), &value);
        value = plan.norm_features(&format!("norm{number}"), &value)?;
    }
    Ok(value)
}
