//! A ResNet-20 with random weights and random images, as files with a campaign.

use std::path::{Path, PathBuf};

use bitquake_campaign::Config;
use bitquake_graph::build::resnet20;
use bitquake_testing::SplitMix64;

use super::{Outcome, configure};

pub const IMAGES: usize = 1000;

const CAMPAIGN: &str = "schema = 1
name = 'resnet20'
seed = 42
model.path = 'resnet20.onnx'
data = { format = 'npy', images = 'images.npy', labels = 'labels.npy' }
fault.counts = [1]
output.dir = 'results'
";

/// A folder with the campaign.
pub struct ResNet {
    folder: tempfile::TempDir,
}

impl ResNet {
    pub fn new() -> Outcome<Self> {
        let folder = tempfile::tempdir()?;
        let path = |name: &str| folder.path().join(name);
        std::fs::write(path("resnet20.onnx"), resnet20(1))?;
        let mut random = SplitMix64::new(2);
        let pixels: Vec<f32> = (0..IMAGES * 3 * 32 * 32).map(|_| random.normal() as f32).collect();
        let pixels: Vec<u8> = pixels.iter().flat_map(|pixel| pixel.to_le_bytes()).collect();
        write_npy(&path("images.npy"), "<f4", "1000, 3, 32, 32", &pixels)?;
        write_npy(&path("labels.npy"), "|u1", "1000,", &[0; IMAGES])?;
        std::fs::write(path("campaign.toml"), CAMPAIGN)?;
        Ok(Self { folder })
    }

    /// The campaign with settings.
    pub fn config(&self, settings: &[&str]) -> Outcome<Config> {
        let file: PathBuf = self.folder.path().join("campaign.toml");
        configure(file, settings)
    }
}

/// NumPy's format, version 1.0.
fn write_npy(path: &Path, descr: &str, shape: &str, values: &[u8]) -> Outcome<()> {
    let header = format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': ({shape}), }}");
    // The header ends in a line feed at a multiple of 64 bytes.
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 11;
    let mut file = b"\x93NUMPY\x01\x00".to_vec();
    file.extend((padded as u16 + 1).to_le_bytes());
    file.extend(format!("{header:padded$}\n").bytes());
    file.extend(values);
    Ok(std::fs::write(path, file)?)
}
