//! What happens to pixels before the first layer.

use super::options::Whitening;
use super::plan::{Maps, Plan};

impl Plan {
    /// The images, preprocessed as the options say.
    pub(super) fn images(&mut self) -> Maps {
        let [channels, height, width] = self.options.input;
        let mut name = "images".to_owned();
        if self.options.clamp {
            let bounds = [("clamp.min", 0.0), ("clamp.max", 1.0)];
            let [min, max] = bounds.map(|(bound, value)| self.constant(bound, &[], &[value]));
            name = self.node("clamp", "Clip", &[&name, &min, &max], &[]);
        }
        if let Some(Whitening { mean, std }) = self.options.whiten.clone() {
            let mean = self.constant("whiten.mean", &[channels, 1, 1], &mean);
            let std = self.constant("whiten.std", &[channels, 1, 1], &std);
            let centred = self.node("whiten.centre", "Sub", &[&name, &mean], &[]);
            name = self.node("whiten", "Div", &[&centred, &std], &[]);
        }
        if self.options.rescale {
            let [factor, offset] = [("rescale.factor", 2.0), ("rescale.offset", 1.0)]
                .map(|(constant, value)| self.constant(constant, &[], &[value]));
            let doubled = self.node("rescale.double", "Mul", &[&name, &factor], &[]);
            name = self.node("rescale", "Sub", &[&doubled, &offset], &[]);
        }
        Maps { name, channels, height, width }
    }
}
