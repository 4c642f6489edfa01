//! `[storage]`, before any model is read.

use std::path::Path;

use bitquake_quant::{Family, Quantizer, QuantizerSpec};
use bitquake_storage::StorageSpec;
use serde::Deserialize;

use crate::error::ConfigError;
use crate::layers::{Layout, read_layers};

/// That the fields of `[storage]` make quantizers. Those of an override go on top of others that only the model tells; on top
/// of `[storage]`, of one that comes before, or of all of these they must make sense.
///
/// # Errors
/// What is wrong, and where.
pub fn check_storage(storage: &StorageSpec) -> Result<(), String> {
    let check = |place: &str, spec: &QuantizerSpec| {
        Quantizer::unless_native(spec).map(drop).map_err(|error| format!("{place}: {error}"))
    };
    let base = &storage.base;
    check("[storage]", base)?;
    let mut below = vec![base.clone()];
    let mut all = base.clone();
    for over in &storage.overrides {
        let on = |spec: &QuantizerSpec| check("[[storage.override]]", &spec.overridden_by(&over.spec));
        if below.iter().chain([&all]).all(|spec| on(spec).is_err()) {
            on(base)?;
        }
        below.push(base.overridden_by(&over.spec));
        all = all.overridden_by(&over.spec);
    }
    Ok(())
}

/// The `[storage]` of a file, whatever else is in it: a campaign, an attack, or what training wrote.
///
/// # Errors
/// [`ConfigError`] if the file cannot be read, has no `[storage]`, or one that makes no quantizers.
pub fn read_storage(file: &Path) -> Result<StorageSpec, ConfigError> {
    #[derive(Deserialize)]
    struct Layer {
        storage: StorageSpec,
    }
    let files = [file.to_owned()];
    let layer: Layer = read_layers(&files, &[], Layout { paths: &[], faults: &[] })?;
    check_storage(&layer.storage).map_err(|reason| ConfigError::in_files(&files, reason))?;
    Ok(layer.storage)
}

/// Puts every default of `[storage]` in its place, so that a saved file shows them.
pub fn fill_storage(storage: &mut StorageSpec) {
    let base = &mut storage.base;
    base.family.get_or_insert(Family::Native);
    if let Ok(quantizer) = Quantizer::from_spec(base) {
        *base = quantizer.spec().clone();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overrides_may_stand_on_others() {
        let symmetric = "[[override]]\nselect = ['*']\nfamily = 'symmetric'\nbits = 8\n";
        let narrow = "[[override]]\nselect = ['fc*']\nbits = 4\n";
        let zero = "[[override]]\nselect = ['fc*']\nbits = 0\n";
        let check = |text: &str| check_storage(&toml::from_str(text).unwrap());
        assert_eq!(check(&[symmetric, narrow].concat()), Ok(()));
        assert!(check(narrow).unwrap_err().starts_with("[[storage.override]]: native words"));
        assert!(check(&[symmetric, narrow, zero].concat()).is_err());
    }
}
