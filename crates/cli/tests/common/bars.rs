//! A data set for trainings of a second.

use std::path::Path;

/// The images and labels of [`bars`](bitquake_testing::bars), 160 of them, in a folder.
pub fn write_bars(dir: &Path) {
    let (pixels, labels) = bitquake_testing::bars(160);
    bitquake::data::write_idx(&dir.join("images"), &[160, 8, 8], &pixels).expect("a file");
    bitquake::data::write_idx(&dir.join("labels"), &[160], &labels).expect("a file");
}
