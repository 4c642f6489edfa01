//! The tensors of a file, quantized.

use bitquake::quantize::{QuantizedFile, QuantizedTensor, StoredTensor};

use crate::output::columns::{Cell, columns};
use crate::output::heat::{Damage, HeatStrip, Scale};
use crate::output::number::four_digits;
use crate::output::{counted, grouped};

pub(super) fn as_text(file: &QuantizedFile) -> String {
    let header = ["tensor", "stored", "scale", "range", "rms error", "largest", "SQNR", "bits", "damage"];
    let stored = || file.tensors.iter().filter_map(|tensor| Some((tensor, tensor.stored.as_ref()?)));
    let damage: Vec<Vec<Damage>> = stored().map(|(_, stored)| super::damage(&stored.damage_by_bit)).collect();
    let scale = Scale::of(damage.iter().flatten());
    let rows = stored()
        .zip(&damage)
        .map(|((tensor, stored), damage)| row(tensor, stored, HeatStrip::on_scale(damage, scale).cells()));
    let mut text = columns(&header, &[4, 5, 6, 7], rows.collect());
    for tensor in &file.tensors {
        if let Some(reason) = &tensor.kept {
            text.push_str(&format!("\n{}: {reason}", tensor.tensor));
        }
    }
    let all: Vec<Damage> = damage.concat();
    format!("{text}\n\ndamage by bit: mean change, {}\n{}", HeatStrip::new(&all).legend(), summary(file))
}

fn row(tensor: &QuantizedTensor, stored: &StoredTensor, damage: String) -> Vec<Cell> {
    let [least, greatest] = stored.scale;
    let scale = if least == greatest {
        four_digits(least.into())
    } else {
        format!("{}..{} ({})", four_digits(least.into()), four_digits(greatest.into()), stored.units)
    };
    let [low, high] = stored.range;
    let error = &stored.error;
    vec![
        tensor.tensor.clone().into(),
        stored.format.clone().into(),
        scale.into(),
        format!("{}..{}", four_digits(low.into()), four_digits(high.into())).into(),
        four_digits(error.rms).into(),
        four_digits(error.max).into(),
        error.sqnr_db.map_or_else(|| "exact".to_owned(), |ratio| format!("{ratio:.1} dB")).into(),
        grouped(tensor.stored_bits).into(),
        Cell::coloured(damage),
    ]
}

fn summary(file: &QuantizedFile) -> String {
    let quantized = || file.tensors.iter().filter(|tensor| tensor.stored.is_some());
    let beside = |tensor: &QuantizedTensor| {
        tensor.stored.iter().flat_map(|stored| &stored.parts).map(|(_, bits)| bits).sum::<u64>()
    };
    let (parts, kept) = (quantized().map(beside).sum::<u64>(), file.tensors.len() - quantized().count());
    let percent = 100.0 * file.stored_bits as f64 / file.file_bits.max(1) as f64;
    format!(
        "{}: {} quantized by {}, {kept} kept: {} instead of {} ({percent:.1} %), {} of them beside the codes",
        file.kind,
        counted(quantized().count() as u64, "tensor"),
        file.spec.family.unwrap_or_default(),
        counted(file.stored_bits, "bit"),
        grouped(file.file_bits),
        grouped(parts),
    )
}
