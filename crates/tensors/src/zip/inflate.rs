//! Inflating within bounds.

use flate2::{Crc, Decompress, FlushDecompress, Status};

use super::{Member, ZipError};

/// No DEFLATE stream decodes to more than this many times its size: 258 bytes for at least two bits (RFC 1951).
const MOST_RATIO: u64 = 1032;

/// How much an archive may inflate to however small it is.
const ALLOWANCE: u64 = 256 << 20;

/// How many times its size an archive may inflate to beyond that. A network's weights hardly shrink; arrays of zeros, as
/// masks and fresh optimiser states are, shrink a thousandfold, and come with others that do not.
const TIMES: u64 = 64;

/// How many bytes of output are made room for at a time.
const STEP: usize = 1 << 20;

/// How much the deflated members of one archive may still inflate to.
#[derive(Clone, Debug)]
pub(crate) struct Budget {
    pub(super) left: u64,
}

impl Budget {
    /// For an archive of `size` bytes: 256 MiB and 64 times its size.
    pub(crate) fn of(size: usize) -> Budget {
        Budget { left: (size as u64).saturating_mul(TIMES).saturating_add(ALLOWANCE) }
    }

    fn pay(&mut self, member: &Member) -> Result<(), ZipError> {
        let (size, left) = (member.size, self.left);
        self.left = left.checked_sub(size).ok_or_else(|| ZipError::Bomb {
            member: member.name.clone(),
            size,
            left,
        })?;
        Ok(())
    }
}

/// The decoded data, which must be as many as declared and have the recorded CRC-32.
pub(super) fn inflate(member: &Member, data: &[u8], budget: &mut Budget) -> Result<Vec<u8>, ZipError> {
    let (size, coded) = (member.size, data.len() as u64);
    let most = coded.saturating_mul(MOST_RATIO);
    if size > most {
        return Err(ZipError::Ratio { member: member.name.clone(), size, coded, most });
    }
    budget.pay(member)?;
    let out = decode(member, data)?;
    let mut crc = Crc::new();
    crc.update(&out);
    if crc.sum() != member.crc {
        let (actual, recorded) = (crc.sum(), member.crc);
        return Err(ZipError::Checksum { member: member.name.clone(), actual, recorded });
    }
    Ok(out)
}

/// Memory follows what the data really hold, never what is declared.
fn decode(member: &Member, data: &[u8]) -> Result<Vec<u8>, ZipError> {
    let name = || member.name.clone();
    let found = |found: String| ZipError::InflatedSize { member: name(), size: member.size, found };
    let mut state = Decompress::new(false);
    let mut out = Vec::new();
    loop {
        if out.len() as u64 > member.size {
            return Err(found("more".to_owned()));
        }
        // One byte more than declared shows data that have more.
        let room = (member.size - out.len() as u64).min(STEP as u64) as usize + 1;
        out.reserve(room);
        let (read, had) = (state.total_in() as usize, out.len());
        let rest = data.get(read..).unwrap_or_default();
        let status = state
            .decompress_vec(rest, &mut out, FlushDecompress::None)
            .map_err(|_| ZipError::Deflate { member: name(), after: had as u64 })?;
        let is_stuck = state.total_in() as usize == read && out.len() == had;
        match status {
            Status::StreamEnd if out.len() as u64 == member.size => break,
            Status::StreamEnd => return Err(found(out.len().to_string())),
            _ if is_stuck => return Err(ZipError::Deflate { member: name(), after: had as u64 }),
            _ => {}
        }
    }
    if state.total_in() < data.len() as u64 {
        return Err(found(format!("{} and something behind them", out.len())));
    }
    out.shrink_to_fit();
    Ok(out)
}
