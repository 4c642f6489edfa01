//! A small kit for plots: scales, ticks, axes and marks, written as SVG without scripts.
//!
//! Colours are CSS classes, so that the page decides them once for the screen, the dark screen and paper. Coordinates are
//! pixels of the picture, from its upper left corner.

mod amount_axis;
mod legend;
mod number_axis;
mod percent_axis;
mod scale;
mod svg;

pub(crate) use amount_axis::{AmountAxis, Place};
pub(crate) use legend::legend;
pub(crate) use number_axis::NumberAxis;
pub(crate) use percent_axis::PercentAxis;
pub(crate) use scale::nice_step;
pub(crate) use svg::{Anchor, Mark, Svg, text_width};

/// The rectangle that data are drawn in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Frame {
    pub(crate) left: f64,
    pub(crate) right: f64,
    pub(crate) top: f64,
    pub(crate) bottom: f64,
}
