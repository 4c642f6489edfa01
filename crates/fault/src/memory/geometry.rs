//! How a DRAM is built, and which bit lies where.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};

/// The part of an address that chooses one of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Level {
    /// Which column of a row: one transfer of all data lines.
    Column,
    /// Which bank of a rank; bank groups count as banks.
    Bank,
    /// Which rank of a channel.
    Rank,
    /// Which channel.
    Channel,
    /// Which row of a bank.
    Row,
}

/// The build of a memory, and how addresses run through it.
///
/// A bit address `a` of the memory is lane `a mod bus_bits` of transfer `a div bus_bits`. The lanes are shared out among the
/// devices of a rank, `device_bits` each: device `d` supplies lanes `d * device_bits` and up. The transfer's number is a mixed
/// number whose digits are the levels in `order`, the fastest first. There is no hashing of addresses and no spare row.
///
/// ```
/// use bitquake_fault::DramGeometry;
/// let memory = DramGeometry::default();
/// assert_eq!(memory.capacity()?, 8 << 33, "eight devices of 8 Gbit");
/// assert_eq!(memory.place(64 * 1024 + 9)?.bank, 1, "the row of bank 0 is full");
/// assert_eq!(memory.place(64 * 1024 + 9)?.device, 1);
/// # Ok::<(), bitquake_fault::GeometryError>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DramGeometry {
    /// Channels, at least 1, like all counts here.
    pub channels: u64,
    /// Ranks of a channel.
    pub ranks: u64,
    /// Banks of a rank.
    pub banks: u64,
    /// Rows of a bank.
    pub rows: u64,
    /// Columns of a row.
    pub columns: u64,
    /// Data lines of a channel, without those of an ECC: a multiple of `device_bits`.
    pub bus_bits: u64,
    /// Data lines of a device: 4, 8 or 16 for x4, x8 and x16.
    pub device_bits: u64,
    /// The levels, each once, from the one that changes with every transfer to the slowest.
    pub order: [Level; 5],
}

/// A geometry that is none, or a bit outside it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GeometryError {
    /// A count of 0.
    #[error("{field} is 0: it must be at least 1")]
    Zero {
        /// The field's name.
        field: &'static str,
    },
    /// Lines that cannot be shared out.
    #[error("{bus_bits} data lines cannot be shared out among devices of {device_bits}")]
    Bus {
        /// Lines of a channel.
        bus_bits: u64,
        /// Lines of a device.
        device_bits: u64,
    },
    /// A level twice, another not at all.
    #[error("the order {order:?} must have each level once")]
    Order {
        /// The order.
        order: [Level; 5],
    },
    /// More bits than can be counted.
    #[error("the memory is larger than 2^56 bits")]
    TooLarge,
    /// A bit behind the end.
    #[error("bit {bit} is out of bounds, the memory has {capacity} bits")]
    OutOfBounds {
        /// The bit.
        bit: u64,
        /// Bits of the memory.
        capacity: u64,
    },
}

/// Where a bit lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DramPlace {
    /// The channel.
    pub channel: u64,
    /// The rank of the channel.
    pub rank: u64,
    /// The bank of the rank.
    pub bank: u64,
    /// The row of the bank.
    pub row: u64,
    /// The column of the row.
    pub column: u64,
    /// The device of the rank.
    pub device: u64,
    /// The data line of the device.
    pub pin: u64,
}

impl Default for DramGeometry {
    /// One channel with one rank of eight x8 devices of 8 Gbit: 16 banks, 65,536 rows, 1,024 columns; consecutive addresses run
    /// through a row, then channels, banks, ranks and rows.
    fn default() -> Self {
        Self {
            channels: 1,
            ranks: 1,
            banks: 16,
            rows: 65_536,
            columns: 1024,
            bus_bits: 64,
            device_bits: 8,
            order: [Level::Column, Level::Channel, Level::Bank, Level::Rank, Level::Row],
        }
    }
}

impl DramGeometry {
    /// Bits of the memory.
    ///
    /// # Errors
    /// [`GeometryError`] if there is no such memory.
    pub fn capacity(&self) -> Result<u64, GeometryError> {
        let counts = [
            ("channels", self.channels),
            ("ranks", self.ranks),
            ("banks", self.banks),
            ("rows", self.rows),
            ("columns", self.columns),
            ("bus_bits", self.bus_bits),
            ("device_bits", self.device_bits),
        ];
        if let Some(&(field, _)) = counts.iter().find(|(_, count)| *count == 0) {
            return Err(GeometryError::Zero { field });
        }
        if !self.bus_bits.is_multiple_of(self.device_bits) {
            return Err(GeometryError::Bus { bus_bits: self.bus_bits, device_bits: self.device_bits });
        }
        if self.order.iter().collect::<HashSet<_>>().len() < self.order.len() {
            return Err(GeometryError::Order { order: self.order });
        }
        let product = counts[..6].iter().try_fold(1_u64, |product, (_, count)| product.checked_mul(*count));
        product.filter(|&bits| bits <= 1 << 56).ok_or(GeometryError::TooLarge)
    }

    /// Devices of a rank.
    #[must_use]
    pub fn devices(&self) -> u64 {
        self.bus_bits / self.device_bits.max(1)
    }

    /// How many there are of a level.
    pub(super) fn count(&self, level: Level) -> u64 {
        match level {
            Level::Column => self.columns,
            Level::Bank => self.banks,
            Level::Rank => self.ranks,
            Level::Channel => self.channels,
            Level::Row => self.rows,
        }
    }

    /// The levels with their counts and strides in transfers, slowest first.
    pub(super) fn strides(&self) -> [(Level, u64, u64); 5] {
        let mut stride = 1;
        let mut strides = self.order.map(|level| {
            let here = (level, self.count(level), stride);
            stride *= here.1;
            here
        });
        strides.reverse();
        strides
    }

    /// Where a bit lies.
    ///
    /// # Errors
    /// [`GeometryError`] if the bit is outside or there is no such memory.
    pub fn place(&self, bit: u64) -> Result<DramPlace, GeometryError> {
        let capacity = self.capacity()?;
        if bit >= capacity {
            return Err(GeometryError::OutOfBounds { bit, capacity });
        }
        let (transfer, lane) = (bit / self.bus_bits, bit % self.bus_bits);
        let strides = self.strides();
        let of = |wanted: Level| {
            let digit = |(level, count, stride)| (level == wanted).then(|| transfer / stride % count);
            strides.into_iter().find_map(digit).unwrap_or(0)
        };
        Ok(DramPlace {
            channel: of(Level::Channel),
            rank: of(Level::Rank),
            bank: of(Level::Bank),
            row: of(Level::Row),
            column: of(Level::Column),
            device: lane / self.device_bits,
            pin: lane % self.device_bits,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bits_run_through_the_levels_in_order() {
        let order = [Level::Bank, Level::Column, Level::Row, Level::Channel, Level::Rank];
        let memory = DramGeometry {
            channels: 2,
            ranks: 2,
            banks: 3,
            rows: 2,
            columns: 2,
            bus_bits: 8,
            device_bits: 4,
            order,
        };
        assert_eq!(memory.capacity(), Ok(2 * 2 * 3 * 2 * 2 * 8));
        let mut bit = 0;
        for (rank, channel) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
            for (row, column) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                for bank in 0..3 {
                    for (device, pin) in (0..2).flat_map(|device| (0..4).map(move |pin| (device, pin))) {
                        let want = DramPlace { channel, rank, bank, row, column, device, pin };
                        assert_eq!(memory.place(bit), Ok(want), "{bit}");
                        bit += 1;
                    }
                }
            }
        }
        assert_eq!(memory.place(bit), Err(GeometryError::OutOfBounds { bit, capacity: bit }));
    }

    #[test]
    fn what_is_no_memory() {
        let good = DramGeometry::default();
        let capacity = |memory: DramGeometry| memory.capacity().unwrap_err();
        assert_eq!(capacity(DramGeometry { rows: 0, ..good }), GeometryError::Zero { field: "rows" });
        assert_eq!(
            capacity(DramGeometry { device_bits: 7, ..good }),
            GeometryError::Bus { bus_bits: 64, device_bits: 7 }
        );
        assert_eq!(capacity(DramGeometry { rows: u64::MAX, ..good }), GeometryError::TooLarge);
        let order = [Level::Row; 5];
        assert_eq!(capacity(DramGeometry { order, ..good }), GeometryError::Order { order });
    }
}
