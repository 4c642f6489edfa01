//! Writing back an archive: what must follow changes of its members.

use crate::edits::Splice;
use crate::external::Part;
use crate::file_bytes::{FileBytes, MAPPED_FROM};
use crate::zip::{self, Archive, Budget, Changes, Member, Method, ZipError, checksum_is_right};
use crate::{TensorFile, TensorsError};

impl TensorFile {
    /// Whether the parts beyond the first are members of an archive rather than files.
    pub(super) fn is_archive(&self) -> bool {
        self.onnx.is_none() && self.main().starts_with(zip::MARK)
    }

    /// The checksums of members that were changed where they stand, and the deflated members that were changed, deflated
    /// anew, with all sizes and offsets.
    pub(super) fn member_splice(&self) -> Result<Splice, TensorsError> {
        let bad = |source: ZipError| TensorsError::BadFile {
            path: self.path.clone(),
            kind: self.kind,
            source: Box::new(source),
        };
        let archive = Archive::read(self.main()).map_err(bad)?;
        let mut changes = Changes::default();
        if let Some(main) = self.parts.first().filter(|main| main.touched) {
            changed_checksums(main, &archive, &mut changes);
        }
        for part in self.parts.iter().skip(1).filter(|part| part.touched) {
            let Some(member) = archive.member(&part.location) else { continue };
            let old = member.contents(self.main(), &mut Budget::of(self.main().len())).map_err(bad)?;
            if *old != *part.bytes {
                let write = |source| TensorsError::Write { path: self.path.clone(), source };
                changes.deflated(member, &part.bytes).map_err(write)?;
            }
        }
        changes.finish(&archive, self.main()).map_err(bad)
    }
}

/// A checksum that was right is right again. One that was wrong stays: PyTorch can be told to leave them all 0, and
/// damage must not be covered up. What was right is seen on the disk; if the file has gone, all are taken for right but
/// those that are 0.
fn changed_checksums(main: &Part, archive: &Archive, changes: &mut Changes) {
    let is_wrong =
        |member: &&Member| member.method == Method::Stored && !checksum_is_right(member, &main.bytes);
    let mut wrong = archive.members().iter().filter(is_wrong).peekable();
    if wrong.peek().is_some() {
        let source = FileBytes::open(&main.source, MAPPED_FROM).ok();
        let source = source.and_then(|bytes| Some((Archive::read(&bytes).ok()?, bytes)));
        let was_right = |member: &&Member| {
            let found =
                source.as_ref().and_then(|(archive, bytes)| Some((archive.member(&member.name)?, bytes)));
            found.map_or(member.crc != 0, |(member, bytes)| checksum_is_right(member, bytes))
        };
        wrong.filter(was_right).for_each(|member| changes.stored(member, &main.bytes));
    }
}
