//! What a flip of each bit costs, as a line of blocks that is read with and without colours.

use anstyle::{AnsiColor, Color, Style};

use crate::output::number::four_digits;

/// From the least change to the largest one, by the logarithm.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Colours of the blocks, two of them each.
const COLOURS: [AnsiColor; 4] = [AnsiColor::Blue, AnsiColor::Cyan, AnsiColor::Yellow, AnsiColor::Red];

/// How much the number changes when a bit flips.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Damage {
    /// By this much, 0 or more.
    Change(f64),
    /// It becomes infinite.
    Infinite,
    /// It becomes NaN.
    Nan,
}

impl Damage {
    /// Of the absolute change itself, where there is no other word for what is not finite.
    pub(crate) fn of_change(change: f64) -> Self {
        match change {
            change if change.is_nan() => Self::Nan,
            change if change.is_infinite() => Self::Infinite,
            change => Self::Change(change.abs()),
        }
    }
}

/// The least and the largest change that blocks stand for; none if there is no change.
#[derive(Clone, Copy)]
pub(crate) struct Scale(Option<(f64, f64)>);

impl Scale {
    pub(crate) fn of<'a>(damage: impl IntoIterator<Item = &'a Damage>) -> Self {
        let changes = damage.into_iter().filter_map(|damage| match damage {
            Damage::Change(change) if *change > 0.0 => Some(*change),
            _ => None,
        });
        Self(changes.fold(None, |ends: Option<(f64, f64)>, change| {
            Some(ends.map_or((change, change), |(low, high)| (low.min(change), high.max(change))))
        }))
    }
}

/// One cell a bit; the most significant bit is at the left.
pub(crate) struct HeatStrip {
    cells: Vec<(char, Style)>,
    legend: String,
}

impl HeatStrip {
    /// `damage` is by bit, bit 0 first.
    pub(crate) fn new(damage: &[Damage]) -> Self {
        Self::on_scale(damage, Scale::of(damage))
    }

    /// On a scale that other strips share.
    pub(crate) fn on_scale(damage: &[Damage], Scale(ends): Scale) -> Self {
        let cells = damage.iter().rev().map(|damage| cell(*damage, ends)).collect();
        Self { cells, legend: legend(damage, ends) }
    }

    /// The cells, with a space wherever `pattern` has something that is no digit.
    pub(crate) fn under(&self, pattern: &str) -> String {
        let mut cells = self.cells.iter();
        pattern
            .chars()
            .map(|digit| match digit.is_ascii_digit().then(|| cells.next()).flatten() {
                Some((block, style)) => format!("{style}{block}{style:#}"),
                None => " ".to_owned(),
            })
            .collect()
    }

    /// The cells, one beside the other.
    pub(crate) fn cells(&self) -> String {
        self.cells.iter().map(|(block, style)| format!("{style}{block}{style:#}")).collect()
    }

    /// What the cells mean.
    pub(crate) fn legend(&self) -> &str {
        &self.legend
    }
}

fn cell(damage: Damage, ends: Option<(f64, f64)>) -> (char, Style) {
    let strong = Style::new().bold().fg_color(Some(AnsiColor::Magenta.into()));
    match (damage, ends) {
        (Damage::Nan, _) => ('N', strong),
        (Damage::Infinite, _) => ('∞', strong),
        (Damage::Change(change), Some(ends)) if change > 0.0 => {
            let step = step(change, ends);
            (BLOCKS[step], Style::new().fg_color(Some(Color::Ansi(COLOURS[step / 2]))))
        }
        _ => ('·', Style::new().dimmed()),
    }
}

/// The block of a change between the least and the largest one.
fn step(change: f64, (low, high): (f64, f64)) -> usize {
    let span = high.log2() - low.log2();
    let share = if span > 0.0 { (change.log2() - low.log2()) / span } else { 1.0 };
    (share * (BLOCKS.len() - 1) as f64).round().clamp(0.0, (BLOCKS.len() - 1) as f64) as usize
}

fn legend(damage: &[Damage], ends: Option<(f64, f64)>) -> String {
    let [least, .., most] = BLOCKS;
    let blocks = ends.map(|(low, high)| {
        if low == high {
            format!("{most} {}", four_digits(high))
        } else {
            format!("{least} {} to {most} {}, by the logarithm", four_digits(low), four_digits(high))
        }
    });
    let has = |wanted: Damage| damage.contains(&wanted);
    let nothing = has(Damage::Change(0.0)).then(|| "· no change".to_owned());
    let infinite = has(Damage::Infinite).then(|| "∞ infinite".to_owned());
    let nan = has(Damage::Nan).then(|| "N NaN".to_owned());
    [blocks, nothing, infinite, nan].into_iter().flatten().collect::<Vec<_>>().join("; ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plain(damage: &[Damage]) -> String {
        HeatStrip::new(damage).cells.iter().map(|(block, _)| block).collect()
    }

    #[test]
    fn the_most_significant_bit_is_at_the_left() {
        let doubling: Vec<Damage> = (0..8).map(|bit| Damage::Change(f64::from(1 << bit))).collect();
        assert_eq!(plain(&doubling), "█▇▆▅▄▃▂▁");
        let odd = [
            Damage::Change(0.0),
            Damage::Nan,
            Damage::Change(1e-300),
            Damage::Change(1e300),
            Damage::Infinite,
        ];
        assert_eq!(plain(&odd), "∞█▁N·");
        assert_eq!(
            HeatStrip::new(&odd).legend(),
            "▁ 1e-300 to █ 1e300, by the logarithm; · no change; ∞ infinite; N NaN"
        );
        assert_eq!(plain(&[Damage::Change(2.0)]), "█");
        assert_eq!(HeatStrip::new(&[Damage::Change(2.0)]).legend(), "█ 2");
    }

    #[test]
    fn cells_stand_under_their_digits() {
        let strip = HeatStrip::new(&[Damage::Change(0.0); 3]);
        let text = anstream::adapter::strip_str(&strip.under("1.01")).to_string();
        assert_eq!(text, "· ··");
    }
}
