//! SECDED: distinct columns of odd weight.

use super::Positions;
use crate::protect::code::Columns;

/// The columns of the data bits, in order.
pub(in crate::protect) fn columns(data_bits: u32, check_bits: u32, columns: Columns) -> Vec<u32> {
    let data_bits = data_bits as usize;
    match columns {
        Columns::Hamming => {
            let positions = (3_u32..).filter(|p| !p.is_power_of_two());
            let to_odd = |p: u32| p | ((p.count_ones() + 1) & 1) << (check_bits - 1);
            positions.map(to_odd).take(data_bits).collect()
        }
        Columns::Hsiao => {
            let of_weight =
                |weight| (0_u32..1 << check_bits).filter(move |column| column.count_ones() == weight);
            (3..=check_bits).step_by(2).flat_map(of_weight).take(data_bits).collect()
        }
    }
}

/// For each syndrome the wrong bit plus one, or 0 where no single bit explains it.
pub(in crate::protect) fn table(columns: &[u32], check_bits: u32) -> Vec<u16> {
    let mut table = vec![0; 1 << check_bits];
    let units = (0..check_bits).map(|bit| 1_u32 << bit);
    for (number, column) in (1..).zip(columns.iter().copied().chain(units)) {
        table[column as usize] = number;
    }
    table
}

/// The bit to correct. An even number of wrong bits has a syndrome of even weight, which is no column.
pub(super) fn correct(table: &[u16], syndrome: u32) -> Option<Positions> {
    let number = table.get(syndrome as usize).copied().filter(|&number| number != 0)?;
    Some([u32::from(number) - 1].into_iter().collect())
}
