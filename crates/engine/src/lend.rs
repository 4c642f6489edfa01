//! Sessions that read large weights where they are, instead of holding copies.
//!
//! The model in an [`EngineImage`] names its large weights as external data, and ONNX Runtime takes external data from its
//! caller's memory. With [`IN_PLACE`] set it makes no copy of them: it repacks the weights of matrix products and convolutions
//! when the session is built, and reads all others in place for as long as the session lives. So the image must neither
//! change nor go in this time, which the compiler sees to: a [`LentSession`] borrows the image, and nothing that the session
//! holds or makes leaves it. Versions of ONNX Runtime that do not know the setting copy the weights.

#![expect(unsafe_code, reason = "the C interface takes the memory of external data as pointers")]

use std::marker::PhantomData;

use bitquake_tensors::{EngineImage, ImagePart};
use ort::AsPointer;
use ort::session::builder::SessionBuilder;
use ort::session::{Session, SessionOutputs};

use ort::sys::os_char;
use ort::value::DynValue;

use crate::chain::session::{Feed, run};

/// The setting that makes ONNX Runtime use external data in the caller's memory without copying them.
const IN_PLACE: &str = "session.use_external_initializer_file_buffers_directly";

/// A session that reads the words of an image.
pub(crate) struct LentSession<'i> {
    session: Session,
    image: PhantomData<&'i EngineImage>,
}

/// What a run gave. Values cannot be taken out: one may be a weight's own memory.
pub(crate) struct Outputs<'s>(SessionOutputs<'s>);

impl<'i> LentSession<'i> {
    /// Builds a session of `model`, the model in `image` or a part of it, with the settings of `builder`.
    pub(crate) fn build(builder: SessionBuilder, model: &[u8], image: &'i EngineImage) -> ort::Result<Self> {
        let mut builder = builder.with_config_entry(IN_PLACE, "1")?;
        for part in image.externals() {
            // SAFETY: the bytes live and stay as they are for 'i. The builder ends with this call, and the session is
            // private to `LentSession<'i>`, whose methods give away neither it nor values that it holds or makes.
            unsafe { lend(&mut builder, part)? };
        }
        let session = builder.commit_from_memory(model)?;
        Ok(Self { session, image: PhantomData })
    }

    /// Runs the model.
    pub(crate) fn run(&mut self, feeds: &[Feed<'_>]) -> ort::Result<Outputs<'_>> {
        run(&mut self.session, feeds).map(Outputs)
    }
}

/// Builds a session of `model`, the model in `image` or a part of it, that copies the weights.
pub(crate) fn build_owned(
    mut builder: SessionBuilder,
    model: &[u8],
    image: &EngineImage,
) -> ort::Result<Session> {
    for part in image.externals() {
        // SAFETY: without `IN_PLACE` the runtime copies external data while it builds a session; the builder ends with this
        // call, before which `image` cannot change.
        unsafe { lend(&mut builder, part)? };
    }
    builder.commit_from_memory(model)
}

impl Outputs<'_> {
    /// The output of a name, if the run gave it.
    pub(crate) fn get(&self, name: &str) -> Option<&DynValue> {
        if name.is_empty() { None } else { self.0.get(name) }
    }
}

/// Gives sessions that `builder` builds the content of an external file, without a copy.
///
/// # Safety
/// The builder and all its sessions must be gone before the bytes of `part` end or change.
unsafe fn lend(builder: &mut SessionBuilder, part: &ImagePart) -> ort::Result<()> {
    // Locations are ASCII, so one byte is one character in the encoding of paths on every system.
    let location: Vec<os_char> = part.location.bytes().chain([0]).map(|byte| byte as os_char).collect();
    // SAFETY: one location, ending with 0, and one buffer with its length, as the last argument says. The call copies the
    // location and keeps the pointer to the bytes, which is not written through: the interface lacks a `const`.
    unsafe {
        let status = (ort::api().AddExternalInitializersFromMemory)(
            builder.ptr_mut(),
            &location.as_ptr(),
            &part.bytes.as_ptr().cast_mut().cast(),
            &part.bytes.len(),
            1,
        );
        ort::Error::result_from_status(status)
    }
}
