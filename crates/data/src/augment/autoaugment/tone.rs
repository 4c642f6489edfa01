//! Operations that replace every level by another one, wherever it is.

use crate::augment::autoaugment::picture::Picture;

/// A level for each level.
pub(crate) type Table = [u8; 256];

/// How often each level occurs in a channel.
pub(crate) type Histogram = [u64; 256];

/// The same replacement in all channels.
pub(crate) fn map(picture: &mut Picture, of: impl Fn(u8) -> u8) {
    picture.levels.iter_mut().for_each(|level| *level = of(*level));
}

/// A replacement for each channel, made of its histogram; nothing where there is none.
pub(crate) fn map_by_histogram(picture: &mut Picture, table: impl Fn(&Histogram) -> Option<Table>) {
    for plane in picture.planes_mut() {
        let mut histogram = [0; 256];
        plane.iter().for_each(|&level| histogram[usize::from(level)] += 1);
        if let Some(table) = table(&histogram) {
            plane.iter_mut().for_each(|level| *level = table[usize::from(*level)]);
        }
    }
}

/// Spreads the levels that occur, lowest to highest, over 0 to 255: `x * s - lowest * s`, rounded down, with
/// `s = 255 / (highest - lowest)`, each operation rounded once in `f64`. A channel of one level stays as it is.
pub(crate) fn autocontrast(histogram: &Histogram) -> Option<Table> {
    let lowest = histogram.iter().position(|&count| count > 0)?;
    let highest = histogram.iter().rposition(|&count| count > 0)?;
    let scale = (highest > lowest).then(|| 255.0 / (highest - lowest) as f64)?;
    let offset = -(lowest as f64) * scale;
    // The conversion rounds towards 0 and stops at 0 and 255.
    Some(std::array::from_fn(|level| (level as f64 * scale + offset) as u8))
}

/// Makes the levels about equally frequent: a level becomes `(step / 2 + pixels below it) / step`, at most 255, with
/// `step = (pixels - those of the highest level) / 255`; all divisions round down. A channel of one level, or with
/// `step` = 0, stays as it is.
pub(crate) fn equalize(histogram: &Histogram) -> Option<Table> {
    let highest = histogram.iter().rposition(|&count| count > 0)?;
    let step = histogram[..highest].iter().sum::<u64>() / 255;
    let mut below = (step > 0).then_some(step / 2)?;
    Some(std::array::from_fn(|level| {
        let equalized = below / step;
        below += histogram[level];
        equalized.min(255) as u8
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn histogram(counts: &[(usize, u64)]) -> Histogram {
        let mut histogram = [0; 256];
        counts.iter().for_each(|&(level, count)| histogram[level] = count);
        histogram
    }

    #[test]
    fn one_level_is_left_alone() {
        let one = histogram(&[(17, 1024)]);
        assert!(autocontrast(&one).is_none() && equalize(&one).is_none());
        assert!(equalize(&histogram(&[(3, 254), (9, 1000)])).is_none(), "step 0");
    }

    #[test]
    fn contrast_reaches_black_and_about_white() {
        for (lowest, highest) in (0..255).flat_map(|lowest| (lowest + 1..256).map(move |end| (lowest, end))) {
            let table = autocontrast(&histogram(&[(lowest, 1), (highest, 1)])).unwrap();
            assert_eq!(table[lowest], 0, "{lowest} {highest}");
            // Rounding down after a float that is just below the whole number loses one level.
            assert!(table[highest] >= 254, "{lowest} {highest}");
            assert!(table.is_sorted());
        }
    }

    #[test]
    fn equal_counts_stay_as_they_are() {
        let table = equalize(&[4; 256]).unwrap();
        assert_eq!(table, std::array::from_fn(|level| level as u8));
    }
}
