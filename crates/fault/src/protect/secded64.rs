//! SECDED over 64 data bits as a streaming kernel: eight bytes of data, one byte of check bits.

mod kernel;
#[cfg(target_arch = "x86_64")]
mod x86;

use kernel::{BLOCK_WORDS, Kernel, Tables};

use super::code::Columns;

/// SECDED (72, 64) over long runs of words: the same code as [`Code::Secded`](super::Code::Secded) with 64 data bits,
/// at the speed of memory.
///
/// Words are eight bytes each as they lie in memory, bit 0 the lowest bit of the first byte (little-endian);
/// `as_chunks` makes them of bytes. The check byte of word i is `check[i]`, check bit 0 its lowest bit. AVX-512 (with
/// VBMI and GFNI) or AVX2 is used where the machine has it; the results are the same.
///
/// ```
/// use bitquake_fault::protect::{Columns, Secded64};
/// let secded = Secded64::new(Columns::Hamming);
/// let mut data = [1_u64, 2, 3].map(u64::to_le_bytes);
/// let mut check = [0; 3];
/// secded.encode(&data, &mut check)?;
/// data[1][7] ^= 0x80;
/// data[2][0] ^= 0x11;
/// assert_eq!(secded.check(&data, &check)?, 2);
/// let corrected = secded.correct(&mut data, &mut check)?;
/// assert_eq!((corrected.corrected, corrected.detected), (1, 1));
/// assert_eq!(data[1], 2_u64.to_le_bytes());
/// # Ok::<(), bitquake_fault::protect::LengthError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Secded64 {
    tables: Box<Tables>,
    kernel: Kernel,
}

/// Words and check bytes that do not belong together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{words} words need as many check bytes, but there are {check_bytes}")]
pub struct LengthError {
    /// Words of eight bytes.
    pub words: usize,
    /// Check bytes.
    pub check_bytes: usize,
}

/// What correcting found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Corrections {
    /// Words with one wrong bit, in the data or in the check byte, which has been flipped back. (Three wrong bits
    /// look the same.)
    pub corrected: u64,
    /// Words left as they are, because no single bit explains the error.
    pub detected: u64,
}

/// A word whose check byte does not fit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BadWord {
    /// Which word.
    pub word: usize,
    /// Its syndrome, never 0: the bits of the check byte that differ from those that the data call for.
    pub syndrome: u8,
}

impl Secded64 {
    /// The code with these columns, on the fastest kernel of this machine.
    #[must_use]
    pub fn new(columns: Columns) -> Self {
        Self { tables: Box::new(Tables::new(columns)), kernel: Kernel::fastest() }
    }

    /// The same code on each kernel of this machine, the fastest first: to compare them.
    #[must_use]
    pub fn on_every_kernel(columns: Columns) -> Vec<Self> {
        let tables = Box::new(Tables::new(columns));
        Kernel::available().into_iter().map(|kernel| Self { tables: tables.clone(), kernel }).collect()
    }

    /// The name of the kernel in use: `avx-512`, `avx2` or `portable`.
    #[must_use]
    pub fn kernel(&self) -> &'static str {
        self.kernel.name()
    }

    /// Writes the check byte of each word.
    ///
    /// # Errors
    /// [`LengthError`] unless there is one check byte for each word.
    pub fn encode(&self, data: &[[u8; 8]], check: &mut [u8]) -> Result<(), LengthError> {
        check_lengths(data, check)?;
        let (blocks, rest) = data.as_chunks();
        let (check_blocks, check_rest) = check.as_chunks_mut();
        self.kernel.encode(&self.tables, blocks, check_blocks);
        for (word, check) in rest.iter().zip(check_rest) {
            *check = self.tables.encode(*word);
        }
        Ok(())
    }

    /// The number of words whose check byte does not fit.
    ///
    /// # Errors
    /// As [`Secded64::encode`].
    pub fn check(&self, data: &[[u8; 8]], check: &[u8]) -> Result<u64, LengthError> {
        check_lengths(data, check)?;
        let mut bad = 0;
        self.visit_bad_masks(data, check, |_, mask| bad += u64::from(mask.count_ones()));
        Ok(bad)
    }

    /// The words whose check byte does not fit, in order.
    ///
    /// # Errors
    /// As [`Secded64::encode`].
    pub fn find(&self, data: &[[u8; 8]], check: &[u8]) -> Result<Vec<BadWord>, LengthError> {
        check_lengths(data, check)?;
        let mut bad = Vec::new();
        self.visit_bad_masks(data, check, |first, mask| {
            bad.extend(ones(mask).map(|offset| {
                let word = first + offset;
                BadWord { word, syndrome: self.tables.encode(data[word]) ^ check[word] }
            }));
        });
        Ok(bad)
    }

    /// Flips single wrong bits back, in the data and in the check bytes.
    ///
    /// # Errors
    /// As [`Secded64::encode`]; then nothing has been changed.
    pub fn correct(&self, data: &mut [[u8; 8]], check: &mut [u8]) -> Result<Corrections, LengthError> {
        check_lengths(data, check)?;
        let mut counts = Corrections::default();
        for (data, check) in data.chunks_mut(CHUNK_WORDS).zip(check.chunks_mut(CHUNK_WORDS)) {
            let (masks, _) = self.bad_masks(data, check);
            let blocks = data.chunks_mut(BLOCK_WORDS).zip(check.chunks_mut(BLOCK_WORDS));
            for ((data, check), mask) in blocks.zip(masks).filter(|(_, mask)| *mask != 0) {
                self.correct_block(data, check, mask, &mut counts);
            }
        }
        Ok(counts)
    }

    /// Corrects the bad words of a block, which may be the short one at the end.
    fn correct_block(&self, data: &mut [[u8; 8]], check: &mut [u8], mask: u64, counts: &mut Corrections) {
        let mut encoded = [[0; BLOCK_WORDS]];
        let (whole, _) = data.as_chunks();
        let is_dense = !whole.is_empty() && mask.count_ones() >= DENSE;
        if is_dense {
            self.kernel.encode(&self.tables, whole, &mut encoded);
        }
        let mut corrected = 0;
        for place in ones(mask) {
            let (word, check) = (&mut data[place], &mut check[place]);
            let wanted = if is_dense { encoded[0][place] } else { self.tables.encode(*word) };
            corrected += u64::from(self.tables.correct(word, check, wanted ^ *check));
        }
        counts.corrected += corrected;
        counts.detected += u64::from(mask.count_ones()) - corrected;
    }

    /// Calls `visit` with the first word of each block of 64 and the set of its bad words.
    fn visit_bad_masks(&self, data: &[[u8; 8]], check: &[u8], mut visit: impl FnMut(usize, u64)) {
        let chunks = data.chunks(CHUNK_WORDS).zip(check.chunks(CHUNK_WORDS));
        for (chunk, (data, check)) in chunks.enumerate() {
            let (masks, used) = self.bad_masks(data, check);
            for (block, &mask) in masks[..used].iter().enumerate() {
                visit(chunk * CHUNK_WORDS + block * BLOCK_WORDS, mask);
            }
        }
    }

    /// For each block of a chunk of words the set of its bad words, and how many blocks there are.
    fn bad_masks(&self, data: &[[u8; 8]], check: &[u8]) -> ([u64; CHUNK_BLOCKS], usize) {
        let mut masks = [0; CHUNK_BLOCKS];
        let (blocks, rest) = data.as_chunks();
        let (check_blocks, check_rest) = check.as_chunks();
        self.kernel.find(&self.tables, blocks, check_blocks, &mut masks[..blocks.len()]);
        for (offset, (word, check)) in rest.iter().zip(check_rest).enumerate() {
            masks[blocks.len()] |= u64::from(self.tables.encode(*word) != *check) << offset;
        }
        (masks, blocks.len() + usize::from(!rest.is_empty()))
    }
}

/// Blocks looked at before their bad words are handled: 32 KiB of data, which stay in the nearest cache meanwhile.
const CHUNK_BLOCKS: usize = 64;
const CHUNK_WORDS: usize = CHUNK_BLOCKS * BLOCK_WORDS;

/// From so many bad words on, it is faster to encode a whole block again than each of them.
const DENSE: u32 = 8;

fn check_lengths(data: &[[u8; 8]], check: &[u8]) -> Result<(), LengthError> {
    if data.len() == check.len() {
        Ok(())
    } else {
        Err(LengthError { words: data.len(), check_bytes: check.len() })
    }
}

/// The numbers of the bits set.
fn ones(mut mask: u64) -> impl Iterator<Item = usize> {
    std::iter::from_fn(move || {
        let bit = mask.trailing_zeros();
        mask &= mask.wrapping_sub(1);
        (bit < u64::BITS).then_some(bit as usize)
    })
}

#[cfg(test)]
mod tests {
    use bitquake_testing::SplitMix64;

    use super::*;
    use crate::protect::{Code, Codec};

    fn random_words(words: usize, seed: u64) -> Vec<[u8; 8]> {
        let mut random = SplitMix64::new(seed);
        (0..words).map(|_| random.next_u64().to_le_bytes()).collect()
    }

    /// Lengths around every block and chunk border.
    const LENGTHS: [usize; 10] = [0, 1, 31, 63, 64, 65, 200, 4095, 4096, 4161];

    #[test]
    fn every_kernel_encodes_like_the_codec() {
        for columns in [Columns::Hamming, Columns::Hsiao] {
            let codec = Codec::new(Code::Secded { data_bits: 64, columns }).unwrap();
            for secded in Secded64::on_every_kernel(columns) {
                for words in LENGTHS {
                    let data = random_words(words, 1);
                    let mut check = vec![0xaa; words];
                    secded.encode(&data, &mut check).unwrap();
                    let wanted: Vec<u8> =
                        data.iter().map(|&word| codec.encode(&[u64::from_le_bytes(word)]) as u8).collect();
                    assert!(check == wanted, "{columns:?} {} {words}", secded.kernel());
                }
            }
        }
    }

    #[test]
    fn every_kernel_finds_and_corrects_every_single_error() {
        for columns in [Columns::Hamming, Columns::Hsiao] {
            for secded in Secded64::on_every_kernel(columns) {
                let clean = random_words(4 * 72 + 5, 2);
                let mut clean_check = vec![0; clean.len()];
                secded.encode(&clean, &mut clean_check).unwrap();
                let (mut data, mut check) = (clean.clone(), clean_check.clone());
                for bit in 0..72 {
                    let word = 4 * bit + bit % 4;
                    if bit < 64 {
                        data[word][bit / 8] ^= 1 << (bit % 8)
                    } else {
                        check[word] ^= 1 << (bit - 64)
                    }
                }
                let found = secded.find(&data, &check).unwrap();
                assert!(found.iter().map(|bad| bad.word).eq((0..72).map(|bit| 4 * bit + bit % 4)));
                assert_eq!(secded.check(&data, &check), Ok(72));
                let counts = secded.correct(&mut data, &mut check).unwrap();
                assert_eq!(counts, Corrections { corrected: 72, detected: 0 });
                assert!(data == clean && check == clean_check);
            }
        }
    }

    /// At a bit error rate of 1 % half the words are bad: same findings and corrections as word by word with the
    /// codec.
    #[test]
    fn every_kernel_corrects_like_the_codec_where_errors_abound() {
        for columns in [Columns::Hamming, Columns::Hsiao] {
            let codec = Codec::new(Code::Secded { data_bits: 64, columns }).unwrap();
            for secded in Secded64::on_every_kernel(columns) {
                let mut data = random_words(9000, 3);
                let mut check = vec![0; data.len()];
                secded.encode(&data, &mut check).unwrap();
                let mut random = SplitMix64::new(4);
                for _ in 0..6000 {
                    let (word, bit) = (random.below(9000) as usize, random.below(72) as usize);
                    if bit < 64 {
                        data[word][bit / 8] ^= 1 << (bit % 8)
                    } else {
                        check[word] ^= 1 << (bit - 64)
                    }
                }
                let (mut slow_data, mut slow_check) = (data.clone(), check.clone());
                let wanted = slow_correct(&codec, &mut slow_data, &mut slow_check);
                assert_eq!(secded.correct(&mut data, &mut check), Ok(wanted));
                assert!(wanted.corrected > 3000 && wanted.detected > 500);
                assert!(data == slow_data && check == slow_check, "{}", secded.kernel());
            }
        }
    }

    fn slow_correct(codec: &Codec, data: &mut [[u8; 8]], check: &mut [u8]) -> Corrections {
        let mut counts = Corrections::default();
        for (word, check) in data.iter_mut().zip(check) {
            match codec.decode(&[u64::from_le_bytes(*word)], (*check).into()) {
                crate::protect::Decoded::Clean => {}
                crate::protect::Decoded::Detected => counts.detected += 1,
                crate::protect::Decoded::Corrected(bits) => {
                    counts.corrected += 1;
                    match usize::from(bits[0]) {
                        bit @ 0..64 => word[bit / 8] ^= 1 << (bit % 8),
                        bit => *check ^= 1 << (bit - 64),
                    }
                }
            }
        }
        counts
    }

    #[test]
    fn lengths_must_fit() {
        let error = LengthError { words: 2, check_bytes: 3 };
        let (secded, mut data) = (Secded64::new(Columns::Hamming), [[0; 8]; 2]);
        assert_eq!(secded.encode(&data, &mut [0; 3]), Err(error));
        assert_eq!(secded.check(&data, &[0; 3]), Err(error));
        assert_eq!(secded.find(&data, &[0; 3]), Err(error));
        assert_eq!(secded.correct(&mut data, &mut [0; 3]), Err(error));
    }

    #[test]
    fn the_portable_kernel_is_always_there() {
        assert_eq!(Kernel::available().last(), Some(&Kernel::Portable));
        assert_eq!(Kernel::available().first(), Some(&Kernel::fastest()));
    }
}
