//! The fault space of a file.

use bitquake_bits::BitSelection;
use bitquake_campaign::candidates;
use bitquake_fault::{FaultSpace, Selector};
use bitquake_tensors::TensorFile;

use crate::error::Error;

/// The selected bits of a file's tensors.
///
/// # Errors
/// [`Error::NoFormat`] for a tensor that is selected by its name and whose type is no number format; [`Error::Selector`] and
/// [`Error::Space`] for a selection that matches nothing.
pub(crate) fn fault_space(
    file: &TensorFile,
    select: &[String],
    bits: BitSelection,
) -> Result<FaultSpace, Error> {
    let named = select.iter().filter_map(|name| file.tensor(name));
    match named.into_iter().find(|tensor| tensor.dtype.format().is_none()) {
        Some(tensor) => Err(Error::NoFormat { tensor: tensor.name.clone(), dtype: tensor.dtype.to_string() }),
        None => {
            let space = FaultSpace::select(candidates(file.tensors()), &Selector::new(select)?, bits)?;
            Ok(space.with_dims(|name| file.tensor(name).map(|tensor| tensor.shape.clone()))?)
        }
    }
}
