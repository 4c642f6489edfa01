//! A small data set, and recipes on it.

use std::path::{Path, PathBuf};

use bitquake_data::write_idx;
use bitquake_train::{End, Event, LogLine, Recipe, TrainError, Training, read_log, read_recipe};

/// Images of 8 x 8 pixels: a bright bar whose place tells one of four classes, and noise.
pub fn write_images(dir: &Path, count: usize) {
    let (pixels, labels) = bitquake_testing::bars(count);
    write_idx(&dir.join("images"), &[count as u32, 8, 8], &pixels).expect("a file");
    write_idx(&dir.join("labels"), &[count as u32], &labels).expect("a file");
}

pub const RECIPE: &str = r#"
schema = 1
name = "bars"
seed = 3

[model]
architecture = "mlp"
hidden = [12]

[data]
format = "idx"
images = "images"
labels = "labels"
preprocess = { scale = 255.0 }

[data.split]
validation = 0.25

[optimiser]
rate = 0.1

[train]
epochs = 3
batch = 16
log_every = 2
"#;

/// A folder with 120 images and the recipe.
pub struct Place {
    pub dir: tempfile::TempDir,
}

impl Place {
    pub fn new() -> Self {
        let dir = bitquake_testing::temp_dir();
        write_images(dir.path(), 120);
        std::fs::write(dir.path().join("recipe.toml"), RECIPE).expect("a file");
        Self { dir }
    }

    /// The recipe with settings, its output in `out`.
    pub fn recipe(&self, out: &str, settings: &[&str]) -> Result<Recipe, TrainError> {
        let mut settings: Vec<String> = settings.iter().map(|text| (*text).to_owned()).collect();
        settings.push(format!("output.dir={}", self.path(out).display()));
        read_recipe(&[self.path("recipe.toml")], &settings)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Trains to the end.
    pub fn train(&self, out: &str, settings: &[&str]) -> Result<End, TrainError> {
        self.train_watched(out, settings, |_| false)
    }

    /// Trains until `stop` says so at an event.
    pub fn train_watched(
        &self,
        out: &str,
        settings: &[&str],
        mut stop: impl FnMut(&Event<'_>) -> bool,
    ) -> Result<End, TrainError> {
        let flag = std::sync::atomic::AtomicBool::new(false);
        let training = Training::prepare(self.recipe(out, settings)?)?;
        training.run(&flag, |event| {
            if stop(&event) {
                flag.store(true, std::sync::atomic::Ordering::Relaxed);
            }
        })
    }

    pub fn bytes(&self, name: &str) -> Vec<u8> {
        std::fs::read(self.path(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
    }

    /// The log without what time tells.
    pub fn log(&self, out: &str) -> Vec<LogLine> {
        let mut lines = read_log(&self.path(out)).expect("a log");
        for line in &mut lines {
            match line {
                LogLine::Steps(record) => record.time = 0.0,
                LogLine::Epoch(record) => (record.time, record.images_per_second) = (0.0, 0.0),
            }
        }
        lines
    }
}
