//! Tensor files: listed, read, flipped, saved, opened again, undone.

use bitquake_bits::WordStore;
use bitquake_tensors::{Dtype, FileKind, TensorFile, TensorsError};

use crate::folder::{Folder, say};

/// The external data file that an ONNX model may use.
const EXTERNAL: (&str, [u8; 64]) = ("w.bin", [0x5a; 64]);
/// How many tensors are looked at, and how many words of each.
const TENSORS: usize = 200;
const WORDS: u64 = 300;

/// What is seen of a tensor: name, dtype, shape, words.
type Seen = (String, Dtype, Vec<u64>, Vec<u64>);

/// Opens bytes as the file `name` and does everything with it that bitquake does.
pub(crate) fn check(name: &str, bytes: &[u8]) {
    let folder = Folder::new();
    folder.write(EXTERNAL.0, &EXTERNAL.1);
    match TensorFile::open(&folder.write(name, bytes)) {
        Ok(file) => round_trip(&folder, name, bytes, file),
        Err(error) => say(&error),
    }
}

fn round_trip(folder: &Folder, name: &str, bytes: &[u8], mut file: TensorFile) {
    let before = seen(&file);
    let parts = contents(&file);
    if !save(&file, folder, "same", name) {
        return; // the model's folder holds files that saving would overwrite
    }
    assert_same(&read(folder, "same", name), bytes, "saved as it was");

    let flips = flip(&mut file);
    let after = seen(&file);
    assert!(save(&file, folder, "flipped", name), "only flips were made");
    let mut again = TensorFile::open(&folder.path(&format!("flipped/{name}"))).expect("a flipped file opens");
    assert!(seen(&again) == after, "not the words that were saved: {:?}\n{after:?}", seen(&again));

    undo(&mut file, &flips);
    assert!(save(&file, folder, "undone", name), "only flips were undone");
    assert_same(&read(folder, "undone", name), bytes, "undone in memory");
    assert!(contents(&file) == parts, "undone in memory, the external data differ");

    undo(&mut again, &flips);
    assert!(seen(&again) == before, "not the words before: {:?}\n{before:?}", seen(&again));
    if is_byte_exact(&file) {
        assert!(save(&again, folder, "back", name), "only flips were undone");
        assert_same(&read(folder, "back", name), bytes, "undone in the saved file");
    }
    if file.kind() == FileKind::Onnx {
        engine_image(bytes, file);
    }
}

/// The tensors that are looked at, with their first words and the last.
fn seen(file: &TensorFile) -> Vec<Seen> {
    let tensors = file.tensors().iter().take(TENSORS);
    let see = |info: &bitquake_tensors::TensorInfo| {
        assert!(!format!("{} {} {}", info.dtype, info.role, info.origin).is_empty());
        let words = file.words(&info.name);
        assert!(words.is_none() || words.as_ref().map(|words| words.elements()) == Some(info.elements()));
        let words = words.map_or_else(Vec::new, |words| {
            let last = words.elements().saturating_sub(1);
            let indices = (0..words.elements().min(WORDS)).chain((last >= WORDS).then_some(last));
            let word = |index| words.get(index).unwrap_or_else(|| panic!("{}: no word {index}", info.name));
            let words: Vec<u64> = indices.map(word).collect();
            let mask = info.dtype.format().map_or(0, |format| format.mask());
            assert!(
                words.iter().all(|word| word & !mask == 0),
                "{}: words wider than {}",
                info.name,
                info.dtype
            );
            words
        });
        (info.name.clone(), info.dtype.clone(), info.shape.clone(), words)
    };
    tensors.map(see).collect()
}

/// The bytes of every part.
fn contents(file: &TensorFile) -> Vec<(String, Vec<u8>)> {
    file.content_hash_parts().map(|(label, bytes)| (label.to_owned(), bytes.to_vec())).collect()
}

/// Flips one bit of every tensor that is looked at, and sees that it flipped: names and addresses.
fn flip(file: &mut TensorFile) -> Vec<(String, u64)> {
    let names: Vec<String> = file.tensors().iter().take(TENSORS).map(|info| info.name.clone()).collect();
    let mut flips = Vec::new();
    for (place, name) in names.into_iter().enumerate() {
        let Some(mut words) = file.words_mut(&name).filter(|words| words.elements() > 0) else { continue };
        let looked_at = words.elements().min(WORDS).saturating_mul(words.format().width().into());
        let address = (place as u64 * 41 + 7) % looked_at;
        let old = words.as_words().bit(address);
        words.flip(address).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_ne!(words.as_words().bit(address), old, "{name}: bit {address} did not flip");
        flips.push((name, address));
    }
    flips
}

fn undo(file: &mut TensorFile, flips: &[(String, u64)]) {
    for (name, address) in flips {
        let words = file.words_mut(name);
        let undone = words.map(|mut words| words.flip(*address));
        assert_eq!(undone, Some(Ok(())), "{name}: bit {address}");
    }
}

/// Whether a file that is saved with flips and saved again without them is the same file: but for words that are stored
/// as varints (which have many forms) and deflated members (which are deflated anew).
fn is_byte_exact(file: &TensorFile) -> bool {
    match file.kind() {
        FileKind::Safetensors | FileKind::Hdf5 | FileKind::Gguf | FileKind::Npy => true,
        FileKind::Onnx | FileKind::Keras | FileKind::Pytorch | FileKind::Npz => false,
    }
}

/// Saves as `folder/name` within the folder; whether that was allowed.
fn save(file: &TensorFile, folder: &Folder, inner: &str, name: &str) -> bool {
    let path = folder.write(&format!("{inner}/{name}"), &[]);
    match file.save(&path) {
        Ok(()) => true,
        // Some names of external files can be read and not be made elsewhere.
        Err(error @ (TensorsError::WouldOverwriteExternal { .. } | TensorsError::Write { .. }))
            if has_external(file) =>
        {
            say(&error);
            false
        }
        Err(error) => panic!("cannot save: {error}"),
    }
}

fn has_external(file: &TensorFile) -> bool {
    file.kind() == FileKind::Onnx && file.content_hash_parts().any(|(label, _)| !label.is_empty())
}

fn read(folder: &Folder, inner: &str, name: &str) -> Vec<u8> {
    std::fs::read(folder.path(&format!("{inner}/{name}"))).expect("the file that was saved")
}

fn assert_same(found: &[u8], wanted: &[u8], what: &str) {
    let at = found.iter().zip(wanted).position(|(a, b)| a != b);
    assert!(found == wanted, "{what}: {} bytes instead of {}, first at {at:?}", found.len(), wanted.len());
}

/// What a runtime would get, which must be a model again with the same words.
fn engine_image(bytes: &[u8], file: TensorFile) {
    let before = seen(&file);
    match file.into_engine_image() {
        Err(error) => say(&error),
        Ok(image) => {
            assert!(image.size() <= bytes.len() * 10 + 4096, "{} bytes of {}", image.size(), bytes.len());
            for (name, _, _, words) in before {
                let Some(found) = image.words(&name) else { continue };
                let found: Vec<u64> = found.iter().take(words.len().min(WORDS as usize)).collect();
                assert_eq!(found, words[..found.len()], "{name}");
            }
        }
    }
}
