//! Which files make which class.

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::DataError;

/// The extensions of image files, in lower case.
const EXTENSIONS: [&str; 3] = ["png", "jpg", "jpeg"];

/// The files of each class, of which there is at least one, both sorted by the bytes of their names. Names that start
/// with a dot do not count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Listing {
    classes: Vec<Vec<PathBuf>>,
}

impl Listing {
    /// Lists a folder of classes.
    pub(crate) fn new(folder: &Path) -> Result<Listing, DataError> {
        let classes =
            entries(folder)?.into_iter().map(|class| images_of(&class)).collect::<Result<Vec<_>, _>>()?;
        match classes.is_empty() {
            true => Err(problem(folder, "this image folder has no classes, which are folders in it")),
            false => Ok(Listing { classes }),
        }
    }

    /// The files of each class.
    pub(crate) fn classes(&self) -> &[Vec<PathBuf>] {
        &self.classes
    }

    /// Every file with its class, class by class.
    pub(crate) fn files(&self) -> impl Iterator<Item = (&PathBuf, u32)> {
        let classes = (0..).zip(&self.classes);
        classes.flat_map(|(class, files)| files.iter().map(move |file| (file, class)))
    }
}

fn images_of(class: &Path) -> Result<Vec<PathBuf>, DataError> {
    if !class.is_dir() {
        return Err(problem(class, "an image folder holds folders, one for each class, and this is none"));
    }
    let files = entries(class)?;
    let is_image = |file: &Path| {
        let extension =
            file.extension().and_then(|extension| extension.to_str()).map(str::to_ascii_lowercase);
        extension.is_some_and(|extension| EXTENSIONS.contains(&extension.as_str())) && file.is_file()
    };
    match files.iter().find(|file| !is_image(file)) {
        Some(other) => {
            Err(problem(other, "the folder of a class holds .png, .jpg and .jpeg files, and this is none"))
        }
        None if files.is_empty() => Err(problem(class, "this class has no images")),
        None => Ok(files),
    }
}

/// What a folder holds, sorted.
fn entries(folder: &Path) -> Result<Vec<PathBuf>, DataError> {
    let open = |source| DataError::Open { file: folder.to_owned(), source };
    let mut entries = Vec::new();
    for entry in fs::read_dir(folder).map_err(open)? {
        let entry = entry.map_err(open)?;
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            entries.push(entry.path());
        }
    }
    entries.sort_by(|a, b| a.as_os_str().cmp(b.as_os_str()));
    Ok(entries)
}

fn problem(file: &Path, problem: &'static str) -> DataError {
    DataError::Folder { file: file.to_owned(), problem }
}
