//! One image file.

use std::fs;
use std::io::Cursor;
use std::path::Path;

use image::imageops::FilterType;
use image::{DynamicImage, ImageFormat, ImageReader, Limits};

use crate::error::DataError;

/// The longest side of an image that is read, in pixels.
pub(crate) const MAX_SIDE: u32 = 1 << 14;

/// The most memory that decoding one image may take, in bytes: what its header declares is not believed.
const MAX_MEMORY: u64 = 1 << 28;

/// The last bytes of a JPEG file (ITU-T T.81, B.1.1.3): without them it is cut short, which decoders forgive.
const JPEG_END: [u8; 2] = [0xff, 0xd9];

/// An image of 8 bits a channel.
pub(crate) struct Decoded {
    /// Height, width, channels.
    pub(crate) shape: [usize; 3],
    /// Row by row, the channels of a pixel side by side.
    pub(crate) pixels: Vec<u8>,
}

/// Decodes a file and brings it to a size (height and width) and a number of channels, where those are given.
///
/// Sizes are changed as a whole, whatever their proportions, with a triangle filter as wide as the larger pixel. Grey
/// becomes colour by repetition; colour becomes grey as `0.2125 R + 0.7154 G + 0.0721 B` (SPEC 2.7), to the nearest
/// level.
pub(crate) fn read(
    file: &Path,
    resize: Option<[u32; 2]>,
    channels: Option<u32>,
) -> Result<Decoded, DataError> {
    let image = match decode(file)? {
        image @ (DynamicImage::ImageLuma8(_) | DynamicImage::ImageRgb8(_)) => image,
        other => {
            let found = format!("{:?}", other.color());
            return Err(DataError::Pixels { file: file.to_owned(), found });
        }
    };
    let image = match resize {
        Some([height, width]) if (image.height(), image.width()) != (height, width) => {
            image.resize_exact(width, height, FilterType::Triangle)
        }
        _ => image,
    };
    let (height, width) = (image.height() as usize, image.width() as usize);
    let (stored, pixels) = (image.color().channel_count(), image.into_bytes());
    let pixels = match (u32::from(stored), channels.unwrap_or(u32::from(stored))) {
        (1, 3) => pixels.iter().flat_map(|&level| [level; 3]).collect(),
        (3, 1) => pixels.as_chunks().0.iter().map(|&pixel| grey(pixel)).collect(),
        _ => pixels,
    };
    let shape = [height, width, pixels.len() / (height * width)];
    Ok(Decoded { shape, pixels })
}

/// In ten-thousandths, which sum to one.
fn grey([red, green, blue]: [u8; 3]) -> u8 {
    ((2125 * u32::from(red) + 7154 * u32::from(green) + 721 * u32::from(blue) + 5000) / 10_000) as u8
}

fn decode(file: &Path) -> Result<DynamicImage, DataError> {
    let wrong =
        |source: Box<dyn std::error::Error + Send + Sync>| DataError::Image { file: file.to_owned(), source };
    let bytes = fs::read(file).map_err(|source| DataError::Open { file: file.to_owned(), source })?;
    let format = image::guess_format(&bytes).map_err(|error| wrong(error.into()))?;
    if format == ImageFormat::Jpeg && !bytes.ends_with(&JPEG_END) {
        return Err(wrong(
            "it does not end with the mark of an end: it is cut short, or something follows".into(),
        ));
    }
    let mut reader = ImageReader::with_format(Cursor::new(bytes), format);
    let mut limits = Limits::default();
    limits.max_image_width = Some(MAX_SIDE);
    limits.max_image_height = Some(MAX_SIDE);
    limits.max_alloc = Some(MAX_MEMORY);
    reader.limits(limits);
    reader.decode().map_err(|error| wrong(error.into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn grey_is_weighted_and_rounded() {
        let cases = [
            ("white", [255; 3], 255),
            ("black", [0; 3], 0),
            ("red", [255, 0, 0], 54),
            ("green", [0, 255, 0], 182),
            ("blue", [0, 0, 255], 18),
        ];
        bitquake_testing::assert_cases(cases, grey);
    }
}
