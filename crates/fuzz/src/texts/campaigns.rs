//! Campaign files and the tables in them.

use bitquake_bits::{BitSelection, Format};
use bitquake_campaign::{FaultConfig, read_config, resolved_toml};
use bitquake_fault::{Candidate, FaultSpace, Selector};
use bitquake_quant::{Grid, Quantizer, QuantizerSpec};
use bitquake_sample::StreamKey;
use bitquake_storage::StorageSpec;

use crate::folder::{Folder, say};

/// Drawing more faults than this space has bits is no use.
const TENSORS: [(&str, Format, u64); 2] =
    [("conv1.weight", Format::F32, 40), ("fc.weight", Format::signed(4), 9)];

/// Reads the text as a campaign, as a fault model, as fields of quantizers.
pub(crate) fn check(text: &str) {
    campaign(text);
    fault(text);
    storage(text);
    [serde_json::from_str(text).ok(), toml::from_str(text).ok()]
        .into_iter()
        .flatten()
        .for_each(|spec| quantizer(&spec));
}

fn campaign(text: &str) {
    let folder = Folder::new();
    let path = folder.write("campaign.toml", text.as_bytes());
    match read_config(&[path], &[]) {
        Err(error) => say(&error),
        Ok(config) => {
            let resolved = resolved_toml(&config).unwrap_or_else(|error| panic!("{error}"));
            let path = folder.write("resolved.toml", resolved.as_bytes());
            let again = read_config(&[path], &[]).unwrap_or_else(|error| panic!("{error}\n{resolved}"));
            assert_eq!(resolved_toml(&again).ok(), Some(resolved));
            quantizer(&config.storage.base);
            draw(&config.fault);
        }
    }
}

fn fault(text: &str) {
    match FaultConfig::from_inline(text) {
        Err(message) => assert!(!message.is_empty()),
        Ok(config) => draw(&config),
    }
}

fn draw(config: &FaultConfig) {
    // The chip of a map is a file or takes a while to make.
    if format!("{config:?}").contains("chip: Some") {
        return;
    }
    let candidates =
        TENSORS.map(|(name, format, elements)| Candidate { name, format, elements, by_name_only: false });
    let bits = config.bits().unwrap_or(BitSelection::All);
    let Ok(space) = FaultSpace::select(candidates, &Selector::all(), bits) else { return };
    for amount in config.amounts().into_iter().take(3) {
        let Ok(model) = config.model(amount) else { continue };
        match model.draw(&space, &StreamKey { seed: 1, point: 0, trial: 0 }) {
            Err(error) => say(&error),
            Ok(faults) => assert!(faults.faults() <= 40 * 32 + 9 * 4),
        }
    }
}

fn storage(text: &str) {
    let Ok(spec) = toml::from_str::<StorageSpec>(text) else { return };
    // Not a number is unlike itself: what is shown is compared.
    let written = toml::to_string(&spec).unwrap_or_else(|error| panic!("{error}"));
    let again = toml::from_str::<StorageSpec>(&written).unwrap_or_else(|error| panic!("{error}\n{written}"));
    assert_eq!(format!("{again:?}"), format!("{spec:?}"));
}

/// A quantizer that can be made can be made of its own fields, and quantizes.
fn quantizer(spec: &QuantizerSpec) {
    let quantizer = match Quantizer::from_spec(spec) {
        Ok(quantizer) => quantizer,
        Err(error) => return say(&error),
    };
    assert_eq!(Quantizer::from_spec(quantizer.spec()).ok().as_ref(), Some(&quantizer));
    let values: Vec<f32> = (0..64).map(|index| (index as f32 - 20.0) / 7.0).collect();
    match quantizer.fit(&values, &[4, 16]) {
        Err(error) => say(&error),
        Ok(grid) => every_word_decodes(&grid, &values),
    }
}

fn every_word_decodes(grid: &Grid, values: &[f32]) {
    match grid.quantize(values) {
        Err(error) => say(&error),
        Ok(bytes) => {
            let levels = grid.dequantize(&bytes).unwrap_or_else(|error| panic!("its own words: {error}"));
            assert_eq!(levels.len(), values.len());
            assert!(levels.iter().all(|level| level.is_finite()), "{levels:?}");
        }
    }
    for word in [0, 1, grid.format().mask()] {
        assert!(grid.decode(63, word).is_ok(), "{word:#x}");
    }
    assert!(grid.with_parts(&grid.parts()).is_ok());
}
